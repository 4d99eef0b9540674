package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/punch"
	"meshd/punch/portmap"
	"meshd/punch/wire"
)

// stunPort is where STUN servers listen (RFC 8489 §18.6).
const stunPort = "3478"

// NetcheckConfig says whom to ask about the NATs in front of this machine.
type NetcheckConfig struct {
	Servers  []string // STUN servers, "host" or "host:port"
	Lifetime bool     // measure how long a mapping lasts, too: up to six minutes
	Log      *slog.Logger
	// Hooks; nil means the real one.
	Host   netcfg.Host
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Netcheck finds out how this machine's network behaves. It needs no daemon and
// no mesh, only servers: it opens sockets of its own, which NATs treat as they
// would the mesh's.
func Netcheck(ctx context.Context, c NetcheckConfig) (localapi.Netcheck, error) {
	cfg := withHooks(Config{Log: c.Log, Host: c.Host})
	var names []string
	for _, s := range c.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), stunPort)
		}
		names = append(names, s)
	}
	lookup := c.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	servers, err := resolver{lookup: lookup, log: cfg.Log}.resolve(ctx, "", names)
	if len(servers) == 0 {
		return localapi.Netcheck{}, localapi.WithHint(cmp.Or(err, errors.New("no STUN server named")), "name one that exists: --stun HOST[:PORT]")
	}
	return netcheck(ctx, cfg.Host, servers, known{}, c.Lifetime)
}

// Netcheck implements [localapi.Backend]: it asks the hub's ports.
func (a *Agent) Netcheck(ctx context.Context, lifetime bool) (localapi.Netcheck, error) {
	v := a.view.Load()
	if len(v.relays) == 0 {
		return localapi.Netcheck{}, localapi.WithHint(fmt.Errorf("the addresses of the hub's relay are not known (%s)", v.state),
			"name any STUN server: meshd netcheck --stun HOST[:PORT]")
	}
	k := known{mark: v.kept.mark()}
	if v.plane != nil {
		s := v.plane.punch.Status()
		k.mapped, k.local, k.observed = v.plane.mapped.list(), s.Local, s.Hub.Observed
	}
	return netcheck(ctx, a.cfg.Host, v.relays, k, lifetime)
}

// known is what the mesh told beforehand.
type known struct {
	mapped   []portmap.Mapping
	local    punch.Local
	observed netip.AddrPort // as what the hub sees the mesh's port
	mark     uint32         // of sockets
}

// add puts into a report how the NAT maps, where the servers could not tell, and
// peers did: the answer to each probe says as what they see us.
func (k known) add(r *punch.Report) {
	if r == nil || !r.UDP || r.MappingSure || !k.local.MappingSure || k.observed.Addr() != r.Mapped.Addr() {
		return
	}
	n := k.local.NAT
	if n.Mapping != r.Mapping {
		r.Mapping, r.Allocation, r.Delta, r.Low, r.High = n.Mapping, n.Allocation, n.Delta, n.Low, n.High
	}
	r.MappingSure = true
}

// netcheck asks servers and gateways, all at once.
func netcheck(ctx context.Context, host netcfg.Host, servers []netip.AddrPort, k known, lifetime bool) (localapi.Netcheck, error) {
	own, err := host.Addresses()
	if err != nil {
		return localapi.Netcheck{}, err
	}
	var found punch.Discovery
	var gateways portmap.Report
	var tasks sync.WaitGroup
	tasks.Go(func() {
		found = punch.Discover(ctx, punch.DiscoverConfig{Servers: servers, Own: ipsOf(own), Mark: k.mark, Hairpin: true, Lifetime: lifetime})
	})
	tasks.Go(func() {
		m := portmap.New(portmap.Config{Gateways: func() ([]portmap.Gateway, error) { return mappingGateways(host) }, Port: 1})
		gateways, _ = m.Probe(ctx) // without a gateway there is none to tell of
	})
	tasks.Wait()
	if ctx.Err() != nil {
		return localapi.Netcheck{}, ctx.Err()
	}
	k.add(found.V4)
	return netcheckView(found, gateways, ipsOf(own), k.mapped), nil
}

func ipsOf(ps []netip.Prefix) []netip.Addr {
	list := make([]netip.Addr, len(ps))
	for i, p := range ps {
		list[i] = p.Addr()
	}
	return list
}

// netcheckView puts in words what was found.
func netcheckView(d punch.Discovery, gateways portmap.Report, own []netip.Addr, mapped []portmap.Mapping) localapi.Netcheck {
	best := d.Best()
	v := localapi.Netcheck{
		UDP: best.UDP, IPv4: familyView(d.V4), IPv6: familyView(d.V6),
		Servers: []localapi.NetcheckServer{}, PortMapping: []string{}, Hints: hints(best, own, mapped),
		Means: "UDP does not get through: everything is relayed by TLS",
	}
	if best.UDP {
		v.Means = reachOf(best)
	}
	for _, r := range []*punch.Report{d.V4, d.V6} {
		for _, s := range serversOf(r) {
			v.Servers = append(v.Servers, localapi.NetcheckServer{Addr: s.Addr, Answered: s.Mapped.IsValid(), RTT: ms(s.RTT)})
		}
	}
	for _, p := range gateways.Available() {
		v.PortMapping = append(v.PortMapping, p.String())
	}
	return v
}

func serversOf(r *punch.Report) []punch.ServerReport {
	if r == nil {
		return nil
	}
	return r.Servers
}

func familyView(r *punch.Report) localapi.NetcheckFamily {
	if r == nil {
		return localapi.NetcheckFamily{}
	}
	v := localapi.NetcheckFamily{
		Asked: true, UDP: r.UDP, Public: r.Mapped, NAT: r.NAT, Behaviour: reportView(r),
		MappingSure: r.MappingSure, FilteringSure: r.FilteringSure,
		LifetimeLeast: r.Lifetime.Seconds(), LifetimeEnds: r.LifeEnds.Seconds(),
	}
	if r.Hairpin != punch.Unknown {
		yes := r.Hairpin == punch.Yes
		v.Hairpin = &yes
	}
	return v
}

// shared are the addresses between a provider's NAT and its customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// carrierBlock is up to how many ports providers give a customer (RFC 7422).
const carrierBlock = 4096

// hints are the signs of more than one NAT, and of a firewall that is left out of account.
func hints(r *punch.Report, own []netip.Addr, mapped []portmap.Mapping) []string {
	list := []string{}
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if i := slices.IndexFunc(own, shared.Contains); i >= 0 {
		add("this machine has the address %s, which a provider shares among its customers: there is carrier-grade NAT", own[i])
	}
	if r.Firewall {
		add("this machine's own firewall lets in only what was asked for here; meshd hears its peers' probes before that, and answers")
	}
	for _, m := range mapped {
		switch out := m.External.Addr(); {
		case shared.Contains(out):
			add("the gateway's outside is %s, which a provider shares among its customers: there is carrier-grade NAT", out)
		case !m.Trusted:
			add("the gateway's outside is %s, which is private: there is another NAT in front of it", out)
		case r.NAT && out.Is4() == r.Mapped.Addr().Is4() && out != r.Mapped.Addr():
			add("the gateway's outside is %s, but servers see %s: there is another NAT in front of it", out, r.Mapped.Addr())
		}
	}
	if n := int(r.High) - int(r.Low) + 1; r.Allocation == wire.Random && n > 1 && n <= carrierBlock {
		add("all ports come from a block of about %d: that is how carrier-grade NATs share addresses", n)
	}
	return list
}
