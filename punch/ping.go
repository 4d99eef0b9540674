package punch

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// pingerBit marks the transactions of [Engine.Ping], so that they never meet a
// path's.
const pingerBit = 1 << 63

// Errors of [Engine.Ping].
var (
	ErrPeer   = errors.New("no such peer")
	ErrNoPath = errNoPath
)

// Pong is the answer to an [Engine.Ping].
type Pong struct {
	RTT  time.Duration
	Via  Via
	Addr netip.AddrPort // of a direct path

	Relay string // who relayed the answer: a peer's name; "": the hub, or nobody
}

// Ping measures the path in use to a peer by one probe. It waits for the answer
// as long as ctx allows. The errors are [ErrPeer], [ErrNoPath], net.ErrClosed or
// ctx's.
func (e *Engine) Ping(ctx context.Context, peer Key) (Pong, error) {
	var (
		answer <-chan Pong
		err    error
	)
	if !e.ask(ctx, func(l *loop) { answer, err = l.ping(peer) }) {
		return Pong{}, e.stopped(ctx)
	}
	if err != nil {
		return Pong{}, err
	}
	select {
	case p := <-answer:
		return p, nil
	case <-e.mux.done:
		return Pong{}, e.stopped(ctx)
	case <-ctx.Done():
		return Pong{}, ctx.Err()
	}
}

func (l *loop) ping(peer Key) (<-chan Pong, error) {
	m := l.members.all[peer]
	if m == nil {
		return nil, ErrPeer
	}
	w := m.flow.way.Load()
	if w.direct == nil && w.relay == nil {
		return nil, ErrNoPath
	}
	l.step(m, asked{})
	txid, answer := l.pings.add(time.Now())
	if w.direct != nil {
		l.sendProbe(m, sendProbe{typ: wire.Ping, txid: txid, to: m.choice.route})
	}
	if w.direct == nil || w.both {
		l.sendProbe(m, sendProbe{typ: wire.Ping, flags: wire.FlagRelayed, txid: txid})
	}
	return answer, nil
}

// pinger matches answers with questions. The zero value has none open.
type pinger struct {
	last  uint64
	waits map[uint64]wait
}

type wait struct {
	at     time.Time
	answer chan Pong
}

func (p *pinger) add(now time.Time) (txid uint64, answer <-chan Pong) {
	for id, w := range p.waits {
		if now.Sub(w.at) > time.Minute {
			delete(p.waits, id)
		}
	}
	if p.waits == nil {
		p.waits = make(map[uint64]wait)
	}
	p.last++
	w := wait{now, make(chan Pong, 1)}
	p.waits[p.last|pingerBit] = w
	return p.last | pingerBit, w.answer
}

// answer takes a PONG; d is the datagram it came in, relay the peer that relayed it.
func (p *pinger) answer(now time.Time, txid uint64, d datagram, relay string) {
	w, ok := p.waits[txid]
	if !ok {
		return
	}
	delete(p.waits, txid)
	pong := Pong{RTT: now.Sub(w.at), Via: d.via, Relay: relay}
	if d.relayed == nil {
		pong.Via, pong.Addr = ViaDirect, d.from.addr
	}
	w.answer <- pong
}
