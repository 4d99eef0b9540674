package coordinator

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"meshd/dnssd"
)

const (
	// EphemeralGrace is how long an ephemeral member may be offline.
	EphemeralGrace = 5 * time.Minute
	// QuarantineTime is how long the address of a deleted member stays free.
	QuarantineTime = 30 * 24 * time.Hour
)

// Network is the state of one mesh in memory. It decides and it changes, and
// does neither by itself: no clock, no store, no randomness, no lock. Its owner
// calls [Network.Decide], stores the changes, and then calls [Network.Apply].
type Network struct {
	settings   Settings
	members    map[MemberID]Member
	keys       map[KeyID]Key
	quarantine map[netip.Addr]Quarantine

	byIdentity  map[PublicKey]MemberID
	byWireGuard map[PublicKey]MemberID
	byName      map[string]MemberID
	byAddr      map[netip.Addr]MemberID
}

// NewNetwork returns the network in a stored state.
func NewNetwork(s State) *Network {
	n := &Network{
		settings:    s.Settings,
		members:     map[MemberID]Member{},
		keys:        map[KeyID]Key{},
		quarantine:  map[netip.Addr]Quarantine{},
		byIdentity:  map[PublicKey]MemberID{},
		byWireGuard: map[PublicKey]MemberID{},
		byName:      map[string]MemberID{},
		byAddr:      map[netip.Addr]MemberID{},
	}
	for _, m := range s.Members {
		n.put(m)
	}
	for _, k := range s.Keys {
		n.keys[k.ID] = k
	}
	for _, q := range s.Quarantine {
		n.quarantine[q.Addr4] = q
	}
	return n
}

// Settings returns what holds for the whole mesh.
func (n *Network) Settings() Settings { return n.settings }

// Member returns the member with this number.
func (n *Network) Member(id MemberID) (Member, bool) {
	m, ok := n.members[id]
	return m, ok
}

// Members returns all members by number.
func (n *Network) Members() []Member {
	return slices.SortedFunc(maps.Values(n.members), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
}

// Keys returns all join keys by number.
func (n *Network) Keys() []Key {
	return slices.SortedFunc(maps.Values(n.keys), func(a, b Key) int { return cmp.Compare(a.ID, b.ID) })
}

// ByIdentity returns the member with this identity key.
func (n *Network) ByIdentity(key PublicKey) (Member, bool) { return n.Member(n.byIdentity[key]) }

// Find returns the member that a person means by a name, an overlay address or
// a number. A name that looks like a number is found as a name.
func (n *Network) Find(ref string) (Member, error) {
	if m, ok := n.Member(n.byName[ref]); ok {
		return m, nil
	}
	if addr, err := netip.ParseAddr(ref); err == nil {
		if m, ok := n.Member(n.byAddr[addr]); ok {
			return m, nil
		}
	}
	if id, err := strconv.ParseUint(ref, 10, 32); err == nil {
		if m, ok := n.Member(MemberID(id)); ok {
			return m, nil
		}
	}
	return Member{}, Errorf(connect.CodeNotFound, "meshd coordinator member list", "no member has the name, address or number %q", ref)
}

// count returns how many members there are, are online, and wait for approval.
func (n *Network) count() (all, online, pending uint32) {
	for _, m := range n.members {
		all++
		if m.Online {
			online++
		}
		if m.Standing == Pending {
			pending++
		}
	}
	return all, online, pending
}

// MaySee reports whether a member is told of another, and may exchange relayed
// datagrams with it. Policy has its place here.
func MaySee(viewer, other Member) bool {
	return viewer.ID != other.ID && viewer.Active() && other.Active()
}

// Decide returns what an event changes, and changes nothing itself. An error is
// an [Error], and means that nothing is to happen.
func (n *Network) Decide(now time.Time, e Event) ([]Change, error) {
	switch e := e.(type) {
	case Join:
		return n.join(now, e)
	case CreateKey:
		return n.createKey(now, e)
	case ExpireKey:
		return n.expireKey(now, e)
	case Tick:
		return n.tick(now, e.Up), nil
	case Approve:
		return n.change(e.ID, func(m *Member) error {
			m.Standing, m.Expires = Approved, time.Time{}
			return nil
		})
	case Expire:
		return n.change(e.ID, func(m *Member) error {
			m.Standing, m.Expires = Expired, now
			return nil
		})
	case Rename:
		return n.change(e.ID, func(m *Member) error { return n.rename(m, e.Name) })
	case RotateKey:
		return n.change(e.ID, func(m *Member) error { return n.rotate(m, e.WireGuard) })
	case Delete:
		return n.delete(now, e.ID)
	case Connect:
		return n.connect(now, e)
	case Disconnect:
		return n.presence(e.ID, func(p *Presence) { p.Online, p.LastSeen = false, now })
	case Publish:
		return n.publish(now, e)
	case AddPlain:
		return n.addPlain(now, e)
	case Handshake:
		return n.presence(e.ID, func(p *Presence) { p.hear(now, e.Addr) })
	case Observe:
		return n.presence(e.ID, func(p *Presence) { p.observe(now, e) })
	}
	panic("unknown event")
}

// Apply carries out what Decide returned for this very state.
func (n *Network) Apply(changes []Change) {
	for _, c := range changes {
		switch c := c.(type) {
		case PutSettings:
			n.settings = c.Settings
		case PutMember:
			n.put(c.Member)
		case PutPresence:
			if m, ok := n.members[c.ID]; ok {
				m.Presence = c.Presence
				n.members[c.ID] = m
			}
		case DeleteMember:
			n.drop(c.ID)
		case PutKey:
			n.keys[c.Key.ID] = c.Key
		case DeleteKey:
			delete(n.keys, c.ID)
		case PutQuarantine:
			n.quarantine[c.Quarantine.Addr4] = c.Quarantine
		case DeleteQuarantine:
			delete(n.quarantine, c.Addr4)
		}
	}
}

func (n *Network) put(m Member) {
	n.drop(m.ID)
	n.members[m.ID] = m
	n.byIdentity[m.Identity] = m.ID
	n.byWireGuard[m.WireGuard] = m.ID
	n.byName[m.Name] = m.ID
	n.byAddr[m.Addr4], n.byAddr[m.Addr6] = m.ID, m.ID
}

func (n *Network) drop(id MemberID) {
	m := n.members[id]
	delete(n.members, id)
	delete(n.byIdentity, m.Identity)
	delete(n.byWireGuard, m.WireGuard)
	delete(n.byName, m.Name)
	delete(n.byAddr, m.Addr4)
	delete(n.byAddr, m.Addr6)
}

// change decides on a member that f has modified.
func (n *Network) change(id MemberID, f func(*Member) error) ([]Change, error) {
	m, ok := n.members[id]
	if !ok {
		return nil, gone(id)
	}
	if err := f(&m); err != nil {
		return nil, err
	}
	return []Change{PutMember{m}}, nil
}

// presence decides on a presence that f has modified. A member that is gone
// meanwhile has none, and nobody minds.
func (n *Network) presence(id MemberID, f func(*Presence)) ([]Change, error) {
	m, ok := n.members[id]
	if !ok {
		return nil, nil
	}
	f(&m.Presence)
	return []Change{PutPresence{id, m.Presence}}, nil
}

func gone(id MemberID) error {
	return Errorf(connect.CodeNotFound, "meshd coordinator member list", "there is no member number %d", id)
}

func (n *Network) rename(m *Member, name string) error {
	if err := checkLabel(name); err != nil {
		return err
	}
	if owner, taken := n.byName[name]; taken && owner != m.ID {
		return Errorf(connect.CodeAlreadyExists, "rename that one first, or choose another name", "name %q belongs to member number %d", name, owner)
	}
	m.Name = name
	return nil
}

func (n *Network) rotate(m *Member, key PublicKey) error {
	if key == (PublicKey{}) {
		return invalid("a WireGuard key of zeros is none")
	}
	if owner, taken := n.byWireGuard[key]; taken && owner != m.ID {
		return Errorf(connect.CodeAlreadyExists, "a copied state folder? remove the copy's, and join it anew",
			"this WireGuard key belongs to another member already")
	}
	m.WireGuard = key
	return nil
}

// delete also keeps the address from being given to someone else for a while.
func (n *Network) delete(now time.Time, id MemberID) ([]Change, error) {
	m, ok := n.members[id]
	if !ok {
		return nil, gone(id)
	}
	q := Quarantine{Addr4: m.Addr4, Identity: m.Identity, Until: now.Add(QuarantineTime)}
	return []Change{DeleteMember{id}, PutQuarantine{q}}, nil
}

// connect goes to the store at once only if the agent's version is news.
func (n *Network) connect(now time.Time, e Connect) ([]Change, error) {
	m, ok := n.members[e.ID]
	if !ok {
		return nil, gone(e.ID)
	}
	m.Online, m.LastSeen = true, now
	if e.Version != "" && e.Version != m.Version {
		m.Version = clip(e.Version)
		return []Change{PutMember{m}}, nil
	}
	return []Change{PutPresence{e.ID, m.Presence}}, nil
}

func (n *Network) publish(now time.Time, e Publish) ([]Change, error) {
	if err := cmp.Or(checkEndpoints(e.Endpoints), e.NAT.check()); err != nil {
		return nil, err
	}
	m, ok := n.members[e.ID]
	if !ok {
		return nil, gone(e.ID)
	}
	announced := !slices.EqualFunc(m.Services, e.Services, dnssd.Service.Equal) || !slices.Equal(m.Text, e.Text)
	m.Services, m.Text, m.Relaying = e.Services, e.Text, e.Relaying
	if endpoints := refreshed(e.Endpoints, m.observedUDP()); !slices.Equal(endpoints, m.Endpoints) || e.NAT != m.NAT {
		m.Endpoints, m.NAT = endpoints, e.NAT
		m.raise(now)
	}
	if announced { // unlike endpoints, nobody would say it again after a crash
		return []Change{PutMember{m}}, nil
	}
	return []Change{PutPresence{e.ID, m.Presence}}, nil
}

// tick drops what has had its time.
func (n *Network) tick(now, up time.Time) []Change {
	var changes []Change
	for _, m := range n.Members() {
		switch {
		case m.Ephemeral && !m.Online && now.Sub(latest(up, m.Created, m.LastSeen)) > EphemeralGrace:
			gone, _ := n.delete(now, m.ID) // it is there: we hold it
			changes = append(changes, gone...)
		case m.Standing == Approved && !m.Expires.IsZero() && !now.Before(m.Expires):
			m.Standing = Expired
			changes = append(changes, PutMember{m})
		case m.Plain && m.Online && now.Sub(latest(up, m.Heard)) > plainPatience:
			m.Online, m.LastSeen = false, latest(m.LastSeen, m.Heard)
			changes = append(changes, PutPresence{m.ID, m.Presence})
		}
	}
	for _, k := range n.Keys() {
		if k.forgotten(now) {
			changes = append(changes, DeleteKey{k.ID})
		}
	}
	for addr, q := range n.quarantine {
		if !now.Before(q.Until) {
			changes = append(changes, DeleteQuarantine{addr})
		}
	}
	return changes
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
