package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Sizes of relay messages in bytes.
const (
	// HeaderSize precedes every relay message; a RESET is nothing else.
	HeaderSize = 8
	// SessionSize is the size of every HELLO, CHALLENGE, ANSWER and WELCOME.
	SessionSize = 80

	macSize    = 16
	macOffset  = SessionSize - macSize
	cookieSize = 16
)

// RelayType is the type of a relay message.
type RelayType uint8

// Types of relay message. The numbers are on the wire.
const (
	Data      RelayType = 1 // straight from a member: a handshake initiation of its own
	Hello     RelayType = 2
	Challenge RelayType = 3
	Answer    RelayType = 4
	Welcome   RelayType = 5
	Reset     RelayType = 6
	// Forward is DATA to a member that relays, which passes it on as DATA. Two
	// members may relay for each other, so what is to be passed on must look
	// unlike what was.
	Forward RelayType = 7
)

// RelayID names a member towards a relay. Zero names nobody.
type RelayID uint32

// PairID is the id in the header of data between two members, whoever of them sends:
// of the pair and one of them it is the other's. No pair is zero.
func PairID(a, b RelayID) RelayID { return a ^ b }

// singlyBit of the type's byte is [Header.Singly].
const singlyBit = 0x80

// Header starts every relay message. Epoch is drawn anew at each start of the
// relay; an agent repeats the one it was welcomed with.
type Header struct {
	Type   RelayType
	Singly bool // DATA and FORWARD: not to leave in a bundle with others
	Epoch  uint16
	ID     RelayID // DATA and FORWARD: of the pair; session messages: the agent's own
}

// ErrRelay is returned for a datagram that is no valid relay message.
var ErrRelay = errors.New("not a relay message")

// PutHeader writes h to the first HeaderSize bytes of b.
func PutHeader(b []byte, h Header) {
	b[0], b[1] = magicRelay, byte(h.Type)
	if h.Singly {
		b[1] |= singlyBit
	}
	binary.BigEndian.PutUint16(b[2:], h.Epoch)
	binary.BigEndian.PutUint32(b[4:], uint32(h.ID))
}

// AppendHeader appends h to b.
func AppendHeader(b []byte, h Header) []byte {
	var head [HeaderSize]byte
	PutHeader(head[:], h)
	return append(b, head[:]...)
}

// ParseHeader reads the header of a relay message; the payload is b[HeaderSize:].
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize || b[0] != magicRelay {
		return Header{}, ErrRelay
	}
	return Header{
		Type:   RelayType(b[1] &^ singlyBit),
		Singly: b[1]&singlyBit != 0,
		Epoch:  binary.BigEndian.Uint16(b[2:]),
		ID:     RelayID(binary.BigEndian.Uint32(b[4:])),
	}, nil
}

// Session is a HELLO, CHALLENGE, ANSWER or WELCOME. Its header's ID is the
// agent's own.
type Session struct {
	Header
	Nonce    uint64         // chosen by the agent for each HELLO, echoed all along
	Time     int64          // the relay's clock in Unix milliseconds; 0 from an agent
	Observed netip.AddrPort // CHALLENGE and WELCOME: the source address seen
	Cookie   [cookieSize]byte
}

// RelayKey authenticates the session messages of one member at one relay. The
// control connection hands it to the member.
type RelayKey [32]byte

// String hides the key.
func (RelayKey) String() string { return "(relay key)" }

// Format hides the key from every verb.
func (k RelayKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// AppendSession appends s with its MAC under key to b.
func AppendSession(b []byte, s *Session, key RelayKey) []byte {
	start := len(b)
	b = AppendHeader(b, s.Header)
	b = binary.BigEndian.AppendUint64(b, s.Nonce)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Time))
	b = appendAddr(b, s.Observed)
	b = append(b, s.Cookie[:]...)
	b = append(b, make([]byte, macOffset-(len(b)-start))...)
	return append(b, sessionMAC(b[start:], key)...)
}

// ParseSession reads a session message. The caller looks the key up by the
// header's ID and then calls [VerifySession].
func ParseSession(b []byte) (*Session, error) {
	h, err := ParseHeader(b)
	if err != nil || h.Singly || h.Type < Hello || h.Type > Welcome || len(b) != SessionSize {
		return nil, ErrRelay
	}
	b = b[HeaderSize:]
	return &Session{
		Header:   h,
		Nonce:    binary.BigEndian.Uint64(b),
		Time:     int64(binary.BigEndian.Uint64(b[8:])),
		Observed: readAddr(b[16:]),
		Cookie:   [cookieSize]byte(b[34:]),
	}, nil
}

// VerifySession reports whether the session message b was made with key.
func VerifySession(b []byte, key RelayKey) bool {
	return len(b) == SessionSize && hmac.Equal(b[macOffset:], sessionMAC(b[:macOffset], key))
}

func sessionMAC(b []byte, key RelayKey) []byte {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("meshd relay v1"))
	mac.Write(b)
	return mac.Sum(nil)[:macSize]
}
