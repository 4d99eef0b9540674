package agent

import (
	"context"
	"log/slog"
	"slices"

	"meshd/dnssd"
)

// Kind is what sort of change a [Change] is.
type Kind uint8

// Kinds of change.
const (
	Renumbered Kind = iota + 1 // own addresses or the mesh's prefixes
	Relayed                    // own relay id or key, or where the relays are
	Added                      // a peer
	Removed                    // a peer
	Rerouted                   // a peer's key or allowed IPs
	Came                       // a peer is online
	Left                       // a peer is offline
	Moved                      // a peer's candidates or NAT
	Renamed                    // a peer, or this member
	Announced                  // a peer's services or text
)

// kindWords are the constant messages of the log, one a kind.
var kindWords = [...]string{
	Renumbered: "own addresses changed", Relayed: "relays changed", Added: "peer added", Removed: "peer removed",
	Rerouted: "peer's key or routes changed", Came: "peer online", Left: "peer offline", Moved: "peer's endpoints changed",
	Renamed: "name changed", Announced: "peer's services changed",
}

// String returns the words used in logs.
func (k Kind) String() string { return kindWords[k] }

// Change is one difference between two maps.
type Change struct {
	Kind Kind
	Peer string // its name in the newer map that has it; "" for this member
}

// Diff tells what leads from old to next, in the order in which it is to be
// done: own matters, then peers that are gone, then the others by name. A nil
// map is one without peers and addresses.
func Diff(old, next *Netmap) []Change {
	if old == nil {
		old = &Netmap{}
	}
	if next == nil {
		next = &Netmap{}
	}
	changes := diffSelf(old, next)
	for _, p := range old.Sorted() {
		if _, ok := next.Peers[p.ID]; !ok {
			changes = append(changes, Change{Removed, p.Name})
		}
	}
	for _, p := range next.Sorted() {
		before, ok := old.Peers[p.ID]
		if !ok {
			changes = append(changes, Change{Added, p.Name})
			continue
		}
		changes = append(changes, diffPeer(before, p)...)
	}
	return changes
}

func diffSelf(old, next *Netmap) []Change {
	return changesOf("", []question{
		{Renumbered, !slices.Equal(old.Self.Addresses, next.Self.Addresses) || !slices.Equal(old.Mesh.Prefixes, next.Mesh.Prefixes)},
		{Relayed, old.Self.ID != next.Self.ID || old.Self.RelayKey != next.Self.RelayKey ||
			!slices.EqualFunc(old.Mesh.Relays, next.Mesh.Relays, sameRelay)},
		{Renamed, old.Self.Name != next.Self.Name},
	})
}

func diffPeer(a, b Peer) []Change {
	return changesOf(b.Name, []question{
		{Rerouted, a.Key != b.Key || a.Plain != b.Plain || !slices.Equal(a.AllowedIPs, b.AllowedIPs)},
		{Came, !a.Online && b.Online},
		{Left, a.Online && !b.Online},
		{Moved, a.Generation != b.Generation || a.NAT != b.NAT || a.Relay != b.Relay || !slices.Equal(a.Candidates, b.Candidates)},
		{Renamed, a.Name != b.Name},
		{Announced, !slices.EqualFunc(a.Services, b.Services, dnssd.Service.Equal) || !slices.Equal(a.Text, b.Text)},
	})
}

type question struct {
	kind    Kind
	changed bool
}

func changesOf(peer string, qs []question) (changes []Change) {
	for _, q := range qs {
		if q.changed {
			changes = append(changes, Change{q.kind, peer})
		}
	}
	return changes
}

func sameRelay(a, b Relay) bool { return a.WebSocket == b.WebSocket && slices.Equal(a.UDP, b.UDP) }

// parts is a set of those who must hear of a change.
type parts uint8

const (
	partHost   parts = 1 << iota // addresses and routes of the interface
	partTunnel                   // WireGuard's peers
	partPunch                    // punch's peers
	partRelay                    // punch's relay
)

// touches tells which parts the changes concern. Coming and going reaches the
// tunnel because only peers that are online are kept warm.
func touches(changes []Change) (p parts) {
	of := map[Kind]parts{
		Renumbered: partHost, Relayed: partRelay, Moved: partPunch, Renamed: partPunch,
		Added: partTunnel | partPunch, Removed: partTunnel | partPunch, Rerouted: partTunnel | partPunch,
		Came: partTunnel | partPunch, Left: partTunnel | partPunch,
	}
	for _, c := range changes {
		p |= of[c.Kind]
	}
	return p
}

func (p parts) has(q parts) bool { return p&q != 0 }

// logChanges tells what a person might wonder about: who came into the mesh and
// who left it. The rest is for those who debug.
func logChanges(log *slog.Logger, changes []Change) {
	for _, c := range changes {
		level := slog.LevelInfo
		switch c.Kind {
		case Moved, Came, Left, Announced:
			level = slog.LevelDebug
		}
		log.Log(context.Background(), level, c.Kind.String(), "peer", c.Peer)
	}
}
