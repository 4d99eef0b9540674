package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
	"meshd/punch"
)

// defaultDeny is a host's firewall that lets in what belongs to something that the
// host began, and what has passed the mesh.
const defaultDeny = `nft -f - <<'END'
table inet host {
	chain input {
		type filter hook input priority 0; policy drop;
		ct state established,related accept
		iifname { lo, meshd0 } accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
	}
}
END`

// TestHostFirewalls has firewalls on the hosts themselves, which let nothing in to
// the UDP port unasked: what opens a NAT opens them.
func TestHostFirewalls(t *testing.T) { hostFirewalls(t, "userspace") }

func hostFirewalls(t *testing.T, backend string) {
	s := newScene(t)
	_, alice := s.home("alice", mesh.HomeAAddr, lab.Gateway{})
	bob, carol := s.public("bob", mesh.HomeBAddr), s.public("carol", mesh.OfficeAddr)
	for _, a := range s.members {
		a.Backend = backend
		must(t, a.Host.Shell(defaultDeny))
	}
	s.join(alice, bob, carol)
	s.direct(alice, bob)
	s.carries(alice, bob, between)
	s.direct(bob, carol)
	s.carries(bob, carol, [2]netip.Addr{mesh.HomeBAddr, mesh.OfficeAddr})
}

// TestStrangersAtHostFirewalls has hosts that are open to everybody but for a firewall
// of their own, and a peer of which nobody can tell where it will come from: a gateway
// draws its ports at random. Nobody searches for these. The peer's probes are heard
// before the firewall drops them, and the answer opens it.
func TestStrangersAtHostFirewalls(t *testing.T) {
	s := newScene(t)
	home, alice := s.home("alice", mesh.HomeAAddr, lab.Gateway{NAT: lab.Symmetric})
	must(t, home.Gateway.Forward(ownerOpens))
	_, bob := s.home("bob", mesh.HomeBAddr, lab.Gateway{NAT: lab.Symmetric})
	carol, dave := s.public("carol", mesh.OfficeAddr), s.public("dave", mesh.HotelAddr)
	must(t, alice.Host.Shell(defaultDeny))
	must(t, carol.Host.Shell(defaultDeny))
	must(t, dave.Host.Shell(strings.ReplaceAll(defaultDeny, "\n\t}", "\n\t\treject\n\t}")))
	s.joinWithoutSearch(s.members...)
	t.Log("A host with a public address, whose firewall drops, and one whose firewall refuses.")
	s.direct(carol, bob)
	s.carries(carol, bob, [2]netip.Addr{mesh.OfficeAddr, mesh.HomeBAddr})
	s.direct(dave, bob)
	s.carries(dave, bob, [2]netip.Addr{mesh.HotelAddr, mesh.HomeBAddr})
	t.Log("A host behind a gateway that sends it everything, but gives it a port for each destination, too.")
	s.direct(alice, bob)
	s.carries(alice, bob, between)

	t.Log("What meshd says of the network leaves the firewall out, and tells of it.")
	must(t, mesh.Await(t.Context(), patience, func() error { return knows(t, carol, "bob", "plain") }))
	for agent, firewall := range map[*mesh.Agent]bool{carol: true, bob: false} {
		n := netcheck(t, agent)
		if told := strings.Contains(strings.Join(n.Hints, "\n"), "own firewall"); told != firewall {
			t.Errorf("%s: got %+v, want told of a firewall: %v", agent.Host.Name, n, firewall)
		}
	}
}

// randomNAT66 is a gateway's, which draws a port for each destination over IPv6, too.
const randomNAT66 = `nft -f - <<'END'
table ip6 nat {
	chain postrouting {
		type nat hook postrouting priority 100;
		oifname wan0 masquerade fully-random
	}
}
END`

// TestStrangersAtHostFirewallsOverIPv6 is about the same where there is nothing else.
func TestStrangersAtHostFirewallsOverIPv6(t *testing.T) {
	s := newScene(t)
	addrCarol, addrBob := netip.MustParseAddr("2001:db8:c::c"), netip.MustParseAddr("2001:db8:b::b")
	carol := s.public("carol", addrCarol)
	must(t, carol.Host.Shell(defaultDeny))
	home := s.site("bob-home", lab.Gateway{Public: addrBob, LAN6: lan6(2), Link: access})
	must(t, home.Gateway.Shell(randomNAT66))
	bob := s.host(home, "bob")
	s.joinWithoutSearch(carol, bob)
	s.direct(carol, bob)
	s.carries(carol, bob, [2]netip.Addr{addrCarol, addrBob})
}

// joinWithoutSearch makes hosts members who search for no ports.
func (s *scene) joinWithoutSearch(agents ...*mesh.Agent) {
	s.t.Helper()
	for _, a := range agents {
		_, err := a.Up(s.t.Context(), key(s.t, s.World, "--approved"), "--search-rate", "0", "--port", "41641")
		must(s.t, err)
	}
}

// forgetful is a firewall that keeps track of nothing: beside the hub and TCP it lets in
// nobody, not even who was asked.
const forgetful = `nft -f - <<'END'
table inet host {
	chain input {
		type filter hook input priority 0; policy drop;
		iifname { lo, meshd0 } accept
		ip saddr 203.0.113.1 accept
		meta l4proto { tcp, icmp, icmpv6 } accept
	}
}
END`

// TestFirewallThatLetsNoAnswersIn: probes pass it, for they are heard before it, and are
// answered; but no answer of ours lets in what carries data. That is found out.
func TestFirewallThatLetsNoAnswersIn(t *testing.T) {
	s := newScene(t)
	_, alice := s.home("alice", mesh.HomeAAddr, lab.Gateway{})
	bob := s.public("bob", mesh.HomeBAddr)
	must(t, bob.Host.Shell(forgetful))
	s.join(alice, bob)
	p := s.ping(alice, bob)
	for _, ends := range [][2]*mesh.Agent{{alice, bob}, {bob, alice}} {
		must(t, mesh.Await(t.Context(), 4*patience, func() error {
			peer, err := ends[0].Peer(t.Context(), ends[1].Host.Name)
			if err == nil && (peer.Path != "relay" || peer.Reason != punch.NoData) {
				err = fmt.Errorf("%s reaches %s by %q (%s), want the relay for want of data", ends[0].Host.Name, peer.Name, peer.Path, peer.Reason)
			}
			return err
		}))
	}
	s.relayed(alice, bob)
	p.bears("no answers let in")
}
