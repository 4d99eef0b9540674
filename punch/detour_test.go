package punch

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// detourStory tells a detour of hub and peers what happens, and has relays
// answer after their round-trip times.
type detourStory struct {
	t     *testing.T
	d     *detour
	now   time.Time
	rtts  map[string]time.Duration // by the relay's name; none: it is dead
	due   []detourPong
	pings map[string]int
	log   []string // of choices
}

type detourPong struct {
	at   time.Time
	txid uint64
}

var detourKeys = map[string]Key{"hub": {}, "r1": {1}, "r2": {2}}

func detourName(k Key) string {
	for name, key := range detourKeys {
		if key == k {
			return name
		}
	}
	return "?"
}

func newDetourStory(t *testing.T, rtts map[string]time.Duration) *detourStory {
	return &detourStory{t: t, d: newDetour(1), now: time.Unix(1e9, 0), rtts: rtts, pings: map[string]int{}}
}

func (s *detourStory) do(ev detourEvent) {
	for _, a := range s.d.step(s.now, ev) {
		switch a := a.(type) {
		case pingBy:
			name := detourName(a.key)
			s.pings[name]++
			if rtt, ok := s.rtts[name]; ok {
				s.due = append(s.due, detourPong{s.now.Add(rtt), a.txid})
			}
		case takeDetour:
			s.log = append(s.log, a.String())
		}
	}
}

func (c detourChoice) String() string {
	switch {
	case c.via == ViaNone:
		return "none"
	case c.also:
		return detourName(c.key) + "+" + detourName(c.next)
	}
	return detourName(c.key)
}

// offer says which relays can be used: names, the hub first.
func (s *detourStory) offer(names string) {
	var list []relayOffer
	for name := range strings.FieldsSeq(names) {
		via := ViaRelay
		if name == "tls" {
			name, via = "hub", ViaTLS
		}
		list = append(list, relayOffer{detourKeys[name], via, s.rtts[name] / 2})
	}
	s.do(relaysChanged{list})
}

// deliver brings the PONGs whose time has come.
func (s *detourStory) deliver() {
	due := s.due
	s.due = nil
	for _, p := range due {
		if p.at.After(s.now) {
			s.due = append(s.due, p)
		} else {
			s.do(measured{p.txid})
		}
	}
}

// pass lets time pass. With data, some goes out every 20 ms, and comes back by the
// relay in use while that lives.
func (s *detourStory) pass(d time.Duration, data bool) {
	const tick = 10 * time.Millisecond
	for i, end := 0, s.now.Add(d); s.now.Before(end); i++ {
		s.now = s.now.Add(tick)
		s.deliver()
		if data && i%2 == 0 {
			_, alive := s.rtts[detourName(s.d.choice(s.now).key)]
			s.do(carried{sent: true, returned: alive})
		}
		if at := s.d.deadline(); !at.IsZero() && !s.now.Before(at) {
			s.do(detourTimer{})
		}
	}
}

func (s *detourStory) want(choice string) {
	s.t.Helper()
	if got := s.d.choice(s.now).String(); got != choice {
		s.t.Errorf("after %v: data takes %s, want %s (so far: %v)", s.now.Sub(time.Unix(1e9, 0)), got, choice, s.log)
	}
}

const ms = time.Millisecond

func TestDetourPicksTheQuickest(t *testing.T) {
	for _, tt := range []struct {
		offers      string
		hub, r1, r2 time.Duration
		want        string
	}{
		{"hub r1", 80 * ms, 40 * ms, 0, "r1"},
		{"hub r1", 80 * ms, 70 * ms, 0, "hub"}, // less than a fifth
		{"hub r1", 3 * ms, 2 * ms, 0, "hub"},   // less than 2 ms
		{"hub r1", 40 * ms, 80 * ms, 0, "hub"},
		{"hub r1 r2", 80 * ms, 60 * ms, 30 * ms, "r2"},
		{"tls r1", 80 * ms, 70 * ms, 0, "r1"}, // UDP counts for more
		{"hub r1", 80 * ms, 0, 0, "hub"},      // which nobody answers by
		{"r1 r2", 0, 60 * ms, 40 * ms, "r2"},
		{"hub", 80 * ms, 40 * ms, 0, "hub"},
		{"r1", 80 * ms, 40 * ms, 0, "r1"},
	} {
		t.Run(fmt.Sprintf("%s %v %v %v", tt.offers, tt.hub, tt.r1, tt.r2), func(t *testing.T) {
			rtts := map[string]time.Duration{"hub": tt.hub, "r1": tt.r1, "r2": tt.r2}
			for name, rtt := range rtts {
				if rtt == 0 {
					delete(rtts, name)
				}
			}
			s := newDetourStory(t, rtts)
			s.offer(tt.offers)
			s.pass(30*time.Second, true)
			s.want(tt.want)
			t.Log("and stays there")
			changes := len(s.log)
			s.pass(10*time.Minute, true)
			s.want(tt.want)
			if len(s.log) != changes {
				t.Errorf("it changed: %v", s.log[changes:])
			}
		})
	}
}

func TestDetourCosts(t *testing.T) {
	s := newDetourStory(t, map[string]time.Duration{"hub": 80 * ms, "r1": 40 * ms})
	s.offer("hub r1")
	s.pass(time.Hour, false)
	if len(s.pings) > 0 {
		t.Errorf("%v pings at rest, want none", s.pings)
	}
	s.pass(10*time.Minute, true)
	if got := s.pings["hub"]; got > 130 {
		t.Errorf("%d pings by the hub in 10 minutes of data, want one in 5 s", got)
	}
	if got := s.pings["r1"]; got > 300 {
		t.Errorf("%d pings by the relay in use in 10 minutes of data, want two in 5 s", got)
	}
	t.Log("with one relay, there is nothing to ask")
	s = newDetourStory(t, nil)
	s.offer("hub")
	s.pass(10*time.Minute, true)
	s.want("hub")
	if len(s.pings) > 0 || len(s.log) > 1 {
		t.Errorf("%v pings, choices %v; want none, and the hub", s.pings, s.log)
	}
}

func TestDetourSilence(t *testing.T) {
	s := newDetourStory(t, map[string]time.Duration{"hub": 80 * ms, "r1": 90 * ms})
	s.offer("hub r1")
	s.want("hub+r1")
	s.pass(time.Minute, true)
	s.want("hub")
	t.Log("the hub dies: soon data takes both ways, then the other one")
	delete(s.rtts, "hub")
	s.pass(600*ms, true)
	s.want("hub+r1")
	s.pass(400*ms, true)
	s.want("r1")
	t.Log("it comes back: not better, no change")
	s.rtts["hub"] = 80 * ms
	s.pass(time.Minute, true)
	s.want("r1")
	t.Log("both die: data takes both, and they are asked now and then")
	clear(s.rtts)
	s.pass(2*time.Second, true)
	s.want("hub+r1") // it answered last
	before := s.pings["r1"]
	s.pass(time.Minute, true)
	if got := s.pings["r1"] - before; got > 13 {
		t.Errorf("%d pings in a minute to a relay that is dead, want one in 5 s", got)
	}
	t.Log("one of them is back")
	s.rtts["hub"] = 80 * ms
	s.pass(6*time.Second, true)
	s.want("hub")
	t.Log("at rest nothing is sure")
	s.pass(11*time.Second, false)
	s.want("hub+r1")
	t.Log("the session with the hub ends")
	s.rtts["r1"] = 90 * ms
	s.offer("r1")
	s.want("r1")
	s.offer("")
	s.want("none")
}

func TestDetourOneWay(t *testing.T) {
	s := newDetourStory(t, map[string]time.Duration{"hub": 80 * ms, "r1": 90 * ms})
	s.offer("hub r1")
	s.pass(time.Second, true)
	t.Log("data that nothing answers is no reason to leave a relay whose PONGs come")
	for range 3000 {
		s.now = s.now.Add(20 * ms)
		s.do(carried{sent: true})
		s.pass(0, false)
		s.deliver()
	}
	s.want("hub")
}

func TestDetourFirstSureThenQuick(t *testing.T) {
	s := newDetourStory(t, map[string]time.Duration{"hub": 80 * ms, "r1": 40 * ms})
	s.offer("hub r1")
	s.pass(time.Second, true)
	t.Log("one answer in which it was quicker is not enough")
	s.want("hub")
	s.pass(4*time.Second, true)
	s.want("r1")
}

func TestBucket(t *testing.T) {
	var b bucket
	now := time.Unix(1e9, 0)
	given := 0
	for range 1000 {
		if b.take(now, 100, 10_000, false) {
			given += 100
		}
		now = now.Add(5 * time.Millisecond) // twice the rate
	}
	if given < 50_000 || given > 51_100 {
		t.Errorf("given %d in 5 s, want 50000 and what was in it at first", given)
	}
	if b.take(now.Add(-time.Second), 100, 10_000, false) {
		t.Error("something was left")
	}
	if !b.take(now, 100, 10_000, true) {
		t.Error("nothing was left for the urgent")
	}
	if !b.take(now.Add(time.Second), 1_000_000, 10_000, false) || b.take(now.Add(90*time.Second), 1, 10_000, false) {
		t.Error("what is larger than the bucket is given at once, and paid for")
	}
}
