package portmap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// announcePort is where gateways multicast that they have started, or have a new
// address (RFC 6886 §3.2.1, RFC 6887 §14.1).
const announcePort = 5350

// hear calls announced for each announcement of the gateway until ctx ends. What
// it says is not looked at: anyone on the LAN could have said it, so it is but a
// reason to ask. Several programs of a host can hear at once.
func hear(ctx context.Context, g Gateway, announced func()) error {
	group, network := netip.AddrFrom4([4]byte{224, 0, 0, 1}), "udp4"
	if g.Addr.Is6() {
		group, network = netip.MustParseAddr("ff02::1"), "udp6"
	}
	ifi, err := interfaceOf(g.Local)
	if err != nil {
		return err
	}
	conn, err := net.ListenMulticastUDP(network, ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group, announcePort)))
	if err != nil {
		return fmt.Errorf("hear the gateway's announcements: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, pcpMaxSize)
	for {
		_, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		if from.Addr().Unmap() == g.Addr {
			announced()
		}
	}
}

// interfaceOf finds the interface that has an address.
func interfaceOf(a netip.Addr) (*net.Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, ifi := range list {
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, x := range addrs {
			if p, ok := x.(*net.IPNet); ok && p.IP.Equal(a.AsSlice()) {
				return &ifi, nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has the address %v", a)
}
