package inkernel

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// PathTo asks the kernel how it reaches an address from one of its own; an invalid or
// unspecified one leaves the choice to it. Only interfaces that carry Ethernet will do:
// so not loopback, and no tunnel. Link-local addresses are no end of a path: they mean
// little without their interface.
func PathTo(to, from netip.Addr) (Path, error) {
	if to.IsLinkLocalUnicast() {
		return Path{}, ErrNoPath
	}
	var options *netlink.RouteGetOptions
	chosen := from.IsValid() && !from.IsUnspecified()
	if chosen {
		options = &netlink.RouteGetOptions{SrcAddr: from.AsSlice()}
	}
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), options)
	if err != nil {
		return Path{}, fmt.Errorf("find the route to %v: %w", to, err)
	}
	if len(routes) != 1 {
		return Path{}, ErrNoPath
	}
	r := routes[0]
	iface, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil {
		return Path{}, fmt.Errorf("find interface %d: %w", r.LinkIndex, err)
	}
	source, ok := netip.AddrFromSlice(r.Src)
	if chosen {
		source, ok = from, true
	}
	attrs := iface.Attrs()
	if !ok || attrs.EncapType != "ether" || attrs.MTU == 0 {
		return Path{}, ErrNoPath
	}
	p := Path{Source: source.Unmap(), Interface: attrs.Index, MTU: attrs.MTU}
	if r.MTU > 0 {
		p.MTU = min(p.MTU, r.MTU)
	}
	return p, nil
}
