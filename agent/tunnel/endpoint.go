package tunnel

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync/atomic"
)

// endpoint is what WireGuard calls a peer's address: here, the peer. There is
// one object a peer, so that no packet allocates one.
type endpoint struct {
	key  Key
	addr netip.AddrPort // stands in for an address, see standIn
}

// stranger is the endpoint of packets whose sender the transport does not
// know. The device may decrypt them (the answer goes to the endpoint of the
// peer that they prove to be from); what is sent to it is dropped.
var stranger = &endpoint{addr: netip.AddrPortFrom(discardPrefix, 1)}

// discardPrefix is 100::/64, addresses that lead nowhere (RFC 6666).
var discardPrefix = netip.MustParseAddr("100::")

func newEndpoint(k Key) *endpoint { return &endpoint{key: k, addr: standIn(k)} }

// standIn makes an address out of a key, for two readers: `wg show` wants
// host:port, and WireGuard's limiter of handshakes counts by address.
func standIn(k Key) netip.AddrPort {
	ip := discardPrefix.As16()
	copy(ip[8:], k[:8])
	return netip.AddrPortFrom(netip.AddrFrom16(ip), 1)
}

// The methods of conn.Endpoint.

func (e *endpoint) ClearSrc()           {}
func (e *endpoint) SrcToString() string { return "" }
func (e *endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e *endpoint) DstIP() netip.Addr   { return e.addr.Addr() }
func (e *endpoint) DstToString() string { return e.addr.String() }

// DstToBytes is what the cookie of a loaded device is bound to (WireGuard
// paper, 5.4.7): the peer, as the source address says nothing about it.
func (e *endpoint) DstToBytes() []byte { return e.key[:] }

// table finds the endpoint of a peer. Its map is never changed, only replaced:
// receivers read it without a lock.
type table struct {
	m atomic.Pointer[map[Key]*endpoint]
}

func (t *table) load() map[Key]*endpoint {
	if m := t.m.Load(); m != nil {
		return *m
	}
	return nil
}

// set makes keys the whole table. Endpoints of keys that stay are kept.
func (t *table) set(keys []Peer) {
	old, next := t.load(), make(map[Key]*endpoint, len(keys))
	for _, p := range keys {
		if e, ok := old[p.Key]; ok {
			next[p.Key] = e
		} else {
			next[p.Key] = newEndpoint(p.Key)
		}
	}
	t.m.Store(&next)
}

// parse returns the endpoint of the peer whose key s is, in hex.
func (t *table) parse(s string) (*endpoint, error) {
	var k Key
	if n, err := hex.Decode(k[:], []byte(s)); len(s) != 2*len(k) || err != nil || n != len(k) {
		return nil, fmt.Errorf("endpoint %q is not the key of a peer in hex", s)
	}
	e, ok := t.load()[k]
	if !ok {
		return nil, fmt.Errorf("endpoint %q: no such peer", s)
	}
	return e, nil
}
