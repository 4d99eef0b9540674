package coordinator

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"time"

	"connectrpc.com/connect"
)

// plainPatience is how long a plain member counts as online after a handshake.
// WireGuard with a persistent keepalive of 25 s, left without an answer, begins
// one at least that often; so two may be lost.
const plainPatience = 75 * time.Second

// addPlain makes a member of a device that runs WireGuard and nothing of ours. It
// has no identity to prove: its place in the mesh is its WireGuard key.
func (n *Network) addPlain(now time.Time, e AddPlain) ([]Change, error) {
	identity := plainIdentity(e.WireGuard)
	addr4, ok := n.address(identity)
	if !ok {
		return nil, Errorf(connect.CodeResourceExhausted, "delete members that are gone: meshd coordinator member delete",
			"no address is left in %s", n.settings.Prefix4)
	}
	settings := n.settings
	m := Member{
		ID: settings.NextMember, Identity: identity, Plain: true, Standing: Approved, Created: now,
		Addr4: addr4, Addr6: addr6(settings.Prefix6, settings.Prefix4, addr4),
	}
	if err := n.rename(&m, e.Name); err != nil {
		return nil, err
	}
	if err := n.rotate(&m, e.WireGuard); err != nil {
		return nil, err
	}
	settings.NextMember++
	return []Change{PutSettings{settings}, DeleteQuarantine{addr4}, PutMember{m}}, nil
}

// plainIdentity stands for the identity that a plain member has not: nobody has
// the private key to it.
func plainIdentity(wireguard PublicKey) PublicKey {
	return sha256.Sum256(append([]byte("meshd plain member v1"), wireguard[:]...))
}

// hear takes in where a plain member's handshake came from. An endpoint that was
// written by DNS UPDATE stays until the member is heard from elsewhere.
func (p *Presence) hear(now time.Time, from netip.AddrPort) {
	known := p.Online && p.Observed == from
	p.Online, p.Observed, p.Heard = true, from, now
	if !known {
		p.Endpoints = []Endpoint{{Addr: from, Kind: reflexive}}
		p.raise(now)
	}
}

// hubKey is the WireGuard key at which plain members' handshakes are heard. It
// lasts as long as the mesh.
func hubKey(secret [32]byte) *ecdh.PrivateKey {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("meshd hub wireguard key v1"))
	key, err := ecdh.X25519().NewPrivateKey(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes always are one
	}
	return key
}
