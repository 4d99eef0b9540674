package netcfg

import (
	"context"
	"net/netip"
)

// Host is the network of this machine. Its methods are safe for concurrent use.
type Host interface {
	// Addresses returns the addresses, with the length of their subnet, at which
	// peers may find this host without a translator's help: of links that are up,
	// without loopback, tunnels, bridges of containers, link-local addresses, and
	// IPv6 addresses that are tentative or deprecated. Sorted.
	Addresses() ([]netip.Prefix, error)

	// LAN returns the interfaces with neighbours who can be told something by
	// multicast, and the addresses of each that Addresses would return. By name.
	LAN() ([]Interface, error)

	// Gateways returns the routers that packets leave this host by: one for IPv4,
	// one for IPv6, or none where there is no default route, or it is a tunnel.
	Gateways() ([]Gateway, error)

	// Metered reports whether packets leave this host by a link that bills them, as
	// far as NetworkManager knows, or else its name tells: that of a modem or of a
	// tethered phone.
	Metered() (bool, error)

	// Overlap looks for an address or a route of the host that p overlaps, those
	// of ownInterface and default routes aside, and names it:
	// "192.168.1.0/24 on eth0".
	Overlap(p netip.Prefix, ownInterface string) (what string, overlaps bool, err error)

	// Configure makes iface what c says and brings it up. It changes only what
	// differs, so it may be called at any time. Where IPv6 is off, IPv6 is left out.
	Configure(iface string, c Config) error

	// Remove takes away what Configure gave. An interface that is gone is no error.
	Remove(iface string) error

	// Watch calls changed, from one goroutine, for every change that matters, until
	// ctx ends; then it returns nil. Changes within 100 ms are one event.
	Watch(ctx context.Context, changed func(Event)) error
}

// Interface is one of the host's, with its usable addresses.
type Interface struct {
	Name      string
	Addresses []netip.Addr // sorted
}

// Config is all that an interface of the mesh is to have.
type Config struct {
	Addresses []netip.Prefix // own, as /32 and /128
	Routes    []netip.Prefix // prefixes reached through the interface
	MTU       int            // 0: leave as it is
	// Narrow are hosts that packets as long as MTU don't get to, with what does. Each
	// gets a route of its own, by which the system cuts its packets to size.
	Narrow map[netip.Addr]int
}

// Event is a change of the host's network.
type Event struct {
	// Reason says what changed, for people: "address 192.168.1.7/24 is new".
	Reason string

	// Interface is empty when the way out of the host changed: addresses, default
	// routes, or the clock jumped (the host slept). Otherwise it names an interface
	// that is not what Configure made it any more, and Configure mends it.
	Interface string
}
