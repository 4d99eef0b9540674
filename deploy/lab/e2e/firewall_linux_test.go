package e2e

import (
	"net/netip"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
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
