package punch

import (
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// surveyDelay is how long a new address has to last before the NAT that gave it
// is looked at: servers answer one after the other.
const surveyDelay = 100 * time.Millisecond

// maxViewers bounds how many peers' views of us are kept.
const maxViewers = 16

// nat puts together what the last survey found, and how our own socket's mapping
// is seen now: by servers, and by peers at other addresses.
func (o *observer) nat() wire.NAT {
	n := o.found.Best().Behaviour()
	m, sure := mappingOf(o.sightings())
	switch {
	case m == wire.UnknownBehaviour, m == n.Mapping, !sure && n.Mapping > m:
		return n
	case dependent(m) != dependent(n.Mapping) && o.found.Best().Ports == nil:
		n.Allocation, n.Delta, n.Low, n.High = wire.UnknownAllocation, 0, 0, 0 // told of the other kind
	}
	n.Mapping = m
	return n
}

// sightings lists as what our socket is seen, by IPv4 if at all: what translates
// is there.
func (o *observer) sightings() []sighting {
	var v4, v6 []sighting
	for _, s := range o.servers {
		switch as, ok := o.seen[s.addr]; {
		case !ok:
		case s.addr.Addr().Is4():
			v4 = append(v4, sighting{s.addr, as})
		default:
			v6 = append(v6, sighting{s.addr, as})
		}
	}
	if len(v4) == 0 {
		return v6
	}
	return append(v4, o.views(v4[0].as)...)
}

// views lists the sightings of peers. A gateway that keeps our port makes an
// exception where an address and port are in use already (Linux does), so there
// a single peer that sees another one proves nothing.
func (o *observer) views(as netip.AddrPort) []sighting {
	var list []sighting
	others := 0
	for by, seen := range o.viewers {
		if !by.Is4() {
			continue
		}
		list = append(list, sighting{netip.AddrPortFrom(by, 0), seen})
		if seen != as {
			others++
		}
	}
	if others == 1 && len(list) == 1 && as.Port() == o.port {
		return nil
	}
	return list
}

// viewed notes as what a peer saw us, at another address than the servers' have.
// Only on the public address that they see, too, does the port mean anything.
func (o *observer) viewed(now time.Time, peer, addr netip.AddrPort) {
	by := peer.Addr()
	if by.IsPrivate() || onLink(by, o.nets) || o.viewers[by] == addr {
		return
	}
	common := func(a netip.AddrPort) bool { return a.Addr() == addr.Addr() }
	if !slices.ContainsFunc(o.reflexive(), common) {
		return
	}
	if _, known := o.viewers[by]; !known && len(o.viewers) == maxViewers {
		return
	}
	o.viewers[by] = addr
	o.tell(now, publishDelay)
	if dependent(o.nat().Mapping) && o.found.Best().Ports == nil && o.surveyAt.IsZero() {
		o.surveyAt = now
	}
}

// survey reports whether it is time for one, and says how.
func (o *observer) survey(now time.Time) (DiscoverConfig, bool) {
	if o.surveyAt.IsZero() || now.Before(o.surveyAt) {
		return DiscoverConfig{}, false
	}
	o.surveyAt = time.Time{}
	c := DiscoverConfig{Ports: dependent(o.nat().Mapping)}
	for _, s := range o.servers {
		c.Servers = append(c.Servers, s.addr)
	}
	for _, p := range o.nets {
		c.Own = append(c.Own, p.Addr())
	}
	return c, true
}

// surveyed takes in what a survey found.
func (o *observer) surveyed(now time.Time, d Discovery) {
	if !d.Best().UDP {
		return // the network went away meanwhile
	}
	o.found = d
	o.tell(now, 0)
}
