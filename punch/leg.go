package punch

import (
	"time"

	"meshd/punch/wire"
)

// maxLegs bounds what is remembered of a peer's routes; the least recently
// heard one goes first.
const maxLegs = 16

// leg is a route to the peer with what is known of it.
type leg struct {
	route
	tier   tier
	rtt    rtt
	heard  time.Time // last authentic probe from it
	proven time.Time // last PONG to a PING of ours; zero: never
	pong   stamp     // of that PONG
	better int       // PONGs in a row by which it beat the one in use
}

// stamp is when the peer sent a probe, by its own count.
type stamp struct{ boot, seq uint64 }

// answeredSince reports whether the peer answered us over l after it sent m.
func (l *leg) answeredSince(m *wire.Message) bool {
	return l.pong.boot == m.Boot && l.pong.seq > m.Seq
}

// The hysteresis within a tier: a leg is better by 15 % and 2 ms, three times in a row.
const (
	betterRatio   = 0.85
	betterBy      = 2 * time.Millisecond
	betterSamples = 3
)

// beats reports whether l should replace cur, which works. It is asked at each
// PONG of l.
func (l *leg) beats(cur *leg) bool {
	if l.tier != cur.tier {
		return l.tier < cur.tier
	}
	if l.socket.extra() && !cur.socket.extra() {
		return false // the usual socket will do
	}
	mine, its := l.rtt.estimate(), cur.rtt.estimate()
	if float64(mine) > betterRatio*float64(its) || its-mine < betterBy {
		l.better = 0
		return false
	}
	l.better++
	return l.better >= betterSamples
}

// legs are the routes a peer was heard or probed on.
type legs map[route]*leg

// get returns the leg of r, made if it isn't there.
func (ls legs) get(r route, t tier, keep *leg) *leg {
	if l, ok := ls[r]; ok {
		return l
	}
	if len(ls) >= maxLegs {
		ls.evict(keep)
	}
	l := &leg{route: r, tier: t}
	ls[r] = l
	return l
}

func (ls legs) evict(keep *leg) {
	var oldest *leg
	for _, l := range ls {
		if l != keep && (oldest == nil || l.heard.Before(oldest.heard)) {
			oldest = l
		}
	}
	delete(ls, oldest.route)
}
