package punch

import (
	"strings"
	"testing"

	"meshd/punch/wire"
)

// TestCross is the table of what can be direct: C1 to C3 are cones by their
// filter, H1 to H3 the same with a port for each destination, taken at random;
// S, P and B are H3 with sequential, preserving and block allocation. A letter
// each: plain, predicted (f for foretold), searched, never.
func TestCross(t *testing.T) {
	nat := func(m, f wire.Behaviour, a wire.Allocation) wire.NAT {
		return wire.NAT{Mapping: m, Filtering: f, Allocation: a}
	}
	const eim, apdm = wire.EndpointIndependent, wire.AddressPortDependent
	sequential, block := nat(apdm, apdm, wire.Sequential), nat(apdm, apdm, wire.Random)
	sequential.Delta, block.Low, block.High = 1, 2048, 3071
	kinds := []wire.NAT{
		nat(eim, eim, 0), nat(eim, wire.AddressDependent, 0), nat(eim, apdm, 0),
		nat(apdm, eim, wire.Random), nat(apdm, wire.AddressDependent, wire.Random), nat(apdm, apdm, wire.Random),
		sequential, nat(apdm, apdm, wire.Preserving), block,
	}
	want := []string{
		// C1 C2 C3 H1 H2 H3 S P B
		"p p p p p p p p p", // C1
		"p p p p p p p p p", // C2
		"p p p s s s f f s", // C3
		"p p s p p n n n n", // H1
		"p p s p n n n n n", // H2
		"p p s n n n n n n", // H3
		"p p f n n n f f n", // S
		"p p f n n n f f n", // P
		"p p s n n n n n n", // B
	}
	letters := map[Crossing]string{CrossUnknown: "u", CrossPlain: "p", CrossPredicted: "f", CrossSearched: "s", CrossNever: "n"}
	for i, a := range kinds {
		var row []string
		for _, b := range kinds {
			row = append(row, letters[Cross(a, b)])
		}
		if got := strings.Join(row, " "); got != want[i] {
			t.Errorf("row %d: got %s, want %s", i, got, want[i])
		}
	}
	if got := Cross(wire.NAT{}, kinds[0]); got != CrossUnknown {
		t.Errorf("got %v of an unknown NAT", got)
	}
}
