package wire

import "encoding/binary"

// Kind says whose datagram it is.
type Kind uint8

// The kinds of datagram that share the one UDP port.
const (
	Unknown   Kind = iota // none of ours: drop without an answer
	WireGuard             // one of WireGuard's four messages
	Probe                 // agent to agent, see [OpenProbe]
	Relay                 // agent to relay and back, see [ParseHeader]
	STUN                  // RFC 8489, or a request of RFC 3489
)

const (
	magicProbe    = 0xd16d7368 // d1 'm' 's' 'h'
	magicRelay    = 0xd2
	stunCookie    = 0x2112a442 // RFC 8489 §5
	stunHeaderLen = 20
	bindingReq    = 0x0001
)

// KindOf classifies a datagram by its first bytes and its length. It is called
// for every packet received and allocates nothing.
func KindOf(b []byte) Kind {
	if IsWireGuard(b) {
		return WireGuard
	}
	switch {
	case len(b) >= probeOverhead && binary.BigEndian.Uint32(b) == magicProbe:
		return Probe
	case len(b) >= HeaderSize && b[0] == magicRelay:
		return Relay
	case isSTUN(b):
		return STUN
	}
	return Unknown
}

// IsWireGuard reports whether b has the shape of a WireGuard message: its type
// with three zero bytes, and the length which that type has.
func IsWireGuard(b []byte) bool {
	if len(b) < 32 || b[1] != 0 || b[2] != 0 || b[3] != 0 {
		return false
	}
	switch b[0] {
	case 1: // handshake initiation
		return len(b) == 148
	case 2: // handshake response
		return len(b) == 92
	case 3: // cookie reply
		return len(b) == 64
	case 4: // transport data, padded to 16 but never above the MTU
		return true
	}
	return false
}

// isSTUN asks for the cookie, but not of Binding requests: those of RFC 3489,
// which stock clients still send, have none.
func isSTUN(b []byte) bool {
	return len(b) >= stunHeaderLen && len(b)%4 == 0 && b[0]>>6 == 0 &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-stunHeaderLen &&
		(binary.BigEndian.Uint32(b[4:]) == stunCookie || binary.BigEndian.Uint16(b) == bindingReq)
}
