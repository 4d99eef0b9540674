package agent

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"meshd/agent/netcfg"
	"meshd/dnssd/mdns"
	"meshd/punch/wire"
)

// LAN is what the agent needs of [mdns.LAN].
type LAN interface {
	SetInterfaces(port uint16, on []mdns.Interface)
	SetMembers(keys [][32]byte)
	Run(context.Context) error
}

// neighbours are the members that say on the LAN where they are: with the hub
// away, or addresses new, nobody else does. What they say are candidates like
// others, for punch to try. Nil neighbours are none.
type neighbours struct {
	log   *slog.Logger
	host  netcfg.Host
	port  uint16
	begin func(secret Key)
	lan   LAN // nil: not begun
	heard *latest[[]mdns.Peer]
	known atomic.Pointer[map[Key][]wire.Candidate] // what the loop has taken of heard
	task  *task
}

// newNeighbours starts to announce this member, and to listen, once the map has
// the secret that names are made of. A map of an older hub on disk has none.
func (l *loop) newNeighbours(ctx context.Context) *neighbours {
	if l.state.MDNS == wordOff {
		return nil
	}
	n := &neighbours{log: l.log, host: l.cfg.Host, port: l.state.Port, heard: newLatest[[]mdns.Peer]()}
	n.begin = func(secret Key) {
		n.lan = l.cfg.NewLAN(mdns.Config{Secret: secret, Key: l.private.public(), Changed: n.heard.set, Log: l.log})
		n.task = start(context.WithoutCancel(ctx), n.lan.Run)
	}
	n.known.Store(&map[Key][]wire.Candidate{})
	n.take(l.netmap)
	return n
}

// take has the members of m listened for.
func (n *neighbours) take(m *Netmap) {
	if n == nil {
		return
	}
	if n.lan == nil {
		if m.Mesh.LANSecret == (Key{}) {
			return
		}
		n.begin(m.Mesh.LANSecret)
		n.look()
	}
	keys := make([][32]byte, 0, len(m.Peers))
	for _, p := range m.Peers {
		keys = append(keys, p.Key)
	}
	slices.SortFunc(keys, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	n.lan.SetMembers(keys)
}

// look finds the LANs of this host, now or after a change.
func (n *neighbours) look() {
	if n == nil || n.lan == nil {
		return
	}
	found, err := n.host.LAN()
	if err != nil {
		n.log.Debug("interfaces not read", "err", err)
		return
	}
	n.lan.SetInterfaces(n.port, lanInterfaces(found))
}

// changed ticks when other members were heard of, or the same elsewhere.
func (n *neighbours) changed() <-chan struct{} {
	if n == nil {
		return nil
	}
	return n.heard.wake
}

// update takes what was heard.
func (n *neighbours) update() {
	known := make(map[Key][]wire.Candidate)
	if heard := n.heard.get(); heard != nil {
		for _, p := range *heard {
			for _, a := range p.Addresses {
				known[p.Key] = append(known[p.Key], wire.Candidate{Kind: wire.Host, Addr: netip.AddrPortFrom(a, p.Port)})
			}
		}
	}
	n.known.Store(&known)
}

// has reports whether a member was heard of. It may be called by anybody.
func (n *neighbours) has(k Key) bool {
	return n != nil && len((*n.known.Load())[k]) > 0
}

// onto returns m with what was heard: who is on the LAN is online, whatever the
// hub says, and reached at the addresses that it says there first of all.
func (n *neighbours) onto(m *Netmap) *Netmap {
	if n == nil || len(*n.known.Load()) == 0 {
		return m
	}
	known := *n.known.Load()
	with := &Netmap{Self: m.Self, Mesh: m.Mesh, Peers: maps.Clone(m.Peers)}
	for id, p := range m.Peers {
		heard := known[p.Key]
		if len(heard) == 0 {
			continue
		}
		told := slices.DeleteFunc(slices.Clone(p.Candidates), func(c wire.Candidate) bool { return slices.Contains(heard, c) })
		p.Candidates, p.Online = slices.Concat(heard, told), true
		with.Peers[id] = p
	}
	return with
}

func (n *neighbours) stop() {
	if n != nil {
		n.task.stop()
	}
}

// lanChanged ticks when there is news of the LAN.
func (p *plane) lanChanged() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.lan.changed()
}

// neighboursChanged has punch try those who were heard of.
func (l *loop) neighboursChanged() {
	l.plane.lan.update()
	l.owe(l.plane.apply(l.netmap, l.relays, partPunch|partTunnel))
}
