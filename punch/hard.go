package punch

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// strategy is a way through a pair of NATs that simultaneous opening does not
// cross.
type strategy uint8

const (
	plain       strategy = iota // simultaneous opening only
	fresh                       // the same between new sockets, see planFor
	predict                     // one NAT is hard, and its next ports are known beforehand
	predictBoth                 // both are, and both have known ports
	birthday                    // one is, and takes ports at random
)

// String returns the word used in status; none for plain.
func (s strategy) String() string {
	return [...]string{"", NewSockets, "predicted", "predicted both", "birthday"}[s]
}

// Sizes of a search. The probability that M ports, probed of S, meet one of N
// sockets is 1 − C(S−N,M)/C(S,M): 99 % for N = 384, M = 774 of 64512, and for
// N = 64, M = 69 of 1024. With 960 probes it is 99.7 %, which leaves some for packets
// that get lost. More sockets and fewer probes keep the seeker's NAT below 1024
// entries, the smallest table that is met.
const (
	maxBirthdayProbes  = 960 // entries in the seeker's NAT that wait for their timeout
	maxBirthdaySockets = 384
	maxBlock           = 4096 // spans up to this are a subscriber's own …
	maxBlockSockets    = 64   // … and must not be drained by us
	defaultRate        = 100  // probes a second of a birthday search
	maxRate            = 300  // 9000 entries in a table that keeps each for 30 s
	maxSearch          = 12 * time.Second

	freshSockets      = 1
	preservingSockets = 4  // if another host has the port, the next one will do
	sequentialSockets = 16 // opened in one moment, with those of others in between
	predictedPorts    = 50 // probed at most
	maxStep           = 16 // of a sequential allocation that can be predicted
)

// plan is one side's part in crossing a pair.
type plan struct {
	strategy strategy
	seeks    bool // begins, and looks for the other side's sockets
	sockets  int  // to open here
	probes   int  // birthday, seeker: ports to try, of …
	low      uint16
	high     uint16 // … this span, both included
}

// difficulty is what a NAT asks of the other side.
type difficulty uint8

const (
	unclear difficulty = iota // not known, or not yet: it takes some seconds
	easy                      // one mapping for all destinations
	predictable
	random
)

func difficultyOf(n wire.NAT) difficulty {
	switch {
	case n.Mapping == wire.EndpointIndependent:
		return easy
	case n.Mapping == wire.UnknownBehaviour, n.Allocation == wire.UnknownAllocation:
		return unclear
	case n.Allocation == wire.Preserving, n.Allocation == wire.Sequential && n.Delta != 0 && max(n.Delta, -n.Delta) <= maxStep:
		return predictable
	}
	return random
}

// planFor says how this side and a peer get together. Of two sides that could
// begin, the one with the lower key does. Two NATs that map by destination, one
// of them at random, are left to the relay: no number of probes that may be
// spent would find a path.
//
// Two easy ones have no need of all this, but for one trap. A packet that a Linux
// gateway does not let in may be taken for the gateway's own: then the pair of
// ports is lost for as long as packets come. After a gateway has forgotten its
// mappings they do. New sockets at both ends are not caught in it.
func planFor(self, peer wire.NAT, lower bool) plan {
	mine, its := difficultyOf(self), difficultyOf(peer)
	switch {
	case mine == easy && its == easy:
		return plan{strategy: fresh, seeks: lower, sockets: freshSockets}
	case mine == easy && its == predictable:
		return plan{strategy: predict, seeks: true}
	case mine == predictable && its == easy:
		return plan{strategy: predict, sockets: sockets(self)}
	case mine == predictable && its == predictable:
		return plan{strategy: predictBoth, seeks: lower, sockets: max(sockets(self), sockets(peer))}
	case mine == easy && its == random:
		low, high := span(peer)
		return plan{strategy: birthday, seeks: true, probes: birthdayProbes(peer), low: low, high: high}
	case mine == random && its == easy:
		return plan{strategy: birthday, sockets: sockets(self)}
	}
	return plan{}
}

// sockets is how many are opened behind a hard NAT. Of a block they take an
// eighth, so that twice in a row they still leave three quarters to others.
func sockets(n wire.NAT) int {
	switch difficultyOf(n) {
	case random:
		if size := spanSize(n); size <= maxBlock {
			return max(1, min(maxBlockSockets, size/8))
		}
		return maxBirthdaySockets
	case predictable:
		if n.Allocation == wire.Preserving {
			return preservingSockets
		}
		return sequentialSockets
	}
	return 0
}

// span is where a NAT takes its ports from.
func span(n wire.NAT) (low, high uint16) {
	if n.Low == 0 || n.High <= n.Low {
		return 1024, 65535
	}
	return n.Low, n.High
}

func spanSize(n wire.NAT) int {
	low, high := span(n)
	return int(high) - int(low) + 1
}

// birthdayProbes is how many ports of a NAT are tried at most: a quarter of a
// block finds one of its sockets but once in ten million searches.
func birthdayProbes(n wire.NAT) int { return max(1, min(maxBirthdayProbes, spanSize(n)/4)) }

// probesAt bounds the ports to try by what fits into one search at a rate.
func (p plan) probesAt(rate int) int { return min(p.probes, int(maxSearch.Seconds())*rate) }

// small reports whether the ports to try are those of a block, which takes a few
// dozen probes.
func (p plan) small() bool { return int(p.high)-int(p.low) < maxBlock }

// draw picks n ports of the span, each once.
func (p plan) draw(r *rand.Rand, n int) []uint16 {
	all := r.Perm(int(p.high) - int(p.low) + 1)
	ports := make([]uint16, min(n, len(all)))
	for i := range ports {
		ports[i] = p.low + uint16(all[i])
	}
	return ports
}

// predicted lists the ports behind which the sockets of a peer are, going by the
// samples that it sent: those it asked for, or those between what its NAT gave
// before and after (if that is known).
func predicted(n wire.NAT, samples []uint16) []uint16 {
	if n.Allocation == wire.Preserving || len(samples) == 0 {
		return samples
	}
	var ports []uint16
	for at := nextPort(n, samples[0]); len(ports) < predictedPorts; at = nextPort(n, at) {
		if len(samples) > 1 && at == samples[1] {
			break
		}
		ports = append(ports, at)
	}
	return ports
}

// nextPort is what a sequential NAT gives after a port. It wraps within its span.
func nextPort(n wire.NAT, port uint16) uint16 {
	low, _ := span(n)
	size := spanSize(n)
	return low + uint16(((int(port)-int(low)+int(n.Delta))%size+size)%size)
}

// stagger pairs the i-th of our sockets with one of the peer's, whose sockets
// wait for ours in order. Behind a sequential NAT others may have taken some
// ports since we told the peer where ours would be; each four sockets count on
// one more of these.
func stagger(n wire.NAT, i int) int {
	if n.Allocation == wire.Sequential {
		return i + i/4
	}
	return i
}

// publicAddr picks the address behind which a peer's sockets are to be found: as
// others see it, or else its own if that is public. IPv6 needs no search.
func publicAddr(cs []wire.Candidate) netip.AddrPort {
	var best netip.AddrPort
	for _, c := range cs {
		a := netip.AddrPortFrom(c.Addr.Addr().Unmap(), c.Addr.Port())
		switch {
		case !a.Addr().Is4():
		case c.Kind == wire.Reflexive:
			return a
		case !best.IsValid() && (c.Kind == wire.Host || c.Kind == wire.Mapped) && !a.Addr().IsPrivate():
			best = a
		}
	}
	return best
}
