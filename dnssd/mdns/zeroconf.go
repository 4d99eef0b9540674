package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/grandcat/zeroconf"
)

const (
	service = "_meshd._udp"
	domain  = "local"
	// maxAddresses bounds what one answer may make us probe.
	maxAddresses = 16
)

// zeroconfLink is multicast DNS by grandcat/zeroconf, the only user of it.
type zeroconfLink struct{}

// announce registers by name and address: what zeroconf would find out itself
// includes tunnels, and the host's name. Text is one harmless string, as an
// empty record isn't well-formed (RFC 6763 §6.1).
func (zeroconfLink) announce(instance string, port uint16, on []Interface) (func(), error) {
	list, err := netInterfaces(on)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, i := range on {
		for _, a := range i.Addresses {
			addresses = append(addresses, a.Unmap().WithZone("").String())
		}
	}
	if len(addresses) == 0 {
		return nil, errors.New("no address to announce")
	}
	server, err := zeroconf.RegisterProxy(instance, service, domain, int(port), instance, addresses, []string{"txtvers=1"}, list)
	if err != nil {
		return nil, fmt.Errorf("announce %s: %w", instance, err)
	}
	return server.Shutdown, nil
}

// browse uses a resolver once, as it can't be used twice, and reads its channel
// until it is closed, as it would block forever on one that isn't read.
func (zeroconfLink) browse(ctx context.Context, on []Interface, found func(answer)) error {
	list, err := netInterfaces(on)
	if err != nil {
		return err
	}
	resolver, err := zeroconf.NewResolver(zeroconf.SelectIfaces(list), zeroconf.SelectIPTraffic(families(on)))
	if err != nil {
		return fmt.Errorf("browse: %w", err)
	}
	entries := make(chan *zeroconf.ServiceEntry, 16)
	err = resolver.Browse(ctx, service, domain, entries)
	for e := range entries {
		found(answer{instance: e.Instance, addresses: usable(e, on), port: uint16(e.Port)})
	}
	return err
}

func netInterfaces(on []Interface) ([]net.Interface, error) {
	var list []net.Interface
	for _, i := range on {
		if ifi, err := net.InterfaceByName(i.Name); err == nil && ifi.Flags&net.FlagMulticast != 0 {
			list = append(list, *ifi)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("none of %d interfaces does multicast", len(on))
	}
	return list, nil
}

// families are those of our own addresses: asking for one that the host lacks
// fails as a whole.
func families(on []Interface) zeroconf.IPType {
	var t zeroconf.IPType
	for _, i := range on {
		for _, a := range i.Addresses {
			if a.Unmap().Is4() {
				t |= zeroconf.IPv4
			} else {
				t |= zeroconf.IPv6
			}
		}
	}
	return t
}

// usable are the addresses of an answer that a datagram can be sent to. A
// link-local one needs a zone: known if there is but one interface.
func usable(e *zeroconf.ServiceEntry, on []Interface) []netip.Addr {
	var list []netip.Addr
	for _, ip := range slices.Concat(e.AddrIPv4, e.AddrIPv6) {
		a, ok := netip.AddrFromSlice(ip)
		a = a.Unmap()
		if a.Is6() && a.IsLinkLocalUnicast() && len(on) == 1 {
			a = a.WithZone(on[0].Name)
		}
		if !ok || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			continue
		}
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return list[:min(len(list), maxAddresses)]
}
