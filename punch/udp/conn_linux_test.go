package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// option reads a number that the kernel keeps for the socket.
func option(t *testing.T, c *Conn, level, name int) (value int) {
	t.Helper()
	err := control(c.raw, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestWriteTTL(t *testing.T) {
	received := func(local netip.AddrPort) (*net.UDPConn, func() (ttl int)) {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		b := make([]byte, 100)
		if local.Addr().Is4() {
			p := ipv4.NewPacketConn(conn)
			p.SetControlMessage(ipv4.FlagTTL, true)
			return conn, func() int {
				_, cm, _, err := p.ReadFrom(b)
				if err != nil {
					t.Fatal(err)
				}
				return cm.TTL
			}
		}
		p := ipv6.NewPacketConn(conn)
		p.SetControlMessage(ipv6.FlagHopLimit, true)
		return conn, func() int {
			_, cm, _, err := p.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			return cm.HopLimit
		}
	}
	for _, local := range []netip.AddrPort{loopback4, loopback6} {
		c := listen(t, Config{Addr: local})
		conn, ttl := received(local)
		to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		if err := c.WriteTTL([]byte("x"), to, 0); err != nil {
			t.Fatal(err)
		}
		usual := ttl()
		for _, want := range []int{1, 5, 255} {
			if err := c.WriteTTL([]byte("x"), to, want); err != nil {
				t.Fatal(err)
			}
			if got := ttl(); got != want {
				t.Errorf("%v: got TTL %d, want %d", local, got, want)
			}
		}
		if err := c.Write(packets(1), to); err != nil {
			t.Fatal(err)
		}
		if got := ttl(); got != usual {
			t.Errorf("%v: got TTL %d afterwards, want %d", local, got, usual)
		}
		if err := c.WriteTTL([]byte("x"), to, 256); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%v: TTL 256: got %v, want %v", local, err, unix.EINVAL)
		}
	}
}

func TestReadBuffers(t *testing.T) {
	t.Log("a datagram longer than its buffer has size 0, its neighbours are whole")
	for _, noOffload := range []bool{false, true} {
		a := listen(t, Config{Addr: loopback4})
		b := listen(t, Config{Addr: loopback4, NoOffload: noOffload})
		if err := a.Write(packets(50, 100, 50), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		bufs, sizes, from := make([][]byte, 1), make([]int, 1), make([]netip.AddrPort, 1)
		bufs[0] = make([]byte, 60)
		var got []int
		for range 3 {
			if _, err := b.Read(bufs, sizes, from); err != nil {
				t.Fatal(err)
			}
			got = append(got, sizes[0])
		}
		if want := []int{50, 0, 50}; !slices.Equal(got, want) {
			t.Errorf("NoOffload=%v: got sizes %v, want %v", noOffload, got, want)
		}
	}
}

func TestSocketOptions(t *testing.T) {
	c := listen(t, Config{Addr: loopback4, RecvBuffer: 100_000, SendBuffer: 50_000, ReusePort: true})
	listen(t, Config{Addr: c.LocalAddr(), ReusePort: true})
	// The kernel doubles what it was asked for, for its own bookkeeping.
	if got, want := option(t, c, unix.SOL_SOCKET, unix.SO_RCVBUF), 200_000; got != want {
		t.Errorf("got receive buffer %d, want %d", got, want)
	}
	if got, want := option(t, c, unix.SOL_SOCKET, unix.SO_SNDBUF), 100_000; got != want {
		t.Errorf("got send buffer %d, want %d", got, want)
	}
	if got := option(t, c, unix.SOL_UDP, unix.UDP_GRO); got != 1 {
		t.Errorf("got UDP_GRO %d, want 1", got)
	}
	six := listen(t, Config{Addr: loopback6})
	if got := option(t, six, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); got != 1 {
		t.Errorf("got IPV6_V6ONLY %d, want 1", got)
	}
	c, err := Listen(Config{Addr: loopback4, Mark: 0x77})
	if err != nil {
		if os.Geteuid() == 0 || !errors.Is(err, unix.EPERM) {
			t.Errorf("mark: %v", err)
		}
		return
	}
	defer c.Close()
	if got, want := option(t, c, unix.SOL_SOCKET, unix.SO_MARK), 0x77; got != want {
		t.Errorf("got mark %#x, want %#x", got, want)
	}
}

func TestNoOffload(t *testing.T) {
	t.Setenv(offloadEnv, "off")
	c := listen(t, Config{Addr: loopback4})
	if c.gso || c.reader.gro || option(t, c, unix.SOL_UDP, unix.UDP_GRO) != 0 {
		t.Error("offloads are on")
	}
}

// enterNamespace moves the test to a network namespace of its own, which ends
// with it, and reports whether it could: only root may. Its loopback interface
// has an MTU of 1280 and a link-local address.
func enterNamespace(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: nothing tested")
		return false
	}
	runtime.LockOSThread() // never unlocked, so that the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fe80::1"), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}
	if err := errors.Join(netlink.LinkSetMTU(lo, 1280), netlink.LinkSetUp(lo), netlink.AddrAdd(lo, addr)); err != nil {
		t.Fatal(err)
	}
	// The kernel adds the addresses' routes in its own time.
	for deadline := time.Now().Add(10 * time.Second); !isLocal(t, "::1") || !isLocal(t, "fe80::1"); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the loopback interface got no routes")
		}
	}
	return true
}

// isLocal reports whether packets to ip are delivered here.
func isLocal(t testing.TB, ip string) bool {
	t.Helper()
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.IP.Equal(net.ParseIP(ip)) })
}

func TestAboveMTU(t *testing.T) {
	if !enterNamespace(t) {
		return
	}
	for _, local := range []netip.AddrPort{loopback4, loopback6} {
		a, b := listen(t, Config{Addr: local}), listen(t, Config{Addr: local})
		want := packets(repeat(1400, 20)...)
		for range 2 {
			if err := a.Write(want, b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			check(t, receive(t, b, len(want), 128), a.LocalAddr(), nil, want)
		}
		if !a.gso || a.bundles(b.LocalAddr().Addr()) {
			t.Errorf("%v: bundles have to be off for this destination only", local)
		}
	}
}

func TestWhole(t *testing.T) {
	if !enterNamespace(t) {
		return
	}
	for _, local := range []netip.AddrPort{loopback4, loopback6} {
		a, b := listen(t, Config{Addr: local, Whole: true}), listen(t, Config{Addr: local})
		small := packets(1200)
		if err := a.Write(append(packets(1400), small...), b.LocalAddr()); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("%v: got %v, want %v", local, err, unix.EMSGSIZE)
		}
		check(t, receive(t, b, 1, 128), a.LocalAddr(), nil, small)
	}
}

func TestLinkLocal(t *testing.T) {
	if !enterNamespace(t) {
		return
	}
	local := netip.MustParseAddrPort("[fe80::1%lo]:0")
	a, b := listen(t, Config{Addr: local}), listen(t, Config{Addr: local})
	if got, want := a.LocalAddr().Addr(), local.Addr(); got != want {
		t.Errorf("got local address %v, want %v", got, want)
	}
	want := packets(100, 100)
	numbered := netip.AddrPortFrom(b.LocalAddr().Addr().WithZone("1"), b.LocalAddr().Port())
	for _, to := range []netip.AddrPort{b.LocalAddr(), numbered} {
		if err := a.Write(want, to); err != nil {
			t.Fatal(err)
		}
		check(t, receive(t, b, len(want), 128), a.LocalAddr(), nil, want)
	}
}

func TestNoRoute(t *testing.T) {
	if !enterNamespace(t) {
		return
	}
	c := listen(t, Config{Addr: loopback4})
	if err := c.Write(packets(10), netip.MustParseAddrPort("192.0.2.1:9")); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("got %v, want %v", err, unix.ENETUNREACH)
	}
}

func TestZones(t *testing.T) {
	var z zoneCache
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if got := z.name(uint32(lo.Index)); got != "lo" {
		t.Errorf("got %q, want %q", got, "lo")
	}
	if got, err := z.index("lo"); got != uint32(lo.Index) || err != nil {
		t.Errorf("got %d, %v, want %d", got, err, lo.Index)
	}
	if got := z.name(987654); got != "987654" {
		t.Errorf("interface that is gone: got %q, want its number", got)
	}
	if got, err := z.index("987654"); got != 987654 || err != nil {
		t.Errorf("number: got %d, %v", got, err)
	}
	if _, err := z.index("nosuch0"); err == nil {
		t.Error("no such interface: got no error")
	}
	to := netip.MustParseAddrPort("[fe80::1%nosuch0]:9")
	if err := listen(t, Config{Addr: loopback6}).Write(packets(1), to); err == nil {
		t.Errorf("write to %v: got no error", to)
	}
}
