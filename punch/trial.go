package punch

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// Times of a trial.
const (
	// A peer that gets data answers it or, with nothing to say, sends WireGuard's
	// keepalive after each 10 s. One of them may be lost.
	silentPatience = 22 * time.Second
	// An initiation is answered at once. WireGuard sends one when it needs a session,
	// and when it has heard nothing for 15 s.
	askPatience = time.Second
	trialSpan   = 10 * time.Second
	// The peer says by PINGs that data is on its way. So many of them in a row, for so
	// long, with no data: a loss now and then is no reason.
	claimsLeast    = 4
	claimsPatience = 2 * time.Second
	trialShort     = 3 * time.Second  // if something did come straight
	trialLeast     = time.Second      // after the first packet by relay
	trialProof     = 5                // packets that came by relay, and none straight
	trialHint      = 2                // the same, once the trial is over
	trialGap       = time.Minute      // after one that proved nothing; doubled up to …
	trialGapMax    = 16 * time.Minute // … this
	muteFor        = 10 * time.Minute // a route that was found to drop data is left alone
)

// NoData is the verdict on a route over which probes pass and WireGuard's packets
// do not.
const NoData = "probes pass, but WireGuard's packets are dropped on the way"

// trial finds out whether WireGuard's packets come through where probes do: some
// networks know them by their shape. It begins when the peer says that data is
// coming and none does, when data has gone over a route for longer than WireGuard
// lets anyone stay silent, or when a handshake is not answered.
// Then both sides send both ways for a while. Whoever gets the peer's packets by
// relay, and not one of them straight, has the proof, and tells the peer.
//
//	rest ── data out, nothing in ──► unheard ── too long ──► trial ──► muted
//	  ▲                                 │                      │
//	  └────── any packet straight ──────┴──────────────────────┘
type trial struct {
	straight uint64    // packets of WireGuard's that came straight, at the last look
	unheard  time.Time // first data sent since the last of these; zero: none was
	asking   time.Time // a handshake waits for its answer since; zero: none does

	began   time.Time // both ways since; zero: no trial
	fresh   bool      // straight is from before it, as empty packets wake nobody
	byRelay uint64    // packets that came by relay since
	firstAt time.Time // and when the first did
	heard   bool      // something came straight: here all is well, but there?
	coarse  bool      // what comes straight may be missed when it is little
	next    time.Time // no trial before

	sent    bool      // data went out that the peer has not been told of
	claimed uint64    // straight, when the peer last told …
	claims  int       // … and how often it told since, with nothing coming …
	since   time.Time // … from then on

	failures int // trials in a row that proved nothing
}

// running reports whether data goes both ways for the sake of comparison.
func (t *trial) running() bool { return !t.began.IsZero() }

// waits reports whether a deadline is set, so that the counters must be looked at.
func (t *trial) waits() bool { return t.running() || !t.unheard.IsZero() }

// take notes what moved. It is told only while data goes over a route.
func (t *trial) take(now time.Time, ev traffic) {
	heard := ev.straight != t.straight && !t.fresh
	t.fresh = false
	t.straight, t.asking, t.coarse = ev.straight, ev.asking, ev.coarse
	t.sent = t.sent || ev.sent > 0
	switch {
	case heard && t.running():
		t.heard = true
	case heard && t.asking.IsZero(): // else it came before the handshake was sent
		t.unheard = time.Time{}
	case ev.sent > 0 && t.unheard.IsZero():
		t.unheard = now
	}
	if t.running() && ev.relayed > 0 {
		if t.byRelay == 0 {
			t.firstAt = now
		}
		t.byRelay += ev.relayed
	}
}

// tell reports whether a PING is to tell of data, which it is once.
func (t *trial) tell() bool {
	sent := t.sent
	t.sent = false
	return sent
}

// claim takes what a PING tells of data, and reports whether that should have come
// by now.
func (t *trial) claim(now time.Time) bool {
	switch {
	case t.straight != t.claimed:
		t.claimed, t.claims = t.straight, 0
		return false
	case t.claims == 0:
		t.since = now
	}
	t.claims++
	return t.claims >= claimsLeast && now.Sub(t.since) >= claimsPatience
}

// begin starts a trial.
func (t *trial) begin(now time.Time) { t.began, t.fresh, t.byRelay, t.heard = now, true, 0, false }

// endAt is when a trial that proves nothing is over.
func (t *trial) endAt() time.Time {
	if t.heard {
		return t.began.Add(trialShort)
	}
	return t.began.Add(trialSpan)
}

func (t *trial) end(now time.Time) {
	t.failures++
	if t.heard {
		t.failures = 1
	}
	t.next = now.Add(min(trialGap<<min(t.failures-1, 10), trialGapMax))
	t.began, t.unheard, t.claims = time.Time{}, time.Time{}, 0
}

// dueAt is when silence becomes a reason for a trial; zero: not.
func (t *trial) dueAt(rtt time.Duration) time.Time {
	if t.running() || t.unheard.IsZero() {
		return time.Time{}
	}
	at := t.unheard.Add(silentPatience + 4*rtt)
	if !t.asking.IsZero() {
		at = earlier(at, later(t.asking, t.unheard).Add(max(askPatience, 4*rtt)))
	}
	return later(at, t.next)
}

// proven reports whether the trial shows that nothing comes straight. The kernel's
// WireGuard shows who came last when it is asked, and that may be the copy by relay:
// some few packets prove nothing then.
func (t *trial) proven(now time.Time) bool {
	if !t.running() || t.heard || t.byRelay == 0 {
		return false
	}
	return t.byRelay >= trialProof && now.Sub(t.firstAt) >= trialLeast ||
		t.byRelay >= trialHint && !t.coarse && !now.Before(t.endAt())
}

func (t *trial) deadline(rtt time.Duration) time.Time {
	if !t.running() {
		return t.dueAt(rtt)
	}
	d := t.endAt()
	if t.byRelay >= trialProof && !t.heard {
		d = earlier(d, t.firstAt.Add(trialLeast))
	}
	return d
}

// runTrial does what is due of a trial. Without a relay there is nothing to compare
// with.
func (p *path) runTrial(now time.Time) {
	t := &p.trial
	switch due := t.dueAt(p.trialRTT()); {
	case p.cur == nil || p.relay.via == ViaNone:
		t.began, t.unheard = time.Time{}, time.Time{}
	case t.proven(now):
		p.tellTrial(wire.FlagMute)
		p.mute(now)
	case t.running() && !now.Before(t.endAt()):
		t.end(now)
	case p.healthy() && !due.IsZero() && !now.Before(due):
		p.beginTrial(now)
	}
}

func (p *path) beginTrial(now time.Time) {
	p.tellTrial(wire.FlagTrial)
	p.trial.begin(now)
}

// takeClaim hears that data is coming over the route in use.
func (p *path) takeClaim(now time.Time) {
	t := &p.trial
	if t.claim(now) && p.healthy() && p.relay.via != ViaNone && !t.running() && !now.Before(t.next) {
		p.beginTrial(now)
	}
}

func (p *path) trialRTT() time.Duration {
	if p.cur == nil {
		return 0
	}
	return p.cur.rtt.estimate()
}

func (p *path) tellTrial(flag uint8) {
	p.out = append(p.out, sendProbe{typ: wire.Ping, flags: wire.FlagRelayed | flag, txid: p.txid()})
}

// takeTrial hears that the peer gets nothing straight, for want of data or because
// it is dropped.
func (p *path) takeTrial(now time.Time, flags uint8) {
	switch {
	case p.cur == nil || !p.confirmed:
	case flags&wire.FlagMute != 0 && p.trial.running():
		p.mute(now)
	case flags&wire.FlagTrial != 0 && !p.trial.running():
		p.trial.begin(now)
	}
}

// mute gives up the route in use, for data does not pass it.
func (p *path) mute(now time.Time) {
	if p.muted == nil {
		p.muted = make(map[netip.AddrPort]time.Time)
	}
	for a, until := range p.muted {
		if !now.Before(until) {
			delete(p.muted, a)
		}
	}
	l := p.cur
	p.muted[l.addr] = now.Add(muteFor)
	if p.try == nil {
		p.try = newAttempt(now, "no data came over the direct path", false, nil, 0)
	}
	p.cur, p.confirmed, p.watch = nil, false, nil
	p.since, p.reason = now, NoData
	p.trial = trial{straight: p.trial.straight}
	if p.try.find(l.route) == nil {
		p.try.add(now, target{route: l.route, kind: wire.Observed}, 0)
	}
	part := p.try.find(l.route)
	part.heard, part.rtt, part.done = true, l.rtt.smooth, true
	p.record(now, NoData)
	p.failures, p.retryAt = len(retries), now.Add(muteFor)
}

// isMuted reports whether data was found not to pass an address of the peer.
func (p *path) isMuted(now time.Time, a netip.AddrPort) bool {
	until, ok := p.muted[a]
	return ok && now.Before(until)
}
