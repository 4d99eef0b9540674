package agent

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/agent/tunnel/tunneltest"
	"meshd/punch"
	"meshd/punch/wire"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func TestHealth(t *testing.T) {
	me := func(expires time.Duration) *Netmap { return &Netmap{Self: Self{Expires: noon.Add(expires)}} }
	h := &hub{Hosts: []string{"hub.example"}, Port: 443}
	for _, tt := range []struct {
		name string
		v    view
		via  punch.Via
		want string // parts, by line; "": all is well
	}{
		{"well", view{hub: h, linked: true}, punch.ViaRelay, ""},
		{"not asked yet", view{hub: h}, punch.ViaNone, ""},
		{"hub away", view{hub: h, since: noon, hubErr: errors.New("no route")}, punch.ViaRelay, "away since 2030-01-01 12:00:00: no route"},
		{"over TLS", view{hub: h, linked: true}, punch.ViaTLS, "UDP to the coordinator is blocked"},
		{"pending", view{state: localapi.Pending, name: "nas"}, punch.ViaNone, "member approve nas"},
		{"failed", view{failure: &localapi.Error{Message: "no TUN"}}, punch.ViaNone, "no TUN"},
		{"expires never", view{netmap: &Netmap{}}, punch.ViaNone, ""},
		{"expires late", view{netmap: me(8 * 24 * time.Hour)}, punch.ViaNone, ""},
		{"expires soon", view{netmap: me(26 * time.Hour)}, punch.ViaNone, "expires in 26h0m0s"},
		{"expired", view{netmap: me(-time.Hour)}, punch.ViaNone, "has expired"},
		{"expires by the hub's clock", view{netmap: me(8 * 24 * time.Hour), offset: 7 * 24 * time.Hour}, punch.ViaNone, "expires in 24h0m0s"},
		{"two", view{failure: &localapi.Error{Message: "no TUN"}, hub: h, hubErr: errors.New("gone")}, punch.ViaNone, "no TUN|away since"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.v.cfg = &Config{}
			got := tt.v.health(noon, punch.HubStatus{Via: tt.via})
			if got == nil {
				t.Fatal("got nil: want a list, for JSON")
			}
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, "|")
			}
			if !slices.EqualFunc(got, want, strings.Contains) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	fake := tunneltest.New(tunnel.Config{Interface: "utun7"})
	m := mustApply(t, nil, fullMap())
	v := view{cfg: &Config{Version: "9", Mesh: "home"}, state: localapi.Running, netmap: m, plane: &plane{tunnel: fake, host: &netcfg.Fake{}}}
	nas := m.Peers[2].Key
	got := v.status(noon, punch.Status{
		Hub: punch.HubStatus{Via: punch.ViaRelay, RTT: 1500 * time.Microsecond},
		Local: punch.Local{
			Candidates: []wire.Candidate{{Kind: wire.Guess, Addr: addrPort("192.0.2.1:1")}},
			NAT:        wire.NAT{Mapping: wire.EndpointIndependent, Filtering: wire.AddressPortDependent},
		},
		Peers: map[punch.Key]punch.PeerStatus{nas: {
			Path: punch.ViaDirect, Addr: addrPort("203.0.113.9:41641"), Since: noon, Reason: "pong", RTT: 12 * time.Millisecond, Singly: true,
		}},
	}, map[tunnel.Key]tunnel.Stats{nas: {RxBytes: 1, TxBytes: 2, LastHandshake: noon}})

	if got.Self.Interface != "utun7" || got.Backend != "fake" || got.DNS.Zone != "home.internal" ||
		got.Self.NAT != "port-restricted cone: the same public port for everybody, lets in only the address and port it sent to" {
		t.Errorf("got %+v", got)
	}
	if want := (localapi.Endpoint{Addr: addrPort("192.0.2.1:1"), Kind: "guess"}); len(got.Self.Endpoints) != 1 || got.Self.Endpoints[0] != want {
		t.Errorf("endpoints: %v", got.Self.Endpoints)
	}
	if !got.Hub.UDP || got.Hub.RTT != 1.5 {
		t.Errorf("hub: %+v", got.Hub)
	}
	if len(got.Peers) != 2 || got.Peers[0].Name != "laptop" || got.Peers[0].Path != "none" || got.Peers[0].Endpoint != "" {
		t.Fatalf("peers: %+v", got.Peers)
	}
	p := got.Peers[1]
	if p.Path != "direct" || p.Endpoint != "203.0.113.9:41641" || p.RTT != 12 || p.Reason != "pong" || p.RxBytes != 1 || p.TxBytes != 2 || !p.Online || !p.Singly {
		t.Errorf("nas: %+v", p)
	}
	if !slices.ContainsFunc(got.Health, func(s string) bool { return strings.Contains(s, "packets go to nas one by one") }) {
		t.Errorf("health: %q", got.Health)
	}
}

// A program that reads the JSON finds lists where there are lists, also when
// there is no mesh.
func TestStatusOfNothing(t *testing.T) {
	v := view{cfg: &Config{}, state: localapi.Stopped}
	text, err := json.Marshal(v.status(noon, punch.Status{}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "null") {
		t.Errorf("got %s", text)
	}
}

func TestTunnelPeersKeepalive(t *testing.T) {
	m := &Netmap{Peers: map[wire.RelayID]Peer{}}
	all := func(Key) bool { return true }
	none := func(Key) bool { return false }
	for id := range wire.RelayID(65) {
		m.Peers[id+1] = Peer{ID: id + 1, Key: Key(keyBytes(byte(id + 1))), Online: id < 64}
	}
	warm := 0
	for _, p := range tunnelPeers(m, false, all) {
		if p.Keepalive == keepalive {
			warm++
		}
	}
	if warm != 64 {
		t.Errorf("64 online: %d kept warm", warm)
	}
	for _, p := range tunnelPeers(m, false, none) {
		if p.Keepalive != 0 {
			t.Fatalf("no path: %+v", p)
		}
	}
	m.Peers[65] = Peer{ID: 65, Key: Key(keyBytes(65)), Online: true}
	for _, p := range tunnelPeers(m, false, all) {
		if p.Keepalive != 0 {
			t.Fatalf("65 online: %+v", p)
		}
	}
}

// Both ends learn of a path at the same moment: only one may begin.
func TestRipe(t *testing.T) {
	low, high, far := Key(keyBytes(1)), Key(keyBytes(2)), Key(keyBytes(3))
	reach := map[Key]time.Time{low: noon, high: noon}
	for _, tt := range []struct {
		self, peer Key
		after      time.Duration
		want       bool
	}{
		{low, high, 0, true},
		{high, low, 0, false},
		{high, low, headStart - 1, false},
		{high, low, headStart, true},
		{low, far, time.Hour, false},
	} {
		p := &plane{self: tt.self, reach: reach}
		if got := p.ripe(noon.Add(tt.after))(tt.peer); got != tt.want {
			t.Errorf("%d to %d after %v: got %v, want %v", tt.self[0], tt.peer[0], tt.after, got, tt.want)
		}
	}
}

func TestHostConfig(t *testing.T) {
	c := hostConfig(mustApply(t, nil, fullMap()), nil)
	if !slices.Equal(c.Addresses, []netip.Prefix{prefix("100.96.0.1/32"), prefix("fd00::1/128")}) || c.MTU != 1412 {
		t.Errorf("got %+v", c)
	}
}
