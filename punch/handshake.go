package punch

import (
	"sync/atomic"
	"time"
)

// Handshake messages of WireGuard, by their first byte.
const (
	typeInitiation = 1
	typeResponse   = 2
	typeCookie     = 3
	typeData       = 4
)

// handshakeLife is WireGuard's own patience with an answer (REKEY_TIMEOUT).
const handshakeLife = 5 * time.Second

// sessionLife is for how long a handshake lets WireGuard send (REJECT_AFTER_TIME).
const sessionLife = 180 * time.Second

// handshake keeps the last handshake message sent to a peer until something
// answers it. WireGuard repeats a lost one after 5 s; here a way that appears
// sooner gets it at once. Repeating is harmless: either side takes a handshake
// message once.
type handshake struct {
	// stands: of two initiations that cross, ours is the one that counts. WireGuard
	// has no such rule: either side would answer the other's, forget its own, and
	// refuse the answer to it. The rule is that of the lower key, so that the two
	// ends differ.
	stands bool
	sent   atomic.Pointer[sentHandshake]
	shook  atomic.Pointer[time.Time] // when one was last complete; nil: never
}

type sentHandshake struct {
	data []byte
	at   time.Time
}

func is(b []byte, typ byte) bool { return len(b) > 0 && b[0] == typ }

// remember keeps a handshake message on its way out.
func (h *handshake) remember(b []byte) {
	if is(b, typeInitiation) || is(b, typeResponse) {
		h.sent.Store(&sentHandshake{clone(b), time.Now()})
	}
}

// heard forgets the message that b answers: a response the initiation, data the
// response. It is called for every packet received.
func (h *handshake) heard(b []byte) {
	s := h.sent.Load()
	switch {
	case s == nil || b[0] <= s.data[0]:
	case b[0] == typeCookie: // WireGuard is to ask again, with the cookie
		h.sent.Store(nil)
	default:
		h.complete()
	}
}

// complete notes that nothing is left to be answered: there is a session.
func (h *handshake) complete() {
	now := time.Now()
	h.shook.Store(&now)
	h.sent.Store(nil)
}

// session reports whether a handshake was complete not so long ago that its session
// is over.
func (h *handshake) session(now time.Time) bool {
	at := h.shook.Load()
	return at != nil && now.Sub(*at) < sessionLife
}

// waiting returns the message that nothing has answered within life, if any.
func (h *handshake) waiting(now time.Time, life time.Duration) []byte {
	if s := h.sent.Load(); s != nil && now.Sub(s.at) < life {
		return s.data
	}
	return nil
}

// asking is since when an initiation of ours waits for its answer; zero: none does.
func (h *handshake) asking() time.Time {
	if s := h.sent.Load(); s != nil && s.data[0] == typeInitiation {
		return s.at
	}
	return time.Time{}
}

// crossed reports whether b is an initiation that lost against ours. Ours is
// then sent again, for the way it took first may have led nowhere. Ours counts for as
// long as it may be answered: it may have been repeated when a way appeared, and the
// answer be on a long way.
func (f *flow) crossed(b []byte) bool {
	if b[0] != typeInitiation || !f.stands {
		return false
	}
	ours := f.waiting(time.Now(), handshakeLife)
	if ours == nil || ours[0] != typeInitiation {
		return false
	}
	f.sendNow(ours)
	return true
}

// early is an initiation for a peer that the tunnel knew before the engine did. Both
// are told at once, and WireGuard would not ask again for 5 s.
type early struct {
	peer Key
	data []byte
}

func (m *mux) keepEarly(peer Key, b []byte) {
	if !is(b, typeInitiation) {
		return
	}
	select {
	case m.early <- early{peer, clone(b)}:
	default:
	}
}

// takeEarly sends an early handshake, if its peer is among those that the engine has
// been told of by now.
func (l *loop) takeEarly(e early) {
	l.takeOrders()
	if l.members.all[e.peer] != nil {
		l.mux.send(e.peer, [][]byte{e.data})
	}
}

// repeat sends the unanswered handshake message over the way in use.
func (f *flow) repeat(now time.Time) {
	if b := f.waiting(now, handshakeLife); b != nil {
		f.sendNow(b)
	}
}

func (f *flow) sendNow(b []byte) {
	w, bufs := f.way.Load(), [][]byte{b}
	if w.direct != nil {
		f.write(w, bufs)
	}
	if w.relay != nil && (w.direct == nil || w.both) {
		w.relay.send(bufs)
	}
}
