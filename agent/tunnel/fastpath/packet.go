package fastpath

import (
	"encoding/binary"

	"golang.zx2c4.com/wireguard/device"
)

// kind is what a packet is, by its type and length alone.
type kind byte

const (
	noPacket kind = iota
	handshakePacket
	transportPacket
)

// kindOf takes type and the three reserved zero bytes as one number, as WireGuard
// does (section 5.4 of its paper).
func kindOf(b []byte) kind {
	if len(b) < device.MinMessageSize {
		return noPacket
	}
	want := 0
	switch binary.LittleEndian.Uint32(b) {
	case device.MessageTransportType:
		return transportPacket
	case device.MessageInitiationType:
		want = device.MessageInitiationSize
	case device.MessageResponseType:
		want = device.MessageResponseSize
	case device.MessageCookieReplyType:
		want = device.MessageCookieReplySize
	}
	if len(b) != want {
		return noPacket
	}
	return handshakePacket
}

// Offsets in the IP headers.
const (
	header4, header6 = 20, 40
	source4, source6 = 12, 8
	target4, target6 = 16, 24
)

// trim takes WireGuard's padding off an IP packet and returns its source address.
// A packet that is shorter than it says, or none of IP, is nil.
func trim(b []byte) (packet, source []byte) {
	switch {
	case len(b) >= header4 && b[0]>>4 == 4:
		length := int(binary.BigEndian.Uint16(b[2:]))
		if length < header4 || length > len(b) {
			return nil, nil
		}
		return b[:length:length], b[source4 : source4+4]
	case len(b) >= header6 && b[0]>>4 == 6:
		length := header6 + int(binary.BigEndian.Uint16(b[4:]))
		if length > len(b) {
			return nil, nil
		}
		return b[:length:length], b[source6 : source6+16]
	}
	return nil, nil
}

// target is the destination address of an IP packet; nil: it is none.
func target(b []byte) []byte {
	switch {
	case len(b) >= header4 && b[0]>>4 == 4:
		return b[target4 : target4+4]
	case len(b) >= header6 && b[0]>>4 == 6:
		return b[target6 : target6+16]
	}
	return nil
}

// address is an IP address that was looked up a moment ago.
type address struct {
	bytes [16]byte
	size  int // 0: none
}

func (a *address) is(ip []byte) bool {
	return a.size == len(ip) && string(a.bytes[:a.size]) == string(ip)
}

func (a *address) set(ip []byte) { a.size = copy(a.bytes[:], ip) }

// padding is how many zeros follow a packet of n bytes: up to a multiple of 16,
// but never beyond the MTU (section 5.4.6).
func padding(n, mtu int) int {
	padded := (n + device.PaddingMultiple - 1) &^ (device.PaddingMultiple - 1)
	if mtu > 0 {
		padded = max(n, min(padded, mtu))
	}
	return padded - n
}
