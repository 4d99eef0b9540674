package coordinator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"

	"meshd/punch/wire"
)

// roster answers, without a lock and at any rate, who is who: to the
// interceptor for each call, to the relay for each packet. The coordinator's
// goroutine replaces the snapshot whenever a membership changes.
type roster struct {
	snapshot atomic.Pointer[rosterSnapshot]
}

type rosterSnapshot struct {
	byIdentity map[PublicKey]Member
	byName     map[string]rosterEntry // of active members
	active     map[wire.RelayID]rosterEntry
	plain      map[PublicKey]MemberID // of active plain members, by WireGuard key
}

type rosterEntry struct {
	member Member
	key    wire.RelayKey
}

// update takes the members in anew.
func (r *roster) update(n *Network) {
	next := &rosterSnapshot{
		byIdentity: make(map[PublicKey]Member, len(n.members)),
		byName:     make(map[string]rosterEntry, len(n.members)),
		active:     make(map[wire.RelayID]rosterEntry, len(n.members)),
		plain:      make(map[PublicKey]MemberID),
	}
	old := r.snapshot.Load()
	for id, m := range n.members {
		next.byIdentity[m.Identity] = m
		if !m.Active() {
			continue
		}
		if m.Plain {
			next.plain[m.WireGuard] = id
		}
		e := rosterEntry{member: m}
		if known, ok := old.lookup(wire.RelayID(id)); ok {
			e.key = known.key
		} else {
			e.key = relayKey(n.settings.RelaySecret, id)
		}
		next.active[wire.RelayID(id)], next.byName[m.Name] = e, e
	}
	r.snapshot.Store(next)
}

func (s *rosterSnapshot) lookup(id wire.RelayID) (rosterEntry, bool) {
	if s == nil {
		return rosterEntry{}, false
	}
	e, ok := s.active[id]
	return e, ok
}

// who returns the member with an identity. Its presence may be out of date.
func (r *roster) who(identity PublicKey) (Member, bool) {
	m, ok := r.snapshot.Load().byIdentity[identity]
	return m, ok
}

// named returns the active member with a name. Its presence may be out of date.
func (r *roster) named(name string) (rosterEntry, bool) {
	e, ok := r.snapshot.Load().byName[name]
	return e, ok
}

// plain returns the active plain member with a WireGuard key.
func (r *roster) plain(key PublicKey) (MemberID, bool) {
	s := r.snapshot.Load()
	if s == nil { // nobody is, before the store was read
		return 0, false
	}
	id, ok := s.plain[key]
	return id, ok
}

// Key implements relay.Directory.
func (r *roster) Key(id wire.RelayID) (wire.RelayKey, bool) {
	e, ok := r.snapshot.Load().lookup(id)
	return e.key, ok
}

// May implements relay.Directory.
func (r *roster) May(from, to wire.RelayID) bool {
	s := r.snapshot.Load()
	a, ok := s.lookup(from)
	b, ok2 := s.lookup(to)
	return ok && ok2 && MaySee(b.member, a.member)
}

// lanSecret derives what members tell each other from strangers by on a LAN. It
// lasts as long as the mesh.
func lanSecret(secret [32]byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("meshd lan secret v1"))
	return mac.Sum(nil)
}

// relayKey derives the key of a member's relay sessions. Numbers are never
// given twice, so neither are keys.
func relayKey(secret [32]byte, id MemberID) wire.RelayKey {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("meshd relay key v1"))
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(id)))
	return wire.RelayKey(mac.Sum(nil))
}
