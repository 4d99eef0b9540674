// Package vnettest makes IP packets and superpackets from words, for tests only.
// It shares no code with what it tests: its checksums are those of RFC 1071 §4.1,
// two bytes at a time.
package vnettest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Packet describes a TCP or UDP packet. Zero fields but those of TCP's numbers
// have sensible values.
type Packet struct {
	From, To         netip.AddrPort // the family is To's
	UDP              bool
	TOS              uint8 // or traffic class
	TTL              uint8 // 0: 64
	ID               uint16
	DF               bool
	FlowLabel        uint32
	Seq, Ack         uint32
	Flags            uint8 // 0: ACK
	Window           uint16
	Urgent           uint16
	Options          []byte // TCP's, a multiple of 4
	Payload          []byte
	NoChecksum       bool   // UDP
	WrongChecksum    bool   // of the transport
	WrongIPChecksum  bool   // IPv4
	Fragment         uint16 // IPv4: MF and offset, as they stand in the header
	IPOptions        []byte // IPv4, a multiple of 4
	ExtensionHeaders []byte // IPv6, after a fixed next header of destination options
}

// be is the order of bytes on the wire.
var be = binary.BigEndian

// Bytes returns the packet.
func (p Packet) Bytes() []byte {
	b, start := p.build(nil)
	p.finish(b, start)
	return b
}

// Super returns a frame: virtio header and superpacket with segments of size.
// With ecn the header says that CWR may be set.
func (p Packet) Super(size int, ecn bool) []byte {
	frame := make([]byte, 10)
	b, start := p.build(nil)
	at := p.checksumAt()
	// The sum of the pseudo header, as Linux leaves it.
	be.PutUint16(b[start+at:], fold(p.pseudo(len(b)-start)))
	gsoType := uint8(5)
	if !p.UDP {
		gsoType = 1
		if p.To.Addr().Is6() {
			gsoType = 4
		}
	}
	if ecn {
		gsoType |= 0x80
	}
	frame[0], frame[1] = 1, gsoType
	ne := binary.NativeEndian
	ne.PutUint16(frame[2:], uint16(start+p.transportHeader()))
	ne.PutUint16(frame[4:], uint16(size))
	ne.PutUint16(frame[6:], uint16(start))
	ne.PutUint16(frame[8:], uint16(at))
	return append(frame, b...)
}

func (p Packet) transportHeader() int {
	if p.UDP {
		return 8
	}
	return 20 + len(p.Options)
}

func (p Packet) checksumAt() int {
	if p.UDP {
		return 6
	}
	return 16
}

func (p Packet) proto() uint8 {
	if p.UDP {
		return 17
	}
	return 6
}

// build returns the packet without a transport checksum, and where the transport
// header begins.
func (p Packet) build(b []byte) ([]byte, int) {
	ttl := p.TTL
	if ttl == 0 {
		ttl = 64
	}
	length := p.transportHeader() + len(p.Payload)
	from, to := p.From.Addr().AsSlice(), p.To.Addr().AsSlice()
	if p.To.Addr().Is4() {
		head := 20 + len(p.IPOptions)
		b = append(b, 0x40|uint8(head/4), p.TOS)
		b = be.AppendUint16(b, uint16(head+length))
		b = be.AppendUint16(b, p.ID)
		fragment := p.Fragment
		if p.DF {
			fragment |= 0x4000
		}
		b = be.AppendUint16(b, fragment)
		b = append(b, ttl, p.proto(), 0, 0)
		b = append(append(append(b, from...), to...), p.IPOptions...)
		check := ^fold(words(b))
		if p.WrongIPChecksum {
			check ^= 0x0101
		}
		be.PutUint16(b[10:], check)
	} else {
		b = be.AppendUint32(b, 6<<28|uint32(p.TOS)<<20|p.FlowLabel)
		b = be.AppendUint16(b, uint16(len(p.ExtensionHeaders)+length))
		next := p.proto()
		if len(p.ExtensionHeaders) > 0 {
			next = 60
		}
		b = append(b, next, ttl)
		b = append(append(append(b, from...), to...), p.ExtensionHeaders...)
	}
	start := len(b)
	b = be.AppendUint16(b, p.From.Port())
	b = be.AppendUint16(b, p.To.Port())
	if p.UDP {
		b = be.AppendUint16(b, uint16(length))
		b = append(b, 0, 0)
		return append(b, p.Payload...), start
	}
	flags := p.Flags
	if flags == 0 {
		flags = 0x10
	}
	b = be.AppendUint32(b, p.Seq)
	b = be.AppendUint32(b, p.Ack)
	b = append(b, uint8(20+len(p.Options))<<2, flags)
	b = be.AppendUint16(b, p.Window)
	b = append(b, 0, 0)
	b = be.AppendUint16(b, p.Urgent)
	return append(append(b, p.Options...), p.Payload...), start
}

// finish stores the transport checksum.
func (p Packet) finish(b []byte, start int) {
	if p.NoChecksum {
		return
	}
	check := ^fold(p.pseudo(len(b)-start) + words(b[start:]))
	if check == 0 && p.UDP {
		check = 0xffff
	}
	if p.WrongChecksum {
		check ^= 0x0101
	}
	be.PutUint16(b[start+p.checksumAt():], check)
}

func (p Packet) pseudo(length int) uint64 {
	return words(p.From.Addr().AsSlice()) + words(p.To.Addr().AsSlice()) + uint64(p.proto()) + uint64(length)
}

// Valid tells whether the checksums of an IP packet are right. It knows no
// extension headers.
func Valid(b []byte) bool {
	start, proto, addrs := 40, b[6], b[8:40]
	if b[0]>>4 == 4 {
		start = int(b[0]&15) * 4
		proto, addrs = b[9], b[12:20]
		if fold(words(b[:start])) != 0xffff {
			return false
		}
	}
	return fold(words(addrs)+uint64(proto)+uint64(len(b)-start)+words(b[start:])) == 0xffff
}

// Equivalent tells whether packets came through as they were, but for the
// identification of those that are atomic (RFC 6864 §4.1).
func Equivalent(in, out [][]byte) bool {
	return slices.EqualFunc(in, out, func(p, q []byte) bool { return bytes.Equal(Canonical(p), Canonical(q)) })
}

// Canonical takes the identification out of an atomic IPv4 packet without
// options, with its part in the checksum. Others are returned as they are.
func Canonical(p []byte) []byte {
	if len(p) < 20 || p[0] != 0x45 || be.Uint16(p[6:]) != 0x4000 || fold(words(p[:20])) != 0xffff {
		return p
	}
	p = slices.Clone(p)
	clear(p[4:6])
	clear(p[10:12])
	return p
}

func words(b []byte) (sum uint64) {
	for ; len(b) > 1; b = b[2:] {
		sum += uint64(be.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
