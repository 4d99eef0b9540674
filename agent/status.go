package agent

import (
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"meshd/agent/localapi"
	"meshd/agent/tunnel"
	"meshd/dnssd"
	"meshd/punch"
	"meshd/punch/portmap"
	"meshd/punch/wire"
)

// expirySoon is how long before the end of a membership its owner is warned.
const expirySoon = 7 * 24 * time.Hour

// view is a snapshot of the loop's state, for readers on other goroutines. It
// and all that it points to is never written again; punch and the tunnel within
// plane can be asked by anybody.
type view struct {
	cfg      *Config
	key      Key
	identity ed25519.PublicKey
	state    localapi.State
	failure  *localapi.Error
	name     string // before there is a map
	netmap   *Netmap
	plane    *plane
	hub      *hub             // nil: none
	relays   []netip.AddrPort // of the hub, as last resolved
	host     string
	linked   bool
	since    time.Time
	hubErr   error
	offset   time.Duration   // the hub's clock minus ours
	services []dnssd.Service // that this host announces
	refused  []dnssd.Service // of these, by the hub
	kept     state           // with the settings
}

// show publishes the state as it is now.
func (l *loop) show() {
	v := &view{
		cfg: &l.cfg, key: l.private.public(), identity: l.identity.Public(), state: l.phase, failure: l.failure, name: l.name, netmap: l.netmap, plane: l.plane,
		hub: l.asked, relays: l.relays, linked: l.linked, since: l.since, hubErr: l.hubErr, offset: l.state.ClockOffset,
		services: l.offered, refused: l.unpublished, kept: l.state,
	}
	if l.control != nil {
		v.host = l.control.client.URL("")
	}
	l.view.Store(v)
}

// Status implements [localapi.Backend].
func (a *Agent) Status() localapi.Status {
	v := a.view.Load()
	var paths punch.Status
	var stats map[tunnel.Key]tunnel.Stats
	if v.plane != nil {
		paths = v.plane.punch.Status()
		stats, _ = v.plane.tunnel.Stats() // it fails only while the interface is dying
	}
	return v.status(time.Now(), paths, stats)
}

// status puts together what the loop, punch and the tunnel know.
func (v *view) status(now time.Time, paths punch.Status, stats map[tunnel.Key]tunnel.Stats) localapi.Status {
	s := localapi.Status{
		Version: v.cfg.Version, Mesh: v.cfg.Mesh, State: v.state, Failure: v.failure,
		Self:   localapi.Self{Name: v.name, Key: v.key.String(), Interface: v.cfg.Interface, Addresses: []netip.Addr{}, Endpoints: []localapi.Endpoint{}},
		Hub:    v.hubStatus(paths.Hub),
		Peers:  []localapi.Peer{},
		Health: v.health(now, paths.Hub),
		DNS:    localapi.DNS{Mode: wordOff},
	}
	s.Self.Inbound = v.kept.inbound().String()
	if v.plane != nil {
		s.Backend, s.Self.Interface = v.plane.tunnel.Backend(), v.plane.tunnel.Name()
		s.FastPath = fastPath(v.plane.tunnel)
		s.Self.NAT = selfView(paths.Local, paths.Hub).Words
		v.plane.names.status(&s)
		s.Self.Endpoints = endpoints(paths.Local.Candidates, v.plane.mapped.list())
	}
	if paths.Local.Relays {
		s.Relaying = &localapi.Relaying{Packets: paths.Relay.Packets, Bytes: paths.Relay.Bytes, Dropped: paths.Relay.Dropped}
	}
	if v.netmap != nil {
		s.Self.Name, s.Self.Addresses, s.DNS.Zone = v.netmap.Self.Name, v.netmap.Self.Addresses, v.netmap.Mesh.Zone
		s.Peers = make([]localapi.Peer, 0, len(v.netmap.Peers))
		for _, p := range v.netmap.Sorted() {
			peer := peerStatus(p, paths.Peers[p.Key], stats[p.Key])
			peer.LAN = v.plane != nil && v.plane.lan.has(p.Key)
			s.Peers = append(s.Peers, peer)
			if peer.Singly {
				s.Health = append(s.Health, fmt.Sprintf("packets go to %s one by one, which is slower: bundles of them (UDP segmentation offload) get lost, by a fault of a kernel or a network card, here or of the relay", p.Name))
			}
		}
	}
	return s
}

// fastPath is what the tunnel's carried, if it has one.
func fastPath(t tunnel.Tunnel) *localapi.FastPath {
	if t, ok := t.(interface{ Fast() (uint64, uint64) }); ok {
		if sealed, opened := t.Fast(); sealed+opened > 0 {
			return &localapi.FastPath{Sealed: sealed, Opened: opened}
		}
	}
	return nil
}

// endpoints lists what peers are told, then what gateways mapped in vain.
func endpoints(told []wire.Candidate, mapped []portmap.Mapping) []localapi.Endpoint {
	list := []localapi.Endpoint{}
	for _, c := range told {
		e := localapi.Endpoint{Addr: c.Addr, Kind: c.Kind.String()}
		i := slices.IndexFunc(mapped, func(m portmap.Mapping) bool { return m.External == c.Addr })
		if i >= 0 && c.Kind == wire.Mapped {
			e.Protocol = mapped[i].Protocol.String()
		}
		list = append(list, e)
	}
	for _, m := range mapped {
		if !m.Trusted {
			list = append(list, localapi.Endpoint{Addr: m.External, Kind: wire.Mapped.String(), Protocol: m.Protocol.String(), Untrusted: true})
		}
	}
	return list
}

func (v *view) hubStatus(h punch.HubStatus) localapi.Hub {
	s := localapi.Hub{URL: v.host, Connected: v.linked, Since: v.since, RTT: ms(h.RTT), UDP: h.Via == punch.ViaRelay}
	if v.hubErr != nil {
		s.Error = explain(v.hubErr).Message
	}
	return s
}

func peerStatus(p Peer, path punch.PeerStatus, stats tunnel.Stats) localapi.Peer {
	s := localapi.Peer{
		Name: p.Name, Key: p.Key.String(), Addresses: p.Addresses, Online: p.Online, Plain: p.Plain, Relays: p.Relay, AllowedIPs: p.AllowedIPs,
		Path: path.Path.String(), Relay: path.Relay, Since: path.Since, Reason: path.Reason, RTT: ms(path.RTT), Singly: path.Singly,
		LastHandshake: stats.LastHandshake, RxBytes: stats.RxBytes, TxBytes: stats.TxBytes,
	}
	if path.Addr.IsValid() {
		s.Endpoint = path.Addr.String()
	}
	if path.Largest != 0 {
		s.MTU = pathMTU(path.Largest)
	}
	return s
}

func pingReply(p Peer, pong punch.Pong) localapi.PingReply {
	r := localapi.PingReply{Peer: p.Name, Path: pong.Via.String(), Via: pong.Via.String(), Relay: pong.Relay, RTT: ms(pong.RTT)}
	if r.Relay != "" {
		r.Via += " " + r.Relay
	}
	if len(p.Addresses) > 0 {
		r.Addr = p.Addresses[0]
	}
	if pong.Addr.IsValid() {
		r.Via = pong.Addr.String()
	}
	return r
}

// health is one sentence for each thing that somebody might want to mend.
func (v *view) health(now time.Time, h punch.HubStatus) []string {
	lines := []string{}
	if v.failure != nil {
		lines = append(lines, v.failure.Message)
	}
	if v.state == localapi.Pending {
		lines = append(lines, "waiting for the owner's approval: meshd coordinator member approve "+v.name)
	}
	if v.hub != nil && !v.linked && v.hubErr != nil {
		lines = append(lines, fmt.Sprintf("coordinator away since %s: %s", v.since.Format(time.DateTime), explain(v.hubErr).Message))
	}
	if v.plane != nil {
		if t, ok := v.plane.tunnel.(interface{ Health() string }); ok && t.Health() != "" {
			lines = append(lines, t.Health())
		}
	}
	for _, s := range v.refused {
		lines = append(lines, fmt.Sprintf("service %q of type %s is not published: the coordinator refuses it; another member may have one of this name", s.Instance, s.Type))
	}
	if h.Via == punch.ViaTLS {
		lines = append(lines, "UDP to the coordinator is blocked: relayed packets go over TLS, which is slower")
	}
	if v.netmap != nil && !v.netmap.Self.Expires.IsZero() {
		lines = append(lines, expiry(v.netmap.Self.Expires.Sub(now.Add(v.offset)))...)
	}
	return slices.Clip(lines)
}

func expiry(left time.Duration) []string {
	switch {
	case left <= 0:
		return []string{"this machine's membership has expired"}
	case left < expirySoon:
		return []string{fmt.Sprintf("this machine's membership expires in %v", left.Round(time.Minute))}
	}
	return nil
}

// ms is a duration in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
