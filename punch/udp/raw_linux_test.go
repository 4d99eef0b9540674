package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// listenRaw opens a raw socket with the port's owner beside it, or returns nil
// after a look at the error that everybody but root gets.
func listenRaw(t *testing.T, addr netip.AddrPort) (*RawConn, *net.UDPConn) {
	t.Helper()
	c, err := ListenRaw(Config{Addr: addr})
	if os.Geteuid() != 0 && err != nil {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("without rights: got %v, want EPERM", err)
		}
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	owner, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { owner.Close() })
	return c, owner
}

var anywhere = map[string]netip.AddrPort{
	"IPv4": netip.MustParseAddrPort("0.0.0.0:0"),
	"IPv6": netip.MustParseAddrPort("[::]:0"),
}

func loopbackOf(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4() {
		return loopback4
	}
	return loopback6
}

// TestRawSendsFromThePort has the kernel check every checksum: a datagram with a
// wrong one does not arrive.
func TestRawSendsFromThePort(t *testing.T) {
	for name, addr := range anywhere {
		t.Run(name, func(t *testing.T) {
			c, _ := listenRaw(t, addr)
			if c == nil {
				return
			}
			peer := listen(t, Config{Addr: loopbackOf(addr)})
			var bufs [][]byte
			for size := range 3 * rawBatch / 2 {
				bufs = append(bufs, bytes.Repeat([]byte{byte(size), 0xff}, size)[:2*size-size%2])
			}
			for _, head := range []string{"", "8 bytes!", "odd"} {
				if err := c.WriteHeaded([]byte(head), bufs, peer.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				for i, d := range receive(t, peer, len(bufs), 16) {
					if want := head + string(bufs[i]); string(d.data) != want || d.from.Port() != c.LocalAddr().Port() {
						t.Fatalf("got %q from %v, want %q from port %d", d.data, d.from, want, c.LocalAddr().Port())
					}
				}
			}
		})
	}
}

func TestRawWriteTTL(t *testing.T) {
	for name, addr := range anywhere {
		t.Run(name, func(t *testing.T) {
			c, _ := listenRaw(t, addr)
			if c == nil {
				return
			}
			conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(loopbackOf(addr)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
			for _, ttl := range []int{1, 255, 0} {
				if err := c.WriteTTL([]byte("x"), to, ttl); err != nil {
					t.Fatal(err)
				}
				if got := readTTL(t, conn, addr.Addr().Is4()); got != ttl && (ttl != 0 || got < 32) {
					t.Errorf("got time to live %d, want %d", got, ttl)
				}
			}
		})
	}
}

func readTTL(t *testing.T, conn *net.UDPConn, is4 bool) int {
	t.Helper()
	b := make([]byte, 10)
	if is4 {
		p := ipv4.NewPacketConn(conn)
		p.SetControlMessage(ipv4.FlagTTL, true)
		_, cm, _, err := p.ReadFrom(b)
		if err != nil || cm == nil {
			t.Fatal(cm, err)
		}
		return cm.TTL
	}
	p := ipv6.NewPacketConn(conn)
	p.SetControlMessage(ipv6.FlagHopLimit, true)
	_, cm, _, err := p.ReadFrom(b)
	if err != nil || cm == nil {
		t.Fatal(cm, err)
	}
	return cm.HopLimit
}

// Packets that meet the filter, in order.
var (
	probeLike     = []byte("\xd1mshrest")
	relayLike     = []byte("\xd2")
	stunLike      = append([]byte{1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
	wireguardLike = append([]byte{4, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 24)...) // its receiver's index is the cookie
)

func TestRawHearsWhatIsNotWireGuards(t *testing.T) {
	for name, addr := range anywhere {
		t.Run(name, func(t *testing.T) {
			c, owner := listenRaw(t, addr)
			if c == nil {
				return
			}
			peer := listen(t, Config{Addr: loopbackOf(addr)})
			to := netip.AddrPortFrom(loopbackOf(addr).Addr(), c.LocalAddr().Port())
			other := listen(t, Config{Addr: loopbackOf(addr)})
			if err := peer.Write([][]byte{probeLike}, other.LocalAddr()); err != nil { // another's port
				t.Fatal(err)
			}
			all := [][]byte{wireguardLike, {1, 0, 0, 0}, []byte("GET / HTTP/1.0"), {}, probeLike, stunLike, stunLike[:6], {0x80}, relayLike}
			for _, b := range all {
				if err := peer.Write([][]byte{b}, to); err != nil {
					t.Fatal(err)
				}
			}
			got := receiveRaw(t, c, 3)
			for i, want := range [][]byte{probeLike, stunLike, relayLike} {
				if !bytes.Equal(got[i].data, want) || got[i].from != peer.LocalAddr() {
					t.Errorf("got %q from %v, want %q from %v", got[i].data, got[i].from, want, peer.LocalAddr())
				}
			}
			// The owner of the port hears everything.
			owner.SetReadDeadline(time.Now().Add(30 * time.Second))
			for range all {
				if _, _, err := owner.ReadFromUDP(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func receiveRaw(t *testing.T, c *RawConn, count int) []datagram {
	t.Helper()
	bufs, sizes, from := [][]byte{make([]byte, 4096), make([]byte, 4096)}, make([]int, 2), make([]netip.AddrPort, 2)
	timeout := time.AfterFunc(30*time.Second, func() { c.Close() })
	defer timeout.Stop()
	var all []datagram
	for len(all) < count {
		n, err := c.Read(bufs, sizes, from)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(all), count, err)
		}
		for i := range n {
			if sizes[i] > 0 {
				all = append(all, datagram{bytes.Clone(bufs[i][:sizes[i]]), from[i]})
			}
		}
	}
	return all
}

// TestRawReadsPastOptions sends IPv4 datagrams with options in their header.
func TestRawReadsPastOptions(t *testing.T) {
	c, _ := listenRaw(t, anywhere["IPv4"])
	if c == nil {
		return
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback4))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := control(raw, func(fd int) error {
		return unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x01\x01\x01\x01\x00") // RFC 791: seven times nothing, and the end
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteToUDPAddrPort(probeLike, netip.AddrPortFrom(loopback4.Addr(), c.LocalAddr().Port())); err != nil {
		t.Fatal(err)
	}
	d := receiveRaw(t, c, 1)[0]
	if !bytes.Equal(d.data, probeLike) || d.from != conn.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("got %q from %v", d.data, d.from)
	}
}

func TestRawRefusesAPortThatIsTaken(t *testing.T) {
	taken := listen(t, Config{Addr: anywhere["IPv4"]})
	if _, err := ListenRaw(Config{Addr: taken.LocalAddr()}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
	if _, err := ListenRaw(Config{Addr: loopback4}); err == nil {
		t.Error("one address: accepted")
	}
}

func TestRawCloseEndsRead(t *testing.T) {
	c, _ := listenRaw(t, anywhere["IPv4"])
	if c == nil {
		return
	}
	ended := make(chan error)
	go func() {
		_, err := c.Read([][]byte{make([]byte, 10)}, make([]int, 1), make([]netip.AddrPort, 1))
		ended <- err
	}()
	c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: got %v, want net.ErrClosed", err)
	}
	if err := c.Write([][]byte{{1}}, netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: got %v, want net.ErrClosed", err)
	}
}

// TestFilterInUserSpace runs the program on packets cut at every length: none of
// them is let through by what lies behind its end.
func TestFilterInUserSpace(t *testing.T) {
	vm, err := bpf.NewVM(rawFilter(4000, false))
	if err != nil {
		t.Fatal(err)
	}
	head := []byte{0, 1, 4000 >> 8, 4000 & 0xff, 0, 0, 0, 0}
	for _, row := range []struct {
		content []byte
		least   int // bytes of content that it takes; 0: never
	}{{probeLike, 1}, {relayLike, 1}, {stunLike, 8}, {wireguardLike, 0}} {
		packet := append(bytes.Clone(head), row.content...)
		for n := range len(packet) + 1 {
			got, err := vm.Run(packet[:n])
			if want := row.least > 0 && n >= len(head)+row.least; err != nil || got > 0 != want {
				t.Errorf("%q: let through %d, %v, want %v", packet[:n], got, err, want)
			}
		}
	}
}
