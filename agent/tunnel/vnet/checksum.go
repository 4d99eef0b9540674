package vnet

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum (RFC 1071) does not care in which order the bytes of its
// words are, as long as the order is the same throughout. Here words are little
// endian, which is one load on the machines of today: a value read by le.Uint16
// goes in as it is, a number of ours goes in swapped, and the result goes out by
// le.PutUint16.
var le, be = binary.LittleEndian, binary.BigEndian

// sum adds b to acc, carries kept. All of b but the last piece of a packet must
// be of even length.
func sum(b []byte, acc uint64) uint64 {
	var c uint64
	for len(b) >= 64 {
		acc, c = bits.Add64(acc, le.Uint64(b), 0)
		acc, c = bits.Add64(acc, le.Uint64(b[8:]), c)
		acc, c = bits.Add64(acc, le.Uint64(b[16:]), c)
		acc, c = bits.Add64(acc, le.Uint64(b[24:]), c)
		acc, c = bits.Add64(acc, le.Uint64(b[32:]), c)
		acc, c = bits.Add64(acc, le.Uint64(b[40:]), c)
		acc, c = bits.Add64(acc, le.Uint64(b[48:]), c)
		acc, c = bits.Add64(acc, le.Uint64(b[56:]), c)
		acc, c = bits.Add64(acc, 0, c)
		acc += c
		b = b[64:]
	}
	for len(b) >= 8 {
		acc = add(acc, le.Uint64(b))
		b = b[8:]
	}
	if len(b) >= 4 {
		acc = add(acc, uint64(le.Uint32(b)))
		b = b[4:]
	}
	if len(b) >= 2 {
		acc = add(acc, uint64(le.Uint16(b)))
		b = b[2:]
	}
	if len(b) == 1 {
		acc = add(acc, uint64(b[0]))
	}
	return acc
}

// add adds with the carry brought around.
func add(a, b uint64) uint64 {
	s, c := bits.Add64(a, b, 0)
	return s + c
}

// swap16 makes a number a word of the sum.
func swap16(n int) uint64 { return uint64(bits.ReverseBytes16(uint16(n))) }

// fold makes a sum one word, not inverted.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// pseudo is the sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) of an IP
// packet, without the length of what follows.
func pseudo(packet []byte, proto uint8) uint64 {
	if packet[0]>>4 == 4 {
		return sum(packet[12:20], swap16(int(proto)))
	}
	return sum(packet[8:40], swap16(int(proto)))
}
