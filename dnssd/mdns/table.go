package mdns

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Peer is a member that was heard of on the LAN.
type Peer struct {
	Key       [32]byte
	Addresses []netip.Addr // sorted; link-local ones have a zone
	Port      uint16
}

// gone is how long after it was last heard of a peer is no longer there: it
// missed three rounds.
const gone = 3*pause + 3*round

// table remembers who was heard of, and when. Multicast DNS has goodbyes, but
// who loses power says none.
type table map[[32]byte]sighting

type sighting struct {
	peer Peer
	at   time.Time
}

// see notes a peer, and reports whether that is news.
func (t table) see(now time.Time, p Peer) bool {
	old, known := t[p.Key]
	t[p.Key] = sighting{p, now}
	return !known || old.peer.Port != p.Port || !slices.Equal(old.peer.Addresses, p.Addresses)
}

// expire forgets those not heard of for long, and those that stay is false for;
// it reports whether there were any.
func (t table) expire(now time.Time, stay func(key [32]byte) bool) bool {
	before := len(t)
	maps.DeleteFunc(t, func(k [32]byte, s sighting) bool { return now.Sub(s.at) >= gone || !stay(k) })
	return len(t) != before
}

func (t table) peers() []Peer {
	list := make([]Peer, 0, len(t))
	for _, s := range t {
		list = append(list, s.peer)
	}
	slices.SortFunc(list, func(a, b Peer) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return list
}
