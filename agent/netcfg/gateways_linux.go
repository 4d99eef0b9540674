package netcfg

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (h *host) Gateways() ([]Gateway, error) {
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	addresses, err := listAddresses()
	if err != nil {
		return nil, err
	}
	hops, err := listHops()
	if err != nil {
		return nil, err
	}
	return gateways(hops, links, addresses), nil
}

func (h *host) Metered() (bool, error) {
	links, err := listLinks()
	if err != nil {
		return false, err
	}
	hops, err := listHops()
	if err != nil {
		return false, err
	}
	return metered(askNetworkManager(), hops, links), nil
}

func listHops() ([]hop, error) {
	routes, err := listRoutes(&netlink.Route{Type: unix.RTN_UNICAST}, netlink.RT_FILTER_TYPE)
	if err != nil {
		return nil, err
	}
	return defaultHops(routes), nil
}

// defaultHops lists where default routes lead, those with several next hops one
// by one.
func defaultHops(routes []netlink.Route) []hop {
	var hops []hop
	for _, r := range routes {
		p, ok := toPrefix(r.Dst)
		if !ok || !everything(p) || r.Protocol == routeProtocol {
			continue
		}
		h := hop{half: p.Bits() > 0, priority: r.Priority, v6: p.Addr().Is6()}
		if len(r.MultiPath) == 0 {
			hops = append(hops, h.over(r.LinkIndex, r.Gw))
		}
		for _, next := range r.MultiPath {
			hops = append(hops, h.over(next.LinkIndex, next.Gw))
		}
	}
	return hops
}

func (h hop) over(link int, gateway net.IP) hop {
	h.link = link
	if a, ok := netip.AddrFromSlice(gateway); ok {
		h.gateway = a.Unmap()
	}
	return h
}
