package punch

import (
	"fmt"
	"time"

	"meshd/punch/wire"
)

// When an attempt turns to a search, counted from the peer's first answer.
const (
	predictAfter  = 100 * time.Millisecond // and two round trips by relay: enough for a plain path to show
	birthdayAfter = 400 * time.Millisecond // at least, where it costs more
	freshAfter    = time.Second            // … for mostly a plain path shows yet
	clearSpan     = 5 * time.Second        // for both ends to find out about their NATs …
	clearGap      = 100 * time.Millisecond // … looked at so often
	turnGap       = time.Second            // between claims of the host's turn
	turnSpan      = 15 * time.Second       // for another search of the peer's to end, before which it doesn't answer
	extraBeat     = 15 * time.Second       // heartbeat of a path that would be hard to find again
	hopelessSpan  = 3 * time.Second        // of an attempt that can hardly succeed
)

// planned is our part in crossing this pair.
func (p *path) planned() plan {
	peer := p.peer.nat
	if p.wide {
		peer.Low, peer.High = 0, 0
	}
	return planFor(p.self.nat, peer, p.lower)
}

// unclear reports whether it is not yet known how one of the NATs maps, or how one
// that maps by destination picks ports.
func (p *path) unclear() bool {
	return difficultyOf(p.self.nat) == unclear || difficultyOf(p.peer.nat) == unclear
}

func (p *path) nats() nats {
	return nats{publicAddr(p.self.candidates).Addr(), publicAddr(union(p.called, p.peer.candidates)).Addr()}
}

// maySeek reports whether a search may begin now. Behind one and the same NAT
// there is nothing to search for.
func (p *path) maySeek(now time.Time) bool {
	pl, n := p.planned(), p.nats()
	switch {
	case !pl.seeks || !n.its.IsValid() || n.mine == n.its || p.relay.via == ViaNone:
		return false
	case pl.strategy == birthday:
		return p.rate > 0 && p.needed(now) && !now.Before(p.budget.next(n))
	}
	return true
}

// takeRate makes good for a search that was not allowed so far, if it is now.
func (p *path) takeRate(now time.Time, rate int) {
	p.rate = rate
	switch {
	case p.cur != nil || p.search != nil:
	case p.try != nil && !p.try.met.IsZero():
		p.seekAt = now
	case p.try == nil && !p.retryAt.IsZero():
		p.retryAt = now
	}
}

// needed reports whether somebody would notice a direct path.
func (p *path) needed(now time.Time) bool {
	within := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < relayedFor }
	return within(p.lastRelayed) || within(p.asked)
}

// met notes in the running attempt that the peer takes part.
func (p *path) met(now time.Time) {
	if p.try.met.IsZero() {
		p.try.met = now
		after := predictAfter + 2*p.relay.rtt
		pl := p.planned()
		switch {
		case pl.strategy == birthday && !pl.small():
			after = max(after, birthdayAfter)
		case pl.strategy == fresh:
			after = max(after, freshAfter)
		}
		if pl.seeks || p.unclear() {
			p.seekAt = now.Add(after)
		}
	}
	p.try.answer(now)
}

// runSearch does what is due of a search.
func (p *path) runSearch(now time.Time) {
	if !p.seekAt.IsZero() && !now.Before(p.seekAt) {
		p.seekAt = time.Time{}
		switch {
		case p.cur != nil || p.search != nil || p.try == nil:
		case p.maySeek(now):
			p.claim(now, &search{plan: p.planned(), id: p.txid()})
		case p.unclear() && now.Sub(p.try.met) < clearSpan:
			p.seekAt = now.Add(clearGap)
		}
	}
	s := p.search
	if s == nil {
		return
	}
	s.paused = s.seeks && p.cur != nil
	p.askGauges(now)
	if p.search != s {
		return
	}
	if at := s.nextCall(); !at.IsZero() && !now.Before(at) {
		s.called++
		p.out = append(p.out, sendProbe{typ: wire.Connect, flags: wire.FlagReply | wire.FlagSeek, txid: s.id, samples: s.said})
	}
	p.shoot(now)
	switch {
	case p.cur != nil && p.confirmed && s.begun():
		p.endSearch(now, "")
	case !now.Before(s.end) && s.waits() && now.Sub(p.try.met) < turnSpan:
		p.search = nil
		p.out = append(p.out, release{})
		p.seekAt = now.Add(turnGap + p.jitter(turnGap/4))
	case !now.Before(s.end):
		p.endSearch(now, s.failure())
	}
}

// shoot sends the probes that are due.
func (p *path) shoot(now time.Time) {
	for _, a := range p.search.due(now) {
		if a.typ == wire.Ping {
			p.ping(now, a.to)
		} else {
			p.out = append(p.out, a)
		}
	}
}

// claim begins a search: at once, or if a birthday search, when this host has no
// other one.
func (p *path) claim(now time.Time, s *search) {
	if p.try == nil {
		p.try = newAttempt(now, "peer seeks", false, nil, 0)
	}
	s.end, s.selfNAT, s.peerNAT = now.Add(seekSpan), p.self.nat, p.peer.nat
	p.search = s
	if s.strategy == birthday {
		p.out = append(p.out, claim{})
		return
	}
	p.beginSearch(now)
}

// takeGranted takes the answer to a claim. A seeker waits for another turn; a
// holder's peer will ask again.
func (p *path) takeGranted(now time.Time, ok bool) {
	s := p.search
	switch {
	case s == nil || s.strategy != birthday:
	case ok:
		p.beginSearch(now)
	default:
		p.search = nil
		if s.seeks {
			p.seekAt = now.Add(turnGap + p.jitter(turnGap/4))
		}
	}
}

func (p *path) beginSearch(now time.Time) {
	s := p.search
	p.try.strategy = s.strategy
	switch sequential := s.selfNAT.Allocation == wire.Sequential; {
	case s.strategy == fresh:
		p.out = append(p.out, openSockets{n: s.plan.sockets})
	case s.seeks && s.strategy != predictBoth:
		s.call(now)
	case s.seeks && sequential:
		p.out = append(p.out, openSockets{n: 1})
	case sequential:
		p.out = append(p.out, openSockets{n: s.plan.sockets + 2})
	default:
		p.out = append(p.out, openSockets{n: s.plan.sockets, uncommon: s.selfNAT.Allocation == wire.Preserving})
	}
}

// endSearch ends the running search; why is "" when it succeeded.
func (p *path) endSearch(now time.Time, why string) {
	s := p.search
	p.search = nil
	p.try.spent += s.spent
	p.try.opened += len(s.sockets) + len(s.gauges)
	switch {
	case why == "":
		p.try.outcome, p.try.end = "", now.Add(attemptSpan)
	case s.strategy == fresh: // the plain probes go on, and judge
		p.try.strategy = plain
	default:
		p.try.outcome, p.try.end = why, now
	}
	if s.strategy != birthday {
		return
	}
	p.out = append(p.out, release{})
	switch {
	case why == "":
		p.budget.succeed()
		p.wide = false
	case s.spent > 0 && s.seeks:
		p.wide = !p.wide // the block may have been a wrong guess
	}
}

// failure says in words how a search without success ended.
func (s *search) failure() string {
	switch {
	case s.winner != 0:
		return "a socket was found, but did not carry"
	case !s.begun():
		return fmt.Sprintf("%s search: peer did not take part", s.strategy)
	case s.seeks && s.strategy == birthday:
		return fmt.Sprintf("birthday search: none of %d ports answered", s.spent)
	case s.seeks:
		return fmt.Sprintf("predicted ports: none of %d answered", len(s.lines))
	}
	return fmt.Sprintf("%s search: peer did not find any of %d sockets", s.strategy, len(s.sockets))
}
