package punch

import (
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// The two ends of a search meet in steps: SEEK of the one that will probe, sockets
// opened by the other, READY with their ports if those can be told, and probes.
// Behind a sequential NAT gauges, sockets of which the relay tells the port, show
// where it stands.

// takeSearch takes a CONNECT that is a step of a search.
func (p *path) takeSearch(now time.Time, m *wire.Message) {
	p.called, p.callAt, p.peer.nat = m.Candidates, now, m.NAT
	switch s := p.search; {
	case m.Flags&wire.FlagReady != 0:
		if s != nil && s.seeks && s.id == m.TxID && s.calling {
			p.takeReady(now, m)
		}
	case s != nil && !s.seeks && s.id == m.TxID:
		if s.ready {
			p.sendReady() // the last one was lost
		}
	default:
		p.takeSeek(now, m)
	}
}

// takeSeek opens sockets for a peer that will look for them.
func (p *path) takeSeek(now time.Time, m *wire.Message) {
	pl, to := p.planned(), publicAddr(m.Candidates)
	switch {
	case pl.strategy == plain || pl.seeks || !to.IsValid() || p.healthy():
		return
	case pl.strategy == birthday && (p.rate < 0 || now.Add(holderSlack).Before(p.budget.next(p.nats()))):
		return
	}
	if p.search != nil {
		p.endSearch(now, "started over")
	}
	s := &search{plan: pl, id: m.TxID, aims: []netip.AddrPort{to}}
	switch pl.strategy {
	case predictBoth:
		s.aims = aimsAt(to.Addr(), predicted(m.NAT, m.Samples))
	case fresh:
		s.aims = aimsAt(to.Addr(), m.Samples)
	}
	p.claim(now, s)
}

func aimsAt(host netip.Addr, ports []uint16) []netip.AddrPort {
	aims := make([]netip.AddrPort, len(ports))
	for i, port := range ports {
		aims[i] = netip.AddrPortFrom(host, port)
	}
	return aims
}

// takeReady looks for the sockets that the peer has opened.
func (p *path) takeReady(now time.Time, m *wire.Message) {
	s, host := p.search, publicAddr(m.Candidates).Addr()
	pl := p.planned() // with what the peer knows of its NAT by now
	if pl.strategy != s.strategy || !host.IsValid() {
		p.endSearch(now, "the peer's network changed")
		return
	}
	s.peerNAT = m.NAT
	switch s.strategy {
	case birthday:
		if p.rate < 0 { // since SEEK was sent
			p.endSearch(now, "the owner wants no search")
			return
		}
		p.budget.spend(now, p.nats())
		s.plan = pl
		s.aims = aimsAt(host, pl.draw(p.rand, pl.probesAt(p.rate)))
		s.linesFrom(socket4)
		s.probe(now, p.rate)
	case fresh:
		s.aims = aimsAt(host, m.Samples)
		s.pairLines()
		s.probe(now, p.rate)
	case predict:
		s.aims = aimsAt(host, predicted(m.NAT, m.Samples))
		s.linesFrom(socket4)
		s.probe(now, p.rate)
	case predictBoth:
		s.calling = false
		s.aims = aimsAt(host, predicted(m.NAT, m.Samples))
		if len(s.sockets) == 0 {
			p.out = append(p.out, openSockets{n: s.plan.sockets})
			return
		}
		s.pairLines()
		s.probe(now, p.rate)
	}
}

// takeOpened takes the sockets that were asked for.
func (p *path) takeOpened(now time.Time, ev opened) {
	p.sockets = append(p.sockets, ev.sockets...)
	s := p.search
	sequential := s != nil && s.selfNAT.Allocation == wire.Sequential
	switch {
	case s == nil: // they are closed at the end of the step
	case len(ev.sockets) == 0 || sequential && !s.seeks && len(ev.sockets) < 3:
		p.endSearch(now, "no socket to be had")
	case s.strategy == fresh:
		s.sockets = ev.sockets
		s.gaugeWith(now, ev.sockets)
		if !s.seeks {
			s.open(now)
		}
	case !s.seeks:
		p.hold(now, ev)
	case len(s.aims) > 0:
		s.sockets = ev.sockets
		s.pairLines()
		s.probe(now, p.rate)
	case sequential:
		s.gaugeWith(now, ev.sockets)
	default:
		s.sockets, s.said = ev.sockets, ev.ports
		s.call(now)
	}
}

// hold opens our NAT towards the seeker. Behind a sequential one, the first and
// the last socket see which ports come before and after, in the same moment.
func (p *path) hold(now time.Time, ev opened) {
	s, n := p.search, len(ev.sockets)
	if s.strategy == birthday {
		p.budget.spend(now, p.nats())
	}
	if s.selfNAT.Allocation != wire.Sequential {
		s.sockets = ev.sockets
		if s.selfNAT.Allocation == wire.Preserving {
			s.said = ev.ports
		}
		s.open(now)
		p.shoot(now)
		p.sendReady()
		return
	}
	s.sockets = ev.sockets[1 : n-1]
	s.gaugeWith(now, []socketID{ev.sockets[0], ev.sockets[n-1]})
	s.asked = 1
	s.open(now)
	p.out = append(p.out, gauge{s.gauges[0]})
	p.shoot(now)
	p.out = append(p.out, gauge{s.gauges[1]})
}

func (p *path) sendReady() {
	s := p.search
	s.ready = true
	p.out = append(p.out, sendProbe{typ: wire.Connect, flags: wire.FlagReply | wire.FlagReady, txid: s.id, samples: s.said})
}

// askGauges asks again, or goes on with what is known.
func (p *path) askGauges(now time.Time) {
	s := p.search
	if at := s.nextAsk(); !at.IsZero() && !now.Before(at) {
		s.asked++
		for i, id := range s.gauges {
			if s.gauged[i] == 0 {
				p.out = append(p.out, gauge{id})
			}
		}
	}
	if at := s.gaugeEnd(); !at.IsZero() && !now.Before(at) {
		p.useGauges(now)
	}
}

func (p *path) takeGauged(now time.Time, ev gauged) {
	if s := p.search; s != nil && len(s.said) == 0 && s.take(ev.socket, ev.port) {
		p.useGauges(now)
	}
}

// useGauges tells the peer what the gauges show. The last one may be missing.
func (p *path) useGauges(now time.Time) {
	s := p.search
	if s.gauged[0] == 0 {
		p.endSearch(now, "the relay did not tell the port")
		return
	}
	s.said = slices.DeleteFunc(slices.Clone(s.gauged), func(port uint16) bool { return port == 0 })
	if s.seeks {
		s.call(now)
	} else {
		p.sendReady()
	}
}

// hearSearch notes that a probe came over a route: it may have found a socket.
func (p *path) hearSearch(now time.Time, m *wire.Message, from route) {
	s := p.search
	if s == nil || s.winner != 0 || !s.has(from.socket) {
		return
	}
	if s.chooses() || m.Type == wire.Pong {
		s.choose(now, from.socket)
	}
}
