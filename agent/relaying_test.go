package agent

import (
	"testing"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/tunnel"
	"meshd/punch"
)

func TestRelayingIsASettingThatLasts(t *testing.T) {
	m := newMachine(t, "nas")
	m.config.Relay, m.config.UseRelays = "on", "off"
	d := m.start(newHub(t).Join().String())
	d.awaitState(localapi.Running)
	d.stop()
	for _, tt := range []struct {
		relay, use string
		offer      punch.Offer
		hubOnly    bool
	}{
		{"", "", punch.OfferOn, true},
		{"off", "on", punch.OfferOff, false},
		{"", "", punch.OfferOff, false},
		{"auto", "", punch.OfferAuto, false},
	} {
		m.config.Relay, m.config.UseRelays = tt.relay, tt.use
		d := m.start("")
		d.awaitState(localapi.Running)
		if c := m.puncher().config; c.Offer != tt.offer || c.HubOnly != tt.hubOnly {
			t.Errorf("--relay=%q --use-relays=%q: got offer %v, hub only %v", tt.relay, tt.use, c.Offer, c.HubOnly)
		}
		d.stop()
	}
}

func TestOfferTravels(t *testing.T) {
	offering := whereabouts(punch.Local{Relays: true})
	silent := whereabouts(punch.Local{})
	if len(offering.Traits) != len(silent.Traits)+1 {
		t.Errorf("published %q with an offer, %q without", offering.Traits, silent.Traits)
	}
	m := mustApply(t, nil, fullMap())
	p := m.Peers[2]
	p.Relay = true
	m.Peers[2] = p
	for _, p := range punchPeers(m, false) {
		if p.Relays != (p.Relay == 2) {
			t.Errorf("peer %d: relays %v", p.Relay, p.Relays)
		}
	}
}

func TestRelayIsNamed(t *testing.T) {
	p := Peer{Name: "desk", Key: Key(keyBytes(7)), Online: true}
	path := punch.PeerStatus{Path: punch.ViaRelay, Relay: "nas", RTT: 43 * time.Millisecond}
	if s := peerStatus(p, path, tunnel.Stats{}); s.Path != "relay" || s.Relay != "nas" || s.RTT != 43 {
		t.Errorf("status: got %+v", s)
	}
	if r := pingReply(p, punch.Pong{Via: punch.ViaRelay, Relay: "nas"}); r.Path != "relay" || r.Via != "relay nas" || r.Relay != "nas" {
		t.Errorf("ping: got %+v", r)
	}
	if r := pingReply(p, punch.Pong{Via: punch.ViaRelay}); r.Via != "relay" || r.Relay != "" {
		t.Errorf("ping by the hub: got %+v", r)
	}
	if w := whyView(p, punch.Status{Peers: map[punch.Key]punch.PeerStatus{p.Key: path}}); w.Relay != "nas" {
		t.Errorf("why: got %+v", w)
	}
}
