package nattest

import (
	"math/rand/v2"
	"net/netip"
)

// Packet is a UDP datagram as it looks at one place of the net.
type Packet struct {
	Src, Dst netip.AddrPort
	TTL      int // IPv4 TTL or IPv6 hop limit
	Payload  []byte
}

// packet is a Packet on its way.
type packet struct {
	Packet
	from *Host
	id   uint64     // of host, port and number on the socket: orders events of one instant
	luck *rand.Rand // every random choice about this packet
}

const (
	ipv4Overhead = 20 + 8
	ipv6Overhead = 40 + 8
)

// size is what an MTU is compared with and a rate is spent on: the IP packet.
func (p *packet) size() int {
	if p.Dst.Addr().Is4() {
		return ipv4Overhead + len(p.Payload)
	}
	return ipv6Overhead + len(p.Payload)
}
