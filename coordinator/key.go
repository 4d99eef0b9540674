package coordinator

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"
)

// KeyID names a join key. Zero names none; a number is never given twice.
type KeyID uint32

// SecretHash is the SHA-256 of a join secret. Secrets have 128 random bits, so
// a plain hash is as good as a slow one.
type SecretHash [sha256.Size]byte

// HashSecret returns what is kept of a secret.
func HashSecret(secret []byte) SecretHash { return sha256.Sum256(secret) }

// Key admits agents to the mesh.
type Key struct {
	ID        KeyID
	Hash      SecretHash
	Reusable  bool // admits more than one agent
	Approved  bool // no approval needed
	Ephemeral bool // members joined by it are deleted when they stay offline
	Tags      []string
	Created   time.Time
	Expires   time.Time
	Revoked   time.Time // ended by hand; zero: not
	Used      uint32    // how many members it admitted
}

const (
	// DefaultKeyExpiry holds for a key created without a wish.
	DefaultKeyExpiry = 24 * time.Hour
	// keyMemory is how long a dead key is remembered, so that whoever comes
	// with it late is told what became of it.
	keyMemory = 30 * 24 * time.Hour
)

// hintNewKey follows every refusal of a secret.
const hintNewKey = "ask the owner of the mesh for a new join string: meshd coordinator key create"

// Refusal returns why the key admits nobody at this time; nil if it does.
func (k Key) Refusal(now time.Time) error {
	switch {
	case !k.Revoked.IsZero():
		return denied(hintNewKey, "this join string was revoked on %s", date(k.Revoked))
	case k.Used > 0 && !k.Reusable:
		return denied(hintNewKey, "this join string has been used already; it admits one agent only")
	case !now.Before(k.Expires):
		return denied(hintNewKey, "this join string expired on %s", date(k.Expires))
	}
	return nil
}

func (k Key) forgotten(now time.Time) bool {
	end := k.Expires
	if !k.Revoked.IsZero() {
		end = k.Revoked
	}
	return now.Sub(end) > keyMemory
}

// keyOf finds the key of a secret. All keys are looked at, and compared in
// constant time, so that the answer's time tells nothing.
func (n *Network) keyOf(hash SecretHash) (Key, bool) {
	var found Key
	for _, k := range n.keys {
		if subtle.ConstantTimeCompare(k.Hash[:], hash[:]) == 1 {
			found = k
		}
	}
	return found, found.ID != 0
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
