package api

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// Pin is the fingerprint of a coordinator: the first 16 bytes of the SHA-256 of
// its Ed25519 public key. 128 bits are enough against a second key that fits a
// given pin. The zero Pin means absent.
type Pin [16]byte

// base32Lower is RFC 4648 base32 without padding, in lower case: no character
// needs escaping in a shell, and reading it aloud has no cases.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// PinOf returns the fingerprint of a public key.
func PinOf(key ed25519.PublicKey) Pin {
	sum := sha256.Sum256(key)
	return Pin(sum[:16])
}

// String returns the pin in base32, in groups of four that an eye can compare.
func (p Pin) String() string {
	text := base32Lower.EncodeToString(p[:])
	var groups []string
	for ; len(text) > 4; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(append(groups, text), "-")
}

// IsZero reports whether the pin is absent.
func (p Pin) IsZero() bool { return p == Pin{} }

// ParsePin reads what [Pin.String] writes, with or without its hyphens, in any case.
func ParsePin(s string) (Pin, error) {
	text := strings.ReplaceAll(lower(s), "-", "")
	raw, err := base32Lower.DecodeString(text)
	if err != nil || len(raw) != len(Pin{}) {
		return Pin{}, fmt.Errorf("pin %q: want %d base32 characters", s, base32Lower.EncodedLen(len(Pin{})))
	}
	return Pin(raw), nil
}

// MarshalText implements [encoding.TextMarshaler].
func (p Pin) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Pin) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePin(string(b))
	return err
}

// lower folds ASCII only: what is no ASCII must stay, to be named in an error.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
