package api

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Identity is the Ed25519 key pair that a coordinator or an agent is known by.
// The private half never leaves it but as a TLS signature.
type Identity struct {
	key  ed25519.PrivateKey
	cert tls.Certificate
}

// NewIdentity makes an identity that is stored nowhere.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an identity: %v", err)
	}
	return identityOf(key)
}

// LoadOrCreateIdentity reads the identity stored at path, or makes one and
// stores it there: PKCS #8 in PEM, mode 0600, whole or not at all. The folder
// must exist. A file that holds something else is an error, and is left alone.
func LoadOrCreateIdentity(path string) (*Identity, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read identity %q: %w", path, cause(err))
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("read identity %q: %v", path, err)
	}
	return identityOf(key)
}

// Public returns the public key.
func (id *Identity) Public() ed25519.PublicKey { return id.key.Public().(ed25519.PublicKey) }

// Pin returns the fingerprint of the public key.
func (id *Identity) Pin() Pin { return PinOf(id.Public()) }

// Certificate returns the identity as TLS wants it: self-signed, and the same
// bytes each time, as Ed25519 signs deterministically.
func (id *Identity) Certificate() tls.Certificate { return id.cert }

// String tells the fingerprint, never the key.
func (id *Identity) String() string { return id.Pin().String() }

// LogValue implements [slog.LogValuer].
func (id *Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

func createIdentity(path string) (*Identity, error) {
	id, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		return nil, fmt.Errorf("encode an identity: %v", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeWhole(path, text); err != nil {
		return nil, fmt.Errorf("write identity %q: %w", path, cause(err))
	}
	return id, nil
}

func parseKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not a key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("not a PKCS #8 key: %v", err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("want an Ed25519 key, have %T", key)
	}
	return ed, nil
}

// identityOf wraps the key in a certificate that is valid at any time a clock
// may show: nobody of ours judges the dates, but a box in between might.
func identityOf(key ed25519.PrivateKey) (*Identity, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "meshd"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 §4.1.2.5: no expiry
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %v", err)
	}
	return &Identity{key: key, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// writeWhole puts b at path, mode 0600, so that a crash or a full disk leaves
// either nothing or all of it.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, rightly, once renamed
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// cause strips the path that our own message names already.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
