package vnet

import (
	"errors"
	"fmt"
)

// maxHead bounds the headers of a superpacket: IPv6, extension headers and TCP
// with options.
const maxHead = 256

// Segments walks a frame: it yields its one packet, or the segments of its
// superpacket as Linux would cut them (tcp_gso_segment, __udp_gso_segment). The
// zero value has no segments. It is unsafe for concurrent use.
type Segments struct {
	packet []byte
	more   bool // there is a next packet
	lone   bool // it is packet as it is

	// Of a superpacket:
	udp, v4      bool
	start        int  // of the transport header
	headLen      int  // IP's and the transport's
	size         int  // payload of a segment
	next         int  // where the payload of the next segment begins
	first        bool // that is the first one
	flags        uint8
	seq          uint32
	id           uint16
	head         [maxHead]byte
	ipSum, l4Sum uint64 // of head, what differs between segments left out
}

// Reset starts on a frame (a virtio header and an IP packet), which it writes
// to. After an error there are no segments.
func (s *Segments) Reset(frame []byte) error {
	s.more = false
	h, packet, err := parseHeader(frame)
	if err != nil {
		return err
	}
	if len(packet) == 0 {
		return errors.New("frame without a packet")
	}
	if h.gsoType == gsoNone {
		return s.resetLone(h, packet)
	}
	return s.resetMany(h, packet)
}

// resetLone completes the checksum of a packet, if that was left to us.
func (s *Segments) resetLone(h header, packet []byte) error {
	if h.flags&flagNeedsChecksum != 0 {
		start, at := int(h.checksumStart), int(h.checksumStart)+int(h.checksumOffset)
		if at+2 > len(packet) {
			return fmt.Errorf("checksum at %d of a packet of %d bytes", at, len(packet))
		}
		putChecksum(packet[at:], sum(packet[start:], 0), true)
	}
	s.packet, s.lone, s.more = packet, true, true
	return nil
}

// putChecksum inverts and stores a sum. To UDP zero means that there is none, and
// all ones is the same number; Linux does so for lone packets of every protocol.
func putChecksum(b []byte, acc uint64, neverZero bool) {
	v := ^fold(acc)
	if v == 0 && neverZero {
		v = 0xffff
	}
	le.PutUint16(b, v)
}

// resetMany checks the headers of a superpacket and keeps them.
func (s *Segments) resetMany(h header, packet []byte) error {
	s.v4 = packet[0]>>4 == 4
	s.udp = h.gsoType == gsoUDP
	s.start, s.size = int(h.checksumStart), int(h.gsoSize)
	switch {
	case s.size == 0:
		return errors.New("superpacket with segments of size 0")
	case s.udp:
	case s.v4 && h.gsoType&^gsoECN == gsoTCPv4:
	case packet[0]>>4 == 6 && h.gsoType&^gsoECN == gsoTCPv6:
	default:
		return fmt.Errorf("superpacket of type %d and IP version %d", h.gsoType, packet[0]>>4)
	}
	if err := s.findTransport(packet); err != nil {
		return err
	}
	checksumAt := tcpChecksumAt
	if s.udp {
		checksumAt = udpChecksumAt
	}
	if h.flags&flagNeedsChecksum != 0 && int(h.checksumOffset) != checksumAt {
		return fmt.Errorf("checksum at %d of the transport header, not %d", h.checksumOffset, checksumAt)
	}
	base := pseudo(packet, s.proto())
	if h.flags&flagNeedsChecksum != 0 {
		// The kernel's own sum, less the length that is in it: with a routing header
		// the destination in it is not that of the packet.
		partial := le.Uint16(packet[s.start+checksumAt:])
		base = add(uint64(partial), uint64(^uint16(swap16(len(packet)-s.start))))
	}
	s.keepHead(packet, base, checksumAt)
	s.packet, s.lone, s.more = packet, false, true
	s.next, s.first = s.headLen, true
	return nil
}

func (s *Segments) proto() uint8 {
	if s.udp {
		return protoUDP
	}
	return protoTCP
}

// findTransport checks where the kernel says that the transport header is, and
// finds its end.
func (s *Segments) findTransport(packet []byte) error {
	switch least := s.start + s.leastTransport(); {
	case least > len(packet):
		return fmt.Errorf("superpacket of %d bytes, its headers have %d", len(packet), least)
	case s.v4 && (packet[0]&15 < 5 || s.start != int(packet[0]&15)*4):
		return fmt.Errorf("IPv4 header of %d bytes, transport header at %d", int(packet[0]&15)*4, s.start)
	case !s.v4 && (packet[0]>>4 != 6 || s.start < ipv6HeaderLen):
		return fmt.Errorf("IP version %d, transport header at %d", packet[0]>>4, s.start)
	case s.v4 && packet[9] != s.proto():
		return fmt.Errorf("superpacket of protocol %d, not %d", packet[9], s.proto())
	}
	s.headLen = s.start + udpHeaderLen
	if !s.udp {
		n := int(packet[s.start+12]>>4) * 4
		if n < tcpHeaderLen {
			return fmt.Errorf("TCP header of %d bytes", n)
		}
		s.headLen = s.start + n
	}
	if s.headLen > maxHead || s.headLen > len(packet) {
		return fmt.Errorf("headers of %d bytes in a superpacket of %d bytes", s.headLen, len(packet))
	}
	return nil
}

func (s *Segments) leastTransport() int {
	if s.udp {
		return udpHeaderLen
	}
	return tcpHeaderLen
}

// keepHead copies the headers, with zeros where segments differ, and sums them.
func (s *Segments) keepHead(packet []byte, base uint64, checksumAt int) {
	head := s.head[:copy(s.head[:s.headLen], packet)]
	ip, l4 := head[:s.start], head[s.start:]
	if s.v4 {
		s.id = be.Uint16(ip[4:])
		clear(ip[2:6])   // total length, identification
		clear(ip[10:12]) // checksum
		s.ipSum = sum(ip, 0)
	} else {
		clear(ip[4:6]) // payload length
	}
	if s.udp {
		clear(l4[4:6]) // length
	} else {
		s.seq, s.flags = be.Uint32(l4[4:]), l4[tcpFlagsAt]
		clear(l4[4:8])
		l4[tcpFlagsAt] = 0
	}
	clear(l4[checksumAt : checksumAt+2])
	s.l4Sum = sum(l4, base)
}

// Next returns the next packet, with valid checksums. It stays good until the
// following Next or Reset: the headers of a segment are stamped over the end of
// the payload before it.
func (s *Segments) Next() (packet []byte, ok bool) {
	switch {
	case !s.more:
		return nil, false
	case s.lone:
		s.more = false
		return s.packet, true
	}
	end := min(s.next+s.size, len(s.packet))
	s.more = end < len(s.packet)
	packet = s.packet[s.next-s.headLen : end : end]
	s.stamp(packet, end-s.next)
	s.next, s.first = end, false
	return packet, true
}

// stamp writes the headers of a segment with n bytes of payload.
func (s *Segments) stamp(packet []byte, n int) {
	copy(packet, s.head[:s.headLen])
	transportLen := s.headLen - s.start + n
	if s.v4 {
		be.PutUint16(packet[2:], uint16(s.start+transportLen))
		be.PutUint16(packet[4:], s.id)
		putChecksum(packet[10:], add(s.ipSum, uint64(le.Uint32(packet[2:]))), false)
		s.id++
	} else {
		be.PutUint16(packet[4:], uint16(s.start-ipv6HeaderLen+transportLen))
	}
	l4 := packet[s.start:]
	acc := add(s.l4Sum, swap16(transportLen))
	if s.udp {
		be.PutUint16(l4[4:], uint16(transportLen))
		acc = add(acc, uint64(le.Uint16(l4[4:])))
		putChecksum(l4[udpChecksumAt:], sum(packet[s.headLen:], acc), true)
		return
	}
	be.PutUint32(l4[4:], s.seq)
	l4[tcpFlagsAt] = s.segmentFlags()
	acc = add(acc, uint64(le.Uint32(l4[4:]))+uint64(l4[tcpFlagsAt])<<8)
	putChecksum(l4[tcpChecksumAt:], sum(packet[s.headLen:], acc), false)
	s.seq += uint32(n)
}

// segmentFlags: what asks for the end of the data is for the last segment, and
// what answers congestion is said once, by the first (RFC 3168 §6.1.2).
func (s *Segments) segmentFlags() uint8 {
	flags := s.flags
	if s.more {
		flags &^= tcpFIN | tcpPSH
	}
	if !s.first {
		flags &^= tcpCWR
	}
	return flags
}
