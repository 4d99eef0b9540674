package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"meshd/agent/netcfg"
	"meshd/agent/tunnel"
	"meshd/coordinator/api"
	"meshd/punch"
	"meshd/punch/relay"
	"meshd/punch/wire"
)

const (
	// warmPeers is up to how many peers are kept warm; punch pre-punches as many.
	warmPeers = 64
	// keepalive is below the 30 s after which common NATs forget a mapping.
	keepalive = 25 * time.Second
	// headStart is how long the end with the higher key leaves the handshake to
	// the other: more than most round trips.
	headStart = 500 * time.Millisecond
)

// plane is a mesh that is up: paths, tunnel and interface.
type plane struct {
	log       *slog.Logger
	host      netcfg.Host
	punch     Puncher
	tunnel    tunnel.Tunnel
	mapped    *mapping          // of punch's port
	names     *names            // of the mesh, answered here
	lan       *neighbours       // members on the LAN
	engine    *task             // runs punch
	republish *republisher      // of the LAN's services
	blind     bool              // the hub has not said yet who is online
	hub       punch.HubStatus   // the relay when we looked last
	self      Key               // own public key
	owed      parts             // what the last apply could not do
	narrow    map[Key]int       // MTU of paths that carry less than the interface's
	reach     map[Key]time.Time // peers that some path leads to, and since when we know
}

// newPlane brings up the mesh of l.netmap. On error nothing is left behind.
func (l *loop) newPlane(ctx context.Context) (*plane, error) {
	p := &plane{log: l.log, host: l.cfg.Host, self: l.private.public(), blind: !l.heard}
	var err error
	if p.punch, p.tunnel, err = l.newDataPath(dialWebSocket(l.control.client, l.netmap.Mesh.Relays)); err != nil {
		return nil, err
	}
	p.engine = start(context.WithoutCancel(ctx), p.punch.Run) // until close: its end means that it broke
	if err := p.apply(l.netmap, l.relays, partHost|partTunnel|partPunch|partRelay); err != nil {
		p.close()
		return nil, err
	}
	p.mapped = l.newMapping(ctx, p.punch)
	p.names = l.newNames(ctx, p.tunnel.Name(), p.punch.Want)
	p.lan = l.newNeighbours(ctx)
	p.republish = l.newRepublisher(ctx)
	return p, nil
}

// rehearse makes sure that there can be a mesh on this host, before a secret
// that admits once is spent on it.
func (l *loop) rehearse() error {
	_, t, err := l.newDataPath(nil)
	if err != nil {
		return err
	}
	return t.Close()
}

// dialer opens a connection to the relay over TLS; nil: there is none.
type dialer func(context.Context) (punch.RelayConn, error)

// dialWebSocket returns how to reach the hub's relay over TLS; nil if it has none.
func dialWebSocket(client *api.Client, relays []Relay) dialer {
	if len(relays) == 0 || relays[0].WebSocket == "" {
		return nil
	}
	return func(ctx context.Context) (punch.RelayConn, error) {
		conn, err := relay.DialWebSocket(ctx, client.URL(relays[0].WebSocket), client.HTTP())
		if err != nil {
			return nil, err // not conn, which would be a nil of some type
		}
		return conn, nil
	}
}

// apply brings the parts in line with m. What fails is owed, and part of the
// next apply.
func (p *plane) apply(m *Netmap, relays []netip.AddrPort, touched parts) error {
	touched |= p.owed
	p.owed = 0
	m = p.lan.onto(m)
	if touched.has(partRelay) {
		p.punch.SetRelay(relayOf(m, relays))
	}
	if touched.has(partPunch) {
		p.punch.SetPeers(punchPeers(m, p.blind))
	}
	var errs []error
	if touched.has(partTunnel) {
		errs = append(errs, p.try(partTunnel, p.tunnel.SetPeers(tunnelPeers(m, p.blind, p.ripe(time.Now())))))
	}
	if touched.has(partHost) {
		errs = append(errs, p.try(partHost, p.host.Configure(p.tunnel.Name(), hostConfig(m, p.narrow))))
	}
	return errors.Join(errs...)
}

func (p *plane) try(part parts, err error) error {
	if err != nil {
		p.owed |= part
	}
	return err
}

// close takes everything down. The gateways are told meanwhile.
func (p *plane) close() {
	p.mapped.leave()
	p.names.stop()
	p.lan.stop()
	p.republish.stop()
	if err := p.host.Remove(p.tunnel.Name()); err != nil {
		p.log.Debug("addresses not removed", "iface", p.tunnel.Name(), "err", err)
	}
	if err := p.tunnel.Close(); err != nil {
		p.log.Warn("interface not closed", "iface", p.tunnel.Name(), "err", err)
	}
	p.engine.stop()
	p.punch.Close()
	p.mapped.wait()
}

// hubChanged takes in how the relay is reached now. It reports whether it is
// again, and whether it sees us elsewhere: behind another gateway, or behind one
// that forgot what it mapped.
func (p *plane) hubChanged(s punch.HubStatus) (back, elsewhere bool) {
	was := p.hub
	p.hub = s
	back = was.Via == punch.ViaNone && s.Via != punch.ViaNone
	elsewhere = was.Observed.IsValid() && s.Observed.IsValid() && was.Observed != s.Observed
	return back, elsewhere
}

// reached takes in who can be reached now, and reports whether that is news.
func (p *plane) reached(now time.Time, peers map[punch.Key]punch.PeerStatus) bool {
	reach := make(map[Key]time.Time)
	for key, s := range peers {
		if s.Path != punch.ViaNone {
			reach[key] = now
			if since, known := p.reach[key]; known {
				reach[key] = since
			}
		}
	}
	news := !maps.Equal(reach, p.reach)
	p.reach = reach
	return news
}

// ripe tells of which peers it is time to begin keeping warm. That begins with
// a handshake, and a handshake that fails is tried again after 5 s only. So it
// waits for a path; and as both ends learn of a path at the same moment, and two
// initiations that cross undo each other, the end with the lower key begins. The
// other follows: it may be the only one that knows of no session.
func (p *plane) ripe(now time.Time) func(Key) bool {
	return func(k Key) bool {
		since, reached := p.reach[k]
		return reached && (bytes.Compare(p.self[:], k[:]) < 0 || now.Sub(since) >= headStart)
	}
}

// want passes on who asks for us.
func (l *loop) want(by []wire.RelayID) {
	if l.plane == nil {
		return
	}
	for _, id := range by {
		if p, ok := l.netmap.Peers[id]; ok {
			l.plane.punch.Want(p.Key)
		}
	}
}

// died is closed when the interface is gone. Of a nil plane it blocks forever.
func (p *plane) died() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.tunnel.Wait()
}

// broke is closed when punch has ended.
func (p *plane) broke() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.engine.ended()
}

// changed ticks when punch has something new to show.
func (p *plane) changed() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.punch.Changed()
}
