package coordinator

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"connectrpc.com/connect"

	"meshd/dnssd"
)

// names serves the mesh's zone by DNS. Nil names serve nothing.
type names struct {
	zone   *dnssd.Zone
	server *dnssd.Server
	udp    net.PacketConn
	tcp    net.Listener
}

// newNames binds the DNS port, if one is asked for, and fills the zone.
func (c *Coordinator) newNames(config Config) (*names, error) {
	if !config.DNS.IsValid() {
		return nil, nil
	}
	s := c.network.settings
	prefixes := []netip.Prefix{s.Prefix4, s.Prefix6}
	zone, err := dnssd.NewZone(dnssd.ZoneConfig{Name: s.Zone, Prefixes: prefixes, Server: numeric(c.hosts)})
	if err != nil {
		return nil, Errorf(connect.CodeFailedPrecondition, "start without --dns-listen", "serve zone %q: %w", s.Zone, err)
	}
	n := &names{zone: zone}
	if n.udp, n.tcp, err = dnssd.Listen(context.Background(), config.DNS); err != nil {
		return nil, Errorf(connect.CodeFailedPrecondition, "choose another address or port by --dns-listen", "%w", err)
	}
	n.server = dnssd.NewServer(dnssd.ServerConfig{
		Zone: zone, UDP: []net.PacketConn{n.udp}, TCP: []net.Listener{n.tcp}, Log: c.log,
		Access: access(prefixes, config.DNSPublic), Secret: c.tsigSecret, Publish: c.publishNames,
	})
	for _, m := range c.network.Members() {
		c.list(n, Member{}, m)
	}
	return n, nil
}

// numeric are those of hosts that are addresses.
func numeric(hosts []string) (addrs []netip.Addr) {
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h); err == nil {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}

// access tells members, by their signature or as they ask through the mesh, from
// strangers. Updates need a signature whatever it says.
func access(prefixes []netip.Prefix, public bool) func(netip.AddrPort, string, bool) dnssd.Access {
	return func(src netip.AddrPort, _ string, verified bool) dnssd.Access {
		switch {
		case verified, slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(src.Addr()) }):
			return dnssd.Full
		case public:
			return dnssd.Public
		}
		return dnssd.Refuse
	}
}

// tsigSecret is by what a member signs. It is derived from what its agent knows
// already, the key of its relay sessions, and goes with its name and identity.
func (c *Coordinator) tsigSecret(member string) ([]byte, bool) {
	e, ok := c.roster.named(member)
	if !ok {
		return nil, false
	}
	k, err := dnssd.DeriveKey(e.key[:], c.zone, e.member.Name, e.member.Identity[:])
	return k.Secret[:], err == nil
}

// publishNames takes in what a member says of itself by DNS UPDATE: the same as
// by the Publish method.
func (c *Coordinator) publishNames(ctx context.Context, member string, p dnssd.Publication) error {
	if len(p.Services) > 0 || len(p.Text) > 0 {
		return errors.New("this coordinator stores endpoints only, no services or text")
	}
	e, ok := c.roster.named(member)
	if !ok {
		return errors.New("no such member")
	}
	var err error
	stopped := c.do(ctx, func() {
		was := c.network.members[e.member.ID]
		err = c.handle(Publish{ID: was.ID, Endpoints: published(p), NAT: was.NAT, Relaying: was.Relaying})
	})
	return cmp.Or(stopped, err)
}

// published are the endpoints of a publication. The one that its owner calls the
// best stays it: if our order would put another first, it counts as forwarded.
func published(p dnssd.Publication) []Endpoint {
	var endpoints []Endpoint
	if p.Endpoint.IsValid() && dnssd.Publish(p.Candidates).Endpoint != p.Endpoint {
		endpoints = append(endpoints, Endpoint{Addr: p.Endpoint, Kind: "mapped"})
	}
	for _, c := range p.Candidates {
		if len(endpoints) == 0 || c.Addr != endpoints[0].Addr {
			endpoints = append(endpoints, Endpoint{Addr: c.Addr, Kind: c.Kind})
		}
	}
	return endpoints
}

// list has the zone follow one member's change. A zero Member stands for none.
func (c *Coordinator) list(n *names, before, after Member) {
	if n == nil {
		return
	}
	if before.Active() && (!after.Active() || before.Name != after.Name) {
		n.zone.Remove(before.Name)
	}
	if !after.Active() {
		return
	}
	if err := n.zone.Set(zoneMember(after)); err != nil {
		c.log.Warn("member not in the zone", "peer", after.Name, "err", err)
	}
}

// zoneMember is a member as the zone shows it.
func zoneMember(m Member) dnssd.Member {
	z := dnssd.Member{Name: m.Name, Key: m.WireGuard, Addresses: m.Addresses(), Online: m.Online}
	for _, a := range z.Addresses {
		z.AllowedIPs = append(z.AllowedIPs, netip.PrefixFrom(a, a.BitLen()))
	}
	var candidates []dnssd.Candidate
	for _, e := range m.Endpoints {
		candidates = append(candidates, dnssd.Candidate{Kind: e.Kind, Addr: e.Addr})
	}
	z.Publication = dnssd.Publish(candidates)
	return z
}

// run answers until ctx ends.
func (n *names) run(ctx context.Context) error {
	if n == nil {
		return nil
	}
	return n.server.Run(ctx)
}

// close gives the port back; after run it has been.
func (n *names) close() {
	if n != nil {
		n.udp.Close()
		n.tcp.Close()
	}
}
