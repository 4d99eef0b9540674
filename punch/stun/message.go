package stun

import (
	"encoding/binary"
	"slices"

	pion "github.com/pion/stun/v3"
)

const (
	headerSize = 20
	cookie     = 0x2112a442
)

// decode reads a STUN message that fills b exactly. If it has a FINGERPRINT, it
// has to be right.
func decode(b []byte) (*pion.Message, bool) {
	if len(b) < headerSize || len(b)%4 != 0 || b[0]>>6 != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b)-headerSize {
		return nil, false
	}
	m := &pion.Message{Raw: slices.Clone(b)}
	if m.Decode() != nil {
		return nil, false
	}
	if m.Contains(pion.AttrFingerprint) && pion.Fingerprint.Check(m) != nil {
		return nil, false
	}
	return m, true
}

// unknown returns the attributes that have to be understood (RFC 8489 §14) and
// are not among the known.
func unknown(m *pion.Message, known ...pion.AttrType) pion.UnknownAttributes {
	var all pion.UnknownAttributes
	for _, a := range m.Attributes {
		if a.Type.Required() && !slices.Contains(known, a.Type) {
			all = append(all, a.Type)
		}
	}
	return all
}
