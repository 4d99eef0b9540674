package relay

import (
	"net/netip"
	"slices"

	"meshd/punch/stun"
)

// alternate is what one of the server's sockets can offer to CHANGE-REQUEST
// (RFC 5780 §7.2): the address to change to, and the sockets that answer from
// there.
type alternate struct {
	local, other netip.AddrPort // other is zero if there is none
	sockets      []netip.AddrPort
}

// alternates finds each socket's alternate: on another address and another port
// if all four combinations have sockets, else on another port, else on another
// address.
func alternates(sockets []netip.AddrPort) []alternate {
	var all []alternate
	for _, local := range sockets {
		a := alternate{local: local, sockets: sockets}
		best := 0
		for _, other := range sockets {
			if score := a.score(other); score > best {
				a.other, best = other, score
			}
		}
		all = append(all, a)
	}
	return all
}

// score says how much changing to other would be worth; 0 means nothing.
func (a *alternate) score(other netip.AddrPort) int {
	ip, port := other.Addr() != a.local.Addr(), other.Port() != a.local.Port()
	switch {
	case other.Addr().Is4() != a.local.Addr().Is4():
		return 0
	case ip && port && a.index(other.Addr(), a.local.Port()) >= 0 && a.index(a.local.Addr(), other.Port()) >= 0:
		return 3
	case port && !ip:
		return 2
	case ip && !port:
		return 1
	}
	return 0
}

// socket returns the index of the socket from which r has to be sent.
func (a *alternate) socket(r stun.Reply) int {
	ip, port := a.local.Addr(), a.local.Port()
	if r.FromOtherIP {
		ip = a.other.Addr()
	}
	if r.FromOtherPort {
		port = a.other.Port()
	}
	return a.index(ip, port)
}

func (a *alternate) index(ip netip.Addr, port uint16) int {
	return slices.Index(a.sockets, netip.AddrPortFrom(ip, port))
}
