package wire

import "net/netip"

// CandidateKind says how an agent came to believe in one of its addresses.
type CandidateKind uint8

// Kinds of candidate. The numbers are on the wire.
const (
	Host      CandidateKind = 1 // an address of one of its interfaces
	Reflexive CandidateKind = 2 // what a relay or STUN server saw
	Mapped    CandidateKind = 3 // promised by PCP, NAT-PMP or UPnP, or configured by its owner
	Observed  CandidateKind = 4 // what another peer saw
	Guess     CandidateKind = 5 // public address with the local port: a static forward behind a hard NAT
)

// String returns the word used in logs, status and the control protocol.
func (k CandidateKind) String() string {
	switch k {
	case Host:
		return "host"
	case Reflexive:
		return "reflexive"
	case Mapped:
		return "mapped"
	case Observed:
		return "observed"
	case Guess:
		return "guess"
	}
	return "unknown"
}

// Candidate is an address at which an agent may be reached.
type Candidate struct {
	Kind CandidateKind
	Addr netip.AddrPort
}

// usable reports whether anything can be sent to c.
func (c Candidate) usable() bool {
	ip := c.Addr.Addr()
	return c.Addr.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast()
}

// Behaviour is how a NAT maps or filters, in the words of RFC 4787 §4.1 and §5.
type Behaviour uint8

// Behaviours, weakest condition first.
const (
	UnknownBehaviour     Behaviour = 0
	EndpointIndependent  Behaviour = 1
	AddressDependent     Behaviour = 2
	AddressPortDependent Behaviour = 3
)

// Allocation is how a NAT with endpoint-dependent mapping picks external ports.
type Allocation uint8

// Port allocations. The numbers are on the wire.
const (
	UnknownAllocation Allocation = 0
	Preserving        Allocation = 1 // the internal port, while it is free
	Sequential        Allocation = 2 // the last one plus Delta
	Random            Allocation = 3 // anywhere in [Low, High]
)

// NAT is what an agent knows of the address translation in front of it. The
// zero value knows nothing.
type NAT struct {
	Mapping    Behaviour
	Filtering  Behaviour
	Allocation Allocation
	Delta      int16  // step of a sequential allocation
	Low, High  uint16 // bounds of a random allocation; 0, 0 means unknown
}
