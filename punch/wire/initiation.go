package wire

import (
	"crypto/ecdh"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// InitiationSize is the size of a WireGuard handshake initiation:
//
//	type 1 · reserved 3 · sender 4 · ephemeral 32 · static 32+16 · timestamp 12+16 · mac1 16 · mac2 16
//
// It is the first message of Noise_IKpsk2 (WireGuard paper, 5.4.2): whoever has
// the responder's private key learns from it alone who sent it.
const InitiationSize = 148

const (
	initiationStatic = 40
	initiationTime   = 88
	initiationMAC1   = 116
	timestampSize    = 12
)

// Initiation is what a handshake initiation says.
type Initiation struct {
	Static    [32]byte            // public key of the initiator, proven
	Timestamp [timestampSize]byte // TAI64N, which an initiator never sends twice
}

// After reports whether i was made after o. The message of an initiator that was
// heard before and is not after that is a replay.
func (i Initiation) After(o Initiation) bool {
	return string(i.Timestamp[:]) > string(o.Timestamp[:]) // TAI64N is big-endian
}

// Responder reads handshake initiations that are meant for one key. It answers
// none. Responders are safe for concurrent use.
type Responder struct {
	private *ecdh.PrivateKey
	mac1    [blake2s.Size]byte // key of the cheap check
	chain   [blake2s.Size]byte // Noise's chaining key and hash before the message
	hash    [blake2s.Size]byte
}

const (
	noiseName     = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
	noisePrologue = "WireGuard v1 zx2c4 Jason@zx2c4.com"
)

// NewResponder makes a responder for a Curve25519 private key.
func NewResponder(private [32]byte) (*Responder, error) {
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	public := key.PublicKey().Bytes()
	r := &Responder{private: key, chain: blake2s.Sum256([]byte(noiseName))}
	r.hash = mix(mix(r.chain, []byte(noisePrologue)), public)
	r.mac1 = blake2s.Sum256(append([]byte("mac1----"), public...))
	return r, nil
}

// PublicKey is the key that initiations have to be meant for.
func (r *Responder) PublicKey() [32]byte { return [32]byte(r.private.PublicKey().Bytes()) }

// Meant reports whether b has the form of an initiation, and was made by somebody
// who knows our public key. It costs no more than two hashes.
func (r *Responder) Meant(b []byte) bool {
	if len(b) != InitiationSize || binary.LittleEndian.Uint32(b) != 1 {
		return false
	}
	mac, err := blake2s.New128(r.mac1[:])
	if err != nil {
		return false // the key's length is right
	}
	mac.Write(b[:initiationMAC1])
	return hmac.Equal(mac.Sum(nil), b[initiationMAC1:initiationMAC1+blake2s.Size128])
}

var errNotInitiation = errors.New("no handshake initiation for this key")

// Read decrypts an initiation. It costs two multiplications on the curve, so
// callers limit the rate. Whether it is a replay, only they can know.
func (r *Responder) Read(b []byte) (Initiation, error) {
	if !r.Meant(b) {
		return Initiation{}, errNotInitiation
	}
	return r.decrypt(b)
}

// decrypt takes any bytes of the right number.
func (r *Responder) decrypt(b []byte) (i Initiation, err error) {
	ephemeral := b[8:initiationStatic]
	hash := mix(r.hash, ephemeral)
	chain, _ := derive(r.chain, ephemeral)
	chain, key, err := r.agree(chain, ephemeral)
	if err != nil {
		return i, err
	}
	static := b[initiationStatic:initiationTime]
	if err := open(i.Static[:], key, hash, static); err != nil {
		return i, err
	}
	hash = mix(hash, static)
	if _, key, err = r.agree(chain, i.Static[:]); err != nil {
		return i, err
	}
	return i, open(i.Timestamp[:], key, hash, b[initiationTime:initiationMAC1])
}

// agree mixes the secret shared with a public key into the chaining key.
func (r *Responder) agree(chain [32]byte, public []byte) (next, key [32]byte, err error) {
	theirs, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return next, key, err
	}
	secret, err := r.private.ECDH(theirs)
	if err != nil {
		return next, key, fmt.Errorf("agree on a key: %w", err)
	}
	next, key = derive(chain, secret)
	return next, key, nil
}

// open decrypts into dst, by the zero nonce that each of these keys is used with.
func open(dst []byte, key, hash [32]byte, sealed []byte) error {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return err
	}
	if _, err = aead.Open(dst[:0], make([]byte, aead.NonceSize()), sealed, hash[:]); err != nil {
		return errNotInitiation
	}
	return nil
}

func mix(h [32]byte, data []byte) [32]byte {
	return blake2s.Sum256(append(h[:], data...))
}

// derive is HKDF (RFC 5869) with HMAC-BLAKE2s: the first two blocks of output.
// Each of the message's steps uses the first, or both.
func derive(chain [32]byte, input []byte) (first, second [32]byte) {
	sum := func(key [32]byte, data ...byte) [32]byte {
		mac := hmac.New(func() hash.Hash {
			h, _ := blake2s.New256(nil) // fails for keys only
			return h
		}, key[:])
		mac.Write(data)
		return [32]byte(mac.Sum(nil))
	}
	secret := sum(chain, input...)
	first = sum(secret, 1)
	return first, sum(secret, append(first[:], 2)...)
}
