package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/dnssd"
	"meshd/punch/wire"
)

// Netmap is the mesh as this member may see it: what the coordinator said,
// checked and in proper types. It is immutable; [Netmap.Apply] makes the next one.
type Netmap struct {
	Self  Self                  `json:"self"`
	Mesh  Mesh                  `json:"mesh"`
	Peers map[wire.RelayID]Peer `json:"peers"` // never holds Self
}

// Self is this member.
type Self struct {
	ID        wire.RelayID `json:"id"`
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"` // overlay addresses, at least one
	RelayKey  Key          `json:"relay_key"`
	Expires   time.Time    `json:"expires"` // zero: never
	Tags      []string     `json:"tags"`
}

// Mesh is what holds for every member.
type Mesh struct {
	Name     string         `json:"name"`
	Prefixes []netip.Prefix `json:"prefixes"` // of the overlay, one or two
	Zone     string         `json:"zone"`     // DNS zone
	Relays   []Relay        `json:"relays"`   // the hub first
	// LANSecret is known to members only: names on a LAN are made of it. Zero:
	// the hub has not told it yet.
	LANSecret Key `json:"lan_secret,omitzero"`
}

// Relay is where STUN, observation and relaying are offered.
type Relay struct {
	UDP       []string `json:"udp"`       // "host:port"; an empty host means the control connection's
	WebSocket string   `json:"websocket"` // path on the control port; "": none
}

// Peer is another member.
type Peer struct {
	ID         wire.RelayID     `json:"id"`
	Name       string           `json:"name"`
	Key        Key              `json:"key"` // WireGuard public key
	Addresses  []netip.Addr     `json:"addresses"`
	AllowedIPs []netip.Prefix   `json:"allowed_ips"` // sorted
	Online     bool             `json:"online"`
	LastSeen   time.Time        `json:"last_seen"` // zero: never
	Candidates []wire.Candidate `json:"candidates"`
	Generation uint32           `json:"generation"` // of the candidates
	NAT        wire.NAT         `json:"nat"`
	Relay      bool             `json:"relay,omitempty"` // it relays for members that trust it
	Plain      bool             `json:"plain,omitempty"` // it runs WireGuard, and nothing of ours
	Services   []dnssd.Service  `json:"services,omitempty"`
	Text       []string         `json:"text,omitempty"` // beside its endpoint in DNS
}

// Apply returns the map that follows m after msg: a full map replaces it, a
// delta changes it, a heartbeat leaves it as it is. m is nil before the first
// full map. What the coordinator says is checked as a whole: on error nothing
// of msg is taken, and since deltas build on each other the caller must ask for
// a full map again.
func (m *Netmap) Apply(msg *meshdv1.MapResponse) (*Netmap, error) {
	if m == nil && !msg.GetFull() {
		return nil, errors.New("a delta came before the first full map")
	}
	if isHeartbeat(msg) {
		return m, nil
	}
	next := &Netmap{Peers: make(map[wire.RelayID]Peer)}
	if !msg.GetFull() {
		*next = Netmap{Self: m.Self, Mesh: m.Mesh, Peers: maps.Clone(m.Peers)}
	}
	if err := next.take(msg); err != nil {
		return nil, err
	}
	return next, next.check()
}

func isHeartbeat(msg *meshdv1.MapResponse) bool {
	return !msg.GetFull() && msg.GetSelf() == nil && msg.GetMesh() == nil && len(msg.GetMembers()) == 0 && len(msg.GetRemoved()) == 0
}

func (m *Netmap) take(msg *meshdv1.MapResponse) (err error) {
	if s := msg.GetSelf(); s != nil {
		if m.Self, err = selfOf(s); err != nil {
			return fmt.Errorf("own entry: %w", err)
		}
	}
	if v := msg.GetMesh(); v != nil {
		if m.Mesh, err = meshOf(v); err != nil {
			return fmt.Errorf("mesh %q: %w", v.GetName(), err)
		}
	}
	for _, id := range msg.GetRemoved() {
		delete(m.Peers, wire.RelayID(id))
	}
	for _, v := range msg.GetMembers() {
		p, err := peerOf(v)
		if err != nil {
			return fmt.Errorf("member %q: %w", v.GetName(), err)
		}
		m.Peers[p.ID] = p
	}
	delete(m.Peers, m.Self.ID)
	return nil
}

// check is for what only the whole map can tell.
func (m *Netmap) check() error {
	if m.Self.ID == 0 || len(m.Self.Addresses) == 0 {
		return errors.New("own address is missing")
	}
	if len(m.Mesh.Prefixes) == 0 {
		return errors.New("the mesh's prefix is missing")
	}
	for _, a := range m.Self.Addresses {
		if !slices.ContainsFunc(m.Mesh.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return fmt.Errorf("own address %v is outside of %v", a, m.Mesh.Prefixes)
		}
	}
	if err := m.checkNames(); err != nil {
		return err
	}
	return m.checkPeers()
}

// checkNames refuses what is no name: it would get into the host's files, which
// are not the hub's to write.
func (m *Netmap) checkNames() error {
	if err := checkZone(m.Mesh.Zone); err != nil {
		return err
	}
	if !isLabel(m.Self.Name) {
		return fmt.Errorf("own name %q is no DNS label", m.Self.Name)
	}
	for _, p := range m.Peers {
		if !isLabel(p.Name) {
			return fmt.Errorf("name %q of member %d is no DNS label", p.Name, p.ID)
		}
	}
	return nil
}

// checkPeers refuses two members with one key or one route: WireGuard would
// give all to the last one told, so one member could take another's traffic.
func (m *Netmap) checkPeers() error {
	keys, routes := make(map[Key]string), make(map[netip.Prefix]string)
	for _, a := range m.Self.Addresses {
		routes[hostPrefix(a)] = m.Self.Name
	}
	for _, p := range m.Peers {
		if other, ok := keys[p.Key]; ok {
			return fmt.Errorf("members %q and %q have the same key", p.Name, other)
		}
		keys[p.Key] = p.Name
		for _, ip := range p.AllowedIPs {
			if other, ok := routes[ip]; ok {
				return fmt.Errorf("members %q and %q both claim %v", p.Name, other, ip)
			}
			routes[ip] = p.Name
		}
	}
	return nil
}

// Sorted returns the peers by name.
func (m *Netmap) Sorted() []Peer {
	peers := slices.AppendSeq(make([]Peer, 0, len(m.Peers)), maps.Values(m.Peers))
	slices.SortFunc(peers, func(a, b Peer) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return int(int64(a.ID) - int64(b.ID))
	})
	return peers
}

// Find returns the peer with this name (in any case) or overlay address.
func (m *Netmap) Find(nameOrAddr string) (Peer, bool) {
	addr, _ := netip.ParseAddr(nameOrAddr)
	for _, p := range m.Peers {
		if strings.EqualFold(p.Name, nameOrAddr) || slices.Contains(p.Addresses, addr) {
			return p, true
		}
	}
	return Peer{}, false
}

// is reports whether a name or an overlay address means this member.
func (s Self) is(nameOrAddr string) bool {
	addr, _ := netip.ParseAddr(nameOrAddr)
	return strings.EqualFold(s.Name, nameOrAddr) || slices.Contains(s.Addresses, addr)
}

// Online counts the peers that are online.
func (m *Netmap) Online() (n int) {
	for _, p := range m.Peers {
		if p.Online {
			n++
		}
	}
	return n
}

// hostPrefix is the prefix that holds a alone.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
