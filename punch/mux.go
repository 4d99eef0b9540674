package punch

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"meshd/punch/wire"
)

// Queues between the packet path and the engine. What does not fit is dropped:
// all of it is sent again by somebody.
const (
	inboxSize    = 256
	injectedSize = 64
	wantsSize    = 16
	earlySize    = 64
)

var (
	errNoPath  = errors.New("no path to the peer yet")
	errUnknown = errors.New("not a peer")
)

// mux is the packet path. Its methods send and those returned by receivers run
// on the tunnel's goroutines; they read snapshots and take no lock. What is not
// WireGuard's goes to the engine as a copy.
type mux struct {
	sockets  []Socket // by socketID; nil: none
	table    atomic.Pointer[table]
	inbox    chan datagram
	injected chan injected
	spares   chan []byte   // buffers of packets that were injected
	wake     chan struct{} // capacity 1: some flow has news
	turned   chan struct{} // capacity 1: see [Engine.Turned]
	roams    chan roam     // see [Engine.Roamed]
	early    chan early    // handshakes of peers that the loop has not taken in yet
	done     chan struct{} // closed by close

	relayRate int // of what is relayed for each peer, bytes a second
	onwards   onwards
	once      sync.Once
}

// table is an immutable snapshot of who is where.
type table struct {
	flows map[Key]*flow
	ids   map[wire.RelayID]*flow
	addrs map[netip.AddrPort]*flow
	relay netip.AddrPort // the relay's UDP address; zero: none
	self  wire.RelayID   // ours; zero: none

	clients map[netip.AddrPort]client // whom we relay for; empty: we don't
}

// datagram is something for the engine: what is not WireGuard's, and handshakes
// of senders not known yet.
type datagram struct {
	data    []byte
	from    route
	relayed *flow // a probe by relay: whose …
	by      Key   // … and by which: a peer, or (zero) the hub
	via     Via   // ViaTLS: from the WebSocket
}

// injected is a WireGuard packet that did not come from a socket's batch.
type injected struct {
	data []byte
	from Key // zero: not known
}

func newMux(sockets []Socket) *mux {
	m := &mux{
		sockets:  sockets,
		inbox:    make(chan datagram, inboxSize),
		injected: make(chan injected, injectedSize),
		spares:   make(chan []byte, injectedSize),
		wake:     make(chan struct{}, 1),
		turned:   make(chan struct{}, 1),
		roams:    make(chan roam, roamsSize),
		early:    make(chan early, earlySize),
		done:     make(chan struct{}),

		relayRate: defaultRelayRate,
	}
	m.table.Store(&table{})
	return m
}

func (m *mux) close() {
	m.once.Do(func() {
		close(m.done)
		for _, s := range m.sockets {
			if s != nil {
				s.Close()
			}
		}
	})
}

func (m *mux) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// send hands packets to whatever way the peer has.
func (m *mux) send(peer Key, bufs [][]byte) error {
	f := m.table.Load().flows[peer]
	if len(bufs) == 0 {
		return nil
	}
	if f == nil {
		m.keepEarly(peer, bufs[0])
		return errUnknown
	}
	if len(bufs) > 1 && !is(bufs[0], typeData) { // each handshake message is a matter of its own
		return errors.Join(m.send(peer, bufs[:1]), m.send(peer, bufs[1:]))
	}
	f.remember(bufs[0])
	m.noteCrowd(&f.crowd, len(bufs))
	counted := len(bufs)
	if isKeepalive(bufs[0]) {
		counted--
	}
	w := f.way.Load()
	relay := w.relay
	if w.direct != nil {
		err := f.write(w, bufs)
		if err == nil && !w.both {
			relay = nil
		}
		switch {
		case errors.Is(err, syscall.EMSGSIZE):
			f.tooLong.Store(true)
			m.nudge()
		case err != nil:
			f.failed.Store(true)
		}
		if err != nil && relay == nil {
			m.count(f, &f.sent, counted)
			return err
		}
	}
	var err error
	switch {
	case relay != nil:
		err = relay.send(bufs)
	case w.direct == nil:
		err = errNoPath
	}
	m.count(f, &f.sent, counted)
	return err
}

// count adds packets to a counter, and wakes the engine if it doesn't look.
func (m *mux) count(f *flow, counter *atomic.Uint64, n int) {
	if n == 0 {
		return
	}
	counter.Add(uint64(n))
	if !f.awake.Load() && f.awake.CompareAndSwap(false, true) {
		m.nudge()
	}
}

// inject takes in one datagram of the WebSocket relay: header and payload.
func (m *mux) inject(b []byte) {
	h, err := wire.ParseHeader(b)
	if err != nil {
		return
	}
	if h.Type != wire.Data {
		m.divert(datagram{data: b, via: ViaTLS})
		return
	}
	f := m.table.Load().farEnd(h)
	payload := b[wire.HeaderSize:]
	switch {
	case f == nil:
	case wire.IsWireGuard(payload):
		f.heard(payload)
		if !isKeepalive(payload) {
			m.countRelayed(f, netip.AddrPort{})
		}
		if f.crossed(payload) {
			return
		}
		select {
		case m.injected <- injected{payload, f.key}:
		default:
		}
	case wire.KindOf(payload) == wire.Probe:
		m.divert(datagram{data: payload, relayed: f, via: ViaTLS})
	}
}

// introduce passes on a handshake initiation that came before its sender's address
// was in the table. The probe that came just before it has been seen by now.
func (m *mux) introduce(d datagram) {
	var from Key
	if f := m.table.Load().addrs[d.from.addr]; f != nil {
		if f.crossed(d.data) {
			return
		}
		from = f.key
	}
	select {
	case m.injected <- injected{d.data, from}:
	default:
	}
}

// spare returns an empty buffer to inject.
func (m *mux) spare() []byte {
	select {
	case b := <-m.spares:
		return b[:0]
	default:
		return nil
	}
}

func (m *mux) recycle(b []byte) {
	select {
	case m.spares <- b:
	default:
	}
}

func (m *mux) divert(d datagram) {
	select {
	case m.inbox <- d:
	default:
	}
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
