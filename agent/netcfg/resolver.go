package netcfg

import (
	"context"
	"log/slog"
	"net/netip"
)

// Way is how the programs of a host come to know the names of a mesh.
type Way string

// Ways, the best first.
const (
	ByResolved       Way = "resolved"       // systemd-resolved asks our server for the zone, by link
	ByNetworkManager Way = "networkmanager" // NetworkManager's dnsmasq does
	ByResolvconf     Way = "resolvconf"     // our server is the host's first, and hands on what is not the zone's
	ByHosts          Way = "hosts"          // the names stand in the hosts file
	ByNothing        Way = "none"           // they don't
)

// Names is what the host's resolver is to know of a mesh.
type Names struct {
	Interface string         // of the mesh
	Zone      string         // without a dot at its end; also to be searched for short names
	Reverse   []string       // zones of the overlay's addresses, likewise
	Servers   []netip.Addr   // of this host, which answer for the zones on port 53; none: nobody does
	Prefixes  []netip.Prefix // of the overlay: its addresses are no servers of the host's own
	Hosts     []HostName     // the members
}

// HostName is a member's short name and its addresses.
type HostName struct {
	Name      string
	Addresses []netip.Addr
}

// Resolution says how the host's programs find the names of the mesh.
type Resolution struct {
	Way     Way
	Reasons []string // why other ways were passed over, best first
	Changed []string // what is different on this host, each in words
}

// Resolver is the host's resolver, as far as a mesh is concerned. Its methods are
// safe for concurrent use.
type Resolver interface {
	// Set makes n known to the host's programs, in the best way that the host has.
	// It changes only what differs, so it may be called at any time, and should be
	// once a minute: others write the same files.
	Set(ctx context.Context, n Names) (Resolution, error)

	// Clear puts back what Set changed, also if that was another process, which
	// crashed.
	Clear(ctx context.Context) error

	// Upstream returns the servers that the host asks for everything else.
	Upstream() []netip.AddrPort
}

// ResolverConfig says for whom names are made known.
type ResolverConfig struct {
	Mesh   string // local name of the mesh, which marks what is ours: [a-z0-9-]
	Record string // file that holds what was changed, so that another process can put it back
	Log    *slog.Logger
}
