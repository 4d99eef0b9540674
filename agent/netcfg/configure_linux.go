package netcfg

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks routes as ours ("proto 109" in ip route), so that those of
// others on the same interface are left alone. It is a number that
// /etc/iproute2/rt_protos gives to nobody.
const routeProtocol = 109

// addrGenNone is IN6_ADDR_GEN_MODE_NONE: no link-local address, and so no
// router solicitations into the mesh.
const addrGenNone = 1

// route is one of ours: a prefix, and the address that this host speaks from.
type route struct {
	dst netip.Prefix
	src netip.Addr // zero: the kernel chooses
	mtu int        // 0: the interface's
}

func (h *host) Configure(iface string, c Config) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("configure interface %q: %v", iface, err)
	}
	c = h.withoutV6(iface, c)
	if err := setLink(link, c); err != nil {
		return err
	}
	if err := setAddresses(link, c); err != nil {
		return err
	}
	if err := setRoutes(link, c); err != nil {
		return err
	}
	h.wanted[iface] = c
	return nil
}

func (h *host) Remove(iface string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.wanted, iface)
	delete(h.noV6, iface)
	link, err := netlink.LinkByName(iface)
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return nil
	} else if err != nil {
		return fmt.Errorf("find interface %q: %v", iface, err)
	}
	return errors.Join(setRoutes(link, Config{}), setAddresses(link, Config{}))
}

// drifted returns an event for every interface that Configure made and that is
// something else now. One that is down is left so: that was somebody's will.
func (h *host) drifted() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []Event
	for iface, c := range h.wanted {
		link, err := netlink.LinkByName(iface)
		if err != nil || link.Attrs().RawFlags&unix.IFF_UP == 0 {
			continue
		}
		addresses, err1 := addressesOf(link)
		routes, err2 := routesOf(link)
		if errors.Join(err1, err2) != nil {
			continue
		}
		if !sameSet(addresses, c.Addresses) || !sameSet(routes, wantedRoutes(c)) {
			events = append(events, Event{Interface: iface, Reason: "addresses or routes of " + iface + " were changed"})
		}
	}
	return events
}

// withoutV6 leaves IPv6 out of c where the host has none on iface, and says so
// once.
func (h *host) withoutV6(iface string, c Config) Config {
	if hasV6(iface) {
		delete(h.noV6, iface)
		return c
	}
	only := Config{MTU: c.MTU, Addresses: onlyV4(c.Addresses), Routes: onlyV4(c.Routes), Narrow: maps.Clone(c.Narrow)}
	maps.DeleteFunc(only.Narrow, func(host netip.Addr, _ int) bool { return host.Is6() })
	if len(only.Addresses) < len(c.Addresses) && !h.noV6[iface] {
		h.noV6[iface] = true
		h.log.Info("ipv6 is off on this host, the mesh goes without", "iface", iface)
	}
	return only
}

// hasV6 reads the switch that the kernel goes by. Without IPv6 in the kernel
// there is no file.
func hasV6(iface string) bool {
	off, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + iface + "/disable_ipv6")
	return err == nil && strings.TrimSpace(string(off)) == "0"
}

func onlyV4(prefixes []netip.Prefix) (v4 []netip.Prefix) {
	for _, p := range prefixes {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		}
	}
	return v4
}

// setLink sets the MTU and brings the interface up.
func setLink(link netlink.Link, c Config) error {
	a := link.Attrs()
	if c.MTU != 0 && a.MTU != c.MTU {
		if err := netlink.LinkSetMTU(link, c.MTU); err != nil {
			return fmt.Errorf("set mtu %d of %s: %v", c.MTU, a.Name, err)
		}
	}
	if a.RawFlags&unix.IFF_UP != 0 {
		return nil
	}
	if hasV6(a.Name) {
		// Kernels before 4.11 can't; the address does no harm but noise.
		_ = netlink.LinkSetIP6AddrGenMode(link, addrGenNone)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %v", a.Name, err)
	}
	return nil
}

func setAddresses(link netlink.Link, c Config) error {
	have, err := addressesOf(link)
	if err != nil {
		return err
	}
	add, remove := difference(have, c.Addresses)
	// New ones first: the routes' sources are among them.
	for _, p := range add {
		if err := netlink.AddrAdd(link, toAddr(p)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add address %v to %s: %v", p, link.Attrs().Name, err)
		}
	}
	for _, p := range remove {
		if err := netlink.AddrDel(link, toAddr(p)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %v from %s: %v", p, link.Attrs().Name, err)
		}
	}
	return nil
}

// addressesOf returns the addresses of an interface but for the IPv6 link-local
// ones, which are the kernel's business.
func addressesOf(link netlink.Link) ([]netip.Prefix, error) {
	all, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %v", link.Attrs().Name, err)
	}
	var prefixes []netip.Prefix
	for _, a := range all {
		if p, ok := toPrefix(a.IPNet); ok && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes, nil
}

// toAddr makes netlink's form of p. Duplicate address detection would only
// delay: nobody else is on the link.
func toAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: toIPNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func setRoutes(link netlink.Link, c Config) error {
	have, err := routesOf(link)
	if err != nil {
		return err
	}
	add, remove := difference(have, wantedRoutes(c))
	// Old ones first: a route whose source changes is the same to the kernel.
	for _, r := range remove {
		if err := netlink.RouteDel(toRoute(link, r)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route %v from %s: %v", r.dst, link.Attrs().Name, err)
		}
	}
	for _, r := range add {
		// Add, never replace: a route of somebody else's is not taken over.
		if err := netlink.RouteAdd(toRoute(link, r)); errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add route %v to %s: the host has another route to the same prefix", r.dst, link.Attrs().Name)
		} else if err != nil {
			return fmt.Errorf("add route %v to %s: %v", r.dst, link.Attrs().Name, err)
		}
	}
	return nil
}

// wantedRoutes gives each prefix the first address of its family for a source.
func wantedRoutes(c Config) []route {
	var routes []route
	for _, dst := range c.Routes {
		routes = append(routes, route{dst: dst.Masked(), src: c.source(dst.Addr())})
	}
	for host, mtu := range c.Narrow {
		routes = append(routes, route{dst: netip.PrefixFrom(host, host.BitLen()), src: c.source(host), mtu: mtu})
	}
	return routes
}

// source is the first address of dst's family; zero: there is none.
func (c Config) source(dst netip.Addr) netip.Addr {
	for _, a := range c.Addresses {
		if a.Addr().Is4() == dst.Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// routesOf returns the routes of an interface that are ours.
func routesOf(link netlink.Link) ([]route, error) {
	match := &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: routeProtocol}
	all, err := listRoutes(match, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	var routes []route
	for _, r := range all {
		if dst, ok := toPrefix(r.Dst); ok {
			src, _ := netip.AddrFromSlice(r.Src)
			routes = append(routes, route{dst: dst, src: src.Unmap(), mtu: r.MTU})
		}
	}
	return routes, nil
}

func toRoute(link netlink.Link, r route) *netlink.Route {
	n := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: toIPNet(r.dst), Protocol: routeProtocol, MTU: r.mtu}
	if r.dst.Addr().Is4() {
		n.Scope = netlink.SCOPE_LINK
	}
	if r.src.IsValid() {
		n.Src = r.src.AsSlice()
	}
	return n
}
