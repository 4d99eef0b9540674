package punch

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"meshd/punch/nattest"
	"meshd/punch/stun"
	"meshd/punch/wire"
)

func relayKey(id wire.RelayID) wire.RelayKey { return wire.RelayKey{byte(id), 42} }

// testHub is a relay in memory: two UDP ports, and streams.
type testHub struct {
	t       *testing.T
	host    *nattest.Host
	addrs   []netip.AddrPort
	sockets []*nattest.Socket
	tasks   sync.WaitGroup

	mu       sync.Mutex // guards following
	epoch    uint16
	sessions map[wire.RelayID]session
	streams  map[wire.RelayID]*testStream
	runs     []testRun     // to be sent
	relayed  int           // data packets forwarded, probes not counted
	ahead    time.Duration // of the agents' clocks
}

type session struct {
	socket *nattest.Socket
	addr   netip.AddrPort
}

func newTestHub(t *testing.T, host *nattest.Host) *testHub {
	h := &testHub{t: t, host: host, streams: make(map[wire.RelayID]*testStream)}
	h.addrs = []netip.AddrPort{netip.AddrPortFrom(host.Addr(), 3478), netip.AddrPortFrom(host.Addr(), 3479)}
	h.begin()
	return h
}

func (h *testHub) begin() {
	h.sockets, h.sessions = nil, make(map[wire.RelayID]session)
	h.epoch++
	for _, addr := range h.addrs {
		s, err := h.host.Listen(addr)
		if err != nil {
			h.t.Fatal(err)
		}
		h.sockets = append(h.sockets, s)
	}
	for _, s := range h.sockets {
		h.tasks.Go(func() { h.serve(s) })
	}
}

func (h *testHub) stop() {
	for _, s := range h.sockets {
		s.Close()
	}
	h.tasks.Wait()
}

func (h *testHub) serve(s *nattest.Socket) {
	bufs, sizes, from := make([][]byte, 64), make([]int, 64), make([]netip.AddrPort, 64)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, err := s.Read(bufs, sizes, from)
		if err != nil {
			return
		}
		for i, b := range bufs[:n] {
			h.take(s, b[:sizes[i]], from[i])
		}
		h.flush()
	}
}

func (h *testHub) take(s *nattest.Socket, b []byte, from netip.AddrPort) {
	switch wire.KindOf(b) {
	case wire.STUN:
		other := h.other(s)
		if r, ok := stun.Respond(b, from, s.LocalAddr(), other.LocalAddr()); ok && r.FromOtherPort {
			other.Write([][]byte{r.Data}, from)
		} else if ok {
			s.Write([][]byte{r.Data}, from)
		}
	case wire.Relay:
		h.handle(s, b, from)
	}
}

// flush sends what may go in bundles.
func (h *testHub) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.runs {
		r.to.socket.Write(r.bufs, r.to.addr)
	}
	h.runs = nil
}

// hold keeps b for flush, with what else goes the same way.
func (h *testHub) hold(to session, b []byte) {
	i := slices.IndexFunc(h.runs, func(r testRun) bool { return r.to == to })
	if i < 0 {
		h.runs, i = append(h.runs, testRun{to: to}), len(h.runs)
	}
	h.runs[i].bufs = append(h.runs[i].bufs, b)
}

// testRun is what goes one way at a time.
type testRun struct {
	to   session
	bufs [][]byte
}

// other is the hub's other socket.
func (h *testHub) other(s *nattest.Socket) *nattest.Socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sockets[1-slices.Index(h.sockets, s)]
}

func (h *testHub) handle(s *nattest.Socket, b []byte, from netip.AddrPort) {
	head, _ := wire.ParseHeader(b)
	if head.Type == wire.Data {
		h.mu.Lock()
		id, bound := h.boundTo(session{s, from})
		ok := bound && head.Epoch == h.epoch
		h.mu.Unlock()
		if ok {
			h.forward(id, wire.PairID(id, head.ID), b)
		} else {
			s.Write([][]byte{wire.AppendHeader(nil, wire.Header{Type: wire.Reset, Epoch: h.epoch})}, from)
		}
		return
	}
	m, err := wire.ParseSession(b)
	if err != nil || !wire.VerifySession(b, relayKey(m.ID)) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	reply := &wire.Session{Header: m.Header, Nonce: m.Nonce, Time: time.Now().Add(h.ahead).UnixMilli(), Observed: from}
	reply.Epoch = h.epoch
	reply.Type = wire.Welcome
	if m.Type == wire.Answer {
		h.sessions[m.ID] = session{s, from}
	} else if h.sessions[m.ID] != (session{s, from}) {
		reply.Type = wire.Challenge
	}
	s.Write([][]byte{wire.AppendSession(nil, reply, relayKey(m.ID))}, from)
}

func (h *testHub) boundTo(s session) (wire.RelayID, bool) {
	for id, have := range h.sessions {
		if have == s {
			return id, true
		}
	}
	return 0, false
}

// forward passes data on: by stream if the member has one.
func (h *testHub) forward(from, to wire.RelayID, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b = clone(b)
	if wire.IsWireGuard(b[wire.HeaderSize:]) {
		h.relayed++
	}
	head, _ := wire.ParseHeader(b)
	s, ok := h.sessions[to]
	switch st := h.streams[to]; {
	case st != nil:
		st.deliver(b)
	case ok && head.Singly:
		s.socket.Write([][]byte{b}, s.addr)
	case ok:
		h.hold(s, b)
	}
}

func (h *testHub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.relayed
}

// testStream is a stream to the hub, 11 ms long.
type testStream struct {
	hub  *testHub
	id   wire.RelayID
	in   chan []byte
	done chan struct{}
	once sync.Once
}

const streamDelay = 11 * time.Millisecond

func (h *testHub) dial(id wire.RelayID) func(context.Context) (RelayConn, error) {
	return func(ctx context.Context) (RelayConn, error) {
		select {
		case <-time.After(3 * 2 * streamDelay): // TCP, TLS, upgrade
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		s := &testStream{hub: h, id: id, in: make(chan []byte, 64), done: make(chan struct{})}
		h.mu.Lock()
		h.streams[id] = s
		h.mu.Unlock()
		return s, nil
	}
}

func (s *testStream) deliver(b []byte) {
	time.AfterFunc(streamDelay, func() {
		select {
		case s.in <- b:
		default:
		}
	})
}

func (s *testStream) Read() ([]byte, error) {
	select {
	case b := <-s.in:
		return b, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *testStream) Send(b []byte) {
	b = clone(b)
	time.AfterFunc(streamDelay, func() {
		head, _ := wire.ParseHeader(b)
		if head.Type == wire.Data {
			s.hub.forward(s.id, wire.PairID(s.id, head.ID), b)
			s.hub.flush()
			return
		}
		if m, err := wire.ParseSession(b); err == nil {
			s.hub.mu.Lock()
			reply := &wire.Session{Header: m.Header, Nonce: m.Nonce, Time: time.Now().Add(s.hub.ahead).UnixMilli()}
			s.hub.mu.Unlock()
			reply.Type = wire.Welcome
			s.deliver(wire.AppendSession(nil, reply, relayKey(m.ID)))
		}
	})
}

func (s *testStream) Close() error {
	s.once.Do(func() {
		s.hub.mu.Lock()
		if s.hub.streams[s.id] == s {
			delete(s.hub.streams, s.id)
		}
		s.hub.mu.Unlock()
		close(s.done)
	})
	return nil
}
