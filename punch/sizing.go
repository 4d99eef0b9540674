package punch

import (
	"time"

	"meshd/punch/wire"
)

const (
	// defaultLargest is the WireGuard packet that holds 1412 bytes: by relay over
	// IPv6 it just fits an Ethernet.
	defaultLargest = 1444
	// maxSized bounds the ways to a peer whose size is remembered.
	maxSized = 8
	// sizedAfter spreads the measuring of relayed ways that nobody waits for.
	sizedAfter = 3 * time.Second
	// starvedFor is how long data goes out without any coming back until that is
	// looked into.
	starvedFor = 500 * time.Millisecond
	// starvingFor is how long after the last data that is looked into: TCP repeats
	// what was lost with growing pauses.
	starvingFor = 5 * time.Second
	// hedgeFor is how long data takes the relay besides a route that carries less than
	// was told before: routing tables and TCP have to heed that first.
	hedgeFor = time.Second
)

// sizedWay is a way whose size is measured: a route, or (zero route) the relay in
// use.
type sizedWay struct {
	route route
	relay Key // zero: the hub
}

// sizing is what a member's ways carry.
type sizing map[sizedWay]*sizer

// get returns the sizer of a way, made if it isn't there. What is known of other ports of
// the same host, the least of it, is believed of this one until it is measured.
func (s sizing) get(w sizedWay, at time.Time, top int) *sizer {
	if z, ok := s[w]; ok {
		return z
	}
	if len(s) >= maxSized {
		clear(s) // a peer that moves about: what was is over
	}
	z := newSizer(at, top)
	var sameHost []sizedWay
	for other := range s {
		if !w.route.isZero() && other.route.addr.Addr() == w.route.addr.Addr() {
			sameHost = append(sameHost, other)
		}
	}
	z.known = s.largest(sameHost)
	s[w] = z
	return z
}

// largest is the largest datagram that all of the ways carry as far as is known;
// 0: nothing is.
func (s sizing) largest(ways []sizedWay) int {
	n := 0
	for _, w := range ways {
		if z := s[w]; z != nil && z.known != 0 && (n == 0 || z.known < n) {
			n = z.known
		}
	}
	return n
}

// distrust has all ways but one measured anew: what made that one narrower may be
// on theirs too.
func (s sizing) distrust(now time.Time, but sizedWay) {
	for w, z := range s {
		if w != but && z.stage == sizeKnown {
			z.begin(now, sizeTop)
		}
	}
}

// ways are those that data for the peer takes now, or may take the next moment.
func (l *loop) ways(m *member) []sizedWay {
	var ways []sizedWay
	if m.path.cur != nil && m.path.confirmed {
		ways = append(ways, sizedWay{route: m.path.cur.route})
	}
	if c := m.detour.cur; c != nil && c.via == ViaRelay && m.Online {
		ways = append(ways, sizedWay{relay: c.key})
	}
	return ways
}

// settleSizes measures what is due, and tells when a member's ways carry
// something else than before.
func (l *loop) settleSizes(now time.Time, m *member) {
	if m.flow.tooLong.Swap(false) {
		for _, w := range l.ways(m) {
			m.sizing.get(w, now, l.config.Largest).refuse(now)
		}
	}
	ways := l.ways(m)
	for _, w := range ways {
		if l.settleSize(now, m, w) {
			m.sizing.distrust(now, w)
		}
	}
	if n := m.sizing.largest(ways); n != m.largest && n != 0 {
		l.log.Debug("path size changed", "peer", m.Name, "from", m.largest, "to", n)
		if n < m.largest {
			m.narrowed = now
		}
		m.largest = n
		l.noteChange()
	}
	if h := m.hedges(now); h != m.hedged {
		m.hedged = h
		l.point(m)
	}
}

// hedges reports whether packets may be on their way that are too large for the route
// in use. Those that go by relay as well arrive.
func (m *member) hedges(now time.Time) bool {
	return !m.choice.route.isZero() && now.Before(m.narrowed.Add(hedgeFor))
}

// settleSize measures what is due of one way, and reports whether that turned out
// to carry less than was known.
func (l *loop) settleSize(now time.Time, m *member, w sizedWay) (less bool) {
	inUse := m.takes(w)
	if _, known := m.sizing[w]; !known && !m.warm && !(inUse && m.path.busy(now, busyFor)) {
		return false
	}
	at := now
	if !inUse {
		at = now.Add(m.path.jitter(sizedAfter))
	}
	z := m.sizing.get(w, at, l.config.Largest)
	before := z.known
	for _, size := range z.next(now, m.starves(now, w), l.roundTrip(m, w)) {
		probe := sendProbe{typ: wire.Ping, flags: wire.FlagSize, to: w.route, txid: m.path.txid(), size: size}
		if w.route.isZero() {
			probe.flags |= wire.FlagRelayed
		}
		z.sent(size, probe.txid)
		l.sendProbe(m, probe)
	}
	return z.known < before
}

// roundTrip is a way's, as far as it is known.
func (l *loop) roundTrip(m *member, w sizedWay) time.Duration {
	if w.route.isZero() {
		return 2 * m.detour.cur.near
	}
	return m.path.cur.rtt.estimate()
}

// wayOf is the way that a datagram came by.
func wayOf(d datagram) sizedWay {
	if d.relayed != nil {
		return sizedWay{relay: d.by}
	}
	return sizedWay{route: d.from}
}

// sized takes in what a probe tells of what its way carries: a PONG to a PING of
// ours that measured it, or a PING by which the peer looks for what fits.
func (l *loop) sized(now time.Time, m *member, msg *wire.Message, from sizedWay) {
	looks := msg.Type == wire.Ping && msg.Flags&wire.FlagSize != 0 && msg.Size > wire.ProbeSize && int(msg.Size) < l.config.Largest
	if msg.Type == wire.Pong {
		for i := range m.bundles {
			m.bundles[i].answered(now, msg.TxID)
		}
	}
	for w, z := range m.sizing {
		switch {
		case msg.Type == wire.Pong:
			z.answered(now, msg.TxID)
		case looks && w == from:
			z.look(now, int(msg.Size))
		case looks:
			z.nudge(now)
		}
	}
}

// sizeDeadline is when settleSizes has something to do for a member.
func (l *loop) sizeDeadline(now time.Time, m *member) time.Time {
	var d time.Time
	if m.hedged {
		d = m.narrowed.Add(hedgeFor)
	}
	for _, w := range l.ways(m) {
		if z := m.sizing[w]; z != nil {
			d = earlier(d, z.deadline(m.starves(now, w)))
			if at := m.starvesAt(now, w); now.Before(at) {
				d = earlier(d, at)
			}
		}
	}
	return d
}

// takes reports whether data for the member goes by a way.
func (m *member) takes(w sizedWay) bool {
	return w.route == m.choice.route || m.choice.relay && w.route.isZero()
}

// starves reports whether data has been going out by a way for a while and none
// came back.
func (m *member) starves(now time.Time, w sizedWay) bool {
	at := m.starvesAt(now, w)
	return !at.IsZero() && !now.Before(at)
}

// starvesAt is when a way starves if no data comes until then; zero: it does not.
// What was asked last must be later than what was answered by more than the two are
// looked at apart.
func (m *member) starvesAt(now time.Time, w sizedWay) time.Time {
	if !m.takes(w) || !m.path.busy(now, starvingFor) || m.path.lastData.Sub(m.fed) <= pollTraffic {
		return time.Time{}
	}
	return m.fed.Add(starvedFor)
}
