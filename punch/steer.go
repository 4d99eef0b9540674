package punch

import (
	"net/netip"
	"time"
)

// Where the engine's port is not its own but of the kernel's WireGuard, that one
// sends by itself to peers with a direct path, and hears them. What follows keeps
// the two of one mind: the engine says where to, and is told what moved.

// Direct returns where a peer's packets go if they go straight from the engine's
// own port, and by no other way at the same time. Zero: they are for [Engine.Send]
// alone to bring on their way.
func (e *Engine) Direct(peer Key) netip.AddrPort {
	f := e.mux.table.Load().flows[peer]
	if f == nil {
		return netip.AddrPort{}
	}
	return e.mux.straight(f.way.Load())
}

// Turned has something to read when what Direct says of some peer has changed. It
// is for one reader.
func (e *Engine) Turned() <-chan struct{} { return e.mux.turned }

// Moved says that somebody else sent and received packets of a peer: over its
// direct path, keepalives not counted, and of any kind (straight) by whatever way
// that is not the engine's. Numbers need not be exact, but zero is none. Answered
// tells that the peer's last handshake with us is complete.
func (e *Engine) Moved(peer Key, sent, received, straight int, answered bool) {
	f := e.mux.table.Load().flows[peer]
	if f == nil {
		return
	}
	if answered {
		f.complete()
	}
	f.coarse.Store(true)
	f.straight.Add(uint64(straight))
	e.mux.count(f, &f.sent, sent)
	e.mux.count(f, &f.received, received)
}

// roam is what the kernel learnt of a peer's address.
type roam struct {
	peer Key
	addr netip.AddrPort
}

// roamsSize is far more than peers roam at a time; the rest is told again.
const roamsSize = 16

// Roamed says that packets of a peer came to the kernel from another address than
// it sends to. It reports whether the kernel shall follow: with peers that run
// WireGuard alone, who have no other way to say where they are. With others the
// engine knows better.
func (e *Engine) Roamed(peer Key, addr netip.AddrPort) bool {
	f := e.mux.table.Load().flows[peer]
	if f == nil || !f.plain {
		return false
	}
	select {
	case e.mux.roams <- roam{peer, addr}:
	default:
	}
	return true
}

func (l *loop) takeRoam(r roam) {
	if m := l.members.all[r.peer]; m != nil && m.plain != nil {
		l.movePlain(time.Now(), m, r.addr, "handshake")
	}
}

// straight is the address of a way that leads straight from the port.
func (m *mux) straight(w *way) netip.AddrPort {
	if w == nil || w.both || w.direct == nil || w.direct != m.sockets[socket4] && w.direct != m.sockets[socket6] {
		return netip.AddrPort{}
	}
	return w.addr
}

// noteTurn tells of a changed way.
func (m *mux) noteTurn(from, to *way) {
	if m.straight(from) == m.straight(to) {
		return
	}
	select {
	case m.turned <- struct{}{}:
	default:
	}
}
