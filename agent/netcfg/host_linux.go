package netcfg

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is the network namespace of the calling thread.
type host struct {
	log *slog.Logger

	mu     sync.Mutex        // guards following
	wanted map[string]Config // what Configure made, by interface
	noV6   map[string]bool   // interfaces where the lack of IPv6 was told
}

// New returns the host's network, by netlink. log may be nil.
func New(log *slog.Logger) Host {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &host{log: log, wanted: make(map[string]Config), noV6: make(map[string]bool)}
}

func (h *host) Addresses() ([]netip.Prefix, error) { return usableAddresses() }

func usableAddresses() ([]netip.Prefix, error) {
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	all, err := listAddresses()
	if err != nil {
		return nil, err
	}
	var usable []netip.Prefix
	for _, a := range all {
		if l, ok := links[a.link]; ok && l.usable() && a.usable() {
			usable = append(usable, a.prefix)
		}
	}
	slices.SortFunc(usable, comparePrefixes)
	return slices.Compact(usable), nil
}

func (h *host) LAN() ([]Interface, error) {
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	all, err := listAddresses()
	if err != nil {
		return nil, err
	}
	return interfaces(links, all), nil
}

func (h *host) Overlap(p netip.Prefix, ownInterface string) (string, bool, error) {
	used, err := listTaken()
	if err != nil {
		return "", false, err
	}
	if t, found := overlap(p, used, ownInterface); found {
		return t.String(), true, nil
	}
	return "", false, nil
}

// listLinks returns the links by index.
func listLinks() (map[int]link, error) {
	all, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %v", err)
	}
	links := make(map[int]link, len(all))
	for _, l := range all {
		a := l.Attrs()
		links[a.Index] = link{
			index:    a.Index,
			name:     a.Name,
			kind:     l.Type(),
			running:  a.RawFlags&(unix.IFF_UP|unix.IFF_RUNNING) == unix.IFF_UP|unix.IFF_RUNNING,
			loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
			lan:      a.RawFlags&(unix.IFF_MULTICAST|unix.IFF_POINTOPOINT) == unix.IFF_MULTICAST,
		}
	}
	return links, nil
}

// listAddresses returns the addresses of all links.
func listAddresses() ([]address, error) {
	all, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %v", err)
	}
	const fading = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	var addresses []address
	for _, a := range all {
		if p, ok := toPrefix(a.IPNet); ok {
			addresses = append(addresses, address{
				link: a.LinkIndex, prefix: p, fading: a.Flags&fading != 0,
				temporary: p.Addr().Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0, // of IPv4 the same bit means secondary
			})
		}
	}
	return addresses, nil
}

// listTaken returns the prefixes of all addresses and unicast routes, of every
// routing table. Routes that only refuse (blackhole, unreachable) take nothing.
func listTaken() ([]taken, error) {
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	addresses, err := listAddresses()
	if err != nil {
		return nil, err
	}
	routes, err := listRoutes(&netlink.Route{Type: unix.RTN_UNICAST, Table: unix.RT_TABLE_UNSPEC},
		netlink.RT_FILTER_TYPE|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	var used []taken
	for _, a := range addresses {
		used = append(used, taken{a.prefix.Masked(), links[a.link].name})
	}
	for _, r := range routes {
		if p, ok := toPrefix(r.Dst); ok {
			used = append(used, taken{p, links[r.LinkIndex].name})
		}
	}
	return used, nil
}

// listRoutes returns the IPv4 and IPv6 routes that match.
func listRoutes(match *netlink.Route, filter uint64) ([]netlink.Route, error) {
	all, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, match, filter)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %v", err)
	}
	return all, nil
}

// dump lists again when the kernel says that the list changed meanwhile. After
// a few times it takes what there is: the change will be told by an event.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	all, err := list()
	for range 3 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
		all, err = list()
	}
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return all, err
}

// toPrefix converts, without masking.
func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if v4 := n.IP.To4(); v4 != nil && len(n.Mask) == net.IPv4len {
		ip = ip.Unmap()
	}
	return netip.PrefixFrom(ip, bits), ok
}

// toIPNet is the way back.
func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
