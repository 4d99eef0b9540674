package tunnel

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"meshd/agent/netcfg/nstest"
)

// packetOf is something that a peer sends or is sent.
type packetOf struct {
	key  Key
	data string
}

// TestProxyGivesEveryPeerAnAddress has a socket stand in for the kernel's
// WireGuard.
func TestProxyGivesEveryPeerAnAddress(t *testing.T) {
	nstest.IP(t, "link set lo up")
	wg, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer wg.Close()
	wg.SetDeadline(time.Now().Add(30 * time.Second))
	p, err := newProxy(wg.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	if err != nil {
		t.Fatal(err)
	}
	sent, come := make(chan packetOf, 16), make(chan packetOf)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer p.close()
	defer close(come)
	tasks.Go(func() {
		p.run(func(k Key, bufs [][]byte) error {
			for _, b := range bufs {
				sent <- packetOf{k, string(b)}
			}
			return nil
		})
	})
	tasks.Go(func() {
		p.deliver(func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
			c, ok := <-come
			if !ok {
				return 0, net.ErrClosed
			}
			sizes[0], peers[0] = copy(bufs[0], c.data), c.key
			return 1, nil
		}, 8, 2000)
	})

	a, b, stranger := Key{1}, Key{2}, Key{3}
	if err := p.setPeers(map[Key]Peer{a: {}, b: {}}); err != nil {
		t.Fatal(err)
	}
	addrA, addrB := p.address(a), p.address(b)
	if addrA == addrB || !netip.MustParsePrefix("127.128.0.0/9").Contains(addrA.Addr()) {
		t.Fatalf("the peers have the addresses %v and %v", addrA, addrB)
	}

	t.Log("What the kernel sends to a peer's address is that peer's.")
	for addr, want := range map[netip.AddrPort]packetOf{addrA: {a, "to a"}, addrB: {b, "to b"}} {
		if _, err := wg.WriteToUDPAddrPort([]byte(want.data), addr); err != nil {
			t.Fatal(err)
		}
		if got := <-sent; got != want {
			t.Errorf("got %q of %x, want %q of %x", got.data, got.key[0], want.data, want.key[0])
		}
	}

	t.Log("Another program of this host can't.")
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.WriteToUDPAddrPort([]byte("forged"), addrA); err != nil {
		t.Fatal(err)
	}
	if _, err := wg.WriteToUDPAddrPort([]byte("real"), addrA); err != nil {
		t.Fatal(err)
	}
	if got := <-sent; got.data != "real" {
		t.Errorf("got %q", got.data)
	}

	t.Log("What comes from a peer has its address, what comes from a stranger is dropped.")
	come <- packetOf{stranger, "nobody's"}
	for addr, c := range map[netip.AddrPort]packetOf{addrA: {a, "from a"}, addrB: {b, "from b"}} {
		come <- c
		buf := make([]byte, 100)
		n, from, err := wg.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != c.data || from != addr {
			t.Errorf("got %q from %v, %v, want %q from %v", buf[:n], from, err, c.data, addr)
		}
	}

	t.Log("A peer that goes takes its address with it; the one that stays keeps its own.")
	if err := p.setPeers(map[Key]Peer{b: {}, stranger: {}}); err != nil {
		t.Fatal(err)
	}
	if got := p.address(a); got.IsValid() {
		t.Errorf("a peer that is gone has the address %v", got)
	}
	if got := p.address(b); got != addrB {
		t.Errorf("the address of one that stays went from %v to %v", addrB, got)
	}
	if got := p.address(stranger); got == addrA || !got.IsValid() {
		t.Errorf("a new peer has the address %v, right after another", got)
	}
}
