package vnet

import "encoding/binary"

// kind says what a coalescer may do with a packet.
type kind uint8

const (
	opaque   kind = iota // its flow is not known: nothing may overtake it
	solitary             // of a known flow, but it travels alone
	joinable             // data that may be part of a superpacket
)

// shape is what a coalescer needs to know of a packet.
type shape struct {
	kind    kind
	v4, udp bool
	last    bool // nothing may follow it in a superpacket
	start   int  // of the transport header
	headLen int  // all headers
	payload int
	hash    uint32 // of the flow
}

// examine reads the headers of a packet. Whatever is unusual makes it opaque:
// fragments, IPv4 options, IPv6 extension headers, lengths that do not agree, a
// wrong header checksum (the kernel is to see and count it).
func examine(p []byte) shape {
	var s shape
	var proto uint8
	switch {
	case len(p) >= ipv4HeaderLen+udpHeaderLen && p[0] == 0x45:
		// The fragment field may hold DF and nothing else.
		if int(be.Uint16(p[2:])) != len(p) || be.Uint16(p[6:])&^fragmentDF != 0 || fold(sum(p[:ipv4HeaderLen], 0)) != 0xffff {
			return s
		}
		s.v4, s.start, proto = true, ipv4HeaderLen, p[9]
		s.hash = mix(le.Uint64(p[12:]), 0, le.Uint32(p[20:]))
	case len(p) >= ipv6HeaderLen+udpHeaderLen && p[0]>>4 == 6:
		if int(be.Uint16(p[4:])) != len(p)-ipv6HeaderLen {
			return s
		}
		s.start, proto = ipv6HeaderLen, p[6]
		s.hash = mix(le.Uint64(p[16:])^le.Uint64(p[8:]), le.Uint64(p[32:])^le.Uint64(p[24:]), le.Uint32(p[40:]))
	default:
		return s
	}
	switch proto {
	case protoTCP:
		s.examineTCP(p[s.start:])
	case protoUDP:
		s.examineUDP(p[s.start:])
	}
	return s
}

const fragmentDF = 0x4000

// examineTCP: only data with ACK, and no flag but PSH, ECE and FIN. FIN and PSH
// end a superpacket; CWR would have to be said once only.
func (s *shape) examineTCP(t []byte) {
	if len(t) < tcpHeaderLen {
		return
	}
	n := int(t[12]>>4) * 4
	if n < tcpHeaderLen || n > len(t) {
		return
	}
	s.kind, s.headLen, s.payload = solitary, s.start+n, len(t)-n
	flags := t[tcpFlagsAt]
	if s.payload > 0 && t[12]&15 == 0 && flags&^(tcpFIN|tcpPSH|tcpECE) == tcpACK {
		s.kind, s.last = joinable, flags&(tcpFIN|tcpPSH) != 0
	}
}

// examineUDP: a datagram without a checksum would get one by being joined.
func (s *shape) examineUDP(u []byte) {
	if int(be.Uint16(u[4:])) != len(u) {
		return
	}
	s.kind, s.udp, s.headLen, s.payload = solitary, true, s.start+udpHeaderLen, len(u)-udpHeaderLen
	if s.payload > 0 && be.Uint16(u[udpChecksumAt:]) != 0 {
		s.kind = joinable
	}
}

// mix hashes a flow. Peers that make flows collide win nothing: a superpacket is
// cut short.
func mix(a, b uint64, ports uint32) uint32 {
	h := (a ^ b*0x9e3779b97f4a7c15 ^ uint64(ports)) * 0xff51afd7ed558ccd
	return uint32(h >> 32)
}

// sameHead tells whether q may follow p in a superpacket, as far as their
// headers, which are of the same shape, say; n packets precede q.
func sameHead(p, q []byte, s shape, n int) bool {
	if s.v4 {
		if p[1] != q[1] || p[6] != q[6] || p[8] != q[8] || p[9] != q[9] || le.Uint64(p[12:]) != le.Uint64(q[12:]) {
			return false // type of service with ECN, DF, TTL, protocol, addresses
		}
		// Cut, the identification counts up. Who forbids fragments does not mind.
		if p[6] == 0 && be.Uint16(q[4:]) != be.Uint16(p[4:])+uint16(n) {
			return false
		}
	} else if le.Uint32(p) != le.Uint32(q) || le.Uint16(p[6:]) != le.Uint16(q[6:]) || !equal32(p[8:], q[8:]) {
		return false // traffic class, flow label, protocol, hop limit, addresses
	}
	p, q = p[s.start:s.headLen], q[s.start:s.headLen] // so TCP's data offset is the same
	if le.Uint32(p) != le.Uint32(q) {                 // ports
		return false
	}
	if s.udp {
		return true
	}
	const marks = tcpFIN | tcpPSH
	return le.Uint32(p[8:]) == le.Uint32(q[8:]) && // acknowledgment
		p[13]&^marks == q[13]&^marks && le.Uint16(p[14:]) == le.Uint16(q[14:]) && // flags, window
		string(p[18:]) == string(q[18:]) // urgent pointer, options
}

// equal32 compares the addresses of IPv6.
func equal32(p, q []byte) bool {
	ne := binary.NativeEndian
	return ne.Uint64(p) == ne.Uint64(q) && ne.Uint64(p[8:]) == ne.Uint64(q[8:]) &&
		ne.Uint64(p[16:]) == ne.Uint64(q[16:]) && ne.Uint64(p[24:]) == ne.Uint64(q[24:])
}
