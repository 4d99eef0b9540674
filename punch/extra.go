package punch

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"meshd/punch/stun"
	"meshd/punch/udp"
	"meshd/punch/wire"
)

const (
	// maxExtras bounds the descriptors: those of one search, and the winners of
	// earlier ones.
	maxExtras = 768
	// Local ports that no system gives to sockets which ask for none in
	// particular, so that a preserving NAT has them free.
	uncommonLow  = 10240
	uncommonHigh = 32767
	uncommonTry  = 4
	// extraBuffer is for one packet; the tunnel's are smaller (see package tunnel).
	extraBuffer = 2048
	// extraBatch is up to how many packets are read at once, when they come thick.
	extraBatch = 32
)

// extra is a socket opened for one peer.
type extra struct {
	Socket
	member *member
	txid   stun.TxID     // of its request to the relay
	done   chan struct{} // closed with it
}

// extras are the sockets opened for single peers. The loop owns them. Each has a
// goroutine that reads it, and close waits for these.
type extras struct {
	mux    *mux
	listen func(netip.AddrPort) (Socket, error)
	all    map[socketID]*extra
	last   socketID
	tasks  sync.WaitGroup
	turn   *member // whose birthday search runs; nil: nobody's
}

func newExtras(m *mux, c Config) *extras {
	return &extras{mux: m, listen: c.ListenExtra, all: make(map[socketID]*extra), last: socket6}
}

// listenExtra opens many sockets that carry little.
func listenExtra(mark uint32) func(netip.AddrPort) (Socket, error) {
	return listener(udp.Config{Mark: mark, NoOffload: true, Whole: true, RecvBuffer: 1 << 20, SendBuffer: 1 << 20})
}

// open opens up to n IPv4 sockets for a member. It returns fewer when the system
// gives no more.
func (x *extras) open(m *member, n int, uncommon bool) opened {
	var ev opened
	for range min(n, maxExtras-len(x.all)) {
		s, err := x.bind(uncommon)
		if err != nil {
			break
		}
		e := &extra{Socket: s, member: m, done: make(chan struct{})}
		rand.Read(e.txid[:])
		x.last++
		id := x.last
		x.all[id] = e
		x.tasks.Go(func() { x.mux.drain(id, e) })
		ev.sockets = append(ev.sockets, id)
		ev.ports = append(ev.ports, s.LocalAddr().Port())
	}
	return ev
}

func (x *extras) bind(uncommon bool) (Socket, error) {
	any4 := netip.IPv4Unspecified()
	if uncommon {
		for range uncommonTry {
			port := uncommonLow + mathrand.N(uncommonHigh-uncommonLow+1)
			if s, err := x.listen(netip.AddrPortFrom(any4, uint16(port))); err == nil {
				return s, nil
			}
		}
	}
	return x.listen(netip.AddrPortFrom(any4, 0))
}

func (x *extras) shut(id socketID) {
	if e := x.all[id]; e != nil {
		delete(x.all, id)
		close(e.done)
		e.Close()
	}
}

// leave closes what a member has, and gives its turn to others.
func (x *extras) leave(m *member) {
	for id, e := range x.all {
		if e.member == m {
			x.shut(id)
		}
	}
	if x.turn == m {
		x.turn = nil
	}
}

func (x *extras) close() {
	for id := range x.all {
		x.shut(id)
	}
	x.tasks.Wait()
}

// owner is the member that a socket was opened for; nil: it is none of these.
func (x *extras) owner(id socketID) *member {
	if e := x.all[id]; e != nil {
		return e.member
	}
	return nil
}

// drain reads a socket until it is closed. What comes goes the way of what comes
// from the relay's stream: packets to the tunnel, the rest to the engine.
func (m *mux) drain(id socketID, e *extra) {
	bufs := [][]byte{make([]byte, extraBuffer)}
	sizes, from, peers := make([]int, extraBatch), make([]netip.AddrPort, extraBatch), make([]Key, extraBatch)
	for {
		n, err := e.Read(bufs, sizes, from)
		if err != nil {
			return
		}
		if m.sort(id, bufs[:n], sizes, from, peers) && !m.injectAll(bufs[:n], sizes, peers, e.done) {
			return
		}
		if n == len(bufs) && n < extraBatch {
			for range n {
				bufs = append(bufs, make([]byte, extraBuffer))
			}
		}
	}
}

// injectAll hands packets to the tunnel, and waits for it to take them, so that
// the excess waits in the socket. It reports false when done is closed first.
func (m *mux) injectAll(bufs [][]byte, sizes []int, peers []Key, done <-chan struct{}) bool {
	for i, b := range bufs {
		if sizes[i] == 0 {
			continue
		}
		select {
		case m.injected <- injected{append(m.spare(), b[:sizes[i]]...), peers[i]}:
		case <-done:
			return false
		}
	}
	return true
}

// performExtra does what a path wants with its own sockets.
func (l *loop) performExtra(m *member, a action) {
	switch a := a.(type) {
	case openSockets:
		l.step(m, l.extras.open(m, a.n, a.uncommon))
	case closeSocket:
		l.extras.shut(a.id)
	case gauge:
		l.gauge(a.socket)
	case claim:
		ok := (l.extras.turn == nil || l.extras.turn == m) && !l.config.Metered()
		if ok {
			l.extras.turn = m
		}
		l.step(m, granted{ok})
	case release:
		if l.extras.turn == m {
			l.extras.turn = nil
		}
	}
}

// gauge asks the relay which port the NAT gives a socket. A loss is repeated.
func (l *loop) gauge(id socketID) {
	e, server := l.extras.all[id], l.gaugeServer()
	if e == nil || !server.IsValid() {
		return
	}
	e.Write([][]byte{stun.Request(e.txid, stun.Change{})}, server)
}

func (l *loop) gaugeServer() netip.AddrPort {
	for _, a := range l.hub.relay.Addrs {
		if a.Addr().Is4() {
			return a
		}
	}
	return netip.AddrPort{}
}

// receiveExtra takes a datagram of an extra socket, unless it was closed since.
func (l *loop) receiveExtra(now time.Time, d datagram) {
	m := l.extras.owner(d.from.socket)
	if m == nil {
		return
	}
	switch wire.KindOf(d.data) {
	case wire.STUN:
		r, err := stun.ParseResponse(d.data)
		if err == nil && r.TxID == l.extras.all[d.from.socket].txid && d.from.addr == l.gaugeServer() {
			l.step(m, gauged{d.from.socket, r.Mapped.Port()})
		}
	case wire.Probe:
		if l.members.tagged(wire.TagOf(d.data)) == m {
			l.receiveProbe(now, d)
		}
	case wire.WireGuard:
		l.mux.introduce(d)
	}
}
