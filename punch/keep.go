package punch

import (
	"slices"
	"time"
)

// How long sockets of a search are kept, and when the pair goes back from them.
const (
	leaveAfter = time.Second      // from another way to the end of a socket that was used
	homeAfter  = 2 * time.Minute  // no probe leaves by a route that was proven last a minute ago; gateways forget within 30 s
	homeAgain  = 10 * time.Minute // should it fail
)

// keeps reports whether a socket of ours is still of use: to the search, to the
// route in use, or as one that worked lately and may again.
func (p *path) keeps(now time.Time, id socketID) bool {
	switch {
	case p.search != nil && p.search.holds(id), p.cur != nil && p.cur.socket == id:
		return true
	case p.healthy():
		return id == p.left && now.Before(p.leftUntil())
	}
	return now.Before(p.keptUntil(id))
}

// leftUntil is when the socket that was in use before is closed: the peer may send
// there yet.
func (p *path) leftUntil() time.Time { return p.since.Add(leaveAfter) }

func (p *path) keptUntil(id socketID) time.Time {
	var until time.Time
	for r, l := range p.legs {
		if t := l.heard.Add(provenFor); r.socket == id && !l.proven.IsZero() && t.After(until) {
			until = t
		}
	}
	return until
}

// tidy closes the sockets that are of no more use.
func (p *path) tidy(now time.Time) []action {
	var out []action
	p.sockets = slices.DeleteFunc(p.sockets, func(id socketID) bool {
		if p.keeps(now, id) {
			return false
		}
		p.forget(id)
		out = append(out, closeSocket{id})
		return true
	})
	return out
}

// forget drops what was known of the routes out of a socket.
func (p *path) forget(id socketID) {
	for r := range p.legs {
		if r.socket == id {
			delete(p.legs, r)
		}
	}
	if p.last.socket == id {
		p.last = route{}
	}
	if p.try != nil {
		p.try.probes = slices.DeleteFunc(p.try.probes, func(part *probing) bool { return part.socket == id })
	}
}

// tidyAt is when a socket that worked once is given up; zero: there is none.
func (p *path) tidyAt() time.Time {
	var d time.Time
	switch {
	case p.search == nil && p.cur == nil:
		for _, id := range p.sockets {
			d = earlier(d, p.keptUntil(id))
		}
	case p.healthy() && p.left != p.cur.socket && slices.Contains(p.sockets, p.left):
		d = p.leftUntil()
	}
	return d
}

// astray reports whether new sockets carry where the usual ones should.
func (p *path) astray() bool {
	return p.healthy() && p.cur.socket.extra() && p.planned().strategy == fresh
}

// home reports whether l is a usual socket's, and as good, for a pair that is astray.
// Behind a hard NAT such a leg is luck and no better than what was searched for.
func (p *path) home(l *leg) bool {
	return p.astray() && !l.socket.extra() && l.tier <= p.cur.tier
}

// homeAt is when to try again whether the usual sockets do; zero: not.
func (p *path) homeAt() time.Time {
	switch {
	case !p.lower || p.try != nil || !p.astray():
		return time.Time{}
	case p.homed.Before(p.since):
		return p.since.Add(homeAfter)
	}
	return p.homed.Add(homeAgain)
}

// runHome leaves new sockets for the usual ones. These carry more: the tunnel
// reads them in large batches.
func (p *path) runHome(now time.Time) {
	if at := p.homeAt(); !at.IsZero() && !now.Before(at) {
		p.homed = now
		p.begin(now, "back to the usual ports", true)
	}
}
