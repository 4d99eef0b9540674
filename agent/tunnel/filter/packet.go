package filter

import "encoding/binary"

// packet is what a filter looks at of an IP packet.
type packet struct {
	proto                Proto
	source, target       []byte // addresses
	sourcePort, destPort uint16 // 0 of protocols without
	begins               bool   // it may begin something
}

// Numbers of headers, and what of them is looked at.
const (
	header4, header6 = 20, 40

	hopByHop, routing, fragment, destination = 0, 43, 44, 60 // IPv6 extension headers
	maxExtensions                            = 8

	tcpFlags = 13
	tcpSYN   = 0x02
	tcpACK   = 0x10
)

// ICMP messages that ask for something. Others are answers or errors.
const (
	echo4, timestamp4, mask4, solicitation4 = 8, 13, 17, 10
	echo6, query6                           = 128, 139
)

// parse reads a packet. It fails for what can't be judged.
func parse(b []byte) (p packet, ok bool) {
	switch {
	case len(b) >= header4 && b[0]>>4 == 4:
		return parse4(b)
	case len(b) >= header6 && b[0]>>4 == 6:
		return parse6(b)
	}
	return packet{}, false
}

func parse4(b []byte) (packet, bool) {
	size := int(b[0]&15) * 4
	if size < header4 || size > len(b) {
		return packet{}, false
	}
	p := packet{proto: Proto(b[9]), source: b[12:16], target: b[16:20]}
	if offset := binary.BigEndian.Uint16(b[6:]) & 0x1fff; offset != 0 {
		return p, offset*8 >= tcpFlags+1 // else it would overwrite what was judged
	}
	return p, p.transport(b[size:])
}

func parse6(b []byte) (packet, bool) {
	p := packet{source: b[8:24], target: b[24:40]}
	next, rest := b[6], b[header6:]
	for range maxExtensions {
		size := 0
		switch next {
		case hopByHop, routing, destination:
			if len(rest) < 2 {
				return packet{}, false
			}
			size = int(rest[1])*8 + 8
		case fragment:
			size = 8
		default:
			p.proto = Proto(next)
			return p, p.transport(rest)
		}
		if len(rest) < size {
			return packet{}, false
		}
		if next == fragment {
			if offset := binary.BigEndian.Uint16(rest[2:]) &^ 7; offset != 0 {
				p.proto = Proto(rest[0])
				return p, offset >= tcpFlags+1
			}
		}
		next, rest = rest[0], rest[size:]
	}
	return packet{}, false
}

// transport reads the header above IP. It fails if that is cut off.
func (p *packet) transport(b []byte) bool {
	switch p.proto {
	case TCP:
		if len(b) <= tcpFlags {
			return false
		}
		p.ports(b)
		p.begins = b[tcpFlags]&(tcpSYN|tcpACK) == tcpSYN
	case UDP:
		if len(b) < 8 {
			return false
		}
		p.ports(b)
		p.begins = true
	case ICMP:
		if len(b) == 0 {
			return false
		}
		p.begins = b[0] == echo4 || b[0] == timestamp4 || b[0] == mask4 || b[0] == solicitation4
	case icmp6:
		if len(b) == 0 {
			return false
		}
		p.proto = ICMP
		p.begins = b[0] == echo6 || b[0] == query6
	default:
		p.begins = true
	}
	return true
}

func (p *packet) ports(b []byte) {
	p.sourcePort, p.destPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
}
