package punch

import (
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// Report is how the NATs and filters between this host and some servers behave,
// for one IP version: all of them together, as if they were one.
type Report struct {
	UDP     bool           // a server answered; if not, nothing below is known
	Mapped  netip.AddrPort // as what the first server saw it
	RTT     time.Duration  // shortest to any server; 0: not measured
	Servers []ServerReport // that were asked, in their order

	// NAT reports whether the address is translated: Mapped is no address of ours.
	NAT bool

	// Mapping as RFC 4787 §4.1 has it. MappingSure is false while servers on one
	// IP address only were asked (endpoint-independent may be address-dependent)
	// or one port of each (address-dependent may depend on the port too).
	Mapping     wire.Behaviour
	MappingSure bool
	// Filtering as RFC 4787 §5 has it. FilteringSure is false when no server has
	// a second IP address: address-dependent may be endpoint-independent then.
	// A firewall on this host is left out, where probes are heard before it; Firewall
	// says that there is one.
	Filtering     wire.Behaviour
	FilteringSure bool
	Firewall      bool

	Allocation wire.Allocation // of ports, also where mapping doesn't depend on destinations
	Delta      int16
	Low, High  uint16   // estimated bounds of a random allocation
	Ports      []uint16 // external ports given one after the other; nil where mapping is independent

	Hairpin  Answer        // RFC 4787 §6
	Lifetime time.Duration // of a mapping that had one answer: at least this; 0: not measured
	LifeEnds time.Duration // and it was gone after this; 0: it outlived the test
}

// ServerReport is how a STUN server answered.
type ServerReport struct {
	Addr   netip.AddrPort
	Mapped netip.AddrPort // as what it saw us; zero: no answer
	RTT    time.Duration
}

// Answer is yes, no, or that nobody asked.
type Answer uint8

// Answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// Behaviour is the report in the form that peers hear of.
func (r *Report) Behaviour() wire.NAT {
	return wire.NAT{
		Mapping: r.Mapping, Filtering: r.Filtering,
		Allocation: r.Allocation, Delta: r.Delta, Low: r.Low, High: r.High,
	}
}

// Class is the name that RFC 3489 §5 has for what was found, with "or" between
// two that could not be told apart; "" when nothing was found.
func (r *Report) Class() string {
	unsure := r.Filtering == wire.AddressDependent && !r.FilteringSure
	switch {
	case !r.UDP:
		return "UDP blocked"
	case !r.NAT && r.Filtering == wire.EndpointIndependent:
		return "open internet"
	case !r.NAT && unsure:
		return "open internet or symmetric firewall"
	case !r.NAT && r.Filtering != wire.UnknownBehaviour:
		return "symmetric firewall"
	case !r.NAT:
		return ""
	case r.Mapping == wire.EndpointIndependent && unsure:
		return "full cone or restricted cone"
	}
	return RFC3489(r.Behaviour())
}

// RFC3489 is the name that RFC 3489 §5 has for a NAT; "" when too little is known.
func RFC3489(n wire.NAT) string {
	switch {
	case dependent(n.Mapping):
		return "symmetric"
	case n.Mapping == wire.UnknownBehaviour:
		return ""
	}
	return [...]string{"", "full cone", "restricted cone", "port-restricted cone"}[n.Filtering]
}

// sighting is as what address somebody saw one of our sockets.
type sighting struct{ by, as netip.AddrPort }

// mappingOf compares what others see of one socket (RFC 5780 §4.3). Two ports of
// one address can't tell address-dependent from endpoint-independent mapping, and
// two addresses can't tell it from address-and-port-dependent: it isn't sure then.
func mappingOf(list []sighting) (b wire.Behaviour, sure bool) {
	ports := false // two ports of one address see the same
	for i, s := range list {
		for _, t := range list[:i] {
			switch {
			case s.by.Addr() != t.by.Addr() || s.by.Port() == t.by.Port():
			case s.as != t.as:
				return wire.AddressPortDependent, true
			default:
				ports = true
			}
		}
	}
	switch all, same := viewers(list); {
	case all > 1 && same == 1:
		return wire.AddressDependent, ports
	case all > 1:
		return wire.EndpointIndependent, true
	case ports:
		return wire.EndpointIndependent, false
	}
	return wire.UnknownBehaviour, false
}

// viewers counts the addresses that see us, and the most of them that agree. A
// single one that differs is no rule: a gateway may have had to make an exception.
func viewers(list []sighting) (all, same int) {
	seen := make(map[netip.Addr]bool)
	agree := make(map[netip.AddrPort]int)
	for _, s := range list {
		if !seen[s.by.Addr()] {
			seen[s.by.Addr()] = true
			agree[s.as]++
			same = max(same, agree[s.as])
		}
	}
	return len(seen), same
}

// sample is a local port and the one that the NAT gave for it.
type sample struct{ local, mapped uint16 }

const (
	// minSamples are needed to tell how ports are allocated.
	minSamples = 4
	// maxDelta bounds the step of an allocation that is called sequential: with
	// larger ones a guess would have to try too many ports.
	maxDelta = 64
	// maxRange is up to which size a range of ports is believed. There are blocks
	// of up to 4096 ports, and gateways that use the upper quarter of all ports;
	// whatever seems larger is all of them.
	maxRange = 20 << 10
)

// allocationOf tells how a NAT picks ports, given samples in the order in which
// they were asked for.
func allocationOf(list []sample) (a wire.Allocation, delta int16, low, high uint16) {
	if len(list) < minSamples {
		return wire.UnknownAllocation, 0, 0, 0
	}
	kept := 0
	steps := make(map[int]int)
	for i, s := range list {
		if s.local == s.mapped {
			kept++
		}
		if i > 0 {
			steps[int(s.mapped)-int(list[i-1].mapped)]++
		}
	}
	if 4*kept >= 3*len(list) {
		return wire.Preserving, 0, 0, 0
	}
	for step, n := range steps {
		if 2*n >= len(list)-1 && step != 0 && -maxDelta <= step && step <= maxDelta {
			return wire.Sequential, int16(step), 0, 0
		}
	}
	low, high = bounds(list)
	return wire.Random, 0, low, high
}

// bounds estimates the range that random ports were drawn from: that of the
// samples, widened by what samples of their number miss on average, and rounded
// out to multiples of 256.
func bounds(list []sample) (low, high uint16) {
	byPort := func(a, b sample) int { return int(a.mapped) - int(b.mapped) }
	first, last := int(slices.MinFunc(list, byPort).mapped), int(slices.MaxFunc(list, byPort).mapped)
	miss := (last - first) / len(list)
	from, to := (first-miss)&^0xff, (last+miss)|0xff
	if to-from >= maxRange {
		from, to = 0, 1<<16-1
	}
	if first >= 1024 {
		from = max(from, 1024)
	}
	return uint16(max(from, 1)), uint16(min(to, 1<<16-1))
}
