package portmap

import (
	"net/netip"
	"time"
)

// Protocol is a way to ask a gateway for a mapping. The lower one is preferred.
type Protocol uint8

// The protocols, best first. The zero value is none of them.
const (
	PCP    Protocol = 1 // RFC 6887
	NATPMP Protocol = 2 // RFC 6886
	UPnP   Protocol = 3 // Internet Gateway Device 1 and 2
)

// String returns the protocol's usual name.
func (p Protocol) String() string {
	switch p {
	case PCP:
		return "PCP"
	case NATPMP:
		return "NAT-PMP"
	case UPnP:
		return "UPnP"
	}
	return "none"
}

// Gateway is a router that this host sends through, and the host's own address
// towards it. Both are of one family. An IPv6 gateway is usually link-local and
// then needs its zone; the host's IPv6 address is the global one to be opened.
type Gateway struct {
	Addr  netip.Addr
	Local netip.Addr
}

// protocols are those that g's family can be asked by: NAT-PMP has no IPv6.
func (g Gateway) protocols() []Protocol {
	if g.Addr.Is4() {
		return []Protocol{PCP, NATPMP, UPnP}
	}
	return []Protocol{PCP, UPnP}
}

func (g Gateway) valid() bool {
	return g.Addr.IsValid() && g.Local.IsValid() && g.Addr.Is4() == g.Local.Is4() && !g.Local.IsUnspecified()
}

// Mapping is an outside address whose datagrams reach our port.
type Mapping struct {
	External netip.AddrPort
	Protocol Protocol
	Expires  time.Time // unless renewed, which it will be; zero means never
	// Trusted says that External is a public address. A mapping on a private or
	// shared one is real, but there is another NAT between it and the internet.
	Trusted bool
}

// notPublic are the unicast prefixes that the internet does not route to, as far
// as gateways are seen with them: RFC 1918, RFC 6598, RFC 6333, RFC 2544, class
// E, unique local and documentation IPv6, and the old site-local addresses.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fec0::/10"),
}

// reachable reports whether a datagram can be sent to a from another host at all.
func reachable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.Is4In6() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Public reports whether a is an address of the internet.
func Public(a netip.Addr) bool {
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return reachable(a)
}
