package nattest

import (
	"net/netip"
	"slices"
	"time"
)

// Translators by the names of RFC 3489 and of daily use. They are values: copy one
// and change a field to get what has no name.
var (
	// FullCone: mapping and filtering endpoint-independent.
	FullCone = NAT{Mapping: EndpointIndependent, Filter: Filter{Filtering: EndpointIndependent}}
	// RestrictedCone: filtering by the remote address.
	RestrictedCone = NAT{Mapping: EndpointIndependent, Filter: Filter{Filtering: AddressDependent}}
	// PortRestricted: filtering by the remote address and port.
	PortRestricted = NAT{Mapping: EndpointIndependent, Filter: Filter{Filtering: AddressAndPortDependent}}
	// AddressSymmetric: a mapping for each remote address, random ports.
	AddressSymmetric = NAT{Mapping: AddressDependent, Filter: Filter{Filtering: AddressAndPortDependent}}
	// Symmetric: a mapping for each remote endpoint, random ports.
	Symmetric = NAT{Mapping: AddressAndPortDependent, Filter: Filter{Filtering: AddressAndPortDependent}}
	// SymmetricRestricted: Symmetric that filters by the remote address only.
	SymmetricRestricted = NAT{Mapping: AddressAndPortDependent, Filter: Filter{Filtering: AddressDependent}}
	// SymmetricOpen: Symmetric that doesn't filter.
	SymmetricOpen = NAT{Mapping: AddressAndPortDependent, Filter: Filter{Filtering: EndpointIndependent}}
	// SymmetricPreserving: the first flow of an internal endpoint keeps its port.
	SymmetricPreserving = Symmetric.allocating(Preserving())
	// SymmetricBlock: random ports of 1024 that the internal address has for itself.
	SymmetricBlock = Symmetric.allocating(RandomBlock(1024))
	// Linux is netfilter's masquerade behind an INPUT chain that drops.
	Linux = NAT{
		Mapping: EndpointIndependent, Allocation: Preserving(),
		Filter: Filter{Filtering: AddressAndPortDependent, Unreplied: 30 * time.Second, Lifetime: 2 * time.Minute},
	}
	// LinuxAccept is the same behind an INPUT chain that accepts: the trap of [NAT].Clash.
	LinuxAccept = Linux.clashing()
	// Carrier is a carrier-grade NAT as RFC 6888 wants it.
	Carrier = NAT{
		Mapping: EndpointIndependent, Filter: Filter{Filtering: EndpointIndependent},
		Allocation: RandomBlock(1024), Hairpin: true,
	}
	// CarrierSymmetric is one as phones meet it.
	CarrierSymmetric = SymmetricBlock
	// Blocked lets no UDP through.
	Blocked = NAT{Blocked: true}
)

// SymmetricSequential is Symmetric that takes the last port plus step.
func SymmetricSequential(step int) NAT { return Symmetric.allocating(Sequential(step)) }

func (t NAT) allocating(a Allocation) NAT {
	t.Allocation = a
	return t
}

func (t NAT) clashing() NAT {
	t.Clash = true
	return t
}

// Kind is a way to be connected: a row and a column of a grid of pairs.
type Kind struct {
	Name string
	NATs []NAT // from the host outwards; none for a public host
}

// Kinds are the ways of which every pair is worth a test.
var Kinds = []Kind{
	{"public", nil},
	{"full cone", []NAT{FullCone}},
	{"restricted", []NAT{RestrictedCone}},
	{"port-restricted", []NAT{PortRestricted}},
	{"linux", []NAT{Linux}},
	{"linux accept", []NAT{LinuxAccept}},
	{"address symmetric", []NAT{AddressSymmetric}},
	{"symmetric preserving", []NAT{SymmetricPreserving}},
	{"symmetric +1", []NAT{SymmetricSequential(1)}},
	{"symmetric +2", []NAT{SymmetricSequential(2)}},
	{"symmetric -1", []NAT{SymmetricSequential(-1)}},
	{"symmetric random", []NAT{Symmetric}},
	{"symmetric block", []NAT{SymmetricBlock}},
	{"carrier", []NAT{Linux, Carrier}},
	{"carrier symmetric", []NAT{Linux, CarrierSymmetric}},
	{"blocked", []NAT{Blocked}},
}

// Place connects a new host to the core through NATs, named from the host outwards;
// without any it is public. The link is the outermost leg, the others are [LAN]s.
// Addresses are chosen for it: every home is 192.168.1.0/24, as everywhere, and
// every network between two NATs 100.64.0.0/10. The gateways are returned in the
// order of nats.
func (n *Net) Place(l Link, nats ...NAT) (*Host, []*Site) {
	n.mu.Lock()
	n.placed++
	high, low := byte(n.placed>>8), byte(n.placed)
	n.mu.Unlock()

	at := n.Segment
	sites := make([]*Site, len(nats))
	addr := netip.AddrFrom4([4]byte{198, 18, high, low}) // RFC 2544
	for i, nat := range slices.Backward(nats) {
		sites[i] = at.Site(Gateway{Public: []netip.Addr{addr}, NAT: nat}, l)
		at, l = sites[i].Segment, LAN
		addr = netip.AddrFrom4([4]byte{100, 64 + byte(i), high, low})
	}
	if len(nats) == 0 {
		return at.Host(l, netip.PrefixFrom(addr, 32)), nil
	}
	lan := netip.AddrFrom4([4]byte{192, 168, 1, 2 + low%250})
	return at.Host(l, netip.PrefixFrom(lan, 24)), sites
}
