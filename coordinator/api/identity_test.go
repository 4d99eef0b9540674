package api

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	first, err := LoadOrCreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Public().Equal(second.Public()) {
		t.Error("the second start made another identity")
	}
	if got, want := second.Certificate().Certificate[0], first.Certificate().Certificate[0]; string(got) != string(want) {
		t.Error("the same key gave two certificates")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("stored with mode %v, %v; want -rw-------", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files beside the identity, want none", len(left)-1)
	}
}

func TestIdentityHidesItsKey(t *testing.T) {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{fmt.Sprint(id), fmt.Sprintf("%v", id), id.LogValue().String()} {
		if got != id.Pin().String() {
			t.Errorf("printed as %q, want the pin %s", got, id.Pin())
		}
	}
}

func TestBrokenIdentityIsLeftAlone(t *testing.T) {
	const ecKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
`
	tests := []struct{ text, want string }{
		{"", "not a key in PEM"},
		{"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", "not a PKCS #8 key"},
		{ecKey, "want an Ed25519 key, have *ecdsa.PrivateKey"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "identity")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateIdentity(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("got error %v, want %s with the path", err, tt.want)
		}
		if now, _ := os.ReadFile(path); string(now) != tt.text {
			t.Errorf("the file was changed to %q", now)
		}
	}
}

func TestIdentityInMissingFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "identity")
	_, err := LoadOrCreateIdentity(path)
	want := fmt.Sprintf("write identity %q: no such file or directory", path)
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
