package punch

import "meshd/punch/wire"

// Crossing is how two agents behind NATs get a direct path.
type Crossing uint8

// Crossings, cheapest first.
const (
	CrossUnknown   Crossing = iota // too little is known of one of them
	CrossPlain                     // both send, and each opens its NAT for the other
	CrossPredicted                 // and one's next ports are known, or both's are
	CrossSearched                  // one's ports are searched for
	CrossNever                     // left to the relay
)

// String returns the word used in JSON; "" for CrossUnknown.
func (c Crossing) String() string {
	return [...]string{"", "plain", "predicted", "searched", "never"}[c]
}

// Cross tells how a pair of NATs is crossed. It is the same whoever asks. A
// filter that is not known is taken for the strictest.
func Cross(a, b wire.NAT) Crossing {
	switch {
	case a.Mapping == wire.UnknownBehaviour || b.Mapping == wire.UnknownBehaviour:
		return CrossUnknown
	case meets(a, b) || meets(b, a):
		return CrossPlain
	}
	switch planFor(a, b, true).strategy {
	case predict, predictBoth:
		return CrossPredicted
	case birthday:
		return CrossSearched
	}
	return CrossNever
}

// meets reports whether opening both at once is enough. What comes to a from a
// port that nobody foretold has to pass its filter; and so has what comes to b, if
// a's own answer comes from another port than the one known.
func meets(a, b wire.NAT) bool {
	switch {
	case !dependent(a.Mapping) && !dependent(b.Mapping):
		return true
	case !dependent(a.Mapping):
		return lenient(a)
	case dependent(b.Mapping):
		return a.Filtering == wire.EndpointIndependent && lenient(b)
	}
	return false
}

// lenient reports whether a filter lets in any port of an address it knows.
func lenient(n wire.NAT) bool {
	return n.Filtering == wire.EndpointIndependent || n.Filtering == wire.AddressDependent
}
