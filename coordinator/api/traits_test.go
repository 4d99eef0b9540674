package api_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

func TestTraits(t *testing.T) {
	hard := &meshdv1.Nat{Mapping: "address-and-port-dependent", Filtering: "address-dependent", Allocation: "random", Low: 1024, High: 65535}
	stepping := &meshdv1.Nat{Mapping: "address-dependent", Allocation: "sequential", Delta: -2}
	for _, test := range []struct {
		nat   *meshdv1.Nat
		relay bool
		want  []string
	}{
		{nil, false, nil},
		{nil, true, []string{"relay=1"}},
		{hard, false, []string{"mapping=address-and-port-dependent", "filtering=address-dependent", "allocation=random", "ports=1024-65535"}},
		{stepping, true, []string{"mapping=address-dependent", "allocation=sequential", "delta=-2", "relay=1"}},
	} {
		got := api.Traits(test.nat, test.relay)
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: got %q, want %q", test.nat, got, test.want)
		}
		size := 0
		for _, s := range got {
			size += 1 + len(s)
		}
		if size > 256 {
			t.Errorf("%q takes %d bytes, more than a member may publish", got, size)
		}
		want := test.nat
		if want == nil {
			want = &meshdv1.Nat{}
		}
		nat, relay, err := api.ParseTraits(append(got, "later=thing", "novalue"))
		if err != nil || !proto.Equal(nat, want) || relay != test.relay {
			t.Errorf("%q reads as %v, %v, %v", got, nat, relay, err)
		}
	}
	for _, wrong := range []string{"delta=x", "delta=40000", "ports=1", "ports=70000-80000", "ports=a-b"} {
		if nat, _, err := api.ParseTraits([]string{wrong}); err == nil {
			t.Errorf("%q reads as %v", wrong, nat)
		}
	}
}
