package agent

import (
	"fmt"
	"strings"

	"meshd/agent/localapi"
	"meshd/punch"
	"meshd/punch/wire"
)

// natView describes a NAT as its peers know it.
func natView(n wire.NAT) localapi.NAT {
	class := punch.RFC3489(n)
	return localapi.NAT{
		Words: natWords(class, n), Class: class,
		Mapping: behaviours[n.Mapping], Filtering: behaviours[n.Filtering], Allocation: allocations[n.Allocation],
		Delta: int(n.Delta), Low: n.Low, High: n.High,
	}
}

// reportView describes what a survey found, which is more than peers know.
func reportView(r *punch.Report) localapi.NAT {
	v := natView(r.Behaviour())
	v.Class = r.Class()
	v.Words = natWords(v.Class, r.Behaviour())
	if r.UDP && !r.NAT {
		v.Words = untranslated(r.Behaviour())
	}
	return v
}

// selfView describes the NAT in front of this machine: there is none where it is
// seen at an address of its own.
func selfView(l punch.Local, h punch.HubStatus) localapi.NAT {
	v := natView(l.NAT)
	if !translated(l, h) {
		v.Class, v.Words = "", untranslated(l.NAT)
	}
	return v
}

// translated reports whether the relay sees us at another address than ours.
func translated(l punch.Local, h punch.HubStatus) bool {
	for _, c := range l.Candidates {
		if c.Kind == wire.Host && c.Addr == h.Observed {
			return false
		}
	}
	return true
}

// natWords says in a line what a NAT does: its name, which public ports it gives,
// and whom it lets in. It is "" while nothing is known.
func natWords(class string, n wire.NAT) string {
	var parts []string
	if s := mappingWords(n); s != "" {
		parts = append(parts, s)
	}
	if s := filterWords(n.Filtering); s != "" {
		parts = append(parts, "lets in "+s)
	}
	switch words := strings.Join(parts, ", "); {
	case words == "":
		return class
	case class == "":
		return words
	default:
		return class + ": " + words
	}
}

func untranslated(n wire.NAT) string {
	if s := filterWords(n.Filtering); s != "" {
		return "no NAT, lets in " + s
	}
	return "no NAT"
}

func mappingWords(n wire.NAT) string {
	switch n.Mapping {
	case wire.EndpointIndependent:
		return "the same public port for everybody"
	case wire.AddressDependent:
		return "another public port for each address" + allocationWords(n)
	case wire.AddressPortDependent:
		return "another public port for each address and port" + allocationWords(n)
	}
	return ""
}

func allocationWords(n wire.NAT) string {
	switch {
	case n.Allocation == wire.Preserving:
		return " (its own where that is free)"
	case n.Allocation == wire.Sequential:
		return fmt.Sprintf(" (the last one %+d)", n.Delta)
	case n.Allocation == wire.Random && n.High > n.Low && n.High-n.Low < 32<<10:
		return fmt.Sprintf(" (random, of %d–%d)", n.Low, n.High)
	case n.Allocation == wire.Random:
		return " (random)"
	}
	return ""
}

func filterWords(b wire.Behaviour) string {
	switch b {
	case wire.EndpointIndependent:
		return "everybody"
	case wire.AddressDependent:
		return "addresses it sent to"
	case wire.AddressPortDependent:
		return "only the address and port it sent to"
	}
	return ""
}

// reachOf says with whom a machine gets a direct path that was surveyed. What two
// ports of one address take for an easy NAT may give another port for each address.
func reachOf(r *punch.Report) string {
	words := reachWords(r.Behaviour())
	if r.MappingSure || !r.NAT || r.Mapping != wire.EndpointIndependent {
		return words
	}
	worse := r.Behaviour()
	worse.Mapping, worse.Allocation = wire.AddressDependent, wire.Random
	if most := reachWords(worse); most != words {
		words += "; or, if ports differ by address, " + most
	}
	return words
}

// reachWords says with whom a machine behind n gets a direct path.
func reachWords(n wire.NAT) string {
	const apdm = wire.AddressPortDependent
	peers := []struct {
		who string
		nat wire.NAT
	}{
		{"port-restricted NATs (as in most homes)", wire.NAT{Mapping: wire.EndpointIndependent, Filtering: apdm}},
		{"symmetric NATs", wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Sequential, Delta: 1}},
		{"symmetric NATs that take ports at random", wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Random}},
	}
	var never, searched string
	for _, p := range peers {
		switch punch.Cross(n, p.nat) {
		case punch.CrossUnknown:
			return "too little is known of this network to tell who can be reached directly"
		case punch.CrossNever:
			if never == "" { // the first one includes those after it
				never = ", except those behind " + p.who
			}
		case punch.CrossSearched:
			searched = "; those behind " + p.who + " are found by a search of some seconds"
		}
	}
	return "direct with everyone whose network lets UDP out" + never + searched
}
