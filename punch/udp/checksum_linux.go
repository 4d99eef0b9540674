package udp

import "encoding/binary"

// sum adds b to the Internet checksum (RFC 1071) that s has so far, as 16-bit
// words in network order; an odd last byte counts as if a zero followed.
func sum(s uint64, b []byte) uint64 {
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		s += uint64(b[0]) << 8
	}
	return s
}

// sumTail adds two pieces that follow one another. After a first one of odd length
// the second starts in the middle of a word.
func sumTail(s uint64, a, b []byte) uint64 {
	s = sum(s, a)
	if len(a)%2 == 1 && len(b) > 0 {
		s += uint64(b[0])
		b = b[1:]
	}
	return sum(s, b)
}

// checksum folds a sum, for a UDP header: 0 there means that there is none.
func checksum(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	if c := ^uint16(s); c != 0 {
		return c
	}
	return 0xffff
}
