package relay

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"meshd/punch/wire"
)

const (
	// sessionIdle ends a UDP session. It is four keepalives, and longer than a
	// cookie lives, so that an id is forgotten only when no cookie for it is good.
	sessionIdle = 90 * time.Second
	// preferUDP is how long after its last datagram a member is trusted to be
	// reachable by UDP although it has a WebSocket.
	preferUDP = 60 * time.Second
)

// leg is a member as one of the server's sockets sees it.
type leg struct {
	socket int // index of the server's socket
	addr   netip.AddrPort
}

// pipe is a WebSocket as table and outbox see it. send never blocks, copies what
// it keeps, and returns how many datagrams were lost for it.
type pipe interface {
	send(datagrams ...[]byte) (lost int)
	close()
}

// route is where a member's datagrams go: to its pipe, or without one to its leg.
type route struct {
	leg    leg
	singly bool // each by itself, not in bundles
	pipe   pipe
}

// session is what a relay knows of one member.
type session struct {
	id    wire.RelayID
	binds uint64 // how often it was bound by UDP; part of the cookie

	udp leg  // no address: not bound
	ws  pipe // nil: not connected
	at  netip.AddrPort

	// Unix nanoseconds at which something came by UDP, and data by WebSocket.
	// Atomic, as readers of the table set them.
	heardUDP, heardWS atomic.Int64

	told presence

	limit *rate.Limiter // bytes to be forwarded for it; nil: no limit
}

// presence is what the server's owner is told of a member.
type presence struct {
	addr netip.AddrPort // zero: not connected
	via  Via
}

// change is a presence that is news.
type change struct {
	id wire.RelayID
	presence
}

// table holds the sessions. It has no lock and no clock: callers bring both.
type table struct {
	rate  float64 // of a member, in bytes a second; 0: no limit
	byID  map[wire.RelayID]*session
	byLeg map[leg]*session
}

func newTable(rate float64) *table {
	return &table{rate: rate, byID: map[wire.RelayID]*session{}, byLeg: map[leg]*session{}}
}

// binds returns how often id was bound by UDP since it is known.
func (t *table) binds(id wire.RelayID) uint64 {
	if s := t.byID[id]; s != nil {
		return s.binds
	}
	return 0
}

// bound reports whether id is bound to l.
func (t *table) bound(id wire.RelayID, l leg) bool {
	s := t.byLeg[l]
	return s != nil && s.id == id
}

// bind binds id to l and nothing else. Whoever had l before loses it.
func (t *table) bind(now time.Time, id wire.RelayID, l leg) []change {
	var changes []change
	if other := t.byLeg[l]; other != nil && other.id != id {
		changes = t.unbind(other)
	}
	s := t.get(id)
	delete(t.byLeg, s.udp)
	s.udp = l
	s.binds++
	t.byLeg[l] = s
	s.heardUDP.Store(now.UnixNano())
	return append(changes, s.news()...)
}

// unbind ends the UDP session. The entry stays until it has been idle.
func (t *table) unbind(s *session) []change {
	delete(t.byLeg, s.udp)
	s.udp = leg{}
	return s.news()
}

// attach makes p the WebSocket of id and returns the one it replaces, if any.
func (t *table) attach(id wire.RelayID, p pipe, at netip.AddrPort) (old pipe, changes []change) {
	s := t.get(id)
	old, s.ws, s.at = s.ws, p, at
	s.heardWS.Store(0)
	return old, s.news()
}

// detach ends the WebSocket session of id if p is still its WebSocket.
func (t *table) detach(id wire.RelayID, p pipe) []change {
	s := t.byID[id]
	if s == nil || s.ws != p {
		return nil
	}
	s.ws, s.at = nil, netip.AddrPort{}
	return s.news()
}

// expire ends UDP sessions that were idle too long, and forgets members that
// have none and no WebSocket.
func (t *table) expire(now time.Time) []change {
	var changes []change
	for id, s := range t.byID {
		if now.Sub(time.Unix(0, s.heardUDP.Load())) < sessionIdle {
			continue
		}
		changes = append(changes, t.unbind(s)...)
		if s.ws == nil {
			delete(t.byID, id)
		}
	}
	return changes
}

// remove forgets id at once and returns its WebSocket, if any.
func (t *table) remove(id wire.RelayID) (pipe, []change) {
	s := t.byID[id]
	if s == nil {
		return nil, nil
	}
	old := s.ws
	s.ws, s.at = nil, netip.AddrPort{}
	changes := t.unbind(s)
	delete(t.byID, id)
	return old, changes
}

func (t *table) get(id wire.RelayID) *session {
	s := t.byID[id]
	if s == nil {
		s = &session{id: id, limit: t.bucket()}
		t.byID[id] = s
	}
	return s
}

// bucketTime is for how long a member may burst at its rate, and bucketSize the
// least burst in bytes: some full bundles.
const (
	bucketTime = 250 * time.Millisecond
	bucketSize = 1 << 18
)

// bucket returns a full token bucket; nil if there is no limit.
func (t *table) bucket() *rate.Limiter {
	if t.rate == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(t.rate), max(bucketSize, int(t.rate*bucketTime.Seconds())))
}

// limit returns what id may have forwarded; nil: all it likes.
func (t *table) limit(id wire.RelayID) *rate.Limiter {
	if s := t.byID[id]; s != nil {
		return s.limit
	}
	return nil
}

// route returns where to send what is for id.
func (t *table) route(now time.Time, id wire.RelayID) (route, bool) {
	s := t.byID[id]
	switch {
	case s == nil:
		return route{}, false
	case s.ws != nil && !s.prefersUDP(now):
		return route{pipe: s.ws}, true
	}
	return route{leg: s.udp}, s.udp.addr.IsValid()
}

// prefersUDP reports whether a member that has a WebSocket is to be reached by
// UDP. A member that sends data by WebSocket has given up on UDP, however lately
// it was heard there.
func (s *session) prefersUDP(now time.Time) bool {
	heard := s.heardUDP.Load()
	return s.udp.addr.IsValid() && heard >= s.heardWS.Load() && now.Sub(time.Unix(0, heard)) < preferUDP
}

// news returns the member's presence if it differs from what was told last.
func (s *session) news() []change {
	var p presence
	switch {
	case s.udp.addr.IsValid():
		p = presence{s.udp.addr, UDP}
	case s.ws != nil:
		p = presence{s.at, WebSocket}
	}
	if p == s.told {
		return nil
	}
	s.told = p
	return []change{{s.id, p}}
}
