package relay

import (
	"net/netip"
	"testing"
	"time"
)

var atHome, atHotel = leg{0, home}, leg{1, hotel}

func TestRoutePrefersTheLiveLeg(t *testing.T) {
	ago := func(d time.Duration) time.Time { return start.Add(-d) }
	tests := []struct {
		name  string
		udp   time.Duration // heard by UDP so long ago; 0: never
		pipe  bool
		wrote time.Duration // data came by WebSocket so long ago; 0: never
		want  string
	}{
		{"nothing", 0, false, 0, "none"},
		{"udp only", 10 * time.Second, false, 0, "udp"},
		{"udp only, silent for long", 80 * time.Second, false, 0, "udp"},
		{"websocket only", 0, true, 0, "websocket"},
		{"both", 10 * time.Second, true, 0, "udp"},
		{"both, udp silent for a minute", 60 * time.Second, true, 0, "websocket"},
		{"both, data by websocket since", 10 * time.Second, true, time.Second, "websocket"},
		{"both, back to udp since", time.Second, true, 10 * time.Second, "udp"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := newTable(0)
			if test.udp > 0 {
				table.bind(ago(test.udp), alice, atHome)
			}
			if test.pipe {
				table.attach(alice, &fakePipe{}, hotel)
			}
			if test.wrote > 0 {
				table.byID[alice].heardWS.Store(ago(test.wrote).UnixNano())
			}
			got := "none"
			if r, ok := table.route(start, alice); ok && r.pipe != nil {
				got = "websocket"
			} else if ok && r.leg == atHome {
				got = "udp"
			}
			if got != test.want {
				t.Errorf("route = %s, want %s", got, test.want)
			}
		})
	}
}

func TestExpire(t *testing.T) {
	table := newTable(0)
	table.bind(start, alice, atHome)
	table.bind(start.Add(time.Minute), bob, atHotel)
	if got := table.expire(start.Add(sessionIdle - time.Second)); len(got) > 0 {
		t.Errorf("changes before the time = %v, want none", got)
	}
	got := table.expire(start.Add(sessionIdle))
	if len(got) != 1 || got[0] != (change{id: alice}) {
		t.Errorf("changes = %v, want alice gone", got)
	}
	if _, ok := table.route(start, alice); ok || len(table.byID) != 1 || len(table.byLeg) != 1 {
		t.Errorf("%d ids and %d legs are left, want bob's", len(table.byID), len(table.byLeg))
	}
}

func TestExpireKeepsWebSocket(t *testing.T) {
	table := newTable(0)
	table.bind(start, alice, atHome)
	table.attach(alice, &fakePipe{}, hotel)
	got := table.expire(start.Add(sessionIdle))
	if want := (change{alice, presence{hotel, WebSocket}}); len(got) != 1 || got[0] != want {
		t.Errorf("changes = %v, want %v", got, want)
	}
	if r, ok := table.route(start, alice); !ok || r.pipe == nil {
		t.Errorf("route = %v, %v, want the WebSocket", r, ok)
	}
}

// A source that is bound to another id moves over: the agent there has a new
// identity, and the old one is gone.
func TestBindTakesSourceOver(t *testing.T) {
	table := newTable(0)
	table.bind(start, alice, atHome)
	got := table.bind(start, bob, atHome)
	want := []change{{id: alice}, {bob, presence{home, UDP}}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("changes = %v, want %v", got, want)
	}
	if table.bound(alice, atHome) || !table.bound(bob, atHome) {
		t.Error("source is not bob's")
	}
	if table.binds(alice) != 1 {
		t.Error("alice's binds are forgotten: old cookies would be good again")
	}
}

func TestDetachOfReplacedPipe(t *testing.T) {
	table, first, second := newTable(0), &fakePipe{}, &fakePipe{}
	table.attach(alice, first, hotel)
	if old, _ := table.attach(alice, second, hotel); old != first {
		t.Errorf("replaced %v, want the first", old)
	}
	if got := table.detach(alice, first); got != nil {
		t.Errorf("changes by the replaced one = %v, want none", got)
	}
	if got := table.detach(alice, second); len(got) != 1 || got[0].addr != (netip.AddrPort{}) {
		t.Errorf("changes = %v, want alice gone", got)
	}
}
