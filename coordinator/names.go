package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"connectrpc.com/connect"

	"meshd/coordinator/api"
	"meshd/dnssd"
)

// names serves the mesh's zone by DNS: over the control connection always, and
// at a port of its own if that is asked for.
type names struct {
	zone   *dnssd.Zone
	server *dnssd.Server
	udp    net.PacketConn // nil: no port of its own
	tcp    net.Listener
}

// newNames binds the DNS port, if one is asked for, and fills the zone.
func (c *Coordinator) newNames(config Config) (*names, error) {
	s := c.network.settings
	prefixes := []netip.Prefix{s.Prefix4, s.Prefix6}
	zone, err := dnssd.NewZone(dnssd.ZoneConfig{Name: s.Zone, Prefixes: prefixes, Server: numeric(c.hosts)})
	if err != nil {
		return nil, Errorf(connect.CodeFailedPrecondition, hintStore, "serve zone %q: %w", s.Zone, err)
	}
	n := &names{zone: zone}
	server := dnssd.ServerConfig{
		Zone: zone, Log: c.log, Secret: c.tsigSecret, Publish: c.publishNames, Asked: c.punches.want,
		Access: c.access(prefixes, config.DNSPublic),
	}
	if config.DNS.IsValid() {
		if n.udp, n.tcp, err = dnssd.Listen(context.Background(), config.DNS); err != nil {
			return nil, Errorf(connect.CodeFailedPrecondition, "choose another address or port by --dns-listen", "%w", err)
		}
		server.UDP, server.TCP = []net.PacketConn{n.udp}, []net.Listener{n.tcp}
	}
	n.server = dnssd.NewServer(server)
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
// strangers. A plain member asks from its public address, outside of any tunnel,
// and can't sign: whoever is where one shook hands within the last minute learns
// what that one needs, names and endpoints, but no LAN addresses. Updates need a
// signature whatever it says.
func (c *Coordinator) access(prefixes []netip.Prefix, public bool) func(netip.AddrPort, string, bool) dnssd.Access {
	return func(src netip.AddrPort, _ string, verified bool) dnssd.Access {
		switch {
		case verified, slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(src.Addr()) }):
			return dnssd.Full
		case public, len(c.plains.at(src.Addr())) > 0:
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

// publishNames takes in what a member says of itself by DNS UPDATE, its agent or
// anyone else who has its key: the one way in for endpoints.
func (c *Coordinator) publishNames(ctx context.Context, member string, p dnssd.Publication) error {
	e, ok := c.roster.named(member)
	if !ok {
		return fmt.Errorf("%w: no active member has the name %q", dnssd.ErrRefused, member)
	}
	nat, relaying, err := api.ParseTraits(p.Traits)
	if err != nil {
		return fmt.Errorf("%w: %w", dnssd.ErrRefused, err)
	}
	err = c.submit(ctx, Publish{
		ID: e.member.ID, Endpoints: published(p), NAT: natOf(nat), Relaying: relaying, Services: p.Services, Text: p.Text,
	})
	if refusal, ok := errors.AsType[*Error](err); ok && refusal.Code != connect.CodeUnavailable {
		return fmt.Errorf("%w: %w", dnssd.ErrRefused, err)
	}
	return err
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
	if n == nil { // the first members come before there is a zone
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
	z.Traits, z.Services, z.Text = api.Traits(natRecord(m.NAT), m.Relaying), m.Services, m.Text
	return z
}

// run answers until ctx ends.
func (n *names) run(ctx context.Context) error {
	return n.server.Run(ctx)
}

// close gives the port back; after run it has been.
func (n *names) close() {
	if n != nil && n.udp != nil {
		n.udp.Close()
		n.tcp.Close()
	}
}
