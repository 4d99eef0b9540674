package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// lan6 is the nth home's IPv6 prefix, host6 the address of its only host.
func lan6(n int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/64", n)) }

func host6(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::2", n)) }

func TestIPv6(t *testing.T) {
	s := newScene(t)
	_, _, alice, bob := s.homes(lab.Gateway{LAN6: lan6(1)}, lab.Gateway{LAN6: lan6(2)})
	v4, v6 := [2]netip.Addr{mesh.HomeAAddr, mesh.HomeBAddr}, [2]netip.Addr{host6(1), host6(2)}

	t.Log("Two homes with both, a firewall before each IPv6: direct, by either.")
	s.join(alice, bob)
	s.direct(alice, bob)
	s.carries(alice, bob, v4, v6)

	t.Log("The one in use breaks, and then the other one instead.")
	p, err := alice.Peer(t.Context(), "bob")
	must(t, err)
	first, second := v4, v6
	if strings.Contains(p.Endpoint, host6(2).String()) {
		first, second = v6, v4
	}
	stream := s.stream(alice, bob)
	must(t, s.Lab.Cut(first[0], first[1]))
	s.carries(alice, bob, second)
	stream.bears(fmt.Sprintf("%v breaks", first))
	must(t, s.Lab.Heal(first[0], first[1]))
	stream = s.stream(alice, bob)
	must(t, s.Lab.Cut(second[0], second[1]))
	s.carries(alice, bob, first)
	stream.bears(fmt.Sprintf("%v breaks", second))
	must(t, s.Lab.Heal(second[0], second[1]))

	t.Log("A third has only IPv6, a fourth only IPv4: direct with those who have both, by the hub with each other.")
	six := s.host(s.site("carol-home", lab.Gateway{LAN6: lan6(3), Link: access}), "carol")
	_, four := s.home("dave", mesh.OfficeAddr, lab.Gateway{})
	s.join(six, four)
	s.direct(alice, six)
	s.carries(alice, six, [2]netip.Addr{host6(1), host6(3)})
	s.direct(bob, four)
	s.carries(bob, four, [2]netip.Addr{mesh.HomeBAddr, mesh.OfficeAddr})
	must(t, six.AwaitPing(t.Context(), patience, "dave"))
	s.relayed(six, four)
	must(t, six.AwaitPath(t.Context(), patience, "dave", "relay"))
}

func TestIPv4ThatLeadsNowhere(t *testing.T) {
	s := newScene(t)
	_, _, alice, bob := s.homes(lab.Gateway{LAN6: lan6(1)}, lab.Gateway{LAN6: lan6(2)})
	must(t, s.Lab.Drop("ip saddr "+mesh.HomeAAddr.String()))

	t.Log("A home whose IPv4 is there to see, but leads nowhere: its host joins by IPv6, and is direct by it.")
	s.join(alice, bob)
	s.direct(alice, bob)
	s.carries(alice, bob, [2]netip.Addr{host6(1), host6(2)})
	text, err := alice.Command(t.Context(), "why", "bob")
	must(t, err)
	if !strings.Contains(text, host6(2).String()) {
		t.Errorf("why does not name the address in use:\n%s", text)
	}
}

// TestBulkOverIPv6 copies files both ways where only IPv6 leads from one to the
// other. Core packets that no link could carry whole show that they left in bundles.
func TestBulkOverIPv6(t *testing.T) {
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { l.Close() })
	place := func(name string, addrs ...netip.Addr) *mesh.Agent {
		h, err := l.Public(name, lab.Delay{}, addrs...)
		must(t, err)
		return mesh.NewAgent(h, bin)
	}
	hub := mesh.NewHub(place("hub", mesh.HubAddr).Host, bin)
	must(t, hub.Start(t.Context()))
	a, b := place("a", mesh.HomeAAddr, host6(1)), place("b", mesh.HomeBAddr, host6(2))
	must(t, l.Cut(mesh.HomeAAddr, mesh.HomeBAddr))
	for _, m := range []*mesh.Agent{a, b} {
		m.Backend = "userspace"
		join, err := hub.Join(t.Context(), "--approved")
		must(t, err)
		_, err = m.Up(t.Context(), join)
		must(t, err)
	}
	must(t, a.AwaitPing(t.Context(), patience, "b"))
	must(t, a.AwaitPath(t.Context(), patience, "b", "direct"))
	must(t, b.AwaitPath(t.Context(), patience, "a", "direct"))

	copyBoth(t, a, b, 10<<20, "direct")
	copyBoth(t, b, a, 10<<20, "direct")
	flows, err := l.Flows()
	must(t, err)
	for _, f := range []lab.Flow{{From: host6(1), To: host6(2)}, {From: host6(2), To: host6(1)}} {
		if n := flows[f]; n.Bytes < 20<<20 || n.Bytes < 1500*n.Packets {
			t.Errorf("from %v to %v: %d bytes in %d packets, want all of 20 MB, in bundles", f.From, f.To, n.Bytes, n.Packets)
		} else {
			t.Logf("from %v to %v: %d bytes in %d packets", f.From, f.To, n.Bytes, n.Packets)
		}
	}
	for _, m := range []*mesh.Agent{a, b} {
		s, err := m.Status(t.Context())
		must(t, err)
		if len(s.Health) > 0 { // where packets don't take the fast path it says so
			t.Errorf("%s: %q", m.Host.Name, s.Health)
		}
	}
}
