package punch

import (
	"fmt"
	"slices"
	"time"

	"meshd/punch/wire"
)

// begin starts an attempt, in place of a running one.
func (p *path) begin(now time.Time, why string, initiate bool) {
	p.startAt, p.retryAt, p.seekAt = time.Time{}, time.Time{}, time.Time{}
	if p.search != nil {
		p.endSearch(now, "started over")
	}
	if p.try != nil {
		p.record(now, "started over: "+why)
	}
	p.try = newAttempt(now, why, initiate, p.list(now), p.patience())
	if p.reason == untried {
		p.reason = "punching"
	}
}

// untried is the reason of a path before its first attempt.
const untried = "not tried yet"

// list is what an attempt probes: the peer's candidates, the freshest first,
// and where it was heard lately.
func (p *path) list(now time.Time) []target {
	list := targets(&p.self, union(p.called, p.peer.candidates), p.peer.nat.Filtering)
	for _, r := range p.heardFrom(now) {
		if !slices.ContainsFunc(list, func(t target) bool { return t.route == r }) {
			list = append(list, target{route: r, kind: wire.Observed})
		}
	}
	list = slices.DeleteFunc(list, func(t target) bool { return p.isMuted(now, t.addr) })
	return list[:min(len(list), maxTargets)]
}

// patience is how long a probe waits that must not come before the peer's own has
// left its NAT. With our way to the relay a, the peer's b and the straight way d, the
// CONNECT takes a+b. A probe that leaves after 2a comes after 2a+d, which is later,
// for the way to the relay is no longer than that over us: b ≤ a+d.
func (p *path) patience() time.Duration {
	if p.relay.via == ViaNone {
		return aloneSlack
	}
	return p.relay.rtt + metSlack
}

// extend adds to the running attempt what has become known since.
func (p *path) extend(now time.Time) {
	for _, t := range p.list(now) {
		if p.try.find(t.route) == nil && len(p.try.probes) < 2*maxTargets {
			p.try.add(now, t, p.patience())
			p.try.end = now.Add(attemptSpan)
		}
	}
}

func (p *path) runAttempt(now time.Time) {
	if p.try == nil {
		return
	}
	p.bound()
	if p.healthy() && !p.astray() {
		p.try.calling = false
	}
	if p.relay.via != ViaNone && p.try.call(now) {
		p.out = append(p.out, sendProbe{typ: wire.Connect})
	}
	for _, s := range p.try.due(now) {
		if s.typ == wire.Ping {
			p.ping(now, s.to)
		} else {
			p.out = append(p.out, s)
		}
	}
	if !now.Before(p.try.end) {
		p.finish(now)
	}
}

// bound sets the end of an attempt: not before a search that is due or runs, and
// soon where hardly anything can be hoped for.
func (p *path) bound() {
	if p.hopeless() {
		p.try.end = earlier(p.try.end, p.try.started.Add(hopelessSpan))
	}
	end := p.seekAt
	if p.search != nil {
		end = p.search.end
	}
	if p.try.end.Before(end) {
		p.try.end = end
	}
}

// finish closes the attempt and says when the next one is due.
func (p *path) finish(now time.Time) {
	started := p.try.started
	p.quiet, p.seekAt = !p.needed(now), time.Time{}
	if p.cur != nil && p.confirmed {
		p.record(now, "direct by "+p.cur.addr.String())
		return
	}
	verdict := p.try.verdict()
	p.record(now, verdict)
	p.reason = verdict
	for a := range p.muted {
		if p.isMuted(now, a) {
			p.reason = NoData // that there was little left to try is no news
		}
	}
	p.failures++
	if p.planned().strategy <= fresh && !p.hopeless() && p.peer.online {
		p.out = append(p.out, lookAround{})
	}
	if p.hopeless() {
		p.failures = max(p.failures, len(retries))
	}
	p.retryAt = started.Add(retryAfter(p.failures))
	if !p.retryAt.After(now) {
		p.retryAt = now.Add(retryAfter(p.failures))
	}
}

// hopeless reports whether both NATs map by destination and one of them at
// random, so that neither side can be told where to send. A port that a gateway
// mapped, here or there, is behind neither.
func (p *path) hopeless() bool {
	if hasMapped(p.self.candidates) || hasMapped(p.called) || hasMapped(p.peer.candidates) {
		return false
	}
	return dependent(p.self.nat.Mapping) && dependent(p.peer.nat.Mapping) && p.planned().strategy == plain && !p.unclear()
}

func hasMapped(cs []wire.Candidate) bool {
	return slices.ContainsFunc(cs, func(c wire.Candidate) bool { return c.Kind == wire.Mapped })
}

func dependent(b wire.Behaviour) bool {
	return b == wire.AddressDependent || b == wire.AddressPortDependent
}

// verdict says in words how an attempt without success ended.
func (a *attempt) verdict() string {
	n := 0
	for _, p := range a.probes {
		if p.heard {
			n++
		}
	}
	switch {
	case a.outcome != "":
		return a.outcome
	case len(a.probes) == 0:
		return "no address of the peer is known"
	case n > 0:
		return fmt.Sprintf("heard from %d of %d addresses, none answered", n, len(a.probes))
	case a.answered.IsZero():
		return fmt.Sprintf("no reply from %s, peer did not call back", addresses(len(a.probes)))
	}
	return "no reply from " + addresses(len(a.probes))
}

// record closes the running attempt with a verdict and keeps it.
func (p *path) record(now time.Time, verdict string) {
	a := p.try.report(now, verdict)
	p.try = nil
	p.tried = append(p.tried, a)
	if len(p.tried) > maxAttempts {
		p.tried = slices.Delete(p.tried, 0, len(p.tried)-maxAttempts)
	}
}

// report is the attempt as status tells it.
func (a *attempt) report(now time.Time, verdict string) Attempt {
	r := Attempt{
		At: a.started, Took: now.Sub(a.started), Why: a.why, Verdict: verdict,
		Strategy: a.strategy.String(), Spent: a.spent, Sockets: a.opened,
	}
	for _, p := range a.probes {
		r.Tried = append(r.Tried, Tried{Addr: p.addr, Kind: p.kind, Probes: p.sent, Heard: p.heard, RTT: p.rtt})
	}
	return r
}

func addresses(n int) string {
	if n == 1 {
		return "1 address"
	}
	return fmt.Sprintf("%d addresses", n)
}
