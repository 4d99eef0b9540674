package punch

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// maxReflectors bounds how many peers are asked as what they see us, for each
// address that the hub sees. Two that agree are enough; one may not answer.
const maxReflectors = 3

// A hub with one address can't tell a NAT that maps by address from an easy one:
// both of its ports see the same. A peer that lets us in can, for the answer to a
// PING carries as what it sees us. In a small mesh such a peer is met anyway. In
// others one is asked when a pair found no way where there should have been one
// (see lookAround): whose NAT is to blame is known then, and the next attempt goes
// by that.

// reflect asks the next peer that may tell how our NAT maps, if that is not known.
// failed is the one that was not reached.
func (l *loop) reflect(failed *member) {
	if !l.local.wantsReflector() {
		return
	}
	var list []reflector
	for _, m := range l.members.all {
		if m != failed && m.Online && m.plain == nil && m.path.failures == 0 {
			list = append(list, reflector{key: m.Key, candidates: m.Candidates, nat: m.NAT, met: m.path.cur != nil})
		}
	}
	key, ok := l.local.pickReflector(l.self, list)
	if !ok {
		return
	}
	m := l.members.all[key]
	l.log.Debug("asking a peer how our NAT maps", "peer", m.Name)
	l.step(m, mirror{routeTo(publicAddr(m.Candidates))})
}

// takeMirror has the peer say as what it sees us, by its answer to a PING. Where
// there is a path already, by IPv6 maybe, that needs no attempt.
func (p *path) takeMirror(now time.Time, to route) {
	if p.cur != nil {
		p.ping(now, to)
		return
	}
	p.wanted(now, "to see how our NAT maps")
}

// reflector is a peer that may say as what it sees us.
type reflector struct {
	key        Key
	candidates []wire.Candidate
	nat        wire.NAT
	met        bool // there is a direct path already
}

// at is the address of IPv4 at which anyone's packets reach a reflector that it
// sent to first, whatever port they come from; zero: there is none.
func (r *reflector) at() netip.Addr {
	if dependent(r.nat.Mapping) || !lenient(r.nat) {
		return netip.Addr{}
	}
	return publicAddr(r.candidates).Addr()
}

// wantsReflector reports whether it is open how our NAT maps, and may still be
// asked for.
func (o *observer) wantsReflector() bool {
	list := o.sightings()
	return len(list) > 0 && list[0].by.Addr().Is4() && len(o.reflectors) < maxReflectors && !o.mappingSure()
}

// mappingSure reports whether it is certain what others find at the address that
// we tell them: that no NAT is there, or that it maps alike for all, or that it
// doesn't.
func (o *observer) mappingSure() bool {
	list := o.sightings()
	if _, sure := mappingOf(list); sure || o.found.Best().MappingSure || dependent(o.nat().Mapping) {
		return true
	}
	own := func(p netip.Prefix) bool { return p.Addr() == list[0].as.Addr() }
	return len(list) > 0 && slices.ContainsFunc(o.nets, own)
}

// pickReflector takes one from the list whose address tells something new, and
// notes it. Those with a path come first. Of the others each agent prefers its
// own, so that no peer has to answer a whole mesh.
func (o *observer) pickReflector(self Key, list []reflector) (Key, bool) {
	list = slices.DeleteFunc(slices.Clone(list), func(r reflector) bool {
		at := r.at()
		_, viewed := o.viewers[at]
		return !at.IsValid() || viewed || o.meets(at) || slices.Contains(o.reflectors, r.key)
	})
	if len(list) == 0 {
		return Key{}, false
	}
	best := slices.MinFunc(list, func(a, b reflector) int {
		switch x, y := distance(self, a.key), distance(self, b.key); {
		case a.met == b.met:
			return bytes.Compare(x[:], y[:])
		case a.met:
			return -1
		}
		return 1
	})
	o.reflectors = append(o.reflectors, best.key)
	return best.key, true
}

// meets reports whether an address is one of a server's, or our own public one.
func (o *observer) meets(a netip.Addr) bool {
	for server, as := range o.seen {
		if server.Addr() == a || as.Addr() == a {
			return true
		}
	}
	return false
}

// distance orders keys differently for each agent.
func distance(a, b Key) Key {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}
