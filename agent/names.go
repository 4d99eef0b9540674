package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/netcfg"
	"meshd/coordinator/api"
	"meshd/dnssd"
	"meshd/punch"
	"meshd/punch/wire"
)

const (
	dnsPort = 53
	// namesRetry is when an address that could not be listened on is tried again.
	namesRetry = 5 * time.Second

	dnsAsk = "ask" // answers who asks; the host's resolver is as it was
)

// names answers for the mesh's zone on this member's overlay addresses, for as
// long as the mesh is up. Nobody waits for it but the end. Nil names answer nothing.
type names struct {
	log    *slog.Logger
	key    Key // own public key
	listen func(context.Context, netip.AddrPort) (net.PacketConn, net.Listener, error)
	want   func(punch.Key) // some program asks for this peer; must not block
	news   *latest[namesNews]
	state  atomic.Pointer[namesState]
	host   *hostNames
	task   *task

	// Of the task's goroutine.
	zone    *dnssd.Zone
	config  dnssd.ZoneConfig
	filled  *Netmap // in zone; nil: none
	answers map[netip.Addr]*task
	said    string // the last failure that was logged; each is once
}

// namesNews is what the zone is made of.
type namesNews struct {
	netmap   *Netmap
	local    punch.Local
	services []dnssd.Service // of this host
}

// namesState is how the answering stands.
type namesState struct {
	server  netip.Addr // where it answers; invalid: nowhere
	err     error      // why not on every address
	host    netcfg.Resolution
	hostErr error // why the host's programs don't find the names
}

// newNames starts to answer for the zone of l.netmap.
func (l *loop) newNames(ctx context.Context, iface string, want func(punch.Key)) *names {
	if l.state.DNS == wordOff {
		return nil
	}
	n := &names{
		log: l.log, key: l.private.public(), listen: l.cfg.ListenDNS, want: want, news: newLatest[namesNews](), answers: make(map[netip.Addr]*task),
		host: newHostNames(l.cfg.Resolver, iface),
	}
	n.take(l.netmap, punch.Local{}, l.offered)
	n.task = start(context.WithoutCancel(ctx), n.run)
	return n
}

// take makes m and this member's own candidates what the zone tells.
func (n *names) take(m *Netmap, local punch.Local, services []dnssd.Service) {
	if n != nil {
		n.news.set(namesNews{m, local, services})
	}
}

// recheck has the host's resolver looked at: with the network it may be another.
func (n *names) recheck() {
	if n != nil {
		signal(n.host.recheck)
	}
}

func (n *names) stop() {
	if n != nil {
		n.task.stop()
	}
}

// status adds how names stand to s.
func (n *names) status(s *localapi.Status) {
	if n == nil {
		return
	}
	now := n.state.Load()
	if now == nil {
		s.DNS.Mode = localapi.DNSPending
		return
	}
	s.DNS.Mode = dnsAsk
	showResolution(s, now.host)
	if now.server.IsValid() {
		s.DNS.Server = now.server.String()
	}
	if now.err != nil {
		s.DNS.Error = now.err.Error()
		s.Health = append(s.Health, "names of the mesh are not answered on every address: "+s.DNS.Error)
	}
	if now.hostErr != nil {
		s.DNS.Error = cmp.Or(s.DNS.Error, now.hostErr.Error())
		s.Health = append(s.Health, "names of the mesh are not known to this machine's programs: "+now.hostErr.Error())
	}
}

// run follows the news until ctx ends.
func (n *names) run(ctx context.Context) error {
	defer n.silence()
	defer n.host.clear(ctx, n.log)
	retry := stoppedTimer()
	defer retry.Stop()
	tick := time.NewTicker(hostCheck)
	defer tick.Stop()
	for {
		select {
		case <-n.news.wake:
		case <-retry.C:
		case <-tick.C:
			n.host.due = true
		case <-n.host.recheck:
			n.host.due = true
		case <-ctx.Done():
			return nil
		}
		if !n.follow(ctx, *n.news.get()) {
			retry.Reset(namesRetry)
		}
	}
}

// follow brings zone and sockets in line with the news, and reports whether all
// of it could be done.
func (n *names) follow(ctx context.Context, news namesNews) bool {
	m := news.netmap
	c := dnssd.ZoneConfig{Name: m.Mesh.Zone, Prefixes: m.Mesh.Prefixes, Server: m.Self.Addresses}
	if n.zone == nil || c.Name != n.config.Name || !slices.Equal(c.Prefixes, n.config.Prefixes) || !slices.Equal(c.Server, n.config.Server) {
		n.silence()
		zone, err := dnssd.NewZone(c)
		if err != nil {
			n.show(err, nil)
			return false
		}
		n.zone, n.config = zone, c
	}
	n.fill(m, zoneSelf(m, n.key, news))
	err := n.answer(ctx)
	hostErr := n.host.set(ctx, m, n.answering())
	n.show(err, hostErr)
	return err == nil && hostErr == nil
}

// answering are the addresses on which somebody answers.
func (n *names) answering() (at []netip.Addr) {
	for _, a := range n.config.Server {
		if n.answers[a] != nil {
			at = append(at, a)
		}
	}
	return at
}

// fill makes the members of m those of the zone. A map that is in it already is
// left alone: it may be large, and what is new then is this member.
func (n *names) fill(m *Netmap, self dnssd.Member) {
	var err error
	if n.filled == m {
		err = n.zone.Set(self)
	} else {
		err = n.zone.Replace(append(zonePeers(m), self))
	}
	n.filled = m
	if err != nil {
		n.log.Debug("members not in the zone", "err", err)
	}
	if _, there := n.zone.Member(self.Name); !there && len(self.Services) > 0 {
		// A service that another member has by the same name, which the hub refuses
		// as well, must not hide this one's addresses.
		self.Services = nil
		n.zone.Set(self) // why it failed has been said
	}
}

// answer listens on every own address on which nobody does yet.
func (n *names) answer(ctx context.Context) (failed error) {
	for _, a := range n.config.Server {
		if t := n.answers[a]; t != nil {
			select {
			case <-t.done: // its socket broke
			default:
				continue
			}
		}
		delete(n.answers, a)
		conn, ln, err := n.listen(ctx, netip.AddrPortFrom(a, dnsPort))
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		server := dnssd.NewServer(dnssd.ServerConfig{
			Zone: n.zone, UDP: []net.PacketConn{conn}, TCP: []net.Listener{ln}, Access: mayAsk(n.config.Prefixes), Log: n.log,
			Forward: dnssd.Forward(n.host.resolver.Upstream), Forwards: fromHere(n.config.Server),
			Asked: asked(n.zone, n.config.Server, n.want),
		})
		n.answers[a] = start(ctx, func(ctx context.Context) error {
			defer n.news.poke()
			return server.Run(ctx)
		})
	}
	return failed
}

// silence ends all answering.
func (n *names) silence() {
	for _, t := range n.answers {
		t.stop()
	}
	clear(n.answers)
	n.zone, n.filled = nil, nil
}

// show publishes how it stands. Another program on port 53 may be meant to be
// there, so a failure takes nothing down.
func (n *names) show(err, hostErr error) {
	s := &namesState{err: err, host: n.host.state, hostErr: hostErr}
	if at := n.answering(); len(at) > 0 {
		s.server = at[0]
	}
	said := ""
	if err := errors.Join(err, hostErr); err != nil {
		said = err.Error()
	}
	if said != n.said && said != "" {
		n.log.Warn("names not answered", "err", said)
	}
	n.said = said
	n.state.Store(s)
}

// asked has this host seek a path to whom one of its programs asks for. What other
// members ask here is their own concern.
func asked(zone *dnssd.Zone, own []netip.Addr, want func(punch.Key)) func(netip.AddrPort, string, string) {
	return func(src netip.AddrPort, _, member string) {
		m, ok := zone.Member(member)
		if a := src.Addr(); ok && (a.IsLoopback() || slices.Contains(own, a)) {
			want(m.Key)
		}
	}
}

// mayAsk lets in who asks from within the mesh, or from this host by loopback.
func mayAsk(prefixes []netip.Prefix) func(netip.AddrPort, string, bool) dnssd.Access {
	return func(src netip.AddrPort, _ string, _ bool) dnssd.Access {
		a := src.Addr()
		if a.IsLoopback() || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return dnssd.Full
		}
		return dnssd.Refuse
	}
}

// zoneSelf is this member as the zone shows it.
func zoneSelf(m *Netmap, key Key, news namesNews) dnssd.Member {
	self := dnssd.Member{Name: m.Self.Name, Key: key, Addresses: m.Self.Addresses, Online: true, Publication: whereabouts(news.local)}
	self.Services = news.services
	for _, a := range m.Self.Addresses {
		self.AllowedIPs = append(self.AllowedIPs, hostPrefix(a))
	}
	return self
}

// zonePeers are the other members as the zone shows them.
func zonePeers(m *Netmap) []dnssd.Member {
	members := make([]dnssd.Member, 0, len(m.Peers)+1)
	for _, p := range m.Peers {
		members = append(members, dnssd.Member{
			Name: p.Name, Key: p.Key, Addresses: p.Addresses, AllowedIPs: p.AllowedIPs, Online: p.Online, Publication: peerPublication(p),
		})
	}
	return members
}

// peerPublication is what a member says of itself.
func peerPublication(p Peer) dnssd.Publication {
	pub := publication(p.Candidates)
	pub.Traits, pub.Services, pub.Text = api.Traits(natProto(p.NAT), p.Relay), p.Services, p.Text
	return pub
}

func publication(candidates []wire.Candidate) dnssd.Publication {
	list := make([]dnssd.Candidate, 0, len(candidates))
	for _, c := range candidates {
		list = append(list, dnssd.Candidate{Kind: c.Kind.String(), Addr: c.Addr})
	}
	return dnssd.Publish(list)
}
