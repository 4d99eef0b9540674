package punch

import (
	"errors"
	"syscall"
	"time"

	"meshd/punch/wire"
)

// step gives an event to a member's path and does what it says.
func (l *loop) step(m *member, ev event) {
	if m.plain != nil {
		return // there is nothing to find
	}
	for _, a := range m.path.step(time.Now(), ev) {
		switch a := a.(type) {
		case sendProbe:
			l.sendProbe(m, a)
		case use:
			m.choice = a.choice
			l.point(m)
		case kickRelay:
			l.hub.kick(time.Now())
		case lookAround:
			l.reflect(m)
		default:
			l.performExtra(m, a)
		}
	}
	if now := m.show(); now != m.shown {
		l.log.Info("path changed", "peer", m.Name, "from", m.shown, "to", now, "reason", m.path.reason)
		m.shown = now
		l.noteChange()
	}
}

// settleMember does what is due for a member.
func (l *loop) settleMember(now time.Time, m *member) {
	if m.plain != nil {
		return
	}
	if m.flow.failed.Load() {
		m.flow.failed.Store(false)
		l.step(m, sendFailed{})
	}
	if m.flow.awake.Load() {
		l.settleTraffic(now, m)
	}
	if d := m.path.deadline(); !d.IsZero() && !now.Before(d) {
		if m.path.trial.waits() {
			l.takeTraffic(now, m)
		}
		l.step(m, timer{})
	}
	if d := m.detour.deadline(); !d.IsZero() && !now.Before(d) {
		l.stepDetour(m, detourTimer{})
	}
	l.settleSizes(now, m)
	l.settleBundles(now, m)
}

func (l *loop) settleTraffic(now time.Time, m *member) {
	waited := now.Sub(m.polled)
	moved := m.flow.counters() != m.counted
	switch {
	case moved:
		l.takeTraffic(now, m)
	case waited >= pollIdle && !m.attentive():
		m.rest()
	case waited >= pollTraffic && m.attentive():
		m.polled = now
	}
}

// takeTraffic reads the counters, and tells what moved.
func (l *loop) takeTraffic(now time.Time, m *member) {
	t := m.poll(now)
	if m.choice.relay {
		l.stepDetour(m, carried{sent: t.sent > 0, returned: t.returned > 0})
	}
	l.step(m, t)
}

// point swaps the way of a member's packets to its path's choice.
func (l *loop) point(m *member) {
	if m.plain != nil {
		return
	}
	next := &way{both: m.choice.relay || m.hedged}
	if !m.choice.route.isZero() {
		next.direct, next.addr = l.socket(m.choice.route.socket), m.choice.route.addr
		next.singly = m.singly(bundledWay{sizedWay{route: m.choice.route}, ViaDirect})
		next.envelope = envelope(l.hub.relay.ID, m.Relay)
	}
	next.relay = l.relayLeg(m)
	old := m.flow.way.Swap(next)
	l.mux.noteTurn(old, next)
	if old.direct == nil && next.direct != nil || old.relay == nil && next.relay != nil || !old.both && next.both {
		m.flow.repeat(time.Now())
	}
}

// sendProbe seals a probe and sends it. Losses are normal, so are errors: only
// one on the route in use says something, if it is not of a PING's length.
func (l *loop) sendProbe(m *member, a sendProbe) {
	b := l.sealProbe(m, a)
	if b == nil {
		return
	}
	if a.to.isZero() {
		l.sendByRelay(m, a, b)
		return
	}
	err := l.sendTo(a.to, b, a.ttl)
	if err != nil && !errors.Is(err, syscall.EMSGSIZE) && a.to == m.choice.route {
		m.flow.failed.Store(true)
	}
}

// sealProbe makes a datagram of a probe; nil: there is none.
func (l *loop) sealProbe(m *member, a sendProbe) []byte {
	m.seq++
	msg := wire.Message{
		Type: a.typ, Flags: a.flags, Size: wire.ProbeSize,
		Boot: l.boot, Seq: m.seq, TxID: a.txid, Sent: uint64(time.Now().UnixNano()),
		Generation: l.local.generation,
	}
	switch a.typ {
	case wire.Ping:
		msg.Size = uint16(max(wire.ProbeSize, a.size))
	case wire.Pong:
		msg.TxID, msg.Sent, msg.Size, msg.Observed = a.echo.TxID, a.echo.Sent, a.echo.Size, a.seen
	case wire.Connect:
		own := l.local.local()
		msg.NAT, msg.Candidates = own.NAT, own.Candidates
		msg.TxID, msg.Samples = a.txid, a.samples
	}
	b, err := m.pair.Seal(nil, m.sendTag, &msg)
	if err != nil {
		l.log.Error("cannot seal a probe", "peer", m.Name, "err", err)
		return nil
	}
	return b
}

// socket is the one with this name; nil: there is none, or no more.
func (l *loop) socket(id socketID) Socket {
	if !id.extra() {
		return l.mux.sockets[id]
	}
	if e := l.extras.all[id]; e != nil {
		return e.Socket
	}
	return nil
}

func (l *loop) sendTo(r route, b []byte, ttl int) error {
	s := l.socket(r.socket)
	switch {
	case s == nil:
		return errNoPath
	case ttl != 0:
		return s.WriteTTL(b, r.addr, ttl)
	}
	return s.Write([][]byte{b}, r.addr)
}
