package punch

import (
	"fmt"
	"time"

	"meshd/punch/wire"
)

// takeProbe reacts to an authentic, fresh probe.
func (p *path) takeProbe(now time.Time, m *wire.Message, from route) {
	if from.isZero() {
		p.takeRelayed(now, m)
		return
	}
	l := p.legs.get(from, tierOf(from.addr.Addr(), p.self.nets), p.cur)
	l.heard = now
	p.hearSearch(now, m, from)
	if l == p.cur {
		p.wake(now)
		p.watch.sign(now)
	}
	switch m.Type {
	case wire.Ping:
		p.out = append(p.out, sendProbe{typ: wire.Pong, to: from, echo: m, seen: from.addr})
		if l == p.cur {
			p.watch.exchanged(now)
			if m.Flags&wire.FlagData != 0 {
				p.takeClaim(now)
			}
		}
		p.check(now, l)
	case wire.Open:
		p.check(now, l)
	case wire.Pong:
		p.takePong(now, m, l)
	}
}

// wake ends the sleep of an idle path: the peer uses it.
func (p *path) wake(now time.Time) {
	if p.asleep {
		p.asleep = false
		p.watch.exchanged(now)
	}
}

// takeRelayed reacts to a probe that came by relay.
func (p *path) takeRelayed(now time.Time, m *wire.Message) {
	switch m.Type {
	case wire.Ping:
		p.out = append(p.out, sendProbe{typ: wire.Pong, flags: wire.FlagRelayed, echo: m})
		switch {
		case m.Flags&(wire.FlagTrial|wire.FlagMute) != 0:
			p.takeTrial(now, m.Flags)
		case m.Flags&wire.FlagSize == 0:
			p.doubt(now) // who asks by relay is not sure of a direct path
		}
	case wire.Connect:
		if m.Flags&(wire.FlagSeek|wire.FlagReady) != 0 {
			p.takeSearch(now, m)
		} else {
			p.takeConnect(now, m)
		}
	}
}

// takeConnect meets the peer: its NAT is open for us now, or about to be.
func (p *path) takeConnect(now time.Time, m *wire.Message) {
	p.called, p.callAt, p.peer.nat = m.Candidates, now, m.NAT
	if m.Flags&wire.FlagReply == 0 {
		p.out = append(p.out, sendProbe{typ: wire.Connect, flags: wire.FlagReply})
		if p.healthy() && p.cur.answeredSince(m) {
			return // it was called for before we met
		}
		p.doubt(now) // whoever calls lacks a direct path, or is about to lose it
	}
	if p.try == nil {
		p.begin(now, "peer called", false)
	} else {
		p.extend(now)
	}
	if p.try != nil {
		p.met(now)
	}
}

// check is the triggered check (RFC 8445 §7.3.1.4): a route we are heard on is
// probed at once, and may carry data before the answer is here.
func (p *path) check(now time.Time, l *leg) {
	if p.isMuted(now, l.addr) {
		return
	}
	if p.healthy() {
		if l != p.cur && (l.proven.IsZero() || now.Sub(l.proven) > provenFor) {
			p.ping(now, l.route)
		}
		return
	}
	if p.cur == nil || !p.confirmed && l.tier < p.cur.tier {
		p.adopt(now, l, false)
	}
	if p.try == nil {
		p.try = newAttempt(now, "peer probed", false, nil, 0)
	}
	if p.try.answered.IsZero() {
		p.met(now)
	}
	part := p.try.find(l.route)
	if part == nil && p.try.observed() < maxObserved {
		p.try.add(now, target{route: l.route, kind: wire.Observed}, 0)
		part = p.try.find(l.route)
	}
	if part != nil {
		part.hear(now)
	}
}

// takePong takes the answer to a PING of ours. From another address than asked
// it proves nothing of either, but shows where the peer's packets come from.
func (p *path) takePong(now time.Time, m *wire.Message, l *leg) {
	asked, ok := p.pings[m.TxID]
	if !ok {
		return
	}
	delete(p.pings, m.TxID)
	if asked.to != l.route {
		p.check(now, l)
		return
	}
	l.rtt.sample(now.Sub(asked.at))
	l.proven, l.pong = now, stamp{m.Boot, m.Seq}
	if p.try != nil {
		part := p.try.find(l.route)
		if part == nil && p.search != nil { // one of the search's own probes hit
			p.try.add(now, target{route: l.route, kind: wire.Observed}, 0)
			part = p.try.find(l.route)
			part.sent = 1
			p.search.spent--
		}
		if part != nil {
			part.heard, part.rtt, part.done = true, l.rtt.smooth, true
		}
	}
	if !p.isMuted(now, l.addr) {
		p.prove(now, l)
	}
}

// prove notes that l carries both ways, and uses it if it is the best.
func (p *path) prove(now time.Time, l *leg) {
	switch {
	case l == p.cur && p.confirmed:
		p.wake(now)
		p.watch.proof(now)
		p.settle()
	case p.healthy() && !l.beats(p.cur) && !p.home(l):
		return
	default:
		p.adopt(now, l, true)
		p.settle()
	}
}

// settle ends the probing of what could not beat the route in use.
func (p *path) settle() {
	p.failures, p.retryAt = 0, time.Time{}
	if p.try == nil {
		return
	}
	for _, part := range p.try.probes {
		if tierOf(part.addr.Addr(), p.self.nets) >= p.cur.tier {
			part.done = true
		}
	}
}

// adopt makes l the route in use.
func (p *path) adopt(now time.Time, l *leg, confirmed bool) {
	l.better = 0
	if p.cur != nil && p.cur.socket != l.socket {
		p.left = p.cur.socket
	}
	if confirmed && !(p.cur == l && p.confirmed) {
		p.since, p.reason = now, "pong"
	}
	if p.cur != nil && p.cur != l && p.watch.rested(now) {
		p.rest.round(false)
	}
	p.dear = l.socket.extra() || p.hunted() || p.dear && p.cur == l
	p.cur, p.confirmed, p.asleep = l, confirmed, false
	p.watch = newWatch(now, &l.rtt, p.rand.Float64())
	p.watch.rest = &p.rest
	if p.dear {
		p.watch.idle = extraBeat
	}
	if !confirmed {
		p.watch.doubt(now)
	}
}

// hunted reports whether a search runs from behind our NAT. What it finds is dear,
// also by luck on a usual socket: the port is one of many that the NAT could have
// taken for it.
func (p *path) hunted() bool {
	return p.search != nil && p.search.strategy != fresh && len(p.sockets) > 0
}

// doubt makes the route in use suspect.
func (p *path) doubt(now time.Time) {
	if p.cur != nil {
		p.asleep = false
		p.watch.doubt(now)
	}
}

// alarm follows from a silence that we noticed ourselves: the peer is told by
// relay, so that it sends both ways too, and our way to the relay is renewed.
func (p *path) alarm() {
	p.out = append(p.out, kickRelay{}, sendProbe{typ: wire.Ping, flags: wire.FlagRelayed, txid: p.txid()})
}

func (p *path) txid() uint64 { return p.rand.Uint64() &^ pingerBit }

// lose gives the route in use up, and looks for another at once.
func (p *path) lose(now time.Time) {
	wasDirect, silent := p.confirmed, now.Sub(p.watch.heard)
	if p.watch.rested(now) {
		p.rest.round(false)
	}
	p.last = p.cur.route
	p.cur, p.confirmed, p.watch = nil, false, nil
	if !wasDirect {
		return // the attempt that brought it goes on
	}
	p.since, p.reason = now, fmt.Sprintf("direct path silent for %v", silent.Round(100*time.Millisecond))
	p.failures = 0
	p.begin(now, "direct path lost", true)
}

// ping sends a PING and remembers it.
func (p *path) ping(now time.Time, to route) {
	for id, q := range p.pings {
		if now.Sub(q.at) > pingMemory {
			delete(p.pings, id)
		}
	}
	id := p.txid()
	p.pings[id] = pinged{to, now}
	ping := sendProbe{typ: wire.Ping, to: to, txid: id}
	if p.cur != nil && to == p.cur.route && p.trial.tell() {
		ping.flags = wire.FlagData
	}
	p.out = append(p.out, ping)
}

// heardFrom lists the routes the peer was heard on lately.
func (p *path) heardFrom(now time.Time) []route {
	var list []route
	for r, l := range p.legs {
		if now.Sub(l.heard) < provenFor {
			list = append(list, r)
		}
	}
	return list
}
