package coordinator

import (
	"net/netip"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
)

// maxText bounds what an agent says of itself, in bytes.
const maxText = 255

// join decides on a membership. Who is a member already stays what it is,
// whatever became of the secret it once showed.
func (n *Network) join(now time.Time, e Join) ([]Change, error) {
	if m, ok := n.ByIdentity(e.Identity); ok {
		return n.rejoin(now, m, e)
	}
	if e.Secret == (SecretHash{}) {
		return nil, denied(hintNewKey, "this machine is no member of mesh %q, and showed no secret", n.settings.Mesh)
	}
	key, ok := n.keyOf(e.Secret)
	if !ok {
		return nil, denied(hintNewKey, "the secret in this join string is not known to mesh %q", n.settings.Mesh)
	}
	if err := key.Refusal(now); err != nil {
		return nil, err
	}
	return n.admit(now, e, key)
}

// rejoin takes in a new WireGuard key or version, and lets a pre-approved secret
// do for a pending member what it would have done at the first time.
func (n *Network) rejoin(now time.Time, m Member, e Join) ([]Change, error) {
	before := m
	if err := n.rotate(&m, e.WireGuard); err != nil {
		return nil, err
	}
	m.Version = clip(e.Version)
	key, ok := n.keyOf(e.Secret)
	if ok && m.Standing == Pending && key.Approved && key.Refusal(now) == nil {
		m.Standing, m.Key = Approved, key.ID
		key.Used++
		return []Change{PutKey{key}, PutMember{m}}, nil
	}
	if m.WireGuard == before.WireGuard && m.Version == before.Version {
		return nil, nil
	}
	return []Change{PutMember{m}}, nil
}

// admit makes a new member. The use of the key, the number and the member are
// one set of changes: two agents with one single-use secret cannot both pass.
func (n *Network) admit(now time.Time, e Join, key Key) ([]Change, error) {
	addr4, ok := n.address(e.Identity)
	if !ok {
		return nil, Errorf(connect.CodeResourceExhausted, "delete members that are gone: meshd coordinator member delete",
			"no address is left in %s", n.settings.Prefix4)
	}
	settings := n.settings
	m := Member{
		ID:        settings.NextMember,
		Name:      uniqueLabel(Label(e.Hostname), func(name string) bool { return n.byName[name] != 0 }),
		Identity:  e.Identity,
		Addr4:     addr4,
		Addr6:     addr6(settings.Prefix6, settings.Prefix4, addr4),
		Standing:  Pending,
		Ephemeral: key.Ephemeral,
		Tags:      key.Tags,
		Key:       key.ID,
		Created:   now,
		Version:   clip(e.Version),
	}
	if key.Approved {
		m.Standing = Approved
	}
	if err := n.rotate(&m, e.WireGuard); err != nil {
		return nil, err
	}
	key.Used++
	settings.NextMember++
	return []Change{PutSettings{settings}, PutKey{key}, DeleteQuarantine{addr4}, PutMember{m}}, nil
}

// address returns the one that this identity had, or the first free one.
func (n *Network) address(identity PublicKey) (netip.Addr, bool) {
	for addr, q := range n.quarantine {
		if q.Identity == identity && n.byAddr[addr] == 0 {
			return addr, true
		}
	}
	return firstFree(n.settings.Prefix4, func(a netip.Addr) bool {
		_, resting := n.quarantine[a]
		return resting || n.byAddr[a] != 0
	})
}

func (n *Network) createKey(now time.Time, e CreateKey) ([]Change, error) {
	if e.Expires < 0 {
		return nil, invalid("a key cannot expire %s ago", -e.Expires)
	}
	for _, tag := range e.Tags {
		if checkLabel(tag) != nil {
			return nil, invalid("tag %q is none: letters a-z, digits and hyphens, at most %d, no hyphen at either end", tag, maxLabel)
		}
	}
	if e.Expires == 0 {
		e.Expires = DefaultKeyExpiry
	}
	settings := n.settings
	key := Key{
		ID: settings.NextKey, Hash: e.Hash, Reusable: e.Reusable, Approved: e.Approved, Ephemeral: e.Ephemeral,
		Tags: e.Tags, Created: now, Expires: now.Add(e.Expires),
	}
	settings.NextKey++
	return []Change{PutSettings{settings}, PutKey{key}}, nil
}

func (n *Network) expireKey(now time.Time, e ExpireKey) ([]Change, error) {
	key, ok := n.keys[e.ID]
	if !ok {
		return nil, Errorf(connect.CodeNotFound, "meshd coordinator key list", "there is no key number %d", e.ID)
	}
	if key.Refusal(now) != nil {
		return nil, nil // it admits nobody as it is
	}
	key.Revoked = now
	return []Change{PutKey{key}}, nil
}

// clip bounds foreign text and keeps it valid UTF-8.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
