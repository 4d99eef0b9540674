package main

import (
	"context"
	"net/netip"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"meshd/coordinator"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/store"
)

func (a *app) serveCommand(h *hub) *cobra.Command {
	var public []string
	var listen tcpAddr
	var udp udpAddrs
	var relayRate bitRate
	var relayOffload unlessOff
	var dns tcpAddr
	var dnsPublic bool
	var mesh string
	var prefix4, prefix6 prefix
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the coordinator, until it is interrupted",
		Long: `Run the coordinator, until it is interrupted.

The first start makes its identity and its store in the state folder; later starts
carry on. It needs TCP 443, UDP 3478 and UDP 3479, or others by --listen and --udp,
open to everyone. Linux (6.6) relays busy flows in the kernel, if it may (CAP_BPF and
CAP_NET_ADMIN); status says so. A second public address, with two ports of each in --udp, tells
NATs apart that look alike from one; else members without NAT tell.`,
		Example: `  meshd coordinator serve --public hub.example
  meshd coordinator serve --public 203.0.113.1:8443 --listen :8443 --state ./state`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.coordinate(cmd.Context(), coordinator.Config{
				StateDir: h.state, Public: public, Listen: netip.AddrPort(listen), UDP: udp, Version: a.version, Log: a.logger(),
				RelayRate: float64(relayRate) / 8, RelayOffload: !relayOffload.off,
				DNS: netip.AddrPort(dns), DNSPublic: dnsPublic,
				Wishes: coordinator.Wishes{Mesh: mesh, Prefix4: netip.Prefix(prefix4), Prefix6: netip.Prefix(prefix6)},
			}, func() { a.invite(cmd.Context(), h) })
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&public, "public", nil, "`HOST[:PORT]` by which machines reach it, for join strings; may be repeated (default: this machine's addresses)")
	f.Var(&listen, "listen", "`ADDR:PORT` of the control port, TCP (default :443)")
	f.Var(&udp, "udp", "`ADDR:PORT,ADDR:PORT` of STUN and relay, two ports at least (default :3478,:3479)")
	f.Var(&relayRate, "relay-rate", "`RATE` in bits a second that is relayed for each machine at most, such as 50M (default no limit)")
	f.Var(&relayOffload, "relay-offload", "`MODE` of relaying busy flows in the kernel (Linux 6.6), for less CPU time: auto or off")
	f.Var(&dns, "dns-listen", "`ADDR:PORT` where the mesh's names are answered by DNS, UDP and TCP (default nowhere)")
	f.BoolVar(&dnsPublic, "dns-public", false, "answer strangers, too: names and endpoints of all members")
	f.StringVar(&mesh, "mesh", "", "`NAME` of the mesh; fixed at the first start (default meshd)")
	f.Var(&prefix4, "prefix4", "`PREFIX` of overlay addresses; fixed at the first start (default 100.96.0.0/16)")
	f.Var(&prefix6, "prefix6", "`PREFIX` of overlay addresses; fixed at the first start (default a random one of fd00::/8)")
	return cmd
}

// invite says what to do next, as long as nobody has been invited.
func (a *app) invite(ctx context.Context, h *hub) {
	s, err := h.admin().Status(ctx, &meshdv1.StatusRequest{})
	if err != nil || s.GetMembers()+s.GetPending() > 0 {
		return
	}
	where := ""
	if h.state != defaultStateDir {
		where = " --state " + h.state
	}
	a.say("nobody is in mesh %s yet; to invite a machine: meshd coordinator key create%s", s.GetMesh(), where)
}

// coordinate runs a coordinator on its store until ctx ends.
func coordinate(ctx context.Context, c coordinator.Config, serving func()) error {
	db, err := store.Open(ctx, coordinator.StorePath(c.StateDir))
	if err != nil {
		return err
	}
	defer db.Close()
	c.Store = db
	co, err := coordinator.New(c) // the sockets are bound from here on: who asks now waits
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return co.Run(ctx) })
	group.Go(func() error {
		notifyReady()
		serving()
		return nil
	})
	return group.Wait()
}
