package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"meshd/agent/netcfg"
	"meshd/coordinator/api"
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
	lan   LAN
	heard *latest[[]mdns.Peer]
	known atomic.Pointer[map[Key][]wire.Candidate] // what the loop has taken of heard
	task  *task
}

// newNeighbours starts to announce this member, and to listen.
func (l *loop) newNeighbours(ctx context.Context) *neighbours {
	if l.state.MDNS == wordOff {
		return nil
	}
	n := &neighbours{log: l.log, host: l.cfg.Host, port: l.state.Port, heard: newLatest[[]mdns.Peer]()}
	n.lan = l.cfg.NewLAN(mdns.Config{
		Secret: lanSecret(l.netmap.Mesh, l.state.Hub.Pin), Key: l.private.public(), Changed: n.heard.set, Log: l.log,
	})
	n.known.Store(&map[Key][]wire.Candidate{})
	n.take(l.netmap)
	n.look()
	n.task = start(context.WithoutCancel(ctx), n.lan.Run)
	return n
}

// lanSecret is of what members know and those who only share a LAN with them
// don't: the fingerprint of the mesh's coordinator, and its prefixes, of which one
// was drawn at random. By it a member is told from all strangers, and to see that
// two announcements are of one member takes that member's key besides.
func lanSecret(m Mesh, pin api.Pin) [32]byte {
	h := sha256.New()
	h.Write([]byte("meshd lan 1\x00"))
	h.Write([]byte(pin.String() + "\x00" + m.Zone + "\x00"))
	for _, p := range m.Prefixes {
		h.Write([]byte(p.String() + "\x00"))
	}
	return [32]byte(h.Sum(nil))
}

// take has the members of m listened for.
func (n *neighbours) take(m *Netmap) {
	if n == nil {
		return
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
	if n == nil {
		return
	}
	found, err := n.host.LAN()
	if err != nil {
		n.log.Debug("interfaces not read", "err", err)
		return
	}
	var on []mdns.Interface
	for _, i := range found {
		on = append(on, mdns.Interface{Name: i.Name, Addresses: i.Addresses})
	}
	n.lan.SetInterfaces(n.port, on)
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
