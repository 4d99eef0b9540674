package punch

import (
	"time"

	"meshd/punch/wire"
)

// The schedule of one attempt (times from its start, or from the peer's answer).
const (
	pacing      = 5 * time.Millisecond   // between candidates beyond our own subnets
	aloneSlack  = 300 * time.Millisecond // without a relay: for a session with one, or for the peer to begin by itself
	metSlack    = 2 * time.Millisecond   // for the peer to take a CONNECT and send
	attemptSpan = 4 * time.Second        // the last probe, and time for its answer
	openerTTL   = 5                      // leaves a home and its provider's NAT, and dies before the peer's
	maxObserved = 6                      // routes that are probed only because the peer was heard there
	answerGap   = 100 * time.Millisecond // answers closer together restart nothing
)

// backoff is when a candidate is probed.
var backoff = [...]time.Duration{
	0, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond,
	400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond, 3200 * time.Millisecond,
}

// calls is when a CONNECT is sent while the peer is not heard from.
var calls = [...]time.Duration{0, 200 * time.Millisecond, 800 * time.Millisecond, 2 * time.Second}

// retries is when the next attempt starts after a failed one, counted from the
// start of the failed one. The last applies from then on.
var retries = [...]time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute}

func retryAfter(failures int) time.Duration {
	return retries[min(failures, len(retries))-1]
}

// attempt is one try to find a direct path. It knows when which candidate is
// probed, and nothing of answers but that there were some.
type attempt struct {
	started  time.Time
	why      string
	initiate bool      // we began
	answered time.Time // the peer was heard; zero: not yet
	calling  bool      // CONNECTs are sent until it is
	called   int       // CONNECTs sent …
	callFrom time.Time // … since
	probes   []*probing
	end      time.Time

	met      time.Time // the peer was heard for the first time
	strategy strategy  // of the search, if there was one
	spent    int       // probes of the search
	opened   int       // sockets for it
	outcome  string    // how it ended; "": not, or well
}

// probing is one candidate's part of an attempt.
type probing struct {
	target
	slot   time.Duration // after the first of the attempt
	base   time.Time     // when full-TTL probing starts
	opened bool          // the opener was sent, or none is wanted
	openAt time.Time
	step   int // next index into backoff
	done   bool
	sent   int
	heard  bool
	again  time.Time     // until then hearing the peer once more restarts nothing …
	gap    time.Duration // … and how long that was
	rtt    time.Duration
}

func newAttempt(now time.Time, why string, initiate bool, list []target, patience time.Duration) *attempt {
	a := &attempt{started: now, why: why, initiate: initiate, calling: initiate, callFrom: now, end: now.Add(attemptSpan)}
	for _, t := range list {
		a.add(now, t, patience)
	}
	return a
}

// add puts a target into the schedule. Shy ones wait for the peer's answer, or
// for patience: the time until it must have heard of us.
func (a *attempt) add(now time.Time, t target, patience time.Duration) {
	p := &probing{target: t, slot: a.slot(t), opened: true}
	p.base = now.Add(p.slot)
	p.openAt = p.base
	if t.shy && a.initiate && a.answered.IsZero() {
		p.opened = false
		p.base = p.base.Add(patience)
	}
	a.probes = append(a.probes, p)
}

// slot spaces out what leaves our subnets. What stays in them costs the way out no
// time, and must take none: in a home that numbers its hosts as the peer's does, it
// is nobody's address.
func (a *attempt) slot(t target) time.Duration {
	if t.onLink {
		return 0
	}
	var slot time.Duration
	for _, p := range a.probes {
		if !p.onLink {
			slot += pacing
		}
	}
	return slot
}

// answer notes that the peer is probing too: its NAT is open for us now.
func (a *attempt) answer(now time.Time) {
	if !a.answered.IsZero() && now.Sub(a.answered) < answerGap {
		return
	}
	a.answered, a.calling = now, false
	a.end = now.Add(attemptSpan)
	for _, p := range a.probes {
		if !p.done {
			p.restart(now.Add(p.slot))
		}
	}
}

// hold has the shy targets that were only opened so far wait until then: a CONNECT
// is on its way only now.
func (a *attempt) hold(now time.Time, patience time.Duration) {
	for _, p := range a.probes {
		if p.shy && a.answered.IsZero() && p.step == 0 && !p.done {
			p.base = now.Add(patience + p.slot)
		}
	}
}

// restart begins the full-TTL probing at a time.
func (p *probing) restart(at time.Time) { p.opened, p.done, p.step, p.base = true, false, 0, at }

// observed counts the routes that are probed because the peer was heard there.
func (a *attempt) observed() int {
	n := 0
	for _, p := range a.probes {
		if p.kind == wire.Observed {
			n++
		}
	}
	return n
}

// hear restarts it at once, since the peer was heard from there: more and more seldom. Two
// NATs that give a port for each destination, and filter little, have each PING come from
// a new one: each would beget two.
func (p *probing) hear(now time.Time) {
	p.heard = true
	if now.Before(p.again) {
		return
	}
	p.gap = max(answerGap, 2*p.gap)
	p.again = now.Add(p.gap)
	p.restart(now)
}

// find returns the part that probes r; nil: none does.
func (a *attempt) find(r route) *probing {
	for _, p := range a.probes {
		if p.route == r {
			return p
		}
	}
	return nil
}

// due returns the probes whose time has come.
func (a *attempt) due(now time.Time) []sendProbe {
	var out []sendProbe
	for _, p := range a.probes {
		at, ok := p.next()
		if !ok || now.Before(at) {
			continue
		}
		if !p.opened {
			p.opened = true
			out = append(out, sendProbe{typ: wire.Open, to: p.route, ttl: openerTTL})
			continue
		}
		for p.step < len(backoff) && !now.Before(p.base.Add(backoff[p.step])) {
			p.step++ // a late timer skips, and doesn't burst
		}
		p.sent++
		out = append(out, sendProbe{typ: wire.Ping, to: p.route})
	}
	return out
}

func (p *probing) next() (time.Time, bool) {
	switch {
	case p.done:
	case !p.opened:
		return p.openAt, true
	case p.step < len(backoff):
		return p.base.Add(backoff[p.step]), true
	}
	return time.Time{}, false
}

// callAgain has CONNECTs sent anew: what the last one said, or the way it took,
// is outdated.
func (a *attempt) callAgain(now time.Time) { a.calling, a.called, a.callFrom = true, 0, now }

// call reports whether a CONNECT is due, and counts it.
func (a *attempt) call(now time.Time) bool {
	at, ok := a.nextCall()
	if !ok || now.Before(at) {
		return false
	}
	a.called++
	return true
}

func (a *attempt) nextCall() (time.Time, bool) {
	if !a.calling || a.called == len(calls) {
		return time.Time{}, false
	}
	return a.callFrom.Add(calls[a.called]), true
}

// deadline is when the attempt has something to do next.
func (a *attempt) deadline(relay bool) time.Time {
	d := a.end
	for _, p := range a.probes {
		if at, ok := p.next(); ok {
			d = earlier(d, at)
		}
	}
	if at, ok := a.nextCall(); ok && relay {
		d = earlier(d, at)
	}
	return d
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
