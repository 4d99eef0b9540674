package dnssd

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// Key is a TSIG key (RFC 8945), hmac-sha256, of one member. It prints without
// its secret.
type Key struct {
	Name   string // of the member in its zone, absolute
	Secret [32]byte
}

// DeriveKey derives a member's key from the zone's master secret. It changes
// with the member's name and with its identity key, and tells nothing of the
// master or of another's key.
func DeriveKey(master []byte, zone, member string, identity []byte) (Key, error) {
	k := Key{Name: keyName(member, zone)}
	secret, err := hkdf.Key(sha256.New, master, nil, "meshd tsig 1\x00"+k.Name+"\x00"+string(identity), len(k.Secret))
	if err != nil {
		return Key{}, fmt.Errorf("derive key %s: %w", k.Name, err)
	}
	copy(k.Secret[:], secret)
	return k, nil
}

func keyName(member, zone string) string {
	return canonical(strings.TrimSuffix(member, ".") + "." + zone)
}

// String tells the name only.
func (k Key) String() string { return "key " + k.Name }

// GoString tells the name only.
func (k Key) GoString() string { return k.String() }

// Base64 is the secret as tools print it.
func (k Key) Base64() string { return base64.StdEncoding.EncodeToString(k.Secret[:]) }

// File is the key in the format that nsupdate -k and dig -k read.
func (k Key) File() string {
	return fmt.Sprintf("key %q {\n\talgorithm hmac-sha256;\n\tsecret %q;\n};\n", k.Name, k.Base64())
}
