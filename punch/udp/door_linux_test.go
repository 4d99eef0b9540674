package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const doorPort = 4000

// network is a host's interface, at whose other end the test is.
type network struct {
	t    testing.TB
	file *os.File
}

// newNetwork gives the test a namespace with an interface of two addresses; nil:
// without root there is none.
func newNetwork(t testing.TB) *network {
	t.Helper()
	if !enterNamespace(t) {
		return nil
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t, os.NewFile(uintptr(fd), "tun")}
	t.Cleanup(func() { n.file.Close() })
	ifr, err := unix.NewIfreq("net0")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("net0")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	forgetZones() // what is known is another namespace's
	t.Cleanup(forgetZones)
	return n
}

func forgetZones() {
	zones.mu.Lock()
	defer zones.mu.Unlock()
	zones.read = time.Time{}
}

// send has a packet come in. If it needs a checksum, none was computed yet, as
// between machines on one host.
func (n *network) send(p []byte, needsChecksum bool) {
	n.t.Helper()
	head := make([]byte, 10) // struct virtio_net_hdr
	if needsChecksum {
		head[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
		binary.NativeEndian.PutUint16(head[6:], uint16(len(p)-udpHeader-len(probeLike)))
		binary.NativeEndian.PutUint16(head[8:], 6)
	}
	if _, err := n.file.Write(append(head, p...)); err != nil {
		n.t.Fatal(err)
	}
}

func openDoor(t testing.TB, local netip.AddrPort) *Door {
	t.Helper()
	d, err := OpenDoor(local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// from and to are a stranger and the host of newNetwork.
func from(is4 bool) netip.AddrPort {
	if is4 {
		return netip.MustParseAddrPort("198.51.100.7:1234")
	}
	return netip.MustParseAddrPort("[2001:db8:7::7]:1234")
}

func to(is4 bool) netip.AddrPort {
	if is4 {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), doorPort)
	}
	return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), doorPort)
}

// packetOf is content with its headers, that of IPv4 with octets of options.
func packetOf(src, dst netip.AddrPort, content []byte, options int) []byte {
	d := make([]byte, udpHeader, udpHeader+len(content))
	binary.BigEndian.PutUint16(d[0:], src.Port())
	binary.BigEndian.PutUint16(d[2:], dst.Port())
	binary.BigEndian.PutUint16(d[4:], uint16(udpHeader+len(content)))
	d = append(d, content...)
	addrs := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(d[6:], checksum(sum(sum(uint64(unix.IPPROTO_UDP+len(d)), addrs), d)))
	if !src.Addr().Is4() {
		h := make([]byte, 8, ip6Header)
		h[0], h[6], h[7] = 6<<4, unix.IPPROTO_UDP, 64
		binary.BigEndian.PutUint16(h[4:], uint16(len(d)))
		return append(append(h, addrs...), d...)
	}
	h := make([]byte, 12, ip4Header+options)
	h[0], h[8], h[9] = 4<<4|byte(5+options/4), 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(h[2:], uint16(ip4Header+options+len(d)))
	h = append(append(h, addrs...), bytes.Repeat([]byte{1}, options)...) // RFC 791: an option that is nothing
	binary.BigEndian.PutUint16(h[10:], checksum(sum(0, h)))
	return append(h, d...)
}

// udpAt is where the UDP header is in a packet without options.
func udpAt(is4 bool) int {
	if is4 {
		return ip4Header
	}
	return ip6Header
}

// doorCase is a packet that comes to a door.
type doorCase struct {
	name   string
	packet []byte
	heard  []byte // what is heard of it; nil: nothing
}

func doorCases(is4 bool) []doorCase {
	of := func(content []byte) []byte { return packetOf(from(is4), to(is4), content, 0) }
	changed := func(f func(p []byte)) []byte {
		p := of(probeLike)
		f(p)
		return p
	}
	at := ip6Header
	if is4 {
		at = ip4Header
	}
	noSum := changed(func(p []byte) { p[at+6], p[at+7] = 0, 0 })
	request := append([]byte{0, 1}, stunLike[2:]...)
	all := []doorCase{
		{"probe", of(probeLike), probeLike},
		{"STUN response", of(stunLike), stunLike},
		{"padding behind it", append(of(probeLike), 0, 0, 0), probeLike},
		{"STUN request", of(request), nil},
		{"of WireGuard", of(wireguardLike), nil},
		{"of a relay", of(relayLike), nil},
		{"of another magic", of([]byte("\xd1msgrest")), nil},
		{"too short", of(probeLike[:3]), nil},
		{"nothing in it", of(nil), nil},
		{"to another port", packetOf(from(is4), netip.AddrPortFrom(to(is4).Addr(), doorPort+1), probeLike, 0), nil},
		{"wrong checksum", changed(func(p []byte) { p[at+6]++ }), nil},
		{"from another port than summed", changed(func(p []byte) { p[at]++ }), nil},
		{"longer than it is", changed(func(p []byte) { p[at+5]++ }), nil},
		{"shorter than its header", changed(func(p []byte) { p[at+5] = 7 }), nil},
	}
	if !is4 {
		return append(all,
			doorCase{"no checksum", noSum, nil},
			doorCase{"fragment", changed(func(p []byte) { p[6] = unix.IPPROTO_FRAGMENT }), nil})
	}
	return append(all,
		doorCase{"no checksum", noSum, probeLike},
		doorCase{"options", packetOf(from(true), to(true), probeLike, 8), probeLike},
		doorCase{"not to be fragmented", changed(func(p []byte) { p[6] |= 0x40 }), probeLike},
		doorCase{"first fragment", changed(func(p []byte) { p[6] |= 0x20 }), nil},
		doorCase{"later fragment", changed(func(p []byte) { p[7] = 1 }), nil},
		doorCase{"by TCP", changed(func(p []byte) { p[9] = unix.IPPROTO_TCP }), nil})
}

// TestDoor has nobody bound to the port: whether the host would take a packet is
// another question.
func TestDoor(t *testing.T) {
	n := newNetwork(t)
	if n == nil {
		return
	}
	for _, is4 := range []bool{true, false} {
		d := openDoor(t, netip.AddrPortFrom(to(is4).Addr(), doorPort))
		last := append(bytes.Clone(probeLike), "and nothing before"...)
		for _, c := range doorCases(is4) {
			n.send(c.packet, false)
			n.send(packetOf(from(is4), to(is4), last, 0), false)
			if c.heard != nil {
				heard(t, d, c.name, c.heard, from(is4))
			}
			heard(t, d, "after "+c.name, last, from(is4))
		}
		p := packetOf(from(is4), to(is4), probeLike, 0)
		p[len(p)-len(probeLike)-1]++ // of its checksum
		n.send(p, true)
		heard(t, d, "checksum left to be computed", probeLike, from(is4))
	}
}

// heard reads one datagram.
func heard(t *testing.T, d *Door, what string, want []byte, source netip.AddrPort) {
	t.Helper()
	timeout := time.AfterFunc(30*time.Second, func() { d.Close() })
	defer timeout.Stop()
	b := make([]byte, 100)
	n, from, err := d.Read(b)
	if err != nil || !bytes.Equal(b[:n], want) || from != source {
		t.Fatalf("%s: got %q from %v, %v, want %q from %v", what, b[:n], from, err, want, source)
	}
}

// TestDoorKeepsToItsFamily also has what stays on the host left to the port's socket,
// and what comes by a link told with the link's name.
func TestDoorKeepsToItsFamily(t *testing.T) {
	n := newNetwork(t)
	if n == nil {
		return
	}
	d4, d6 := openDoor(t, netip.AddrPortFrom(to(true).Addr(), doorPort)), openDoor(t, netip.AddrPortFrom(to(false).Addr(), doorPort))
	inside := listen(t, Config{Addr: loopback4})
	if err := inside.Write([][]byte{probeLike}, netip.AddrPortFrom(loopback4.Addr(), doorPort)); err != nil {
		t.Fatal(err)
	}
	neighbour := netip.MustParseAddrPort("[fe80::7]:1234")
	n.send(packetOf(neighbour, to(false), stunLike, 0), false)
	n.send(packetOf(from(true), to(true), probeLike, 0), false)
	heard(t, d4, "IPv4", probeLike, from(true))
	heard(t, d6, "IPv6", stunLike, netip.AddrPortFrom(neighbour.Addr().WithZone("net0"), neighbour.Port()))
}

func TestDoorCloses(t *testing.T) {
	d, err := OpenDoor(anywhere["IPv4"])
	if os.Geteuid() != 0 && err != nil {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("without rights: got %v, want EPERM", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, _, err := d.Read(make([]byte, 10))
		ended <- err
	}()
	for range 2 {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func TestDoorIsNotWanted(t *testing.T) {
	t.Setenv(doorEnv, "off")
	if d, err := OpenDoor(anywhere["IPv4"]); err == nil {
		d.Close()
		t.Error("opened")
	}
}

// TestDoorFilterInUserSpace runs the program on packets cut at every length. What it
// asks the kernel beside the packet is zero here.
func TestDoorFilterInUserSpace(t *testing.T) {
	for _, is4 := range []bool{true, false} {
		program := doorFilter(doorPort, is4)
		for i, step := range program {
			if _, ok := step.(bpf.LoadExtension); ok {
				program[i] = bpf.LoadConstant{Dst: bpf.RegA}
			}
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range [][]byte{probeLike, stunLike, wireguardLike, relayLike} {
			least := map[string]int{string(probeLike): 4, string(stunLike): 8}[string(content)] // of it that is needed
			p := packetOf(from(is4), to(is4), content, 0)
			for n := range len(p) + 1 {
				got, err := vm.Run(p[:n])
				if want := least > 0 && n >= len(p)-len(content)+least; err != nil || got > 0 != want {
					t.Errorf("%d of %q: let through %d, %v, want %v", n, content, got, err, want)
				}
			}
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	for _, is4 := range []bool{true, false} {
		for _, c := range doorCases(is4) {
			f.Add(c.packet, is4, true)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, is4, summed bool) {
		content, source, ok := unwrap(p, is4, summed)
		switch {
		case !ok:
		case source.Addr().Is4() != is4 || !bytes.Contains(p, content):
			t.Errorf("got %q from %v", content, source)
		case summed:
			if _, _, ok := unwrap(p, is4, false); !ok {
				t.Error("refused unless its checksum is looked at")
			}
		}
	})
}

// BenchmarkDoorOpen has WireGuard's packets come to the port that a door is open to, and
// BenchmarkDoorShut without: the difference is what it costs those that are none of its
// business.
func BenchmarkDoorOpen(b *testing.B) {
	if n := newNetwork(b); n != nil {
		openDoor(b, netip.AddrPortFrom(to(true).Addr(), doorPort))
		n.flood(b)
	}
}

func BenchmarkDoorShut(b *testing.B) {
	if n := newNetwork(b); n != nil {
		n.flood(b)
	}
}

func (n *network) flood(b *testing.B) {
	c := listen(b, Config{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), doorPort)})
	done := make(chan struct{})
	go func() {
		defer close(done)
		packets, sources := make([][]byte, 128), make([]netip.AddrPort, 128)
		for {
			if _, err := c.Lend(packets, sources); err != nil {
				return
			}
		}
	}()
	data := packetOf(from(true), to(true), append(bytes.Clone(wireguardLike), make([]byte, 1360)...), 0)
	for b.Loop() {
		n.send(data, false)
	}
	c.Close()
	<-done
}
