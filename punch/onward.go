package punch

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"meshd/punch/wire"
)

// defaultRelayRate is a gigabit a second for each peer: a bound for one that runs
// wild, not a share.
const defaultRelayRate = 125_000_000

// client is a peer that we relay for, at an address which answered a PING of ours.
// Whoever only claims the address of a peer is none.
type client struct {
	flow *flow
	id   wire.RelayID
}

// onwards counts what was relayed for peers since the start.
type onwards struct {
	packets, bytes, dropped atomic.Uint64
}

// onward passes on what peers send each other by us: a run of datagrams from one
// to one other at a time, in place, each with its header exchanged. Who is asked
// to carry something to itself, to a stranger, or to a peer without a direct route
// drops it; nothing is ever relayed twice.
type onward struct {
	from netip.AddrPort
	id   wire.RelayID // of the pair
	kind wire.Kind    // of the payloads
	one  bool         // they go one by one
	ok   bool
	head [wire.HeaderSize]byte // of what is passed on

	source, to *flow
	bufs       [][]byte
	bytes      int
}

var onwardPool = sync.Pool{New: func() any { return new(onward) }}

// onwardTake takes a FORWARD datagram in.
func (s *sorter) onwardTake(b []byte, from netip.AddrPort, h wire.Header) {
	if s.onward == nil {
		s.onward = onwardPool.Get().(*onward)
	}
	o := s.onward
	kind := wire.KindOf(b[wire.HeaderSize:])
	if from != o.from || h.ID != o.id || kind != o.kind || h.Singly != o.one {
		s.m.passOn(o)
		o.begin(s.t, from, h, kind)
	}
	if !o.ok {
		s.m.onwards.dropped.Add(1)
		return
	}
	copy(b, o.head[:])
	o.bufs = append(o.bufs, b)
	o.bytes += len(b)
}

// begin looks up who is at both ends of a run.
func (o *onward) begin(t *table, from netip.AddrPort, h wire.Header, kind wire.Kind) {
	c := t.clients[from]
	to := t.ids[wire.PairID(h.ID, c.id)]
	o.from, o.id, o.kind, o.one, o.source, o.to = from, h.ID, kind, h.Singly, c.flow, to
	known := kind == wire.WireGuard || kind == wire.Probe
	o.ok = known && c.flow != nil && c.id != 0 && to != nil && to != c.flow && !to.plain
	wire.PutHeader(o.head[:], wire.Header{Type: wire.Data, Singly: h.Singly, ID: h.ID})
}

// passOn sends the run, and forgets it. Probes are urgent: a relay that is merely
// at its limit must not seem dead.
func (m *mux) passOn(o *onward) {
	if len(o.bufs) == 0 {
		return
	}
	n, w := uint64(len(o.bufs)), o.to.way.Load()
	left := o.source.onward.take(time.Now(), o.bytes, m.relayRate, o.kind == wire.Probe)
	if left && w.direct != nil && o.write(w) == nil {
		m.onwards.packets.Add(n)
		m.onwards.bytes.Add(uint64(o.bytes))
	} else {
		m.onwards.dropped.Add(n)
	}
	clear(o.bufs)
	o.bufs, o.bytes = o.bufs[:0], 0
}

// write sends the run by the direct route of its destination. Whether in bundles is
// for who sent it to say: it knows the whole way.
func (o *onward) write(w *way) error {
	straight := way{direct: w.direct, addr: w.addr, singly: o.one}
	return straight.write(o.bufs)
}

// end closes the batch: counters are brought up to date, and what is to be passed
// on leaves.
func (s *sorter) end() {
	s.run.end()
	if o := s.onward; o != nil {
		s.m.passOn(o)
		*o = onward{bufs: o.bufs}
		onwardPool.Put(o)
		s.onward = nil
	}
}
