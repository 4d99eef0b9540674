package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	meshdv1 "meshd/coordinator/api/meshd/v1"
)

func TestDiff(t *testing.T) {
	type edit = func(*meshdv1.MapResponse)
	for _, tt := range []struct {
		name  string
		edit  edit
		want  []Change
		parts parts
	}{
		{"nothing", func(*meshdv1.MapResponse) {}, nil, 0},
		{"own address", func(m *meshdv1.MapResponse) { m.Self.Addresses = []string{"100.96.0.9"} }, []Change{{Renumbered, ""}}, partHost},
		{"prefix", func(m *meshdv1.MapResponse) { m.Mesh.Prefix4 = "100.96.0.0/12" }, []Change{{Renumbered, ""}}, partHost},
		{"relay key", func(m *meshdv1.MapResponse) { m.Self.RelayKey = keyBytes(101) }, []Change{{Relayed, ""}}, partRelay},
		{"relay port", func(m *meshdv1.MapResponse) { m.Mesh.Relays[0].Udp = []string{":3478"} }, []Change{{Relayed, ""}}, partRelay},
		{"own name", func(m *meshdv1.MapResponse) { m.Self.Name = "myself" }, []Change{{Renamed, ""}}, partPunch},
		{"peer gone", func(m *meshdv1.MapResponse) { m.Members = m.Members[1:] }, []Change{{Removed, "nas"}}, partTunnel | partPunch},
		{"peer new", func(m *meshdv1.MapResponse) {
			m.Members = append(m.Members, &meshdv1.Member{Id: 4, Name: "phone", WireguardKey: keyBytes(4)})
		}, []Change{{Added, "phone"}}, partTunnel | partPunch},
		{"peer key", func(m *meshdv1.MapResponse) { m.Members[0].WireguardKey = keyBytes(9) }, []Change{{Rerouted, "nas"}}, partTunnel | partPunch},
		{"peer route", func(m *meshdv1.MapResponse) { m.Members[0].AllowedIps = []string{"100.96.0.2/32"} },
			[]Change{{Rerouted, "nas"}}, partTunnel | partPunch},
		{"peer offline", func(m *meshdv1.MapResponse) { m.Members[0].Online = false }, []Change{{Left, "nas"}}, partTunnel | partPunch},
		{"peer online", func(m *meshdv1.MapResponse) { m.Members[1].Online = true }, []Change{{Came, "laptop"}}, partTunnel | partPunch},
		{"peer endpoint", func(m *meshdv1.MapResponse) { m.Members[0].Endpoints[0].Address = "192.0.2.1:4001" }, []Change{{Moved, "nas"}}, partPunch},
		{"peer generation", func(m *meshdv1.MapResponse) { m.Members[0].Generation++ }, []Change{{Moved, "nas"}}, partPunch},
		{"peer NAT", func(m *meshdv1.MapResponse) { m.Members[0].Nat.Delta = 1 }, []Change{{Moved, "nas"}}, partPunch},
		{"peer's offer to relay", func(m *meshdv1.MapResponse) { m.Members[0].Relay = true }, []Change{{Moved, "nas"}}, partPunch},
		{"peer name", func(m *meshdv1.MapResponse) { m.Members[0].Name = "attic" }, []Change{{Renamed, "attic"}}, partPunch},
		{"last seen", func(m *meshdv1.MapResponse) { m.Members[0].LastSeenUnix = 1e9 }, nil, 0},
		{"several", func(m *meshdv1.MapResponse) {
			m.Self.Name = "myself"
			m.Members[0].Id, m.Members[0].WireguardKey = 7, keyBytes(7)
			m.Members[1].Online = true
		}, []Change{{Renamed, ""}, {Removed, "nas"}, {Came, "laptop"}, {Added, "nas"}}, partTunnel | partPunch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Diff(mustApply(t, nil, fullMap()), mustApply(t, nil, fullMapWith(tt.edit)))
			if d := cmp.Diff(got, tt.want); d != "" {
				t.Error(d)
			}
			if got := touches(got); got != tt.parts {
				t.Errorf("touches: got %04b, want %04b", got, tt.parts)
			}
		})
	}
}

func TestDiffFromAndToNothing(t *testing.T) {
	m := mustApply(t, nil, fullMap())
	up := []Change{{Renumbered, ""}, {Relayed, ""}, {Renamed, ""}, {Added, "laptop"}, {Added, "nas"}}
	if d := cmp.Diff(Diff(nil, m), up); d != "" {
		t.Error(d)
	}
	down := []Change{{Renumbered, ""}, {Relayed, ""}, {Renamed, ""}, {Removed, "laptop"}, {Removed, "nas"}}
	if d := cmp.Diff(Diff(m, nil), down); d != "" {
		t.Error(d)
	}
}
