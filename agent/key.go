package agent

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// Key is a WireGuard public key, or another 32 bytes that the mesh shares.
type Key [32]byte

// String returns the key in base64, as `wg` prints it.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Key) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(b))
	if err != nil || len(raw) != len(k) {
		return fmt.Errorf("key %q: want 32 bytes in base64", b)
	}
	*k = Key(raw)
	return nil
}

// privateKey is this member's WireGuard key. It shows itself to nobody.
type privateKey struct{ bytes [32]byte }

func newPrivateKey() privateKey {
	var k privateKey
	rand.Read(k.bytes[:])
	return k
}

// public computes the Curve25519 public key; the clamping of RFC 7748 §5 is
// part of that.
func (k privateKey) public() Key {
	priv, err := ecdh.X25519().NewPrivateKey(k.bytes[:])
	if err != nil {
		panic("curve25519 takes any 32 bytes: " + err.Error())
	}
	return Key(priv.PublicKey().Bytes())
}

// String hides the key.
func (privateKey) String() string { return "(private key)" }

// GoString hides the key.
func (privateKey) GoString() string { return "(private key)" }

// LogValue implements [slog.LogValuer].
func (privateKey) LogValue() slog.Value { return slog.StringValue("(private key)") }
