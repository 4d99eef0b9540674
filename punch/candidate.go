package punch

import (
	"cmp"
	"net/netip"
	"slices"

	"meshd/punch/wire"
)

// maxTargets is how many of a peer's candidates are probed in one attempt.
const maxTargets = 10

// tier orders paths by kind, best first, before round-trip times are compared.
type tier uint8

const (
	tierLAN tier = iota + 1
	tierDirect
)

// String returns the word used in status.
func (t tier) String() string {
	if t == tierLAN {
		return "lan"
	}
	return "direct"
}

// tierOf tells the tier of an address, given the subnets of our interfaces.
func tierOf(addr netip.Addr, nets []netip.Prefix) tier {
	if onLink(addr, nets) {
		return tierLAN
	}
	return tierDirect
}

func onLink(addr netip.Addr, nets []netip.Prefix) bool {
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// target is a candidate of the peer that is worth a probe.
type target struct {
	route
	kind wire.CandidateKind
	// shy is set when a probe that comes too early could spoil the peer's NAT:
	// the address belongs to a NAT, which may take our packet for itself and
	// then give the peer's own packets another port. Such a target first gets a
	// probe that dies on the way and opens only our side.
	shy    bool
	onLink bool // in a subnet of ours
}

// targets lists what to probe, likeliest first: the peer's candidates, without
// those that are ours, unusable or double. A NAT that lets everything in cannot be
// spoilt.
func targets(self *selfChanged, peer []wire.Candidate, filtering wire.Behaviour) []target {
	ours := make(map[netip.AddrPort]bool)
	ourNAT := make(map[netip.Addr]bool)
	for _, c := range self.candidates {
		ours[c.Addr] = true
		if outside(c) {
			ourNAT[c.Addr.Addr()] = true
		}
	}
	behindOurs := slices.ContainsFunc(peer, func(c wire.Candidate) bool {
		return outside(c) && ourNAT[c.Addr.Addr()]
	})

	var list []target
	for _, c := range peer {
		c.Addr = netip.AddrPortFrom(c.Addr.Addr().Unmap(), c.Addr.Port())
		if ours[c.Addr] || !usable(c.Addr, self) {
			continue
		}
		if slices.ContainsFunc(list, func(t target) bool { return t.addr == c.Addr }) {
			continue
		}
		list = append(list, target{
			route: routeTo(c.Addr), kind: c.Kind, onLink: onLink(c.Addr.Addr(), self.nets),
			shy: shy(c) && filtering != wire.EndpointIndependent,
		})
	}
	slices.SortStableFunc(list, func(a, b target) int {
		return cmp.Compare(rank(a, behindOurs), rank(b, behindOurs))
	})
	return list[:min(len(list), maxTargets)]
}

// outside reports whether c is its host's address beyond a NAT: as others see it,
// or the same one again as the gateway mapped it.
func outside(c wire.Candidate) bool { return c.Kind == wire.Reflexive || c.Kind == wire.Mapped }

func usable(a netip.AddrPort, self *selfChanged) bool {
	ip := a.Addr()
	if a.Port() == 0 || !ip.IsValid() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return false
	}
	if ip.Is4() {
		return self.v4 && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return self.v6
}

func shy(c wire.Candidate) bool {
	switch c.Kind {
	case wire.Reflexive, wire.Observed, wire.Guess:
		return true
	}
	return false
}

// rank orders candidates by how likely and how good the path would be. The
// first ones are probed some milliseconds earlier, no more.
func rank(t target, behindOurs bool) int {
	private := t.addr.Addr().IsPrivate()
	switch {
	case t.onLink:
		return 0
	case t.kind == wire.Host && !private, t.kind == wire.Mapped:
		return 1
	case t.kind == wire.Host && behindOurs: // another subnet of our own site
		return 2
	case t.kind == wire.Reflexive:
		return 3
	case t.kind == wire.Observed:
		return 4
	case t.kind == wire.Guess:
		return 5
	}
	return 6 // somebody else's private address; a routed network may know it
}

// sameCandidates compares as sets: order says nothing.
func sameCandidates(a, b []wire.Candidate) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(c wire.Candidate) bool { return !slices.Contains(b, c) })
}

// union appends to a what only b has.
func union(a, b []wire.Candidate) []wire.Candidate {
	all := slices.Clone(a)
	for _, c := range b {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}
