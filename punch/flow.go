package punch

import (
	"net/netip"
	"sync/atomic"

	"meshd/punch/wire"
)

// flow is the packet path's side of a peer: which way its packets go, and how
// many went. The engine swaps way and reads the counters.
type flow struct {
	key   Key
	plain bool // its handshakes tell where it is
	way   atomic.Pointer[way]

	sent     atomic.Uint64 // packets handed to send
	received atomic.Uint64 // packets that came over the direct route in use
	relayed  atomic.Uint64 // packets that came by relay …
	returned atomic.Uint64 // … those by the one in use
	straight atomic.Uint64 // packets of any kind, even empty ones, that came by any direct route
	failed   atomic.Bool   // the system refused a direct packet
	tooLong  atomic.Bool   // … because of its length
	coarse   atomic.Bool   // who counts straight may miss some
	awake    atomic.Bool   // the engine looks at the counters by itself
	relays   atomic.Bool   // what it relays to us is taken
	crowd    crowd         // whether many packets went at once
	onward   bucket        // what we relay for it

	handshake
}

// way is an immutable choice of where packets go.
type way struct {
	direct   Socket // nil: no direct route
	addr     netip.AddrPort
	envelope []byte    // a header for what begins a handshake, see flow.write; nil: none
	singly   bool      // the direct route takes no bundles, as far as is known
	both     bool      // by relay as well
	relay    *relayLeg // nil: no relay; else the reserve of a direct route
}

// write sends packets by the direct route.
func (w *way) write(bufs [][]byte) error {
	if w.singly {
		return oneByOne(bufs, func(one [][]byte) error { return w.direct.Write(one, w.addr) })
	}
	return w.direct.Write(bufs, w.addr)
}

// relayLeg reaches one peer by a relay.
type relayLeg struct {
	head   [wire.HeaderSize]byte // of what may go in bundles, here and behind the relay …
	lone   [wire.HeaderSize]byte // … and of what may not
	singly bool                  // data may not
	socket Socket                // nil: by stream
	addr   netip.AddrPort
	stream RelayConn
	also   *relayLeg // by another relay as well, while this one is not sure; nil: no
}

func newRelayLeg(h wire.Header) *relayLeg {
	l := &relayLeg{}
	wire.PutHeader(l.head[:], h)
	h.Singly = true
	wire.PutHeader(l.lone[:], h)
	return l
}

func (l *relayLeg) send(bufs [][]byte) error {
	err := l.write(bufs, l.singly)
	if l.also != nil && l.also.send(bufs) == nil {
		return nil
	}
	return err
}

// sendProbe sends one that must arrive whatever happens to bundles.
func (l *relayLeg) sendProbe(b []byte) {
	l.write([][]byte{b}, true)
	if l.also != nil {
		l.also.sendProbe(b)
	}
}

func (l *relayLeg) write(bufs [][]byte, singly bool) error {
	head := l.head[:]
	if singly {
		head = l.lone[:]
	}
	switch {
	case l.socket == nil:
		var d []byte
		for _, b := range bufs {
			d = append(append(d[:0], head...), b...)
			l.stream.Send(d)
		}
		return nil
	case singly:
		return oneByOne(bufs, func(one [][]byte) error { return l.socket.WriteHeaded(head, one, l.addr) })
	}
	return l.socket.WriteHeaded(head, bufs, l.addr)
}

// isKeepalive reports whether b is a WireGuard packet with nothing in it. These
// are not counted: a session that is only kept alive is at rest, and its path
// needs no closer watch.
func isKeepalive(b []byte) bool { return len(b) == 32 }

// flowRun counts the direct packets of one batch by runs of the same sender.
type flowRun struct {
	m    *mux
	from netip.AddrPort
	flow *flow
	live bool // from is the address in use, so that packets prove the path
	n    int
	all  int // the same with those by other routes, and empty ones
}

// direct finds the sender of a WireGuard packet by its address; nil: unknown.
func (r *flowRun) direct(t *table, from netip.AddrPort, b []byte) *flow {
	if from != r.from {
		r.end()
		r.from, r.flow = from, t.addrs[from]
		r.live = r.flow != nil && r.flow.way.Load().addr == from
	}
	if r.flow != nil {
		r.flow.heard(b)
		r.all++
	}
	if r.live && !isKeepalive(b) {
		r.n++
	}
	return r.flow
}

func (r *flowRun) end() {
	if r.all > 0 {
		r.flow.straight.Add(uint64(r.all))
		r.all = 0
	}
	if r.n > 0 {
		r.m.count(r.flow, &r.flow.received, r.n)
		r.n = 0
	}
}

// counters are the totals so far.
func (f *flow) counters() traffic {
	return traffic{sent: f.sent.Load(), received: f.received.Load(), relayed: f.relayed.Load(), returned: f.returned.Load()}
}

// take returns what moved since last was taken.
func (f *flow) take(last *traffic) traffic {
	now := f.counters()
	d := traffic{
		sent: now.sent - last.sent, received: now.received - last.received,
		relayed: now.relayed - last.relayed, returned: now.returned - last.returned,
	}
	*last = now
	return d
}
