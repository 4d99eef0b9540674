package main

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"meshd/deploy/lab"
	"meshd/punch/wire"
)

// trace is what the accesses of a pair have carried.
type trace struct {
	addrs [2]netip.Addr // alice's, bob's

	mu     sync.Mutex   // guards what follows
	asked  time.Time    // when one sent the first packet that reached the other's access, by the hub or straight
	direct [2]time.Time // first arrival of WireGuard's packets straight, at each
	talked [2]time.Time // first arrival of a ping or its answer, straight or by the hub's UDP
	probes []time.Time  // straight packets that are not WireGuard's
	signal int          // the same through the hub
	story  story
}

// end returns what sees the packets of one end's link.
func (t *trace) end(i int) func(lab.Seen) {
	self, peer := t.addrs[i], t.addrs[1-i]
	return func(s lab.Seen) {
		if s.Proto != lab.UDP {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.story.add(i, s)
		switch {
		case s.Up && s.Src.Addr() == self && s.Dst.Addr() == peer:
			t.sent(s)
		case !s.Up && s.Src.Addr() == peer:
			t.arrived(i, s)
		case headed(s.Payload):
			t.byHub(i, s)
		}
	}
}

func (t *trace) sent(s lab.Seen) {
	if wire.KindOf(bare(s.Payload)) != wire.WireGuard {
		t.probes = append(t.probes, s.At)
	}
}

// arrived takes note of what comes straight. It was sent some time ago; what only
// opens the sender's NAT, and dies on its way, asks nobody.
func (t *trace) arrived(i int, s lab.Seen) {
	first(&t.asked, s.At.Add(-straightOneWay))
	if wire.KindOf(bare(s.Payload)) == wire.WireGuard {
		first(&t.direct[i], s.At)
		t.talk(i, s.Payload, s.At)
	}
}

// bare is what a straight packet holds: a first handshake begins in an envelope.
func bare(payload []byte) []byte {
	if headed(payload) {
		return payload[wire.HeaderSize:]
	}
	return payload
}

// headed reports whether data has a relay's header before it.
func headed(payload []byte) bool {
	h, err := wire.ParseHeader(payload)
	return err == nil && h.Type == wire.Data
}

// byHub takes note of what leaves for the hub or comes from it. What arrives was
// sent some time ago; before the first arrival there was nobody to send to.
func (t *trace) byHub(i int, s lab.Seen) {
	payload := s.Payload[wire.HeaderSize:]
	if !s.Up {
		first(&t.asked, s.At.Add(-byHubOneWay))
		t.talk(i, payload, s.At)
	} else if wire.KindOf(payload) != wire.WireGuard {
		t.signal++
	}
}

// talk knows the ping by its size.
func (t *trace) talk(i int, payload []byte, at time.Time) {
	if len(payload) > pingSize && wire.KindOf(payload) == wire.WireGuard {
		first(&t.talked[i], at)
	}
}

func first(t *time.Time, at time.Time) {
	if t.IsZero() || at.Before(*t) {
		*t = at
	}
}

// askedAt is when the first of the two had something for the other, zero before.
func (t *trace) askedAt() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked
}

// toDirect is how long after that WireGuard's packets arrived straight at one end,
// and at both; false while they have not.
func (t *trace) toDirect() (one, both time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := later(t.direct)
	first := slices.MinFunc(t.direct[:], time.Time.Compare)
	return first.Sub(t.asked), at.Sub(t.asked), ok
}

// toTalk is how long after that a ping and an answer had arrived by UDP; 0 if they
// have not.
func (t *trace) toTalk() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := later(t.talked); ok {
		return at.Sub(t.asked)
	}
	return 0
}

// later is when both have happened; false if one has not.
func later(both [2]time.Time) (time.Time, bool) {
	if both[0].IsZero() || both[1].IsZero() {
		return time.Time{}, false
	}
	return slices.MaxFunc(both[:], time.Time.Compare), true
}

// spent counts the probes: those that went straight until the pair was direct,
// those that did after the pair should have become quiet, and those by the hub.
func (t *trace) spent() (probes, late, signals int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end, direct := later(t.direct)
	for _, at := range t.probes {
		if !direct || !at.After(end) {
			probes++
		}
		if at.Sub(t.asked) > quiet {
			late++
		}
	}
	return probes, late, t.signal
}

// told is the story since one asked for the other.
func (t *trace) told() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.story.since(t.asked)
}
