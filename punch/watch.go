package punch

import (
	"time"
)

// Times by which a path in use is judged.
const (
	freshBeat    = time.Second      // heartbeat of a path in its first freshFor
	freshFor     = 10 * time.Second // long enough for conntrack to see two-way traffic and keep the entry
	busyBeat     = 5 * time.Second  // heartbeat while data flows
	busyFor      = 10 * time.Second // data within this time counts as flowing
	idleBeat     = 25 * time.Second // below every NAT's patience of 30 s …
	idleJitter   = 5 * time.Second  // … and of the two ends, the one with less waiting does it for both
	beatPatience = time.Second      // at least this long for the answer to a heartbeat
	lostBeats    = 2                // heartbeats lost until an idle path is suspect
	pollTraffic  = 50 * time.Millisecond
	minSilence   = 400 * time.Millisecond // data out and nothing back for this long is suspect, at least
	minVerdict   = 300 * time.Millisecond // a suspect path may answer for this long, at least
	burstGap     = 50 * time.Millisecond
	burstSize    = 8 // of pings until the verdict, when it is far off
)

// watch judges whether the route in use still carries. It is asked what is
// due, and told what was heard; it sends nothing itself.
//
// Data out and nothing back: after half the silence we bear, the path is asked
// by a PING; unanswered, it becomes suspect. So traffic in one direction is no
// reason for suspicion, and a pause costs two PINGs.
type watch struct {
	rtt      *rtt
	since    time.Time     // the route is in use since
	heard    time.Time     // last packet over the route
	beat     time.Time     // last heartbeat exchange, ours or the peer's
	idle     time.Duration // this route's jittered idle interval, …
	rest     *rest         // … unless it was learnt to be too long
	data     time.Time     // last data over the route, either way
	fed      time.Time     // last data that came over it
	pause    time.Duration // before that, if data comes seldom: as long again, and more is expected; 0: it is not
	unproven time.Time     // a sign is waited for since: the first data after the last PONG, or that PONG amid data that comes; zero: none is
	asked    int           // PINGs since heard, for want of a sign
	missed   int           // heartbeats without an answer
	beatAt   time.Time

	suspect time.Time // zero: not suspect
	bursts  int
}

// order is what a watch wants done.
type order uint8

const (
	orderNothing order = iota
	orderPing          // over the route
	orderSuspect       // it has just become suspect
	orderLost          // give the route up
)

func newWatch(now time.Time, r *rtt, jitter float64) *watch {
	w := &watch{rtt: r, since: now, idle: idleBeat - time.Duration(jitter*float64(idleJitter)), rest: &rest{}}
	w.proof(now)
	return w
}

// silence is how long data may go out with nothing coming back.
func (w *watch) silence() time.Duration {
	return max(minSilence, 4*w.rtt.estimate()+2*w.rtt.jitter)
}

// verdict is how long a suspect path may take to answer.
func (w *watch) verdict() time.Duration { return max(minVerdict, 3*w.rtt.estimate()) }

// proof notes a PONG: both directions carry. While data comes, the next sign is
// waited for from here on: who only answers has nothing to send once the peer's
// packets stop, and would not ask before the next heartbeat. Nor could the peer
// tell it by relay, if its mappings to both are gone at once.
func (w *watch) proof(now time.Time) {
	w.unproven, w.suspect = time.Time{}, time.Time{}
	if !w.fed.IsZero() && now.Sub(w.fed) < w.silence() {
		w.unproven = now
	}
	w.bursts = 0
	w.sign(now)
	w.settled(now, w.missed <= 1)
}

// sign notes any packet over the route: one direction carries.
func (w *watch) sign(now time.Time) {
	w.heard = now
	w.asked = 0
}

// exchanged notes a PING with its PONG, whoever began.
func (w *watch) exchanged(now time.Time) { w.settled(now, w.missed == 0) }

// settled ends a round of heartbeats; kept says that the first was answered.
func (w *watch) settled(now time.Time, kept bool) {
	if w.rested(now) {
		w.rest.round(kept)
	}
	w.missed = 0
	w.beat = now
	w.beatAt = now.Add(w.interval(now))
}

// flow notes data sent and received over the route.
func (w *watch) flow(now time.Time, sent, received bool) {
	if !sent && !received {
		return
	}
	if received {
		w.pause = now.Sub(w.fed)
		if w.fed.IsZero() || w.pause < w.silence() || w.pause > busyFor {
			w.pause = 0
		}
		w.fed = now
		w.sign(now)
	}
	if w.unproven.IsZero() {
		w.unproven = now
	}
	w.data = now
	if w.missed == 0 { // else the answer is being waited for
		w.beatAt = earlier(w.beatAt, w.beat.Add(w.interval(now)))
	}
}

func (w *watch) interval(now time.Time) time.Duration {
	switch {
	case now.Sub(w.since) < freshFor:
		return freshBeat
	case !w.data.IsZero() && now.Sub(w.data) < busyFor:
		return busyBeat
	}
	return w.rest.cap(w.idle)
}

// rested reports whether the route had been at rest since the last heartbeat.
func (w *watch) rested(now time.Time) bool {
	return !w.beat.IsZero() && now.Sub(w.beat) > restRound && now.Sub(w.data) > busyFor
}

// doubt makes the path suspect at once.
func (w *watch) doubt(now time.Time) {
	if w.suspect.IsZero() {
		w.suspect, w.bursts = now, 0
	}
}

// due says what to do now. It is called until it says nothing.
func (w *watch) due(now time.Time) order {
	if !w.suspect.IsZero() {
		return w.dueSuspect(now)
	}
	if at := w.expectAt(); !at.IsZero() && !now.Before(at) {
		w.unproven, w.pause = now, 0
	}
	if at := w.askAt(); !at.IsZero() && !now.Before(at) {
		if w.asked == 2 {
			w.doubt(now)
			return orderSuspect
		}
		w.asked++
		return orderPing
	}
	if now.Before(w.beatAt) {
		return orderNothing
	}
	if w.missed == lostBeats {
		w.doubt(now)
		return orderSuspect
	}
	w.missed++
	w.beatAt = now.Add(max(beatPatience, 3*w.rtt.estimate()))
	return orderPing
}

func (w *watch) dueSuspect(now time.Time) order {
	switch {
	case !now.Before(w.suspect.Add(w.verdict())):
		return orderLost
	case !now.Before(w.burstAt()):
		w.bursts++
		return orderPing
	}
	return orderNothing
}

// expectAt is when data should come again that comes at intervals; zero: none does.
// From then on a sign is waited for. Else who only answers, and that seldom, would
// not miss the peer's packets before the next heartbeat.
func (w *watch) expectAt() time.Time {
	if w.pause == 0 || !w.unproven.IsZero() {
		return time.Time{}
	}
	return w.fed.Add(w.pause)
}

// askAt is when silence is looked into: at a half, at three quarters, and at
// the end of what we bear. Zero: nothing is waited for.
func (w *watch) askAt() time.Time {
	if w.unproven.IsZero() {
		return time.Time{}
	}
	from := w.heard
	if w.unproven.After(from) {
		from = w.unproven
	}
	return from.Add(w.silence() * time.Duration(2+w.asked) / 4)
}

func (w *watch) burstAt() time.Time {
	gap := max(burstGap, w.verdict()/burstSize)
	return w.suspect.Add(gap * time.Duration(w.bursts))
}

// deadline is when due has something to say next.
func (w *watch) deadline() time.Time {
	if !w.suspect.IsZero() {
		return earlier(w.burstAt(), w.suspect.Add(w.verdict()))
	}
	return earlier(earlier(w.beatAt, w.expectAt()), w.askAt())
}
