package agent

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
)

func testFolder(t *testing.T) folder {
	t.Helper()
	f, err := openFolder(filepath.Join(t.TempDir(), "mesh"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestStateRoundTrip(t *testing.T) {
	f := testFolder(t)
	if got, err := f.load(); err != nil || got.Hub != nil || got.Version != stateVersion {
		t.Fatalf("first start: %+v, %v", got, err)
	}
	want := state{
		Version: stateVersion, Pending: true, Port: 24242, ClockOffset: -25 * time.Hour, Key: Key(keyBytes(1)),
		Hub: &hub{Hosts: []string{"hub.example", "2001:db8::1"}, Port: 8443, Pin: api.Pin{1, 2, 3}},
	}
	if err := f.save(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.load()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Error(d)
	}
}

func TestMapRoundTrip(t *testing.T) {
	f := testFolder(t)
	if got, err := f.loadMap(); got != nil || err != nil {
		t.Fatalf("first start: %v, %v", got, err)
	}
	want := savedMap{Version: stateVersion, Map: mustApply(t, nil, fullMap()), Relays: []netip.AddrPort{addrPort("203.0.113.1:3478")}}
	if err := f.saveMap(want); err != nil {
		t.Fatal(err)
	}
	got, err := f.loadMap()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*got, want, compareIPs); d != "" {
		t.Error(d)
	}
	if changes := Diff(got.Map, want.Map); changes != nil {
		t.Errorf("the map from disk differs: %v", changes)
	}
}

func TestKeysStay(t *testing.T) {
	f := testFolder(t)
	key, err := f.key()
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.identity()
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.key()
	if err != nil || again.public() != key.public() {
		t.Errorf("key: got %v, %v, want %v", again.public(), err, key.public())
	}
	if same, err := f.identity(); err != nil || same.Pin() != id.Pin() {
		t.Errorf("identity: got %v, %v, want %v", same, err, id)
	}
	for _, name := range []string{wireguardFile, identityFile} {
		if info, err := os.Stat(f.file(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// The vector of RFC 7748 §6.1.
func TestPublicKey(t *testing.T) {
	k := privateKey{[32]byte{
		0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
		0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
	}}
	if got, want := k.public().String(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := k.String(); strings.Contains(got, "dw") {
		t.Errorf("String shows the key: %s", got)
	}
}

func TestBadFiles(t *testing.T) {
	load := func(f folder) error { _, err := f.load(); return err }
	loadMap := func(f folder) error { _, err := f.loadMap(); return err }
	key := func(f folder) error { _, err := f.key(); return err }
	for _, tt := range []struct {
		name, file, text string
		read             func(folder) error
		want, hint       string // parts
	}{
		{"state cut short", stateFile, `{"version": 1, "hub": {"ho`, load, "damaged", "backup"},
		{"state empty", stateFile, ``, load, "damaged", "backup"},
		{"state of another kind", stateFile, `{"version": 1, "hub": 7}`, load, "damaged", "backup"},
		{"state of the future", stateFile, `{"version": 9}`, load, "version 9, this one knows 1", "newer"},
		{"state with a bad pin", stateFile, `{"version": 1, "hub": {"pin": "xyz"}}`, load, "damaged", "backup"},
		{"map cut short", mapFile, `{"version": 1, "map": {`, loadMap, "damaged", ""},
		{"map of the future", mapFile, `{"version": 2}`, loadMap, "newer meshd", ""},
		{"no map", mapFile, `{"version": 1}`, loadMap, "empty", ""},
		{"map without an address", mapFile, `{"version": 1, "map": {"Self": {"ID": 1}}}`, loadMap, "own address is missing", ""},
		{"key cut short", wireguardFile, "AAAA\n", key, "no WireGuard key", "backup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := testFolder(t)
			if err := os.WriteFile(f.file(tt.file), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := tt.read(f)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), f.file(tt.file)) {
				t.Errorf("got %v, want an error with %q and the path", err, tt.want)
			}
			if hint := localapi.HintOf(err); !strings.Contains(hint, tt.hint) {
				t.Errorf("got hint %q, want one with %q", hint, tt.hint)
			}
			if b, _ := os.ReadFile(f.file(tt.file)); string(b) != tt.text {
				t.Errorf("the file was touched: %q", b)
			}
		})
	}
}

// A write that fails leaves the old file, whole, and nothing besides.
func TestWriteFails(t *testing.T) {
	f := testFolder(t)
	if err := f.save(state{Version: 1, Port: 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.file(mapFile), 0o700); err != nil { // a rename onto a folder fails
		t.Fatal(err)
	}
	if err := f.saveMap(savedMap{}); err == nil || !strings.Contains(err.Error(), f.file(mapFile)) {
		t.Errorf("got %v, want an error with the path", err)
	}
	entries, err := os.ReadDir(f.path)
	if err != nil || len(entries) != 2 {
		t.Errorf("got %v, %v, want the state and the folder in the way", entries, err)
	}
	if s, err := f.load(); err != nil || s.Port != 1 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openFolder(filepath.Join(file, "mesh"))
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
	if hint := localapi.HintOf(unwritable("write", "x", os.ErrPermission)); hint != hintFolder {
		t.Errorf("got hint %q", hint)
	}
}

func TestLock(t *testing.T) {
	f := testFolder(t)
	l, err := f.lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.lock()
	if err == nil || !strings.Contains(err.Error(), "another meshd daemon (pid ") || localapi.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	l.release()
	l, err = f.lock()
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	l.release()
}

func TestBackoff(t *testing.T) {
	var b backoff
	for i, most := range []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
		most *= time.Millisecond
		if got := b.next(); got < most/2 || got > most {
			t.Errorf("wait %d: got %v, want %v to %v", i, got, most/2, most)
		}
	}
	b.reset()
	if got := b.next(); got > backoffFirst {
		t.Errorf("after reset: got %v", got)
	}
}

func TestFinal(t *testing.T) {
	if e := final(errors.New("cut")); e != nil {
		t.Errorf("a network error ended it all: %v", e)
	}
	if e, ok := final(&joinError{&api.DialError{Err: &api.PinError{}}}).(refused); !ok {
		t.Errorf("another hub's key: got %v", e)
	}
	if e := final(&api.DialError{Err: &api.PinError{}}); e != nil {
		t.Errorf("a member gave up because of a wrong key: %v", e)
	}
}
