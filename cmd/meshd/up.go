package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"meshd/agent"
	"meshd/agent/localapi"
	"meshd/coordinator/api"
)

// wishes is what `meshd up` was asked for.
type wishes struct {
	target
	join, hostname, state, iface, backend, dns, mdns string

	port        uint16
	portMapping string
	relay       string
	useRelays   string
	searchRate  string
	metered     string
	fwmark      string
	inbound     string
	advertise   endpoints
	foreground  bool
	wait        time.Duration
}

func (a *app) upCommand() *cobra.Command {
	var w wishes
	cmd := &cobra.Command{
		Use:   "up [JOIN]",
		Short: "Join a mesh, or bring it up again, and wait until it is up",
		Long: `Join a mesh, or bring it up again, and wait until it is up.

JOIN is the join string that "meshd coordinator key create" printed, or file:PATH of
a file that holds it; MESHD_JOIN may hold either. It is needed once.

The daemon is started if none runs: as the systemd unit meshd.service (meshd@NAME
for other meshes) if that is installed and no flag asks for something else, or in
the background, where it logs to meshd.log in its state folder: 4 MiB, and as much
before that in meshd.log.old.

Where a Linux kernel has WireGuard, that carries the packets, and "wg show" tells of
it; elsewhere this program does. --backend insists on either.

A path to a member whose NAT takes ports at random is searched with up to 960 probes,
unless --search-rate is 0 or the network is metered. --metered=auto takes it for that,
on Linux, if NetworkManager does, or else if the default route's link is a modem or a
tethered phone by its name: wwan*, wwp*, ppp*, rmnet*, rndis* or usb*.

Where another tunnel has the default route, as after "wg-quick up", --fwmark keeps the
mesh's own packets out of it: give the mark that its routing rules let pass, as
"wg show INTERFACE fwmark" tells.

With --inbound=none nothing that other members begin reaches this machine, and what it
begins itself works as ever; --inbound=tcp/22,icmp lets in what is named.

The exit code is 3 if the mesh is not up when --wait has run out, for example
because nobody has approved this machine yet. The daemon keeps trying.

On Linux the probes by which members find each other are heard before this machine's own
firewall drops them; with MESHD_UDP_DOOR=off in the daemon's environment it has the last
word, and members behind the hardest NATs are relayed.

MESHD_FASTPATH=off in the daemon's environment leaves packets to wireguard-go alone,
which is slower: for finding out whose fault a fault is.

On Linux packets pass the interface in bundles. MESHD_TUN_OFFLOAD=off in the daemon's
environment passes them one by one, should a kernel corrupt bundles (some 6.6 and
7.0 do); MESHD_TUN_OFFLOAD=tcp does not bundle UDP. Nor is it bundled where the host
forwards and has a vxlan or geneve, which lose such bundles, unless it is =on. They
leave the machine in bundles, too, unless bundles are seen to get lost on a path;
MESHD_UDP_OFFLOAD=off never tries.`,
		Example: `  meshd up meshd1:hub.example/c5gn…
  meshd up
  meshd up --foreground     in a container or under a service manager`,
		Args: arguments(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := agent.CheckMesh(w.mesh); err != nil {
				return err
			}
			join := a.getenv("MESHD_JOIN")
			if len(args) > 0 {
				join = args[0]
			}
			if err := w.readJoin(join); err != nil {
				return err
			}
			if w.hostname != "" {
				if err := agent.CheckHostname(w.hostname); err != nil {
					return err
				}
			}
			if w.foreground {
				return a.runAgent(cmd.Context(), w.config(a))
			}
			return a.up(cmd.Context(), w, changed(cmd.Flags()))
		},
	}
	w.flags(cmd)
	return cmd
}

func (w *wishes) flags(cmd *cobra.Command) {
	w.target.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&w.hostname, "hostname", "", "wished `NAME` of this machine in the mesh, when it joins (default its own)")
	f.StringVar(&w.state, "state", "", "state `DIR` (default /var/lib/meshd/NAME of the mesh)")
	f.StringVar(&w.iface, "interface", "", "`NAME` of the network interface (default meshd0, or meshd-NAME of the mesh)")
	f.Uint16Var(&w.port, "port", 0, "UDP `PORT`; it lasts (default one chosen at the first start)")
	f.StringVar(&w.portMapping, "port-mapping", "", "`MODE` of asking gateways to forward that port: auto or off; it lasts (default auto)")
	f.Var(&w.advertise, "advertise-endpoint", "`ADDR:PORT` outside that you forward to that port, several times if need be; they last until \"none\"")
	f.StringVar(&w.relay, "relay", "", "`MODE` of relaying for other members: auto (if anyone can reach this machine), on or off; it lasts (default auto)")
	f.StringVar(&w.useRelays, "use-relays", "", "`MODE` of having members relay: on, or off for the coordinator alone; it lasts (default on)")
	f.StringVar(&w.searchRate, "search-rate", "", "`N` probes a second, 0 to 300, to search the ports of a hard NAT; it lasts (default 100)")
	f.StringVar(&w.metered, "metered", "", "`MODE` of a network that bills packets, where nothing is searched: auto, on or off; it lasts (default auto)")
	f.StringVar(&w.fwmark, "fwmark", "", "firewall `MARK` of what is sent outside of the mesh, for this machine's routing rules, or off; it lasts (default off)")
	f.StringVar(&w.inbound, "inbound", "", "`WHAT` other members may begin here: all, none, or such as tcp/22,udp/60000-61000,icmp; it lasts (default all)")
	f.StringVar(&w.backend, "backend", "auto", "`KIND` of WireGuard: auto, kernel or userspace")
	f.StringVar(&w.dns, "dns", "", "`MODE` of names: auto makes them known to this machine's programs, off answers nobody; it lasts (default auto)")
	f.StringVar(&w.mdns, "mdns", "", "`MODE` of multicast DNS (members on the LAN, announce --from-lan): auto or off; it lasts (default auto)")
	f.BoolVar(&w.foreground, "foreground", false, "run the daemon here, and log to stderr")
	f.DurationVar(&w.wait, "wait", 30*time.Second, "how long to wait until the mesh is up; 0 not at all")
}

// readJoin takes the join string, or the file that holds it. A bad one is found
// before anything is started.
func (w *wishes) readJoin(s string) error {
	if path, isFile := strings.CutPrefix(s, "file:"); isFile {
		text, err := os.ReadFile(path)
		if err != nil {
			return failure("", "read the join string: %v", err)
		}
		if s = strings.TrimSpace(string(text)); s == "" {
			return failure("", "read the join string: %q is empty", path)
		}
	}
	if w.join = s; s == "" {
		return nil
	}
	if _, err := api.ParseJoin(s); err != nil {
		return failure("copy the whole line that `meshd coordinator key create` printed", "%v", err)
	}
	return nil
}

func (w *wishes) config(a *app) agent.Config {
	return agent.Config{
		Mesh: w.mesh, StateDir: w.state, Socket: w.path(), Interface: w.iface, Hostname: w.hostname, Port: w.port,
		Backend: w.backend, DNS: w.dns, MDNS: w.mdns, PortMapping: w.portMapping, Advertise: w.advertise,
		Relay: w.relay, UseRelays: w.useRelays, SearchRate: w.searchRate, Metered: w.metered, FWMark: w.fwmark, Inbound: w.inbound,
		Join: w.join, Version: a.version, Log: a.daemonLogger(cmp.Or(w.state, agent.StateDir(w.mesh))),
		// Who joins here and now wants to hear why not; a daemon that starts at
		// boot goes on trying.
		ExitOnFailure: w.join != "",
	}
}

// daemon is the daemon to be started, in the background, if none runs.
type daemon struct {
	mesh, state, socket string
	flags               []string // those that were given, for the daemon itself
}

func (w *wishes) daemon(given []string) (daemon, error) {
	d := daemon{mesh: w.mesh, socket: w.path(), state: cmp.Or(w.state, agent.StateDir(w.mesh))}
	for _, f := range given {
		name, value, _ := strings.Cut(f, "=")
		switch name {
		case "--mesh", "--hostname", "--wait", "--foreground":
			continue // the unit knows its mesh; the others are not the daemon's
		case "--state", "--socket":
			abs, err := filepath.Abs(value) // the daemon works in another folder
			if err != nil {
				return daemon{}, err
			}
			f = name + "=" + abs
		}
		d.flags = append(d.flags, f)
	}
	return d, nil
}

// settings are those of the flags that only a daemon that starts can heed.
func settings(given []string) (late []string) {
	for _, f := range given {
		switch name, _, _ := strings.Cut(f, "="); name {
		case "--interface", "--port", "--port-mapping", "--advertise-endpoint", "--relay", "--use-relays", "--search-rate", "--metered", "--fwmark", "--inbound", "--backend", "--dns", "--mdns":
			late = append(late, f)
		}
	}
	return late
}

// changed returns the flags that were given, by command line or environment.
func changed(flags *pflag.FlagSet) (given []string) {
	flags.Visit(func(f *pflag.Flag) { given = append(given, "--"+f.Name+"="+f.Value.String()) })
	return given
}

// up has the daemon bring the mesh up, and starts it if there is none. A daemon
// that was started in vain is ended again.
func (a *app) up(ctx context.Context, w wishes, given []string) error {
	if w.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.wait)
		defer cancel()
	}
	c := w.client()
	s, err := c.Settled(ctx)
	started := errors.Is(err, localapi.ErrNotRunning)
	if late := settings(given); err == nil && len(late) > 0 {
		a.say("the daemon runs already: it takes %s when it starts anew (meshd down; meshd up …), or what meshd get lists by meshd set", strings.Join(late, " "))
	}
	switch {
	case started:
		d, err := w.daemon(given)
		if err == nil {
			err = a.startDaemon(ctx, d)
		}
		if err != nil {
			return err
		}
	case err != nil:
		return err
	case s.State.Up() && w.join == "":
		a.say("mesh %s is up already", w.mesh)
		a.printUp(s)
		a.sayRenamed(w, s)
		return nil
	}
	if err = a.bringUp(ctx, c, w); err != nil && started && explain(err).code == exitFailed {
		a.endDaemon(ctx, c)
	}
	return err
}

// endDaemon also works when ctx has ended.
func (a *app) endDaemon(ctx context.Context, c *localapi.Client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	if err := c.Down(ctx); err != nil && !errors.Is(err, localapi.ErrNotRunning) {
		a.say("the daemon that was started could not be ended: %v", err)
	}
}

// bringUp says the wish, then watches until it has come true.
func (a *app) bringUp(ctx context.Context, c *localapi.Client, w wishes) error {
	err := c.Up(ctx, localapi.UpRequest{Join: w.join, Hostname: w.hostname})
	var s localapi.Status
	if err == nil {
		s, err = a.follow(ctx, c, w.wait > 0)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &problem{fmt.Sprintf("mesh %s is not up after %v%s", w.mesh, w.wait, because(obstacle(s))),
			"the daemon keeps trying; see meshd status", exitWaiting}
	}
	if err != nil {
		return err
	}
	if s.State.Up() {
		a.printUp(s)
		a.sayRenamed(w, s)
	}
	return nil
}

// sayRenamed says that the name asked for was another member's, so that this
// machine got one with a number behind it; or that it is a member by another name.
func (a *app) sayRenamed(w wishes, s localapi.Status) {
	wished, _, _ := strings.Cut(strings.ToLower(w.hostname), ".")
	if wished == "" { // its own, of which characters may have been replaced
		own, _ := os.Hostname()
		own, _, _ = strings.Cut(strings.ToLower(own), ".")
		if _, numbered := strings.CutPrefix(s.Self.Name, own+"-"); numbered {
			wished = own
		}
	}
	switch {
	case wished == "" || wished == s.Self.Name:
	case w.join != "":
		a.say("the name %s was taken or had been given before: this machine is %s", wished, s.Self.Name)
	case w.hostname != "":
		a.say("this machine has been %s since it joined; its name changes on the coordinator: meshd coordinator member rename %s %s", s.Self.Name, s.Self.Name, wished)
	}
}

func obstacle(s localapi.Status) string {
	if s.State == localapi.Joining {
		return s.Hub.Error
	}
	return stateWords(s)
}
