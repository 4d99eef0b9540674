package punch

import (
	"testing"
	"time"
)

// TestBeatsUnderTraffic has data flow all the time: a heartbeat that is being
// answered is not asked again, and no suspicion grows of it.
func TestBeatsUnderTraffic(t *testing.T) {
	const round = 80 * time.Millisecond
	now := time.Unix(1e9, 0)
	r := &rtt{}
	r.sample(round)
	w := newWatch(now, r, 0)
	var answers []time.Time
	pings := 0
	for range 6000 { // a minute
		now = now.Add(10 * time.Millisecond)
		if len(answers) > 0 && !now.Before(answers[0]) {
			answers = answers[1:]
			w.proof(now)
		}
		w.flow(now, true, true)
		switch w.due(now) {
		case orderPing:
			pings++
			answers = append(answers, now.Add(round))
		case orderNothing:
		default:
			t.Fatalf("suspect after %v", now.Sub(w.since))
		}
	}
	if want := int(freshFor/freshBeat) + int((time.Minute-freshFor)/busyBeat); pings > want {
		t.Errorf("%d heartbeats in a minute, want %d", pings, want)
	}
}
