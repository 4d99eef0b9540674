package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/punch/wire"
)

var compareIPs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix     { return netip.MustParsePrefix(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// keyBytes is a key that a reader can tell from another.
func keyBytes(n byte) []byte {
	k := make([]byte, 32)
	k[0] = n
	return k
}

// fullMap is a mesh of this member (1) and two others, nas (2) and laptop (3).
func fullMap() *meshdv1.MapResponse {
	return &meshdv1.MapResponse{
		Full: true,
		Self: &meshdv1.Self{Id: 1, Name: "me", Addresses: []string{"100.96.0.1", "fd00::1"}, RelayKey: keyBytes(100)},
		Mesh: &meshdv1.Mesh{
			Name: "home", Prefix4: "100.96.0.0/16", Prefix6: "fd00::/48", Zone: "home.internal",
			Relays: []*meshdv1.Relay{{Udp: []string{":3478", ":3479"}, Websocket: "/relay"}},
		},
		Members: []*meshdv1.Member{
			{
				Id: 2, Name: "nas", WireguardKey: keyBytes(2), Online: true, Generation: 7,
				Addresses: []string{"100.96.0.2"}, AllowedIps: []string{"fd00::2/128", "100.96.0.2/32"},
				Endpoints: []*meshdv1.Endpoint{{Address: "192.0.2.1:4000", Kind: "reflexive"}},
				Nat:       &meshdv1.Nat{Mapping: "address-and-port-dependent", Allocation: "sequential", Delta: 2},
			},
			{Id: 3, Name: "laptop", WireguardKey: keyBytes(3), Addresses: []string{"100.96.0.3"}, AllowedIps: []string{"100.96.0.3/32"}},
		},
	}
}

// fullMapWith is fullMap after f.
func fullMapWith(f func(*meshdv1.MapResponse)) *meshdv1.MapResponse {
	m := fullMap()
	f(m)
	return m
}

func mustApply(t *testing.T, m *Netmap, msg *meshdv1.MapResponse) *Netmap {
	t.Helper()
	next, err := m.Apply(msg)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestApplyFull(t *testing.T) {
	got := mustApply(t, nil, fullMap())
	want := &Netmap{
		Self: Self{ID: 1, Name: "me", Addresses: []netip.Addr{addr("100.96.0.1"), addr("fd00::1")}, RelayKey: Key(keyBytes(100))},
		Mesh: Mesh{
			Name: "home", Prefixes: []netip.Prefix{prefix("100.96.0.0/16"), prefix("fd00::/48")}, Zone: "home.internal",
			Relays: []Relay{{UDP: []string{":3478", ":3479"}, WebSocket: "/relay"}},
		},
		Peers: map[wire.RelayID]Peer{
			2: {
				ID: 2, Name: "nas", Key: Key(keyBytes(2)), Online: true, Generation: 7, Addresses: []netip.Addr{addr("100.96.0.2")},
				AllowedIPs: []netip.Prefix{prefix("100.96.0.2/32"), prefix("fd00::2/128")},
				Candidates: []wire.Candidate{{Kind: wire.Reflexive, Addr: addrPort("192.0.2.1:4000")}},
				NAT:        wire.NAT{Mapping: wire.AddressPortDependent, Allocation: wire.Sequential, Delta: 2},
			},
			3: {
				ID: 3, Name: "laptop", Key: Key(keyBytes(3)),
				Addresses: []netip.Addr{addr("100.96.0.3")}, AllowedIPs: []netip.Prefix{prefix("100.96.0.3/32")},
			},
		},
	}
	if d := cmp.Diff(got, want, compareIPs); d != "" {
		t.Error(d)
	}
}

func TestApplyDelta(t *testing.T) {
	m := mustApply(t, nil, fullMap())
	if got := mustApply(t, m, &meshdv1.MapResponse{HubTimeUnixMs: 1}); got != m {
		t.Error("a heartbeat made a new map")
	}
	next := mustApply(t, m, &meshdv1.MapResponse{
		Removed: []uint32{3, 99},
		Members: []*meshdv1.Member{
			{Id: 4, Name: "phone", WireguardKey: keyBytes(4), AllowedIps: []string{"100.96.0.4/32"}},
			{Id: 1, Name: "me", WireguardKey: keyBytes(1), AllowedIps: []string{"100.96.0.1/32"}}, // never a peer of itself
		},
	})
	var names []string
	for _, p := range next.Sorted() {
		names = append(names, p.Name)
	}
	if got, want := strings.Join(names, " "), "nas phone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(m.Peers) != 2 || m.Peers[3].Name != "laptop" {
		t.Errorf("the old map changed: %v", m.Peers)
	}
	again := mustApply(t, next, fullMap())
	if _, ok := again.Peers[4]; ok {
		t.Error("a full map kept what was there before")
	}
}

// A key may move from one member to another within one message.
func TestApplyReuses(t *testing.T) {
	m := mustApply(t, nil, fullMap())
	next := mustApply(t, m, &meshdv1.MapResponse{
		Removed: []uint32{2},
		Members: []*meshdv1.Member{{Id: 5, Name: "nas", WireguardKey: keyBytes(2), AllowedIps: []string{"100.96.0.2/32"}}},
	})
	if next.Peers[5].Key != Key(keyBytes(2)) {
		t.Errorf("got %v", next.Peers)
	}
}

func TestApplyLenient(t *testing.T) {
	m := mustApply(t, nil, fullMapWith(func(m *meshdv1.MapResponse) {
		m.Members[0].Endpoints = []*meshdv1.Endpoint{
			{Address: "192.0.2.1:4000", Kind: "quantum"}, {Address: "garbage", Kind: "host"}, {Address: "192.0.2.1:0", Kind: "host"},
			{Address: "[2001:db8::1]:5", Kind: "host"},
		}
		m.Members[0].Nat = &meshdv1.Nat{Mapping: "telepathic"}
	}))
	want := []wire.Candidate{{Kind: wire.Host, Addr: addrPort("[2001:db8::1]:5")}}
	if d := cmp.Diff(m.Peers[2].Candidates, want, compareIPs); d != "" {
		t.Error(d)
	}
	if got := m.Peers[2].NAT; got != (wire.NAT{}) {
		t.Errorf("got %v, want nothing known", got)
	}
}

func TestApplyRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(*meshdv1.MapResponse)
		want string // part of the error
	}{
		{"no self", func(m *meshdv1.MapResponse) { m.Self = nil }, "own address is missing"},
		{"no id", func(m *meshdv1.MapResponse) { m.Self.Id = 0 }, "id is missing"},
		{"no address", func(m *meshdv1.MapResponse) { m.Self.Addresses = nil }, "own address is missing"},
		{"bad address", func(m *meshdv1.MapResponse) { m.Self.Addresses = []string{"100.96.0"} }, `"100.96.0"`},
		{"mapped address", func(m *meshdv1.MapResponse) { m.Self.Addresses = []string{"::ffff:100.96.0.1"} }, "no IP address"},
		{"foreign address", func(m *meshdv1.MapResponse) { m.Self.Addresses = []string{"10.0.0.1"} }, "own address 10.0.0.1 is outside"},
		{"short relay key", func(m *meshdv1.MapResponse) { m.Self.RelayKey = []byte("x") }, "relay key has 1 bytes"},
		{"no mesh", func(m *meshdv1.MapResponse) { m.Mesh = nil }, "prefix is missing"},
		{"bad prefix", func(m *meshdv1.MapResponse) { m.Mesh.Prefix4 = "100.96/16" }, `"100.96/16"`},
		{"prefix with host bits", func(m *meshdv1.MapResponse) { m.Mesh.Prefix4 = "100.96.0.1/16" }, "want 100.96.0.0/16"},
		{"prefix of everything", func(m *meshdv1.MapResponse) { m.Mesh.Prefix4 = "0.0.0.0/0" }, "too large"},
		{"prefix of all unicast", func(m *meshdv1.MapResponse) { m.Mesh.Prefix6 = "2000::/3" }, "too large"},
		{"relay elsewhere", func(m *meshdv1.MapResponse) { m.Mesh.Relays[0].Websocket = "@evil.example/" }, "slash"},
		{"nameless member", func(m *meshdv1.MapResponse) { m.Members[0].Name = "" }, "id and name are needed"},
		{"a name with a line after it", func(m *meshdv1.MapResponse) { m.Members[0].Name = "nas\n6.6.6.6 bank.example" }, "no DNS label"},
		{"a name of two labels", func(m *meshdv1.MapResponse) { m.Members[0].Name = "bank.example" }, `"bank.example" of member 2`},
		{"own name with a space", func(m *meshdv1.MapResponse) { m.Self.Name = "me bank" }, `own name "me bank"`},
		{"zone with a line after it", func(m *meshdv1.MapResponse) { m.Mesh.Zone = "home.internal\nserver=/./6.6.6.6" }, "zone"},
		{"no zone", func(m *meshdv1.MapResponse) { m.Mesh.Zone = "" }, `zone ""`},
		{"member without key", func(m *meshdv1.MapResponse) { m.Members[0].WireguardKey = nil }, `member "nas": key has 0 bytes`},
		{"zero key", func(m *meshdv1.MapResponse) { m.Members[0].WireguardKey = keyBytes(0) }, "all zero"},
		{"two with one key", func(m *meshdv1.MapResponse) { m.Members[0].WireguardKey = keyBytes(3) }, "same key"},
		{"bad allowed IP", func(m *meshdv1.MapResponse) { m.Members[0].AllowedIps = []string{"x"} }, `prefix "x"`},
		{"two with one address", func(m *meshdv1.MapResponse) { m.Members[0].AllowedIps = []string{"100.96.0.3/32"} }, "both claim 100.96.0.3/32"},
		{"our address", func(m *meshdv1.MapResponse) { m.Members[0].AllowedIps = []string{"100.96.0.1/32"} }, "both claim 100.96.0.1/32"},
		{"delta first", func(m *meshdv1.MapResponse) { m.Full = false }, "before the first full map"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := (*Netmap)(nil).Apply(fullMapWith(tt.with))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want an error with %q", got, err, tt.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	m := mustApply(t, nil, fullMap())
	for query, want := range map[string]string{"nas": "nas", "NAS": "nas", "100.96.0.3": "laptop", "100.96.0.9": "", "na": "", "": ""} {
		if got, ok := m.Find(query); got.Name != want || ok != (want != "") {
			t.Errorf("Find(%q): got %q, %v, want %q", query, got.Name, ok, want)
		}
	}
}

// FuzzApply feeds maps that a hub could send: none may crash, and what is taken
// must be fit for the parts below.
func FuzzApply(f *testing.F) {
	for _, m := range []*meshdv1.MapResponse{fullMap(), {Removed: []uint32{2}}, {Self: &meshdv1.Self{Pending: true}}, {}} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var msg meshdv1.MapResponse
		if proto.Unmarshal(b, &msg) != nil {
			return
		}
		base, err := (*Netmap)(nil).Apply(fullMap())
		if err != nil {
			t.Fatal(err)
		}
		next, err := base.Apply(&msg)
		if err != nil {
			return
		}
		if err := next.check(); err != nil {
			t.Errorf("took a map that does not hold: %v", err)
		}
		if _, ok := next.Peers[next.Self.ID]; ok {
			t.Error("this member is its own peer")
		}
	})
}
