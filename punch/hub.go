package punch

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"meshd/punch/relay"
	"meshd/punch/wire"
)

// Times of the race between UDP and TLS.
const (
	tlsHeadStart = 250 * time.Millisecond // for UDP (RFC 8305 §5)
	udpPatience  = 2 * time.Second        // for one address of the relay, if there is another
	kickGap      = 500 * time.Millisecond // between renewals that paths ask for
)

// hub is our session with the relay: over UDP where that gets through, over a
// WebSocket where it does not. The loop owns it.
//
//	       0 ms HELLO by UDP ────────── CHALLENGE ──► relay, and no TLS
//	set ─┤                                   ▲ │
//	       250 ms dial TLS ── open ──► tls ──┘ └─ no answer ──► dial TLS at once
type hub struct {
	mux    *mux
	relay  Relay
	udp    *relay.Client
	stream *streamer

	servers []netip.AddrPort // one a family
	server  int              // the one in use
	tryNext time.Time        // when to try the next one; zero: never
	kicked  time.Time

	via      Via
	since    time.Time
	rtt      time.Duration
	observed netip.AddrPort
	epoch    uint16
	met      bool // the relay answered since the start
	fresh    *hubNews
}

// hubNews is what the loop spreads.
type hubNews struct {
	changed  bool           // via is another one
	rebound  bool           // what leads to the relay is
	server   netip.AddrPort // who saw us
	observed netip.AddrPort // as what; zero: not told
	clock    time.Time      // the relay's, now; zero: not told
}

func newHub(m *mux, dial func(context.Context) (RelayConn, error)) *hub {
	return &hub{mux: m, udp: relay.NewClient(relay.ClientConfig{}), stream: newStreamer(m, dial)}
}

func (h *hub) close() { h.stream.close() }

// set begins a session with a relay, in place of any other.
func (h *hub) set(now time.Time, r Relay) {
	if h.keeps(r) {
		h.relay = r
		return
	}
	h.udp.Stop()
	h.stream.stop()
	h.relay, h.observed, h.tryNext = r, netip.AddrPort{}, time.Time{}
	h.servers, h.server = h.reachable(r.Addrs), 0
	h.note(now)
	if r.ID == 0 {
		return
	}
	client := relay.ClientConfig{ID: r.ID, Key: r.Key}
	h.udp = relay.NewClient(client)
	head := tlsHeadStart
	if len(h.servers) == 0 {
		head = 0
	}
	h.stream.start(now.Add(head), client)
	h.startUDP(now)
}

// keeps reports whether the session we have will do for r.
func (h *hub) keeps(r Relay) bool {
	same := r.ID == h.relay.ID && r.Key == h.relay.Key
	return same && (slices.Equal(r.Addrs, h.relay.Addrs) || h.udp.Bound() && slices.Contains(r.Addrs, h.udp.Addr()))
}

// takeStream takes the news of the stream.
func (h *hub) takeStream(now time.Time, ev streamEvent) {
	h.stream.take(now, ev)
	h.note(now)
}

// reachable picks the first address of each family that we have a socket for.
func (h *hub) reachable(addrs []netip.AddrPort) []netip.AddrPort {
	var list []netip.AddrPort
	for _, a := range addrs {
		r := routeTo(a)
		known := slices.ContainsFunc(list, func(b netip.AddrPort) bool { return routeTo(b).socket == r.socket })
		if h.mux.sockets[r.socket] != nil && !known {
			list = append(list, a)
		}
	}
	return list
}

func (h *hub) startUDP(now time.Time) {
	if len(h.servers) == 0 {
		return
	}
	if len(h.servers) > 1 {
		h.tryNext = now.Add(udpPatience)
	}
	h.sendUDP(h.udp.Start(now, h.servers[h.server]))
}

// kick renews the session when a path asks for it: its mapping may be gone, too.
func (h *hub) kick(now time.Time) {
	if now.Sub(h.kicked) >= kickGap {
		h.renew(now)
	}
}

// renew renews the session.
func (h *hub) renew(now time.Time) {
	h.kicked = now
	h.sendUDP(h.udp.Kick(now))
	h.stream.renew(now)
}

func (h *hub) sendUDP(datagrams [][]byte) {
	for _, b := range datagrams {
		r := routeTo(h.udp.Addr())
		h.mux.sockets[r.socket].Write([][]byte{b}, r.addr) // an error is a loss
	}
}

// receive takes a message of the relay that is not data.
func (h *hub) receive(now time.Time, d datagram) {
	if d.via == ViaTLS {
		h.take(now, h.stream.receive(now, d.data), true)
		return
	}
	send, ev := h.udp.Receive(now, d.data, d.from.addr)
	h.sendUDP(send)
	h.take(now, ev, false)
}

// run does what is due.
func (h *hub) run(now time.Time) {
	send, ev := h.udp.Step(now)
	h.sendUDP(send)
	h.take(now, ev, false)
	if _, lost := h.stream.run(now, !h.udp.Bound()).(relay.Lost); lost {
		h.stream.hangUp()
	}
	h.note(now)
	if !h.tryNext.IsZero() && !now.Before(h.tryNext) && !h.udp.Bound() {
		h.server = (h.server + 1) % len(h.servers)
		h.startUDP(now)
	}
}

// take draws the conclusions from a client's event.
func (h *hub) take(now time.Time, ev relay.Event, tls bool) {
	switch ev := ev.(type) {
	case relay.Bound:
		if tls && h.udp.Bound() {
			return
		}
		h.met, h.tryNext, h.rtt = true, time.Time{}, ev.RTT
		n := h.news()
		n.clock = ev.HubTime.Add(ev.RTT / 2)
		if !tls {
			n.rebound = n.rebound || ev.Observed != h.observed || ev.Epoch != h.epoch
			n.server, n.observed = h.udp.Addr(), ev.Observed
			h.observed, h.epoch = ev.Observed, ev.Epoch
		}
	case relay.Lost:
		h.observed = netip.AddrPort{}
		if len(h.servers) > 1 {
			h.tryNext = now.Add(udpPatience)
		}
	}
	h.note(now)
}

// note compares what leads to the relay with what was told.
func (h *hub) note(now time.Time) {
	via := ViaNone
	switch {
	case h.udp.Bound():
		via = ViaRelay
	case h.stream.conn != nil:
		via = ViaTLS
	}
	if via != h.via {
		h.via, h.since = via, now
		n := h.news()
		n.changed, n.rebound = true, true
	}
}

func (h *hub) news() *hubNews {
	if h.fresh == nil {
		h.fresh = &hubNews{}
	}
	return h.fresh
}

// takeNews returns what is new, once; nil: nothing.
func (h *hub) takeNews() *hubNews {
	n := h.fresh
	h.fresh = nil
	return n
}

func (h *hub) deadline() time.Time {
	d := earlier(h.udp.NextTimer(), h.stream.deadline())
	if !h.udp.Bound() {
		d = earlier(d, h.tryNext)
	}
	return d
}

// addr is where relayed packets come from by UDP; zero: nowhere.
func (h *hub) addr() netip.AddrPort { return h.udp.Addr() }

// leg leads to a member by the relay; nil: there is no way.
func (h *hub) leg(id wire.RelayID) *relayLeg {
	if id == 0 || h.via == ViaNone {
		return nil
	}
	head := wire.Header{Type: wire.Data, ID: wire.PairID(h.relay.ID, id)}
	if h.via == ViaTLS {
		l := newRelayLeg(head)
		l.stream = h.stream.conn
		return l
	}
	head.Epoch = h.udp.Epoch()
	l, r := newRelayLeg(head), routeTo(h.udp.Addr())
	l.socket, l.addr = h.mux.sockets[r.socket], r.addr
	return l
}
