package agent

import (
	"strings"
	"testing"
	"time"

	"meshd/punch"
	"meshd/punch/wire"
)

// How attempts end, and what that says.
func TestVerdict(t *testing.T) {
	home := wire.NAT{Mapping: eim, Filtering: apdm}
	step := wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Sequential, Delta: 1}
	random := wire.NAT{Mapping: apdm, Filtering: apdm, Allocation: wire.Random}
	public := []wire.Candidate{{Kind: wire.Host, Addr: addrPort("192.168.1.2:7")}, {Kind: wire.Reflexive, Addr: addrPort("203.0.113.7:7")}}
	unheard := []punch.Tried{{Addr: addrPort("203.0.113.7:7"), Probes: 8}}
	heard := []punch.Tried{{Addr: addrPort("203.0.113.7:7"), Probes: 8, Heard: true}}
	failed := []punch.Attempt{{Verdict: "no reply from 1 address", Tried: unheard}}
	searched := []punch.Attempt{{Verdict: "no reply from 1 address", Tried: unheard, Strategy: "birthday", Spent: 1200, Sockets: 1}}
	renewed := []punch.Attempt{{Verdict: "direct by 203.0.113.7:9", Strategy: punch.NewSockets, Spent: 1, Sockets: 1}}

	for _, tt := range []struct {
		name        string
		self, peer  wire.NAT
		hub         punch.Via
		path        punch.PeerStatus
		why, advice string // parts
	}{
		{"direct", home, home, punch.ViaRelay, punch.PeerStatus{Path: punch.ViaDirect, Class: "direct"}, "direct", ""},
		{"in the LAN", home, home, punch.ViaRelay, punch.PeerStatus{Path: punch.ViaDirect, Class: "lan"}, "within the same network", ""},
		{"found by a search", home, random, punch.ViaRelay, punch.PeerStatus{Path: punch.ViaDirect, Attempts: searched},
			"across a symmetric NAT (birthday, 1200 probes)", ""},
		{"by new ports", home, home, punch.ViaRelay, punch.PeerStatus{Path: punch.ViaDirect, Attempts: renewed}, "by new ports", ""},
		{"hub away", home, home, punch.ViaNone, punch.PeerStatus{}, "relay is not reached", "meshd netcheck"},
		{"hub away, a member relays", random, random, punch.ViaNone, punch.PeerStatus{Path: punch.ViaRelay, Relay: "attic", Attempts: failed},
			"and each picks it at random", "UPnP"},
		{"UDP blocked here", home, home, punch.ViaTLS, punch.PeerStatus{Path: punch.ViaTLS}, "network of this machine", "let UDP out"},
		{"two random ones", random, random, punch.ViaRelay, punch.PeerStatus{Path: punch.ViaRelay, Attempts: failed}, "and each picks it at random", "UPnP"},
		{"random there", step, random, punch.ViaRelay, punch.PeerStatus{Attempts: failed}, "and that of nas picks it at random", "--advertise-endpoint"},
		{"random here", random, step, punch.ViaRelay, punch.PeerStatus{Attempts: failed}, "and the one here picks it at random", "in the gateway here or at nas"},
		{"not tried", home, home, punch.ViaRelay, punch.PeerStatus{}, "nobody has tried yet", "meshd ping nas"},
		{"running", home, home, punch.ViaRelay, punch.PeerStatus{Attempts: []punch.Attempt{{Verdict: "running"}}}, "under way", "wait"},
		{"one way", home, home, punch.ViaRelay, punch.PeerStatus{Attempts: []punch.Attempt{{Tried: heard}}}, "it does not get ours", "firewalls"},
		{"plain and silent", home, home, punch.ViaRelay, punch.PeerStatus{Attempts: failed}, "a firewall on the way drops UDP", "firewalls"},
		{"predicted in vain", home, step, punch.ViaRelay, punch.PeerStatus{Attempts: failed}, "not where they were predicted", "UPnP"},
		{"searched in vain", home, random, punch.ViaRelay, punch.PeerStatus{Attempts: searched}, "did not meet one (1200 probes, 1 sockets)", "UPnP"},
		{"not searched", home, random, punch.ViaRelay, punch.PeerStatus{Attempts: failed}, "has not been searched lately", "UPnP"},
		{"unknown", home, wire.NAT{}, punch.ViaRelay, punch.PeerStatus{Attempts: failed}, "too little is known", "UPnP"},
	} {
		p := pair{name: "nas", online: true, self: punch.Local{NAT: tt.self, MappingSure: true}, peer: tt.peer, candidates: public, hub: tt.hub, path: tt.path}
		why, advice := p.verdict()
		if !strings.Contains(why, tt.why) || !strings.Contains(advice, tt.advice) || (advice == "") != (tt.advice == "") {
			t.Errorf("%s: got %q, %q, want %q, %q", tt.name, why, advice, tt.why, tt.advice)
		}
	}
	p := pair{name: "nas", online: true, self: punch.Local{NAT: home}, peer: home, candidates: public, hub: punch.ViaRelay, path: punch.PeerStatus{Attempts: failed}}
	if why, advice := p.verdict(); !strings.Contains(why, "that is not known") || !strings.Contains(advice, "a member without NAT") {
		t.Errorf("with a hub of one address: got %q, %q", why, advice)
	}
}

func TestVerdictOfThePeersSide(t *testing.T) {
	p := pair{name: "nas", hub: punch.ViaRelay}
	if why, advice := p.verdict(); why != "nas is offline" || advice == "" {
		t.Errorf("offline: got %q, %q", why, advice)
	}
	plain := p
	plain.plain = true
	if why, advice := plain.verdict(); !strings.Contains(why, "without meshd") || !strings.HasSuffix(advice, "client config nas") {
		t.Errorf("plain, and silent: got %q, %q", why, advice)
	}
	plain.path.Path = punch.ViaDirect
	if why, advice := plain.verdict(); why != "direct" || advice != "" {
		t.Errorf("plain, and heard: got %q, %q", why, advice)
	}
	p.online = true
	for _, c := range []string{"192.168.1.2:7", "100.64.3.4:7", "[fe80::1]:7"} {
		p.candidates = append(p.candidates, wire.Candidate{Kind: wire.Host, Addr: addrPort(c)})
	}
	muted := p
	muted.online, muted.path.Reason, muted.candidates = true, punch.NoData, nil
	if why, advice := muted.verdict(); !strings.Contains(why, "WireGuard's packets are dropped") || !strings.Contains(advice, "another network") {
		t.Errorf("where data is dropped: %q, %q", why, advice)
	}
	if why, _ := p.verdict(); !strings.Contains(why, "never seen by UDP from outside") {
		t.Errorf("private addresses alone: got %q", why)
	}
	p.candidates = append(p.candidates, wire.Candidate{Kind: wire.Host, Addr: addrPort("[2001:db8::1]:7")})
	if why, _ := p.verdict(); !strings.Contains(why, "nobody has tried") {
		t.Errorf("with a public address: got %q", why)
	}
}

func TestWhyView(t *testing.T) {
	p := Peer{Name: "nas", Key: Key(keyBytes(7)), Online: true, NAT: wire.NAT{Mapping: eim, Filtering: adm}}
	tried := punch.Tried{Addr: addrPort("203.0.113.7:7"), Kind: wire.Reflexive, Probes: 3, Heard: true, RTT: 12 * time.Millisecond}
	w := whyView(p, punch.Status{
		Local: punch.Local{NAT: wire.NAT{Mapping: eim, Filtering: apdm}},
		Hub:   punch.HubStatus{Via: punch.ViaRelay},
		Peers: map[punch.Key]punch.PeerStatus{p.Key: {
			Path: punch.ViaDirect, Addr: tried.Addr, Since: noon,
			Attempts: []punch.Attempt{{At: noon, Took: 1500 * time.Millisecond, Why: "joined", Verdict: "direct by …", Tried: []punch.Tried{tried}}},
		}},
	})
	if w.Path != "direct" || w.Endpoint != "203.0.113.7:7" || w.Crossing != "plain" || w.Advice != "" ||
		w.SelfNAT.Class != "port-restricted cone" || w.PeerNAT.Filtering != "address-dependent" {
		t.Errorf("got %+v", w)
	}
	if len(w.Attempts) != 1 || w.Attempts[0].Took != 1500 || w.Attempts[0].Cause != "joined" || len(w.Attempts[0].Tried) != 1 {
		t.Fatalf("got attempts %+v", w.Attempts)
	}
	if got := w.Attempts[0].Tried[0]; got.Addr != tried.Addr || got.Kind != "reflexive" || got.Probes != 3 || !got.Heard || got.RTT != 12 {
		t.Errorf("got tried %+v", got)
	}
	if w := whyView(p, punch.Status{}); w.Attempts == nil || w.Path != "none" {
		t.Errorf("nothing known: got %+v", w)
	}
}
