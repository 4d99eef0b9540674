package punch

import (
	"net/netip"
	"testing"
	"time"

	"meshd/punch/nattest"
)

// firewall is the stateful one of a home with IPv6.
var firewall = &nattest.Filter{Filtering: nattest.AddressAndPortDependent}

// addSix starts an agent with IPv6 behind a firewall, and IPv4 behind a NAT.
func (w *world) addSix(name, prefix string, nat nattest.NAT) *agent {
	net6 := netip.MustParsePrefix(prefix)
	n := byte(len(w.agents) + 10)
	home := w.net.Site(nattest.Gateway{
		Public: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, 60, n})}, NAT: nat,
		Routed: []netip.Prefix{net6}, Firewall: firewall,
	}, access)
	addr6 := net6.Addr().Next().Next()
	host := home.Host(nattest.LAN, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 1, n}), 24), netip.PrefixFrom(addr6, 64))
	return w.start(name, host, func(c *Config) {
		c.Listen = func(a netip.AddrPort) (Socket, error) { return host.Listen(a) }
	})
}

func TestIPv6(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		t.Log("IPv4 can't be crossed, IPv6 can")
		a := w.addSix("alice", "2001:db8:a::/64", nattest.Symmetric)
		b := w.addSix("bob", "2001:db8:b::/64", nattest.Symmetric)
		w.settle()
		a.send(b, 1)
		w.awaitDirect(a, b, 200*time.Millisecond)
		for _, p := range []PeerStatus{a.path(b), b.path(a)} {
			if !p.Addr.Addr().Is6() {
				t.Errorf("path = %+v, want IPv6", p)
			}
		}
	})
}

func TestRelayUnreachableByOneFamily(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		w.hub.addrs = append([]netip.AddrPort{netip.MustParseAddrPort("[2001:db8:dead::1]:3478")}, w.hub.addrs...)
		sockets := w.hub.addrs
		a := w.addSix("alice", "2001:db8:a::/64", nattest.Linux)
		w.hub.addrs = sockets[1:]
		w.await("session by the other family", udpPatience+time.Second, func() bool { return a.Status().Hub.Via == ViaRelay })
	})
}

func TestMoveToTheLAN(t *testing.T) {
	story(t, func(t *testing.T, w *world) {
		a, b := directPair(t, w, nattest.Linux, nattest.Linux)
		b.echo = true
		t.Log("bob comes home to alice's LAN while they talk")
		done := make(chan struct{})
		start := time.Now()
		go func() {
			defer close(done)
			a.stream(b, 20*time.Millisecond, 8*time.Second)
		}()
		time.Sleep(3 * time.Second)
		b.host.Move(a.sites[0].Segment, nattest.LAN, netip.MustParsePrefix("192.168.1.99/24"))
		time.Sleep(100 * time.Millisecond)
		b.LinkChanged()
		<-done
		if got := a.silence(start, start.Add(8*time.Second)); got > time.Second {
			t.Errorf("silent for %v, want below 1s", got)
		}
		for _, p := range []PeerStatus{a.path(b), b.path(a)} {
			if p.Class != "lan" {
				t.Errorf("path = %+v, want the LAN", p)
			}
		}
	})
}
