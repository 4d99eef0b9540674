package punch

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

// socketID names one of the engine's sockets: the two below, and those opened
// for one peer, whose numbers are never used again.
type socketID uint32

const (
	socket4 socketID = iota
	socket6
)

// route is one way to reach a peer directly: out of a socket, to an address.
// The zero route is none.
type route struct {
	socket socketID
	addr   netip.AddrPort
}

// extra reports whether the socket was opened for one peer.
func (id socketID) extra() bool { return id > socket6 }

func (r route) isZero() bool { return !r.addr.IsValid() }

// routeTo is the route to addr by the socket of its family.
func routeTo(addr netip.AddrPort) route {
	if addr.Addr().Is4() {
		return route{socket4, addr}
	}
	return route{socket6, addr}
}

// event is what a [path] reacts to.
type event interface{ isEvent() }

type (
	// peerChanged: the map says this of the peer now.
	peerChanged struct {
		candidates []wire.Candidate
		nat        wire.NAT
		online     bool
	}
	// selfChanged: our own candidates, networks or sockets are these now.
	selfChanged struct {
		candidates []wire.Candidate
		nat        wire.NAT
		nets       []netip.Prefix // the subnets of our interfaces
		v4, v6     bool           // families we have a socket for
	}
	// warmed: whether the path is to be punched before it is needed and kept
	// alive when idle; the first attempt waits for its turn.
	warmed struct {
		on   bool
		turn time.Duration
	}
	// relayChanged: the relay can (or can't) be used; rtt is ours to it.
	relayChanged struct {
		via Via
		rtt time.Duration
	}
	// heard: an authentic, fresh probe came, directly from a route or (zero
	// route) by relay.
	heard struct {
		msg  *wire.Message
		from route
	}
	// traffic: packets of data moved since the last such event.
	traffic struct {
		sent     uint64 // handed to us for the peer, whichever way they went
		received uint64 // came over the route in use
		relayed  uint64 // came by relay …
		returned uint64 // … by the one in use

		straight uint64    // WireGuard's of any kind that came straight, by any route, ever
		asking   time.Time // a handshake that we began waits for its answer since; zero: none does
		coarse   bool      // straight is what somebody saw who looks now and then, see Engine.Moved
	}
	// sendFailed: the system refused to send over the route in use.
	sendFailed struct{}
	// linkChanged: addresses or routes of this host changed, or it slept.
	linkChanged struct{}
	// asked: a user measures the path.
	asked struct{}
	// sought: the peer asks where we are.
	sought struct{}
	// mirror: it matters as what the peer, reached there, sees us.
	mirror struct{ to route }
	// opened: the sockets that openSockets asked for, and their local ports.
	opened struct {
		sockets []socketID
		ports   []uint16
	}
	// gauged: the NAT gave a socket this port.
	gauged struct {
		socket socketID
		port   uint16
	}
	// granted: whether claim was.
	granted struct{ ok bool }
	// rated: the owner changed the rate of birthday searches.
	rated struct{ rate int }
	// timer: the path's deadline passed.
	timer struct{}
)

func (peerChanged) isEvent()  {}
func (selfChanged) isEvent()  {}
func (warmed) isEvent()       {}
func (relayChanged) isEvent() {}
func (heard) isEvent()        {}
func (traffic) isEvent()      {}
func (sendFailed) isEvent()   {}
func (linkChanged) isEvent()  {}
func (asked) isEvent()        {}
func (sought) isEvent()       {}
func (opened) isEvent()       {}
func (gauged) isEvent()       {}
func (granted) isEvent()      {}
func (rated) isEvent()        {}
func (timer) isEvent()        {}
func (mirror) isEvent()       {}

// action is what a [path] wants done.
type action interface{ isAction() }

type (
	// send a probe to a route, or (zero route) by relay.
	sendProbe struct {
		typ   wire.ProbeType
		flags uint8
		txid  uint64
		to    route
		ttl   int           // 0: the system's
		size  int           // PING: of the datagram; 0: the usual one
		echo  *wire.Message // PONG: the PING it answers
		seen  netip.AddrPort

		samples []uint16 // CONNECT
	}
	// use swaps what the packet path sends over.
	use struct{ choice }
	// kickRelay has the relay session renewed: its mapping may be gone as well.
	kickRelay struct{}
	// openSockets opens sockets for this path; an opened event follows at once.
	openSockets struct {
		n        int
		uncommon bool // on local ports that others hardly use
	}
	// closeSocket closes one of them.
	closeSocket struct{ id socketID }
	// gauge has the relay say which port the NAT gives a socket.
	gauge struct{ socket socketID }
	// claim asks for this host's one turn to search by birthday; a granted event
	// follows at once.
	claim struct{}
	// release gives the turn back.
	release struct{}
	// lookAround has some other peer asked as what it sees us: what fails here may
	// be for a NAT that is not what the relay takes it for.
	lookAround struct{}
)

func (sendProbe) isAction()   {}
func (use) isAction()         {}
func (kickRelay) isAction()   {}
func (openSockets) isAction() {}
func (closeSocket) isAction() {}
func (gauge) isAction()       {}
func (claim) isAction()       {}
func (release) isAction()     {}
func (lookAround) isAction()  {}

// choice is where data goes: over the route, by relay, or over both at once
// while the route is not sure. Neither: nowhere.
type choice struct {
	route route
	relay bool
}
