package punch

import (
	"net/netip"
	"testing"

	"meshd/punch/wire"
)

func TestMappingOf(t *testing.T) {
	one, two, three := ap("198.51.100.1:11"), ap("198.51.100.1:22"), ap("198.51.100.1:33")
	far := ap("203.0.113.3:41641")
	see := func(pairs ...netip.AddrPort) (list []sighting) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, sighting{pairs[i], pairs[i+1]})
		}
		return list
	}
	for _, tt := range []struct {
		name string
		list []sighting
		want wire.Behaviour
		sure bool
	}{
		{"nobody", nil, wire.UnknownBehaviour, false},
		{"one", see(hub1, one), wire.UnknownBehaviour, false},
		{"two ports agree", see(hub1, one, hub2, one), wire.EndpointIndependent, false},
		{"two ports differ", see(hub1, one, hub2, two), wire.AddressPortDependent, true},
		{"two addresses agree", see(hub1, one, other, one), wire.EndpointIndependent, true},
		{"two addresses differ", see(hub1, one, other, two), wire.AddressDependent, false},
		{"two addresses differ, not the ports", see(hub1, one, hub2, one, other, two), wire.AddressDependent, true},
		{"all differ", see(hub1, one, hub2, two, other, three), wire.AddressPortDependent, true},
		{"one exception of three", see(hub1, one, other, two, far, one), wire.EndpointIndependent, true},
		{"three addresses differ", see(hub1, one, hub2, one, other, two, far, three), wire.AddressDependent, true},
	} {
		if got, sure := mappingOf(tt.list); got != tt.want || sure != tt.sure {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.name, got, sure, tt.want, tt.sure)
		}
	}
}

func TestAllocationOf(t *testing.T) {
	mapped := func(ports ...uint16) (list []sample) {
		for i, p := range ports {
			list = append(list, sample{40000 + 7*uint16(i), p})
		}
		return list
	}
	for _, tt := range []struct {
		name      string
		list      []sample
		want      wire.Allocation
		delta     int16
		low, high uint16
	}{
		{"nothing", nil, wire.UnknownAllocation, 0, 0, 0},
		{"too little", mapped(1, 2, 3), wire.UnknownAllocation, 0, 0, 0},
		{"kept", mapped(40000, 40007, 40014, 40021), wire.Preserving, 0, 0, 0},
		{"kept but for one", mapped(40000, 9, 40014, 40021), wire.Preserving, 0, 0, 0},
		{"up", mapped(5000, 5001, 5002, 5003, 5004), wire.Sequential, 1, 0, 0},
		{"down by two", mapped(5000, 4998, 4996, 4994), wire.Sequential, -2, 0, 0},
		{"others in between", mapped(5000, 5001, 5002, 5005, 5006, 5008, 5009), wire.Sequential, 1, 0, 0},
		{"at the end of the range", mapped(65534, 65535, 1024, 1025, 1026), wire.Sequential, 1, 0, 0},
		{"steps too large", mapped(5000, 6000, 7000, 8000), wire.Random, 0, 4096, 8959},
		{"a block", mapped(2100, 2900, 2300, 2700, 2200, 3000, 2500, 2600), wire.Random, 0, 1792, 3327},
		{"the upper quarter", mapped(50100, 65300, 61000, 57000, 53000, 59000), wire.Random, 0, 47360, 65535},
		{"everywhere", mapped(1500, 65000, 33000, 20000), wire.Random, 0, 1024, 65535},
		{"everywhere, and below", mapped(700, 65000, 33000, 20000), wire.Random, 0, 1, 65535},
	} {
		a, delta, low, high := allocationOf(tt.list)
		if a != tt.want || delta != tt.delta || low != tt.low || high != tt.high {
			t.Errorf("%s: got %d by %d in %d–%d, want %d by %d in %d–%d", tt.name, a, delta, low, high, tt.want, tt.delta, tt.low, tt.high)
		}
	}
}

func TestRFC3489(t *testing.T) {
	const none, eim, adm, apdm = wire.UnknownBehaviour, wire.EndpointIndependent, wire.AddressDependent, wire.AddressPortDependent
	for _, tt := range []struct {
		r    Report
		want string
	}{
		{Report{}, "UDP blocked"},
		{Report{UDP: true}, ""},
		{Report{UDP: true, Filtering: eim}, "open internet"},
		{Report{UDP: true, Filtering: adm}, "open internet or symmetric firewall"},
		{Report{UDP: true, Filtering: adm, FilteringSure: true}, "symmetric firewall"},
		{Report{UDP: true, Filtering: apdm}, "symmetric firewall"},
		{Report{UDP: true, NAT: true}, ""},
		{Report{UDP: true, NAT: true, Mapping: eim}, ""},
		{Report{UDP: true, NAT: true, Mapping: eim, Filtering: eim}, "full cone"},
		{Report{UDP: true, NAT: true, Mapping: eim, Filtering: adm}, "full cone or restricted cone"},
		{Report{UDP: true, NAT: true, Mapping: eim, Filtering: adm, FilteringSure: true}, "restricted cone"},
		{Report{UDP: true, NAT: true, Mapping: eim, Filtering: apdm}, "port-restricted cone"},
		{Report{UDP: true, NAT: true, Mapping: adm, Filtering: eim}, "symmetric"},
		{Report{UDP: true, NAT: true, Mapping: apdm, Filtering: none}, "symmetric"},
	} {
		if got := tt.r.Class(); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.r, got, tt.want)
		}
	}
}
