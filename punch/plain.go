package punch

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"meshd/punch/wire"
)

// readsPerSecond bounds what reading handshakes of unknown senders may cost, and
// it is only done for who has a plain peer.
const readsPerSecond = 50

// opener is what is sent to a plain peer for no other reason than that our NAT
// lets its answers in: one octet, as in RFC 3948 §2.3. WireGuard drops it.
var opener = []byte{0xff}

// plainWay is how a peer is reached that runs WireGuard and nothing of ours: it
// answers no probes and has no relay session, so there is one way, to where it was
// heard last. That is what the map says (the hub hears its handshakes), or where a
// handshake came from that was meant for us.
type plainWay struct {
	addr   netip.AddrPort // invalid: nobody knows
	told   netip.AddrPort // by the map, last
	since  time.Time
	reason string
	last   wire.Initiation // the newest one heard: older ones are replays
}

// setPlain takes in what the map says of a plain peer.
func (l *loop) setPlain(now time.Time, m *member, p Peer) {
	m.Peer = p
	var told netip.AddrPort
	if len(p.Candidates) > 0 {
		told = p.Candidates[0].Addr
	}
	if told.IsValid() && told != m.plain.told {
		l.movePlain(now, m, told, "map")
	}
	m.plain.told = told
}

// movePlain makes addr where a plain peer's packets go.
func (l *loop) movePlain(now time.Time, m *member, addr netip.AddrPort, reason string) {
	s := l.socket(routeTo(addr).socket)
	if s == nil || addr == m.plain.addr {
		return // a family that this host has not
	}
	l.log.Info("path changed", "peer", m.Name, "from", m.plain.addr, "to", addr, "reason", reason)
	m.plain.addr, m.plain.since, m.plain.reason = addr, now, reason
	next := &way{direct: s, addr: addr}
	l.mux.noteTurn(m.flow.way.Swap(next), next)
	l.publish()
	m.flow.repeat(now)
	l.noteChange()
}

// meet learns from a handshake initiation where a plain peer is. It is passed on
// to WireGuard whatever it says.
func (l *loop) meet(now time.Time, d datagram) {
	if !l.members.plain || !l.responder.Meant(d.data) || !l.reads.AllowN(now, 1) {
		return
	}
	i, err := l.responder.Read(d.data)
	if err != nil {
		return
	}
	m := l.members.all[i.Static]
	if m == nil || m.plain == nil || !i.After(m.plain.last) {
		return
	}
	m.plain.last = i
	l.movePlain(now, m, d.from.addr, "handshake")
}

// want is what to do when a peer asks where we are, in order to reach us.
func (l *loop) want(m *member) {
	switch {
	case m.plain == nil:
		l.step(m, sought{})
	case !m.plain.addr.IsValid():
	default:
		// A handshake of ours that waits for an answer opens the way as well, and
		// may be the one that gets through.
		b := m.flow.waiting(time.Now(), handshakeLife)
		if b == nil {
			b = opener
		}
		m.flow.sendNow(b)
	}
}

// status describes the way for [Status].
func (p *plainWay) status(online bool) PeerStatus {
	s := PeerStatus{Addr: p.addr, Class: "direct", Since: p.since, Reason: p.reason}
	switch {
	case !p.addr.IsValid():
		return PeerStatus{Reason: "not heard from yet"}
	case !online:
		return PeerStatus{Since: p.since, Reason: "offline"}
	}
	s.Path = ViaDirect
	return s
}

func newReads() *rate.Limiter { return rate.NewLimiter(readsPerSecond, readsPerSecond) }
