package punch

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// What a path is told besides probes: of the peer, of this host and its relay, and
// of traffic.

func (p *path) takePeer(now time.Time, ev peerChanged) {
	old := p.peer
	p.peer = ev
	if now.Sub(p.callAt) > freshCalled && !sameCandidates(old.candidates, ev.candidates) {
		p.called = nil
	}
	changed := !sameCandidates(old.candidates, ev.candidates) && len(ev.candidates) > 0
	arrived := ev.online && !old.online && p.warm
	if p.cur != nil && lists(old.candidates, p.cur.addr) && !lists(ev.candidates, p.cur.addr) {
		p.doubt(now)
	}
	if changed {
		p.failures = 0
	}
	switch {
	case !changed && !arrived || !p.startAt.IsZero() || !p.wantsPath(now) || p.healthy():
	case p.try != nil:
		p.extend(now)
		if p.try.initiate && p.try.answered.IsZero() {
			p.try.callAgain(now) // only now can the peer be called, maybe
		}
	case arrived:
		p.begin(now, "peer came online", true)
	default:
		p.begin(now, "peer's addresses changed", true)
	}
}

func lists(cs []wire.Candidate, a netip.AddrPort) bool {
	for _, c := range cs {
		if c.Addr == a {
			return true
		}
	}
	return false
}

func (p *path) takeSelf(now time.Time, ev selfChanged) {
	changed := !sameCandidates(p.self.candidates, ev.candidates)
	p.self = ev
	if changed {
		p.failures = 0
	}
	for _, l := range p.legs {
		l.tier = tierOf(l.addr.Addr(), ev.nets)
	}
	switch {
	case !changed || !p.startAt.IsZero() || !p.wantsPath(now) || p.healthy():
	case p.try != nil:
		p.extend(now)
		p.try.callAgain(now)
	default:
		p.begin(now, "own addresses changed", true)
	}
}

func (p *path) takeWarmed(now time.Time, ev warmed) {
	if ev.on && !p.warm && p.cur == nil && p.try == nil {
		p.turn = now.Add(ev.turn)
		p.startAt = p.turn.Add(p.yield())
	}
	p.warm = ev.on
	if !ev.on {
		p.startAt = time.Time{}
	}
}

// yield is how long to leave the first step to the other side. Once we have a
// relay session, it is the peer who is new, and knows better than we do when it
// can be called: as soon as it has a session of its own (see takeRelay). Of two
// that have none the one with the lower key begins, on what is known without.
func (p *path) yield() time.Duration {
	switch {
	case p.lower && p.relay.via == ViaNone:
		return 0
	case p.lower || p.relay.via == ViaNone:
		return yieldFirst
	}
	return yieldFor
}

func (p *path) takeRelay(now time.Time, ev relayChanged) {
	joined := p.relay.via == ViaNone && ev.via != ViaNone
	p.relay = ev
	if ev.via == ViaNone {
		return
	}
	switch {
	case p.try != nil && p.try.answered.IsZero():
		p.try.callAgain(now) // the CONNECTs so far may have gone nowhere
		p.try.hold(now, p.patience())
	case joined && !p.startAt.IsZero():
		p.startAt = later(p.turn, now)
	case p.try == nil && p.cur == nil && !p.retryAt.IsZero():
		p.retryAt = earlier(p.retryAt, now.Add(p.jitter(time.Second)))
	}
}

func (p *path) takeTraffic(now time.Time, ev traffic) {
	if ev.sent > 0 {
		p.lastData = now
	}
	if ev.relayed > 0 || ev.sent > 0 && p.cur == nil {
		p.lastRelayed = now
	}
	if p.cur != nil {
		p.trial.take(now, ev)
	}
	switch {
	case p.cur == nil && ev.sent > 0:
		p.wanted(now, "traffic")
	case p.cur != nil && p.asleep && ev.sent > 0:
		p.asleep = false
		p.doubt(now)
	case p.cur != nil:
		p.watch.flow(now, ev.sent > 0, ev.received > 0)
	}
}

// takeLink distrusts everything. What follows of it (new addresses, a new
// relay session) comes as events of its own.
func (p *path) takeLink(now time.Time) {
	p.rest = rest{}
	p.doubt(now)
	switch {
	case p.busy(now, activeFor):
		p.begin(now, "own network changed", true)
	case p.warm && p.cur == nil:
		p.startAt = now.Add(yieldFor + p.jitter(time.Second))
	}
}
