package netcfg

import (
	"net/netip"
	"slices"
	"strings"
)

// link is a network interface as far as candidates are concerned.
type link struct {
	index    int
	name     string
	kind     string // netlink's: "device", "veth", "bridge", "tuntap", "wireguard"...
	running  bool   // up, and with a carrier
	loopback bool
	lan      bool // multicast, and more than one neighbour
}

// address is an address of a link.
type address struct {
	link      int          // index of the link
	prefix    netip.Prefix // the address with its subnet's length
	fading    bool         // IPv6: tentative, failed or deprecated
	temporary bool         // IPv6: RFC 8981, soon replaced by another
}

// tunnelKinds are links whose packets leave through another link. To reach a
// peer through one would be a tunnel in a tunnel, and may be a loop.
var tunnelKinds = map[string]bool{
	"tuntap": true, "wireguard": true, "ipip": true, "sit": true, "gre": true, "gretap": true, "ip6tnl": true, "ip6gre": true,
	"vti": true, "vti6": true, "xfrm": true, "vxlan": true, "geneve": true, "amneziawg": true,
}

// containerNames begin the names of links that lead to containers and virtual
// machines on this host. Nobody else is reached through them, but their
// addresses are the same on every host. A plain "br0" is a LAN like any other.
var containerNames = []string{
	"docker", "br-", "veth", "virbr", "vnet", "cni", "podman", "lxcbr", "lxdbr", "incusbr", "flannel", "cali", "cilium", "kube-", "weave", "nerdctl",
}

// usable tells whether peers may reach the host at addresses of l.
func (l link) usable() bool {
	if !l.running || l.loopback || tunnelKinds[l.kind] {
		return false
	}
	for _, begin := range containerNames {
		if strings.HasPrefix(l.name, begin) {
			return false
		}
	}
	return true
}

// usable tells whether a may be a candidate, if its link may. Unique local
// addresses (RFC 4193) may: sites are routed with them.
func (a address) usable() bool {
	ip := a.prefix.Addr()
	return !a.fading && ip.IsGlobalUnicast() && !ip.Is4In6() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// interfaces are the LANs among links, by name, with their usable addresses.
func interfaces(links map[int]link, all []address) []Interface {
	var found []Interface
	for index, l := range links {
		if !l.usable() || !l.lan {
			continue
		}
		i := Interface{Name: l.name}
		for _, a := range all {
			if a.link == index && a.usable() {
				i.Addresses = append(i.Addresses, a.prefix.Addr())
			}
		}
		if len(i.Addresses) > 0 {
			slices.SortFunc(i.Addresses, netip.Addr.Compare)
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	return found
}
