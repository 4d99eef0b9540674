package punch

import (
	"net"
	"net/netip"

	"meshd/punch/wire"
)

// lender is a socket that hands out its own buffers instead of filling others.
// What it lends is good until its next Read or Lend, and may be written over.
type lender interface {
	Lend(packets [][]byte, from []netip.AddrPort) (int, error)
}

// receivers returns one function for each source of packets.
func (m *mux) receivers() []func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
	fns := []func([][]byte, []int, []Key) (int, error){m.receiveInjected}
	for id, s := range m.sockets {
		if s != nil {
			fns = append(fns, m.receiver(socketID(id), s))
		}
	}
	return fns
}

// views returns the same functions, but of those that lend their buffers.
func (m *mux) views() []func(packets [][]byte, peers []Key) (int, error) {
	fns := []func([][]byte, []Key) (int, error){m.injectedView()}
	for id, s := range m.sockets {
		switch s := s.(type) {
		case nil:
		case lender:
			fns = append(fns, m.view(socketID(id), s.Lend))
		default:
			fns = append(fns, m.view(socketID(id), borrowed(s)))
		}
	}
	return fns
}

func (m *mux) receiver(id socketID, s Socket) func([][]byte, []int, []Key) (int, error) {
	var from []netip.AddrPort
	return func(bufs [][]byte, sizes []int, peers []Key) (int, error) {
		from = atLeast(from, len(bufs))
		for {
			n, err := s.Read(bufs, sizes, from)
			if err != nil {
				return 0, m.readError(err)
			}
			if m.sort(id, bufs[:n], sizes, from, peers) {
				return n, nil
			}
		}
	}
}

func (m *mux) view(id socketID, lend func([][]byte, []netip.AddrPort) (int, error)) func([][]byte, []Key) (int, error) {
	var from []netip.AddrPort
	return func(packets [][]byte, peers []Key) (int, error) {
		from = atLeast(from, len(packets))
		for {
			n, err := lend(packets, from)
			if err != nil {
				return 0, m.readError(err)
			}
			// What is left moves up into the place of what was taken out.
			kept, s := 0, m.sorter(id)
			for i, b := range packets[:n] {
				packets[kept], peers[kept] = s.take(b, from[i])
				if len(packets[kept]) > 0 {
					kept++
				}
			}
			s.end()
			if kept > 0 {
				return kept, nil
			}
		}
	}
}

// borrowed makes a lender of a socket that is none, with buffers of its own.
func borrowed(s Socket) func([][]byte, []netip.AddrPort) (int, error) {
	var bufs [][]byte
	var sizes []int
	return func(packets [][]byte, from []netip.AddrPort) (int, error) {
		for len(bufs) < min(len(packets), s.BatchSize()) {
			bufs, sizes = append(bufs, make([]byte, maxDatagram)), append(sizes, 0)
		}
		n, err := s.Read(bufs, sizes, from)
		for i := range n {
			packets[i] = bufs[i][:sizes[i]]
		}
		return n, err
	}
}

// maxDatagram holds any UDP datagram.
const maxDatagram = 1 << 16

func atLeast(s []netip.AddrPort, n int) []netip.AddrPort {
	if len(s) < n {
		return make([]netip.AddrPort, n)
	}
	return s
}

func (m *mux) readError(err error) error {
	select {
	case <-m.done:
		return net.ErrClosed
	default:
		return err
	}
}

// sort leaves in place what is WireGuard's, with its sender, and takes
// everything else out by setting its size to 0. It reports whether anything was
// left.
func (m *mux) sort(id socketID, bufs [][]byte, sizes []int, from []netip.AddrPort, peers []Key) bool {
	kept, s := false, m.sorter(id)
	for i, buf := range bufs {
		var packet []byte
		packet, peers[i] = s.take(buf[:sizes[i]], from[i])
		if len(packet) < sizes[i] { // without the relay's header, or nothing
			sizes[i] = copy(buf, packet)
		}
		kept = kept || sizes[i] > 0
	}
	s.end()
	return kept
}

// sorter tells what the datagrams of one batch are.
type sorter struct {
	m      *mux
	id     socketID
	t      *table
	run    flowRun
	onward *onward // what peers send each other by us; nil: nothing yet
}

func (m *mux) sorter(id socketID) sorter {
	return sorter{m: m, id: id, t: m.table.Load(), run: flowRun{m: m}}
}

// take returns the WireGuard packet that datagram b is or holds, with its sender,
// if known. What is anything else goes elsewhere, and nothing is returned.
func (s *sorter) take(b []byte, from netip.AddrPort) (packet []byte, peer Key) {
	switch wire.KindOf(b) {
	case wire.WireGuard:
		switch f := s.run.direct(s.t, from, b); {
		case b[0] == typeInitiation && (f == nil || f.plain):
			s.m.divert(datagram{data: clone(b), from: route{s.id, from}})
		case f != nil && f.crossed(b):
		case f != nil:
			return b, f.key
		default:
			return b, Key{}
		}
	case wire.Relay:
		if f, payload := s.unwrap(b, from); f != nil {
			return payload, f.key
		}
	case wire.Probe, wire.STUN:
		s.m.divert(datagram{data: clone(b), from: route{s.id, from}})
	}
	return nil, Key{}
}

// unwrap returns the WireGuard packet behind the relay's header, and whose it is;
// nil if nothing is left for the tunnel.
func (s *sorter) unwrap(b []byte, from netip.AddrPort) (*flow, []byte) {
	h, err := wire.ParseHeader(b)
	if err != nil {
		return nil, nil
	}
	if h.Type == wire.Forward {
		s.onwardTake(b, from, h)
		return nil, nil
	}
	by, ok := s.t.relayAt(from)
	switch {
	case s.enveloped(h, b[wire.HeaderSize:], from):
		s.m.divert(datagram{data: clone(b[wire.HeaderSize:]), from: route{s.id, from}})
		return nil, nil
	case !ok:
		return nil, nil
	case h.Type != wire.Data && by == Key{}:
		s.m.divert(datagram{data: clone(b), from: route{s.id, from}, via: ViaRelay})
		return nil, nil
	case h.Type != wire.Data:
		return nil, nil
	}
	f := s.t.farEnd(h)
	payload := b[wire.HeaderSize:]
	switch {
	case f == nil:
	case wire.IsWireGuard(payload):
		f.heard(payload)
		if !isKeepalive(payload) {
			s.m.countRelayed(f, from)
		}
		if !f.crossed(payload) {
			return f, payload
		}
	case wire.KindOf(payload) == wire.Probe:
		s.m.divert(datagram{data: clone(payload), relayed: f, by: by, via: ViaRelay})
	}
	return nil, nil
}

// farEnd is whose relayed data has this header; nil: nobody's.
func (t *table) farEnd(h wire.Header) *flow { return t.ids[wire.PairID(h.ID, t.self)] }

// relayAt tells which relay is at an address: the hub (a zero key), or a peer
// that relays to us.
func (t *table) relayAt(from netip.AddrPort) (by Key, ok bool) {
	if from == t.relay {
		return Key{}, true
	}
	if f := t.addrs[from]; f != nil && f.relays.Load() {
		return f.key, true
	}
	return Key{}, false
}

// countRelayed counts a packet that came by relay; from is zero for a stream.
func (m *mux) countRelayed(f *flow, from netip.AddrPort) {
	if l := f.way.Load().relay; l != nil && l.addr == from {
		f.returned.Add(1)
	}
	m.count(f, &f.relayed, 1)
}

func (m *mux) receiveInjected(bufs [][]byte, sizes []int, peers []Key) (int, error) {
	next, err := m.nextInjected()
	for n := 0; err == nil; n++ {
		sizes[n] = copy(bufs[n], next.data)
		peers[n] = next.from
		m.recycle(next.data)
		if n+1 == len(bufs) || !m.moreInjected(&next) {
			return n + 1, nil
		}
	}
	return 0, err
}

// injectedView lends the injected packets' own buffers.
func (m *mux) injectedView() func([][]byte, []Key) (int, error) {
	var lent [][]byte
	return func(packets [][]byte, peers []Key) (int, error) {
		for _, b := range lent {
			m.recycle(b)
		}
		lent = lent[:0]
		next, err := m.nextInjected()
		for n := 0; err == nil; n++ {
			packets[n], peers[n] = next.data, next.from
			lent = append(lent, next.data)
			if n+1 == len(packets) || !m.moreInjected(&next) {
				return n + 1, nil
			}
		}
		return 0, err
	}
}

// nextInjected waits for an injected packet.
func (m *mux) nextInjected() (injected, error) {
	select {
	case p := <-m.injected:
		return p, nil
	case <-m.done:
		return injected{}, net.ErrClosed
	}
}

// moreInjected takes the next injected packet, if one is there.
func (m *mux) moreInjected(p *injected) bool {
	select {
	case *p = <-m.injected:
		return true
	default:
		return false
	}
}
