package lab

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers of IPv4.
const (
	ICMP = 1
	TCP  = 6
	UDP  = 17
)

// Types of ICMP message (RFC 792).
const (
	icmpEchoReply   = 0
	icmpUnreachable = 3
	icmpEcho        = 8
	icmpTimeout     = 11
)

// ipv4 is an IPv4 packet whose headers are known to be there. Offsets: RFC 791.
type ipv4 []byte

// parseIPv4 accepts whole packets of UDP, TCP and ICMP. Fragments are refused:
// all but the first have no ports.
func parseIPv4(b []byte) (ipv4, bool) {
	p, ok := parseQuoted(b)
	return p, ok && int(binary.BigEndian.Uint16(b[2:])) == len(b) && (p.proto() != TCP || len(p.body()) >= 20)
}

// parseQuoted accepts what an ICMP error quotes: a header and the first 8 bytes
// of what followed, or more.
func parseQuoted(b []byte) (ipv4, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, false
	}
	p := ipv4(b)
	fragment := binary.BigEndian.Uint16(b[6:])&^0x4000 != 0 // all but "don't fragment"
	if p.header() < 20 || len(b) < p.header()+8 || fragment {
		return nil, false
	}
	return p, p.proto() == UDP || p.proto() == TCP || p.proto() == ICMP
}

func (p ipv4) header() int  { return int(p[0]&0x0f) * 4 }
func (p ipv4) proto() uint8 { return p[9] }
func (p ipv4) body() []byte { return p[p.header():] }

// payload is what a UDP datagram carries.
func (p ipv4) payload() []byte { return p.body()[8:] }

// age takes hops off the time to live; false when it doesn't survive them.
func (p ipv4) age(hops int) bool {
	if int(p[8]) <= hops {
		return false
	}
	old := binary.BigEndian.Uint16(p[8:])
	p[8] -= uint8(hops)
	update(p[10:], old, binary.BigEndian.Uint16(p[8:]))
	return true
}

// src is the endpoint that a packet comes from. For the port of an echo request
// stands its identifier; who answers has port 0, and so has an ICMP error.
func (p ipv4) src() netip.AddrPort { return p.endpoint(12, p.srcPort()) }

// dst is the endpoint that a packet goes to, an echo reply to its identifier.
func (p ipv4) dst() netip.AddrPort { return p.endpoint(16, p.dstPort()) }

// setSrc replaces src, and makes the checksums fit.
func (p ipv4) setSrc(a netip.AddrPort) { p.setEndpoint(12, p.srcPort(), a) }

// setDst replaces dst, and makes the checksums fit.
func (p ipv4) setDst(a netip.AddrPort) { p.setEndpoint(16, p.dstPort(), a) }

func (p ipv4) endpoint(addr int, port []byte) netip.AddrPort {
	var n uint16
	if port != nil {
		n = binary.BigEndian.Uint16(port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[addr:])), n)
}

// srcPort is where the port of the source is, nil if it has none.
func (p ipv4) srcPort() []byte {
	switch b := p.body(); {
	case p.proto() != ICMP:
		return b[:2]
	case b[0] == icmpEcho:
		return b[4:6]
	}
	return nil
}

func (p ipv4) dstPort() []byte {
	switch b := p.body(); {
	case p.proto() != ICMP:
		return b[2:4]
	case b[0] == icmpEchoReply:
		return b[4:6]
	}
	return nil
}

func (p ipv4) setEndpoint(at int, port []byte, a netip.AddrPort) {
	addr, sum := a.Addr().As4(), p.checksum()
	for i := 0; i < 4; i += 2 {
		old, now := binary.BigEndian.Uint16(p[at+i:]), binary.BigEndian.Uint16(addr[i:])
		update(p[10:], old, now)
		if p.proto() != ICMP { // the pseudo-header
			update(sum, old, now)
		}
	}
	copy(p[at:], addr[:])
	if port != nil {
		update(sum, binary.BigEndian.Uint16(port), a.Port())
		binary.BigEndian.PutUint16(port, a.Port())
	}
	if p.proto() == UDP && sum != nil && binary.BigEndian.Uint16(sum) == 0 {
		binary.BigEndian.PutUint16(sum, 0xffff) // the same number; zero means none (RFC 768)
	}
}

// checksum is where the checksum over the body is; nil when the packet has none
// or the quotation ends before it.
func (p ipv4) checksum() []byte {
	b, at := p.body(), 2
	switch p.proto() {
	case UDP:
		at = 6
	case TCP:
		at = 16
	}
	if len(b) < at+2 || p.proto() == UDP && binary.BigEndian.Uint16(b[at:]) == 0 {
		return nil
	}
	return b[at:]
}

// quoted returns the packet that an ICMP error is about.
func (p ipv4) quoted() (ipv4, bool) {
	b := p.body()
	if p.proto() != ICMP || b[0] != icmpUnreachable && b[0] != icmpTimeout {
		return nil, false
	}
	return parseQuoted(b[8:])
}

// seal computes an ICMP message's checksum anew, after its quotation was changed.
func (p ipv4) seal() {
	b := p.body()
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], ^sum(b))
}

// update makes a checksum fit after one of the words under it has changed
// (RFC 1624, equation 3). A nil one is left alone.
func update(field []byte, old, now uint16) {
	if field == nil {
		return
	}
	s := uint32(^binary.BigEndian.Uint16(field)) + uint32(^old) + uint32(now)
	binary.BigEndian.PutUint16(field, ^fold(s))
}

// sum is the ones' complement sum of RFC 1071.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return fold(s)
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
