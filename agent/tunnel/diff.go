package tunnel

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// maxKeepalive is what the protocol's 16 bits of seconds hold.
const maxKeepalive = 65535 * time.Second

// normal returns peers as the device would tell them: prefixes without host
// bits and without repetition, keepalives in whole seconds. It refuses what the
// device would take in silence and understand differently.
func normal(peers []Peer) ([]Peer, error) {
	out, seen, owner := make([]Peer, len(peers)), make(map[Key]bool, len(peers)), make(map[netip.Prefix]Key, len(peers))
	for i, p := range peers {
		if p.Key == (Key{}) || seen[p.Key] {
			return nil, fmt.Errorf("set peers: peer %s is there twice, or has no key", inBase64(p.Key))
		}
		if p.Keepalive < 0 || p.Keepalive > maxKeepalive {
			return nil, fmt.Errorf("set peers: keepalive %v of peer %s is out of range 0..%v", p.Keepalive, inBase64(p.Key), maxKeepalive)
		}
		seen[p.Key] = true
		p.Keepalive = (p.Keepalive + time.Second - 1).Truncate(time.Second)
		allowed, err := claim(owner, p)
		if err != nil {
			return nil, err
		}
		p.AllowedIPs = allowed
		out[i] = p
	}
	return out, nil
}

// claim enters p's prefixes into owner, where each may be only once.
func claim(owner map[netip.Prefix]Key, p Peer) ([]netip.Prefix, error) {
	var allowed []netip.Prefix
	for _, a := range p.AllowedIPs {
		if !a.IsValid() {
			return nil, fmt.Errorf("set peers: peer %s has a prefix that is none: %v", inBase64(p.Key), a)
		}
		a = a.Masked()
		if other, taken := owner[a]; taken && other != p.Key {
			return nil, fmt.Errorf("set peers: %v belongs to peer %s and to peer %s", a, inBase64(other), inBase64(p.Key))
		} else if !taken {
			allowed = append(allowed, a)
		}
		owner[a] = p.Key
	}
	return allowed, nil
}

// writeChanges writes the "set" operation that makes want out of have: first
// what is new, then prefixes that are gone, then peers that are gone. A prefix
// that moves from one peer to another is never without one.
func writeChanges(w io.Writer, have map[Key]*state, want []Peer) {
	gone := maps.Clone(have)
	for _, p := range want {
		delete(gone, p.Key)
		writePeer(w, p, have[p.Key])
	}
	for _, p := range want {
		if old := have[p.Key]; old != nil {
			writeLost(w, p.Key, without(old.peer.AllowedIPs, p.AllowedIPs))
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(gone), compareKeys) {
		fmt.Fprintf(w, "public_key=%x\nremove=true\n", k)
	}
}

// writePeer writes a peer that is new (old is nil), or what it gained.
func writePeer(w io.Writer, p Peer, old *state) {
	var had Peer
	if old != nil {
		had = old.peer
	}
	gained := without(p.AllowedIPs, had.AllowedIPs)
	if old != nil && len(gained) == 0 && p.Keepalive == had.Keepalive && p.PresharedKey == had.PresharedKey {
		return
	}
	fmt.Fprintf(w, "public_key=%x\n", p.Key)
	if old == nil {
		// Here and never later: the device fixes the endpoint of a peer that is made with one.
		fmt.Fprintf(w, "endpoint=%x\n", p.Key)
	}
	if p.PresharedKey != had.PresharedKey {
		fmt.Fprintf(w, "preshared_key=%x\n", p.PresharedKey)
	}
	// Always: the device remembers "keepalive was switched on" from the peer before.
	fmt.Fprintf(w, "persistent_keepalive_interval=%d\n", p.Keepalive/time.Second)
	for _, a := range gained {
		fmt.Fprintf(w, "allowed_ip=%v\n", a)
	}
}

// writeLost takes prefixes from a peer.
func writeLost(w io.Writer, k Key, lost []netip.Prefix) {
	if len(lost) == 0 {
		return
	}
	fmt.Fprintf(w, "public_key=%x\nupdate_only=true\n", k)
	for _, a := range lost {
		fmt.Fprintf(w, "allowed_ip=-%v\n", a)
	}
}

// without returns the prefixes of a that are not in b.
func without(a, b []netip.Prefix) []netip.Prefix {
	if slices.Equal(a, b) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool { return slices.Contains(b, p) })
}

func compareKeys(a, b Key) int { return bytes.Compare(a[:], b[:]) }
