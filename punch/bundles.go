package punch

import (
	"net/netip"
	"time"

	"meshd/punch/wire"
)

const (
	// bundleSize is how many PINGs go at once in a round, and again one by one.
	bundleSize = 4
	// bundleProof is how many rounds in a row must speak against what is believed.
	// Of a way that loses packets at random one round does so with a probability of
	// 1/4 at most, so five do once in a thousand.
	bundleProof = 5
	bundleWait  = 400 * time.Millisecond // for answers, at least
	bundleAgain = 5 * time.Minute
	// bundleBulk is how many packets go between tests: who sends little is not
	// helped by bundles, nor harmed.
	bundleBulk = 100
)

// bundler is a socket that sends several datagrams to one destination in one
// piece, which the system or the network card takes apart. It can be told not to.
type bundler interface {
	Bundles(to netip.Addr) bool
	SetBundles(to netip.Addr, on bool)
}

// bundles finds out whether bundles come through where single datagrams do: some
// kernels and network cards spoil all but the first of a bundle. It sends some
// PINGs both ways and looks which are answered. It has no clock and no socket.
//
//	rest ── time and packets went by ──▶ round ── as believed ──▶ rest
//	                                     ▲   │ otherwise
//	                                     └───┴── five in a row ──▶ the other is believed
type bundles struct {
	route route // that all this is said of
	lost  bool  // believed: they are

	packets  uint64    // sent since the last test
	at       time.Time // no round before; or the running one ends
	running  bool
	asked    map[uint64]bool // transactions of this round; true: in the bundle
	together int             // of these, answers to the bundle …
	alone    int             // … and to those sent one by one
	contrary int             // rounds in a row against what is believed
	rounds   int
}

// next reports whether to send a round now. Of those sent, it wants to hear.
func (b *bundles) next(now time.Time, rtt time.Duration) bool {
	if now.Before(b.at) || !b.running && b.packets < bundleBulk {
		return false
	}
	if b.running && b.judge(now) {
		return false
	}
	b.running, b.at = true, now.Add(max(bundleWait, 4*rtt))
	b.asked, b.together, b.alone = make(map[uint64]bool), 0, 0
	b.rounds++
	return true
}

// judge ends a round, and reports whether the test is over with it.
func (b *bundles) judge(now time.Time) bool {
	b.running = false
	whole := b.together == bundleSize
	contrary := whole
	if !b.lost {
		contrary = !whole && b.alone == bundleSize
	}
	if contrary {
		b.contrary++
	}
	if b.contrary == bundleProof {
		b.lost, contrary = !b.lost, false
	}
	if !contrary {
		b.contrary, b.packets, b.at = 0, 0, now.Add(bundleAgain)
	}
	return !contrary
}

// answered takes a PONG.
func (b *bundles) answered(txid uint64) {
	together, ok := b.asked[txid]
	switch delete(b.asked, txid); {
	case !ok:
	case together:
		b.together++
	default:
		b.alone++
	}
}

// deadline is when next has something to say by itself.
func (b *bundles) deadline() time.Time {
	if b.running {
		return b.at
	}
	return time.Time{}
}

// settleBundles does what is due of the test of a member's direct path. What goes
// by relay shares its address with other peers, and is not tested.
func (l *loop) settleBundles(now time.Time, m *member) {
	b := &m.bundles
	if m.path.cur == nil || !m.path.confirmed {
		b.running = false
		return
	}
	r := m.path.cur.route
	if b.route != r {
		l.forgetBundles(m)
		b.route = r
	}
	s, ok := l.socket(r.socket).(bundler)
	if !ok || !b.lost && !s.Bundles(r.addr.Addr()) {
		b.running = false // it has no bundles for this address anyway
		return
	}
	before := b.lost
	if b.next(now, m.path.cur.rtt.estimate()) {
		l.testBundles(m, s)
	}
	switch {
	case b.lost && !before:
		l.log.Warn("bundles of packets get lost, they go one by one", "peer", m.Name, "addr", r.addr)
	case !b.lost && before:
		l.log.Info("bundles of packets come through again", "peer", m.Name, "addr", r.addr)
		s.SetBundles(r.addr.Addr(), true)
	}
	if b.lost != before {
		l.noteChange()
	}
	if b.lost && s.Bundles(r.addr.Addr()) {
		s.SetBundles(r.addr.Addr(), false)
	}
}

// testBundles sends a round. What goes first takes turns, for the second may find
// a queue full.
func (l *loop) testBundles(m *member, s bundler) {
	b := &m.bundles
	size := m.sizing.largest([]sizedWay{{route: b.route}})
	send := func(n int, together bool) {
		var bufs [][]byte
		for range n {
			probe := sendProbe{typ: wire.Ping, flags: wire.FlagSize, txid: m.path.txid(), size: size}
			if sealed := l.sealProbe(m, probe); sealed != nil {
				b.asked[probe.txid] = together
				bufs = append(bufs, sealed)
			}
		}
		_ = l.socket(b.route.socket).Write(bufs, b.route.addr) // an error is a loss
	}
	for i := range 2 {
		if (i+b.rounds)%2 == 0 {
			s.SetBundles(b.route.addr.Addr(), true)
			send(bundleSize, true)
			s.SetBundles(b.route.addr.Addr(), !b.lost)
			continue
		}
		for range bundleSize {
			send(1, false)
		}
	}
}

// forgetBundles lets a member's address have bundles again: what was found may be
// over.
func (l *loop) forgetBundles(m *member) {
	if s, ok := l.socket(m.bundles.route.socket).(bundler); ok && m.bundles.lost {
		s.SetBundles(m.bundles.route.addr.Addr(), true)
	}
	m.bundles = bundles{packets: m.bundles.packets}
}
