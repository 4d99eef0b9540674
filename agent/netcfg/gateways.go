package netcfg

import (
	"cmp"
	"net/netip"
	"slices"
)

// Gateway is a router of a default route, and this host's address towards it.
type Gateway struct {
	Addr  netip.Addr // with its zone if link-local, as IPv6 routers mostly are
	Local netip.Addr // of IPv6 a global one, no temporary one if there is another
}

// hop is where a default route leads, or half of one.
type hop struct {
	half     bool // of those that VPNs lay over the default route; packets take it first
	priority int  // the route's metric; packets take the lowest
	v6       bool
	link     int        // index
	gateway  netip.Addr // invalid: the link itself is the way
}

func (h hop) compare(o hop) int {
	return cmp.Or(first(h.half, o.half), cmp.Compare(h.priority, o.priority))
}

// gateways finds the gateway of each family, IPv4 first. It is that of the route
// that packets take, if that leads to a router by a link like others: not into a
// tunnel, nor to where we have no address.
func gateways(hops []hop, links map[int]link, addresses []address) []Gateway {
	var found []Gateway
	for _, v6 := range []bool{false, true} {
		of := slices.DeleteFunc(slices.Clone(hops), func(h hop) bool { return h.v6 != v6 })
		if len(of) == 0 {
			continue
		}
		h := slices.MinFunc(of, hop.compare)
		local, ok := towards(h, addresses)
		if l := links[h.link]; ok && h.gateway.IsValid() && l.usable() {
			found = append(found, Gateway{zoned(h.gateway, l.name), local})
		}
	}
	return found
}

func zoned(a netip.Addr, iface string) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(iface)
	}
	return a
}

// towards picks our address towards a hop: in its subnet before others of the
// link; of IPv6 first of all one that the internet routes to, and one that lasts.
func towards(h hop, addresses []address) (netip.Addr, bool) {
	own := slices.DeleteFunc(slices.Clone(addresses), func(a address) bool {
		return a.link != h.link || !a.usable() || a.prefix.Addr().Is6() != h.v6
	})
	if len(own) == 0 {
		return netip.Addr{}, false
	}
	global := func(a address) bool { return a.prefix.Addr().Is4() || !a.prefix.Addr().IsPrivate() }
	near := func(a address) bool { return a.prefix.Masked().Contains(h.gateway) }
	best := slices.MinFunc(own, func(a, b address) int {
		return cmp.Or(first(global(a), global(b)), first(near(a), near(b)), first(!a.temporary, !b.temporary))
	})
	return best.prefix.Addr(), true
}

// first orders what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
