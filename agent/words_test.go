package agent

import (
	"strings"
	"testing"

	"meshd/punch"
	"meshd/punch/wire"
)

const (
	eim  = wire.EndpointIndependent
	adm  = wire.AddressDependent
	apdm = wire.AddressPortDependent
)

func TestNATWords(t *testing.T) {
	const onlyPort = "lets in only the address and port it sent to"
	for _, tt := range []struct {
		nat  wire.NAT
		want string
	}{
		{wire.NAT{}, ""},
		{wire.NAT{Mapping: eim}, "the same public port for everybody"},
		{wire.NAT{Mapping: eim, Filtering: eim}, "full cone: the same public port for everybody, lets in everybody"},
		{wire.NAT{Mapping: eim, Filtering: adm}, "restricted cone: the same public port for everybody, lets in addresses it sent to"},
		{wire.NAT{Mapping: eim, Filtering: apdm, Allocation: wire.Preserving}, "port-restricted cone: the same public port for everybody, " + onlyPort},
		{wire.NAT{Mapping: adm}, "symmetric: another public port for each address"},
		{wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Preserving},
			"symmetric: another public port for each address and port (its own where that is free), " + onlyPort},
		{wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Sequential, Delta: -1},
			"symmetric: another public port for each address and port (the last one -1), " + onlyPort},
		{wire.NAT{Mapping: apdm, Allocation: wire.Random, Low: 1024, High: 65535},
			"symmetric: another public port for each address and port (random)"},
		{wire.NAT{Mapping: apdm, Allocation: wire.Random, Low: 2048, High: 3071},
			"symmetric: another public port for each address and port (random, of 2048–3071)"},
	} {
		if got := natView(tt.nat).Words; got != tt.want {
			t.Errorf("%+v:\n got %q\nwant %q", tt.nat, got, tt.want)
		}
	}
}

func TestSelfWithoutNAT(t *testing.T) {
	here, there := addrPort("192.0.2.1:5"), addrPort("203.0.113.1:5")
	nat := wire.NAT{Mapping: eim, Filtering: adm}
	l := punch.Local{Candidates: []wire.Candidate{{Kind: wire.Host, Addr: here}}, NAT: nat}
	for _, tt := range []struct {
		name  string
		local punch.Local
		hub   punch.HubStatus
		want  string
	}{
		{"behind a NAT", l, punch.HubStatus{Observed: there}, "restricted cone: the same public port for everybody, lets in addresses it sent to"},
		{"at its own address", l, punch.HubStatus{Observed: here}, "no NAT, lets in addresses it sent to"},
		{"nothing known", punch.Local{}, punch.HubStatus{}, ""},
	} {
		if got := selfView(tt.local, tt.hub).Words; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A hub of one address leaves two answers, unless peers know the right one.
func TestReachOfAnUnsureReport(t *testing.T) {
	out := addrPort("203.0.113.7:7")
	report := func() *punch.Report {
		return &punch.Report{UDP: true, NAT: true, Mapped: out, Mapping: eim, Filtering: apdm, Allocation: wire.Preserving}
	}
	random := wire.NAT{Mapping: adm, Filtering: apdm, Allocation: wire.Random, Low: 1024, High: 65535}
	easy := wire.NAT{Mapping: eim, Filtering: apdm}
	here := func(n wire.NAT, sure bool) known {
		return known{local: punch.Local{NAT: n, MappingSure: sure}, observed: addrPort("203.0.113.7:99")}
	}
	elsewhere := here(random, true)
	elsewhere.observed = addrPort("203.0.113.8:7")
	for _, tt := range []struct {
		name       string
		k          known
		mapping    wire.Behaviour
		allocation wire.Allocation
		sure       bool
		or         bool
	}{
		{"no mesh", known{}, eim, wire.Preserving, false, true},
		{"a mesh that knows no more", here(easy, false), eim, wire.Preserving, false, true},
		{"peers agree", here(easy, true), eim, wire.Preserving, true, false},
		{"peers differ", here(random, true), adm, wire.Random, true, false},
		{"of another network", elsewhere, eim, wire.Preserving, false, true},
	} {
		r := report()
		tt.k.add(r)
		if r.Mapping != tt.mapping || r.Allocation != tt.allocation || r.MappingSure != tt.sure {
			t.Errorf("%s: got %+v", tt.name, r)
		}
		if words := reachOf(r); strings.Contains(words, "; or, if ports differ by address, direct") != tt.or {
			t.Errorf("%s: got %q", tt.name, words)
		}
	}
	if words := reachOf(&punch.Report{UDP: true, Mapping: eim, Filtering: eim, Mapped: out}); words != reachWords(wire.NAT{Mapping: eim, Filtering: eim}) {
		t.Errorf("without NAT: got %q", words)
	}
}

func TestReachWords(t *testing.T) {
	const all = "direct with everyone whose network lets UDP out"
	for _, tt := range []struct {
		name string
		nat  wire.NAT
		want string
	}{
		{"unknown", wire.NAT{}, "too little is known of this network to tell who can be reached directly"},
		{"full cone", wire.NAT{Mapping: eim, Filtering: eim}, all},
		{"restricted", wire.NAT{Mapping: eim, Filtering: adm}, all},
		{"port-restricted", wire.NAT{Mapping: eim, Filtering: apdm},
			all + "; those behind symmetric NATs that take ports at random are found by a search of some seconds"},
		{"sequential", wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Sequential, Delta: 1},
			all + ", except those behind symmetric NATs that take ports at random"},
		{"random", wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Random},
			all + ", except those behind symmetric NATs; those behind port-restricted NATs (as in most homes) are found by a search of some seconds"},
	} {
		if got := reachWords(tt.nat); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}
