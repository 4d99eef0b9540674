package punch

import (
	"sync/atomic"
	"time"

	"meshd/punch/wire"
)

const (
	// bundleSize is how many PINGs go at once in a round, and again one by one. Who
	// sends fewer packets at once is not helped by bundles, nor harmed.
	bundleSize = 4
	// bundleProof is how many rounds in a row must speak against what is believed.
	// Of a way that loses packets at random one round does so with a probability of
	// 1/4 at most, so five do once in a thousand.
	bundleProof = 5
	bundleWait  = 400 * time.Millisecond // for answers, at least
	bundleRetry = time.Second            // after a round that said nothing, of a way that nothing is known of
	bundleAgain = time.Minute
)

// bundles finds out whether bundles come through where single datagrams do: some
// kernels and network cards, our own or a relay's, spoil all but the first of
// several datagrams that are sent in one piece. It sends some PINGs both ways and
// looks which are answered. Packets go one by one until that has shown that they
// need not: no flow waits for a verdict. It has no clock and no socket.
//
//	           a round in which the bundle does as well
//	unproven ───────────────────────────────────────────▶ pass
//	   │                                                  │  ▲
//	   └──────────▶ lost ◀────────────────────────────────┘  │
//	    five rounds  └───────────────────────────────────────┘
//	    in a row: it alone suffers         five rounds in a row: it does not
//
// A round is sent when many packets went at once, and the last is some time ago.
type bundles struct {
	way    bundledWay // that all this is said of
	belief belief

	at       time.Time // no round before; or the running one ends
	running  bool
	asked    map[uint64]bool // transactions of this round; true: in the bundle
	together int             // of these, answers to the bundle …
	alone    int             // … and to those sent one by one
	contrary int             // rounds in a row against what is believed
}

// bundledWay is a way that bundles go: a direct route, or a relay and how it is
// reached.
type bundledWay struct {
	sizedWay
	via Via
}

// belief is what is known of bundles on a way.
type belief uint8

const (
	bundlesUnproven belief = iota
	bundlesPass
	bundlesLost
)

// next reports whether to send a round now; many says that many packets went at
// once. Of the PINGs sent, it wants to hear.
func (b *bundles) next(now time.Time, many bool, rtt time.Duration) bool {
	if now.Before(b.at) || !b.running && !many || b.running && b.judge(now) {
		return false
	}
	b.running, b.at = true, now.Add(max(bundleWait, 4*rtt))
	b.asked, b.together, b.alone = make(map[uint64]bool), 0, 0
	return true
}

// judge ends a round, and reports whether the test is over with it.
func (b *bundles) judge(now time.Time) bool {
	b.running = false
	whole := b.together == bundleSize
	contrary := !whole && b.alone == bundleSize
	if b.belief == bundlesLost {
		contrary = whole
	}
	if contrary && b.contrary+1 < bundleProof {
		b.contrary++
		return false
	}
	rest := bundleAgain
	switch {
	case contrary && b.belief == bundlesLost:
		b.belief = bundlesPass
	case contrary:
		b.belief = bundlesLost
	case b.belief == bundlesUnproven && b.together > 1 && b.together >= b.alone:
		b.belief = bundlesPass
	case b.belief == bundlesUnproven:
		rest = bundleRetry
	}
	b.contrary, b.at, b.asked = 0, now.Add(rest), nil
	return true
}

// answered takes a PONG.
func (b *bundles) answered(now time.Time, txid uint64) {
	together, ok := b.asked[txid]
	switch delete(b.asked, txid); {
	case !ok:
		return
	case together:
		b.together++
	default:
		b.alone++
	}
	if len(b.asked) == 0 && b.running {
		b.at = now // there is no more to come
	}
}

// deadline is when next has something to say by itself.
func (b *bundles) deadline() time.Time {
	if b.running {
		return b.at
	}
	return time.Time{}
}

// crowd tells the engine of many packets that went at once, when it wants to hear
// of them. It costs the packet path one look.
type crowd struct{ state atomic.Uint32 }

const (
	crowdIgnored uint32 = iota
	crowdAwaited
	crowdSeen
)

// noteCrowd takes note of n packets that go at once.
func (m *mux) noteCrowd(c *crowd, n int) {
	if n >= bundleSize && c.state.Load() == crowdAwaited {
		c.state.Store(crowdSeen)
		m.nudge()
	}
}

// oneByOne calls write for each of bufs. The error is the last, the others are
// sent nevertheless.
func oneByOne(bufs [][]byte, write func([][]byte) error) (err error) {
	for i := range bufs {
		if e := write(bufs[i : i+1]); e != nil {
			err = e
		}
	}
	return err
}

// settleBundles does what is due of the tests of a member's ways.
func (l *loop) settleBundles(now time.Time, m *member) {
	seen := m.flow.crowd.state.Load() == crowdSeen
	next := crowdIgnored
	for i, w := range l.bundledWays(m) {
		b := &m.bundles[i]
		if w.via == ViaNone {
			b.running = false
			continue
		}
		if b.way != w {
			*b = bundles{way: w}
		}
		if !b.running && !m.takes(w.sizedWay) {
			continue
		}
		size := l.bundledSize(m, w)
		if size == 0 {
			continue
		}
		before := b.belief
		if b.next(now, seen, l.roundTrip(m, w.sizedWay)) {
			l.testBundles(m, b, size)
		}
		if b.belief != before {
			l.tellBundles(m, b, before)
		}
		if !b.running && !now.Before(b.at) {
			next = crowdAwaited
		}
	}
	if seen || next != m.flow.crowd.state.Load() {
		m.flow.crowd.state.Store(next)
	}
}

// bundledWays are the direct route of a member and the relay in use, as far as
// there are any.
func (l *loop) bundledWays(m *member) (ways [2]bundledWay) {
	if m.path.cur != nil && m.path.confirmed {
		ways[0] = bundledWay{sizedWay{route: m.path.cur.route}, ViaDirect}
	}
	if c := m.detour.cur; c != nil {
		ways[1] = bundledWay{sizedWay{relay: c.key}, c.via}
	}
	return ways
}

// bundledSize is how large the PINGs are to be: as large as data. 0: that is not
// known yet. Of a stream it never is.
func (l *loop) bundledSize(m *member, w bundledWay) int {
	if w.via == ViaTLS {
		return sizeFloor
	}
	return m.sizing.largest([]sizedWay{w.sizedWay})
}

// testBundles sends a round. What goes first takes turns, for the second may find
// a queue full.
func (l *loop) testBundles(m *member, b *bundles, size int) {
	seal := func(together bool) (bufs [][]byte) {
		for range bundleSize {
			probe := sendProbe{typ: wire.Ping, flags: wire.FlagSize, txid: m.path.txid(), size: size}
			if b.way.via != ViaDirect {
				probe.flags |= wire.FlagRelayed
			}
			if sealed := l.sealProbe(m, probe); sealed != nil {
				b.asked[probe.txid] = together
				bufs = append(bufs, sealed)
			}
		}
		return bufs
	}
	first := b.contrary%2 == 0
	for _, together := range []bool{first, !first} {
		l.sendTest(m, b.way, seal(together), together) // an error is a loss
	}
}

func (l *loop) sendTest(m *member, w bundledWay, bufs [][]byte, together bool) {
	if w.via != ViaDirect {
		if leg := l.legBy(m, w.relay); leg != nil {
			leg.write(bufs, !together)
		}
		return
	}
	write := func(bufs [][]byte) error { return l.socket(w.route.socket).Write(bufs, w.route.addr) }
	if together {
		write(bufs)
	} else {
		oneByOne(bufs, write)
	}
}

// tellBundles has the packet path heed what was found.
func (l *loop) tellBundles(m *member, b *bundles, before belief) {
	via := b.way.via.String()
	switch {
	case b.belief == bundlesLost:
		l.log.Warn("bundles of packets get lost, they go one by one", "peer", m.Name, "via", via, "addr", b.way.route.addr)
	case before == bundlesLost:
		l.log.Info("bundles of packets come through again", "peer", m.Name, "via", via, "addr", b.way.route.addr)
	}
	l.point(m)
	l.noteChange()
}

// singly reports whether packets that take a way go one by one.
func (m *member) singly(w bundledWay) bool {
	for i := range m.bundles {
		if b := &m.bundles[i]; b.way == w {
			return b.belief != bundlesPass
		}
	}
	return true
}

// losesBundles reports whether they were found to get lost on the way in use.
func (m *member) losesBundles() bool {
	for i := range m.bundles {
		if b := &m.bundles[i]; b.belief == bundlesLost && b.way.via != ViaNone && m.takes(b.way.sizedWay) {
			return true
		}
	}
	return false
}

// forgetBundles has it all found out anew: the network is another.
func (l *loop) forgetBundles(m *member) {
	m.bundles = [2]bundles{}
	l.point(m)
}
