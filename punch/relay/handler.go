package relay

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"meshd/punch/stun"
	"meshd/punch/wire"
)

// Directory tells a server who its members are. It is called on the packet path:
// it must be a fast snapshot that needs no lock.
type Directory interface {
	// Key returns the session key of a member, and false for anyone else.
	Key(id wire.RelayID) (wire.RelayKey, bool)
	// May reports whether one member may send datagrams to another.
	May(from, to wire.RelayID) bool
}

// action is what is to be done with a datagram.
type action uint8

const (
	dropIt action = iota
	replyToIt
	forwardIt
)

// verdict is what becomes of a datagram.
type verdict struct {
	action action
	drop   Drop // dropIt: why

	reply  []byte // replyToIt: to the source
	socket int    // replyToIt: index of the socket that sends it
	port   uint16 // replyToIt: of the source's address; 0 means the source's own

	to route // forwardIt

	limit *rate.Limiter // forwardIt: what the sender may spend, in bytes; nil: all it likes
}

func dropped(why Drop) verdict { return verdict{action: dropIt, drop: why} }

// handler decides what becomes of each datagram. It has no socket and no clock.
// It is safe for concurrent use.
type handler struct {
	epoch      uint16 // never zero
	directory  Directory
	alternates []alternate // by socket
	observed   func(id wire.RelayID, addr netip.AddrPort, via Via)
	initiation func(from netip.AddrPort, b []byte) // nil: nobody listens
	moved      func(wire.RelayID)                  // how a member is reached has changed; nil: nobody cares

	baker  *baker
	stuns  *sourceLimit
	resets *rate.Limiter

	mu    sync.RWMutex // guards following
	table *table
}

func newHandler(c ServerConfig, epoch uint16, sockets []netip.AddrPort) *handler {
	return &handler{
		epoch: epoch, directory: c.Directory, alternates: alternates(sockets), observed: c.Observed, initiation: c.Initiation,
		baker: newBaker(), stuns: newSourceLimit(stunRate, stunBurst), resets: rate.NewLimiter(resetRate, resetBurst),
		table: newTable(c.Rate),
	}
}

// handle decides about a datagram that came by UDP. Nothing of b is kept.
func (h *handler) handle(now time.Time, from leg, b []byte) verdict {
	switch {
	case wire.KindOf(b) == wire.Relay:
		return h.handleRelay(now, from, b)
	case mayBeSTUN(b):
		return h.handleSTUN(now, from, b)
	case h.initiation != nil && len(b) == wire.InitiationSize && wire.IsWireGuard(b):
		h.initiation(from.addr, b)
		return dropped(DropHeard)
	}
	return dropped(DropMalformed)
}

func (h *handler) handleRelay(now time.Time, from leg, b []byte) verdict {
	head, err := wire.ParseHeader(b)
	if err != nil {
		return dropped(DropMalformed)
	}
	switch head.Type {
	case wire.Data:
		return h.handleData(now, from, head)
	case wire.Hello, wire.Answer:
		return h.handleSession(now, from, b)
	}
	return dropped(DropMalformed)
}

// handleData forwards what a bound source sends. Anyone else is told that it is
// bound to nothing, for all know only after a restart.
func (h *handler) handleData(now time.Time, from leg, head wire.Header) verdict {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.table.byLeg[from]
	if s == nil || head.Epoch != h.epoch {
		return h.reset(now, from)
	}
	s.heardUDP.Store(now.UnixNano())
	return h.forward(now, s.id, head)
}

// forward decides whether and where a datagram of a pair goes. The caller holds the
// lock.
func (h *handler) forward(now time.Time, from wire.RelayID, head wire.Header) verdict {
	to := wire.PairID(head.ID, from)
	if head.ID == 0 {
		return dropped(DropMalformed)
	}
	if !h.directory.May(from, to) {
		return dropped(DropForbidden)
	}
	r, ok := h.table.route(now, to)
	if !ok {
		return dropped(DropAbsent)
	}
	r.singly = head.Singly
	return verdict{action: forwardIt, to: r, limit: h.table.limit(from)}
}

// passage tells whether and how a flow is forwarded by UDP on both sides, in whatever
// bundles it comes. The caller holds the lock.
func (h *handler) passage(now time.Time, f flow) (passage, bool) {
	s, head := h.table.byLeg[f.from], f.header()
	if s == nil || s.ws != nil || head.Type != wire.Data || head.Singly || head.Epoch != h.epoch || head.ID == 0 {
		return passage{}, false
	}
	peer := h.table.byID[wire.PairID(head.ID, s.id)]
	heard := now.Sub(time.Unix(0, s.heardUDP.Load())) < unheardTime
	if !heard || peer == nil || peer.ws != nil || !peer.udp.addr.IsValid() || !h.directory.May(s.id, peer.id) {
		return passage{}, false
	}
	return passage{id: s.id, peer: peer.id, to: peer.udp}, true
}

func (h *handler) reset(now time.Time, to leg) verdict {
	if !h.resets.AllowN(now, 1) {
		return dropped(DropUnbound)
	}
	return verdict{
		action: replyToIt, socket: to.socket, drop: DropUnbound,
		reply: wire.AppendHeader(nil, wire.Header{Type: wire.Reset, Epoch: h.epoch}),
	}
}

// handleSession answers a HELLO or an ANSWER: with a WELCOME if its source is or
// becomes bound, with a CHALLENGE if it has to prove itself first.
func (h *handler) handleSession(now time.Time, from leg, b []byte) verdict {
	m, err := wire.ParseSession(b)
	if err != nil {
		return dropped(DropMalformed)
	}
	key, known := h.directory.Key(m.ID)
	if !known || !wire.VerifySession(b, key) {
		return dropped(DropStranger)
	}
	bound, binds := h.look(now, m.ID, from)
	switch {
	case bound:
		return h.session(now, wire.Welcome, m, key, from, cookie{})
	case m.Type == wire.Hello:
		return h.session(now, wire.Challenge, m, key, from, h.baker.bake(now, m.ID, from, binds))
	case !h.baker.knows(m.Cookie, now, m.ID, from, binds) || !h.bind(now, m.ID, from, binds):
		return dropped(DropCookie)
	}
	return h.session(now, wire.Welcome, m, key, from, cookie{})
}

// look reports whether from is bound to id, and how often id was bound. It takes
// the datagram as a sign of life if it is.
func (h *handler) look(now time.Time, id wire.RelayID, from leg) (bound bool, binds uint64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.table.bound(id, from) {
		h.table.byID[id].heardUDP.Store(now.UnixNano())
		return true, 0
	}
	return false, h.table.binds(id)
}

// bind binds id unless somebody was faster.
func (h *handler) bind(now time.Time, id wire.RelayID, from leg, binds uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.table.binds(id) != binds {
		return false
	}
	h.tell(h.table.bind(now, id, from))
	h.forget(id)
	return true
}

// session makes a CHALLENGE or WELCOME that answers m.
func (h *handler) session(now time.Time, kind wire.RelayType, m *wire.Session, key wire.RelayKey, to leg, c cookie) verdict {
	reply := wire.AppendSession(nil, &wire.Session{
		Header:   wire.Header{Type: kind, Epoch: h.epoch, ID: m.ID},
		Nonce:    m.Nonce,
		Time:     now.UnixMilli(),
		Observed: to.addr,
		Cookie:   c,
	}, key)
	return verdict{action: replyToIt, reply: reply, socket: to.socket}
}

// handlePipe decides about a datagram that came by the WebSocket of id, from a
// TCP source address. It is bound already, so a HELLO is welcome at once and
// data needs no epoch.
func (h *handler) handlePipe(now time.Time, id wire.RelayID, source netip.AddrPort, b []byte) verdict {
	head, err := wire.ParseHeader(b)
	switch {
	case err != nil:
		return dropped(DropMalformed)
	case head.Type == wire.Data:
		return h.pipeData(now, id, head)
	case head.Type != wire.Hello || head.ID != id:
		return dropped(DropMalformed)
	}
	m, err := wire.ParseSession(b)
	key, known := h.directory.Key(id)
	if err != nil || !known || !wire.VerifySession(b, key) {
		return dropped(DropStranger)
	}
	return h.session(now, wire.Welcome, m, key, leg{addr: source}, cookie{})
}

func (h *handler) pipeData(now time.Time, from wire.RelayID, head wire.Header) verdict {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s := h.table.byID[from]; s != nil {
		s.heardWS.Store(now.UnixNano())
	}
	return h.forward(now, from, head)
}

// mayBeSTUN reports whether b starts like a Binding request, also one of RFC 3489.
func mayBeSTUN(b []byte) bool { return len(b) >= 20 && b[0] == 0 && b[1] == 1 }

func (h *handler) handleSTUN(now time.Time, from leg, b []byte) verdict {
	if !h.stuns.allow(now, from.addr.Addr()) {
		return dropped(DropLimited)
	}
	a := h.alternates[from.socket]
	r, ok := stun.Respond(b, from.addr, a.local, a.other)
	if !ok {
		return dropped(DropMalformed)
	}
	return verdict{action: replyToIt, reply: r.Data, socket: a.socket(r), port: r.Port}
}
