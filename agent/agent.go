package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/coordinator/api"
	"meshd/dnssd"
	"meshd/dnssd/mdns"
	"meshd/punch"
	"meshd/punch/portmap"
)

// DefaultMesh is the local name of the mesh on a machine that is in one only.
const DefaultMesh = "meshd"

// StateDir returns the default state folder of a mesh.
func StateDir(mesh string) string { return filepath.Join("/var/lib/meshd", mesh) }

// Socket returns the default path of a mesh's local API.
func Socket(mesh string) string { return filepath.Join("/run/meshd", mesh+".sock") }

// Interface returns the default interface of a mesh: meshd0, or meshd-NAME cut
// to the 15 bytes that Linux has for it.
func Interface(mesh string) string {
	if mesh == DefaultMesh {
		return "meshd0"
	}
	name := "meshd-" + mesh
	return name[:min(len(name), 15)]
}

// Config says which member of which mesh to be.
type Config struct {
	Mesh      string // local name, [a-z0-9-], up to 32; "": DefaultMesh
	StateDir  string // "": the mesh's default
	Socket    string // "": the mesh's default
	Interface string // "": the mesh's default
	Hostname  string // wished name; "": the machine's
	Port      uint16 // UDP, for IPv4 and IPv6; 0: that of last time, at first chosen at random
	Backend   string // "auto", "kernel", "userspace"; "": auto
	DNS       string // "auto", "off"; "": as last time, at first auto
	MDNS      string // "auto", "off"; "": as last time, at first auto
	Join      string // join string; "": what the state folder says

	// PortMapping says whether gateways are asked to let datagrams in: "auto",
	// "off"; "": as last time, at first auto.
	PortMapping string
	// Advertise are endpoints that the owner forwards to this host's UDP port.
	// Nil: those of last time; empty: none.
	Advertise []netip.AddrPort

	// Relay says whether this host relays for members that can't reach each other
	// directly: "auto" (if anyone can reach it), "on", "off"; "": as last time, at
	// first auto.
	Relay string
	// UseRelays says whether other members may relay for this host: "on", "off";
	// "": as last time, at first on.
	UseRelays string

	// SearchRate is how many probes a second a search for the ports of a hard NAT
	// may send, "0" to "300", of which "0" is none; "": as last time, at first 100.
	SearchRate string
	// Metered says whether every packet costs, so that there are no such searches:
	// "auto", "on", "off"; "": as last time, at first auto.
	Metered string
	// FWMark is the firewall mark of what this host sends outside of the mesh, for
	// its routing rules: a number or "off"; "": as last time, at first off. Linux only.
	FWMark string
	// Inbound is what other members may begin on this host, as [filter.Parse] reads
	// it; "": as last time, at first all.
	Inbound string

	Version string
	Log     *slog.Logger // nil: none

	// ExitOnFailure makes Run return when the join string is refused or the
	// mesh can't be brought up, instead of saying so in Status and trying on.
	ExitOnFailure bool

	// Hooks; nil means the real one.
	Host     netcfg.Host
	Resolver netcfg.Resolver
	// ChooseBackend says what Backend means on this host. Nil: [tunnel.Choose], or
	// user space if NewTunnel is set.
	ChooseBackend func(string) (string, error)
	NewTunnel     func(tunnel.Config) (tunnel.Tunnel, error)
	NewPuncher    func(punch.Config) (Puncher, error)
	NewMapper     func(portmap.Config) Mapper
	Lookup        func(ctx context.Context, host string) ([]netip.Addr, error)
	NewLAN        func(mdns.Config) LAN
	WatchLAN      func(mdns.Watch) func(context.Context) error
	ListenDNS     func(context.Context, netip.AddrPort) (net.PacketConn, net.Listener, error)
}

// Puncher is what the agent needs of [punch.Engine].
type Puncher interface {
	tunnel.Transport
	Run(context.Context) error
	SetPeers([]punch.Peer)
	SetRelay(punch.Relay)
	SetRelaying(punch.Relaying)
	SetBirthdayRate(int)
	SetMapped([]netip.AddrPort)
	LinkChanged()
	Want(punch.Key)
	Ping(context.Context, punch.Key) (punch.Pong, error)
	Status() punch.Status
	Changed() <-chan struct{}
	ClockOffset() time.Duration
}

// Agent is one member of one mesh.
type Agent struct {
	cfg   Config
	join  *api.JoinString // of cfg.Join
	view  atomic.Pointer[view]
	ups   chan upRequest
	downs chan chan struct{}

	changes chan serviceChange
	tunes   chan settingChange
	ended   chan struct{} // closed when the loop has ended
}

var meshName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// CheckMesh says why a mesh can't have this local name, of which folders and
// sockets are named.
func CheckMesh(mesh string) error {
	if !meshName.MatchString(mesh) {
		return localapi.WithHint(fmt.Errorf("mesh name %q is not valid", mesh), "use up to 32 of a-z, 0-9 and -")
	}
	return nil
}

// New checks c, and touches nothing yet.
func New(c Config) (*Agent, error) {
	c.Mesh = cmp.Or(c.Mesh, DefaultMesh)
	if err := CheckMesh(c.Mesh); err != nil {
		return nil, err
	}
	c.StateDir = cmp.Or(c.StateDir, StateDir(c.Mesh))
	c.Socket = cmp.Or(c.Socket, Socket(c.Mesh))
	c.Interface = cmp.Or(c.Interface, Interface(c.Mesh))
	if err := c.checkSettings(); err != nil {
		return nil, err
	}
	a := &Agent{ups: make(chan upRequest), downs: make(chan chan struct{}), changes: make(chan serviceChange), tunes: make(chan settingChange), ended: make(chan struct{})}
	if c.Join != "" {
		j, err := parseJoin(c.Join)
		if err != nil {
			return nil, err
		}
		a.join = &j
	}
	a.cfg = withHooks(c)
	a.view.Store(&view{cfg: &a.cfg, state: localapi.Stopped})
	return a, nil
}

func parseJoin(s string) (api.JoinString, error) {
	j, err := api.ParseJoin(s)
	return j, localapi.WithHint(err, "copy the whole line that `meshd coordinator key create` printed")
}

func withHooks(c Config) Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Host == nil {
		c.Host = netcfg.New(c.Log)
	}
	if c.Resolver == nil {
		c.Resolver = newResolver(c.Mesh, c.StateDir, c.Log)
	}
	if c.ChooseBackend == nil {
		c.ChooseBackend = tunnel.Choose
		if c.NewTunnel != nil {
			c.ChooseBackend = func(string) (string, error) { return tunnel.Userspace, nil }
		}
	}
	if c.NewTunnel == nil {
		c.NewTunnel = tunnel.New
	}
	if c.NewPuncher == nil {
		c.NewPuncher = func(pc punch.Config) (Puncher, error) { return punch.New(pc) }
	}
	if c.NewMapper == nil {
		c.NewMapper = func(pc portmap.Config) Mapper { return portmap.New(pc) }
	}
	if c.NewLAN == nil {
		c.NewLAN = func(mc mdns.Config) LAN { return mdns.New(mc) }
	}
	if c.WatchLAN == nil {
		c.WatchLAN = func(w mdns.Watch) func(context.Context) error { return w.Run }
	}
	if c.ListenDNS == nil {
		c.ListenDNS = dnssd.Listen
	}
	if c.Hostname == "" {
		c.Hostname, _ = os.Hostname() // the coordinator finds a name for a nameless machine
	}
	return c
}

// Run is the daemon: it serves the local API, and brings the mesh up if there
// is a join string or the state folder knows one. It returns nil when ctx ends
// or `meshd down` asks for it, and leaves no interface, address, route or
// socket behind. It may be called once.
func (a *Agent) Run(ctx context.Context) error {
	folder, err := openFolder(a.cfg.StateDir)
	if err != nil {
		return err
	}
	lock, err := folder.lock()
	if err != nil {
		return err
	}
	defer lock.release()
	l, err := newLoop(a, folder)
	if err != nil {
		return err
	}
	ln, err := localapi.Listen(a.cfg.Socket)
	if err != nil {
		return err
	}
	server := &localapi.Server{Backend: a, Version: a.cfg.Version, Log: a.cfg.Log}
	serve := start(context.WithoutCancel(ctx), func(ctx context.Context) error { return server.Run(ctx, ln) })
	defer serve.stop() // last, so that who sees no socket finds no lock either
	err = l.run(ctx, serve)
	close(a.ended)
	lock.release()
	return err
}
