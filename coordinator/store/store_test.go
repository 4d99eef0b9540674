package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"meshd/coordinator"
	"meshd/dnssd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctx  = context.Background()
	noon = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	same = cmp.Options{
		cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}),
		cmpopts.EquateApproxTime(0),
		cmpopts.EquateEmpty(),
	}
)

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func load(t *testing.T, db *DB) coordinator.State {
	t.Helper()
	s, err := db.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, db *DB, changes ...coordinator.Change) {
	t.Helper()
	if err := db.Save(ctx, changes); err != nil {
		t.Fatal(err)
	}
}

// refused wants a hinted error whose text contains all the parts.
func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	var e *coordinator.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, part := range parts {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("got %q, want %q in it", e, part)
		}
	}
	if e.Hint() == "" {
		t.Errorf("no hint beside %q", e)
	}
}

var settings = coordinator.Settings{
	Mesh: "home", Prefix4: netip.MustParsePrefix("100.96.0.0/16"), Prefix6: netip.MustParsePrefix("fd00:1:2::/48"),
	Zone: "home.internal", RelaySecret: [32]byte{1, 2, 3}, NextMember: 3, NextKey: 2,
}

// member has something in every field that is kept.
func member(id coordinator.MemberID) coordinator.Member {
	return coordinator.Member{
		ID: id, Name: fmt.Sprint("nas", id), Identity: coordinator.PublicKey{1, byte(id >> 8), byte(id)},
		WireGuard: coordinator.PublicKey{2, byte(id >> 8), byte(id)},
		Addr4:     netip.AddrFrom4([4]byte{100, 96, byte(id >> 8), byte(id)}),
		Addr6:     netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(id >> 8), 15: byte(id)}),
		Standing:  coordinator.Approved, Ephemeral: true, Tags: []string{"a", "b"}, Key: 1, Created: noon, Expires: noon.Add(time.Hour),
		Version: "1", Signature: []byte{4}, Text: []string{"room=cellar"}, Plain: id%2 == 0,
		Services: []dnssd.Service{{Instance: `Files "on" nas`, Type: "_http._tcp", Port: 80, Text: []string{"path=/"},
			Host: "tv", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.9")}}},
		Presence: coordinator.Presence{
			Online: true, LastSeen: noon, Generation: 4_000_000_000, Relaying: true,
			Endpoints: []coordinator.Endpoint{{Addr: netip.MustParseAddrPort("[2001:db8::1]:41641"), Kind: "host"}},
			NAT:       coordinator.NAT{Mapping: "endpoint-independent", Delta: -1, High: 9},
		},
	}
}

func TestEverythingComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "coordinator.db")
	db := open(t, path)
	if s := load(t, db); !s.Settings.IsZero() {
		t.Errorf("a new store has settings %+v", s.Settings)
	}
	want := coordinator.State{
		Settings: settings,
		Members:  []coordinator.Member{member(1), member(2)},
		Keys: []coordinator.Key{{
			ID: 1, Hash: coordinator.HashSecret([]byte("x")), Reusable: true, Approved: true, Ephemeral: true,
			Tags: []string{"a"}, Created: noon, Expires: noon.Add(time.Hour), Revoked: noon, Used: 7,
		}},
		Quarantine: []coordinator.Quarantine{{Addr4: netip.MustParseAddr("100.96.0.9"), Identity: coordinator.PublicKey{9}, Until: noon}},
	}
	put(t, db, coordinator.PutSettings{Settings: settings}, coordinator.PutMember{Member: member(1)},
		coordinator.PutMember{Member: member(2)}, coordinator.PutKey{Key: want.Keys[0]}, coordinator.PutQuarantine{Quarantine: want.Quarantine[0]})
	if diff := cmp.Diff(load(t, db), want, same); diff != "" {
		t.Error(diff)
	}

	t.Log("changed, closed and opened again")
	want.Members[0].Name, want.Members[0].Expires = "vault", time.Time{}
	want.Members[1].Presence = coordinator.Presence{LastSeen: noon.Add(time.Minute), Generation: 5}
	want.Settings.NextMember = 9
	put(t, db, coordinator.PutMember{Member: want.Members[0]}, coordinator.PutPresence{ID: 2, Presence: want.Members[1].Presence},
		coordinator.PutSettings{Settings: want.Settings}, coordinator.DeleteKey{ID: 1},
		coordinator.DeleteQuarantine{Addr4: want.Quarantine[0].Addr4})
	want.Keys, want.Quarantine = nil, nil
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if diff := cmp.Diff(load(t, db), want, same); diff != "" {
		t.Error(diff)
	}
	put(t, db, coordinator.DeleteMember{ID: 1})
	if got := load(t, db).Members; len(got) != 1 || got[0].ID != 2 {
		t.Errorf("got %v, want member 2 alone", got)
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	db := open(t, filepath.Join(dir, "coordinator.db"))
	put(t, db, coordinator.PutSettings{Settings: settings})
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("got %v, %v, want database, log and lock", files, err)
	}
	for _, f := range append(files, dir) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", f, info.Mode())
		}
	}
}

func TestAllOrNothing(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "coordinator.db"))
	put(t, db, coordinator.PutSettings{Settings: settings})
	clash := member(2)
	clash.Name = member(1).Name // no decision leads here; a store must hold nonetheless
	if err := db.Save(ctx, []coordinator.Change{coordinator.PutMember{Member: member(1)}, coordinator.PutMember{Member: clash}}); err == nil {
		t.Fatal("two members of one name were saved")
	}
	if got := load(t, db).Members; len(got) != 0 {
		t.Errorf("got %v, want nothing of the failed set", got)
	}
}

func TestFullDisk(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "coordinator.db"))
	db.sql.SetMaxOpenConns(1) // the limit holds for one connection
	put(t, db, coordinator.PutSettings{Settings: settings})
	if _, err := db.sql.Exec("PRAGMA max_page_count = 1"); err != nil { // rounds up to the present size
		t.Fatal(err)
	}
	var changes []coordinator.Change
	for id := coordinator.MemberID(1); id < 500; id++ {
		changes = append(changes, coordinator.PutMember{Member: member(id)})
	}
	err := db.Save(ctx, changes)
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("got %v, want that the disk is full", err)
	}
	if got := len(load(t, db).Members); got != 0 {
		t.Errorf("got %d members, want none of the failed set", got)
	}
	t.Log("room is made")
	if _, err := db.sql.Exec("PRAGMA max_page_count = 100000"); err != nil {
		t.Fatal(err)
	}
	put(t, db, changes...)
	if got := len(load(t, db).Members); got != 499 {
		t.Errorf("got %d members, want 499", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "coordinator.db"))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 20 {
				id := coordinator.MemberID(1 + i*20 + j)
				if err := db.Save(ctx, []coordinator.Change{coordinator.PutMember{Member: member(id)}}); err != nil {
					t.Error(err)
				}
				if _, err := db.Load(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := len(load(t, db).Members); got != 160 {
		t.Errorf("got %d members, want 160", got)
	}
}

func TestOneCoordinatorAFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.db")
	first := open(t, path)
	_, err := Open(ctx, path)
	refused(t, err, "another coordinator runs on state folder", filepath.Dir(path), fmt.Sprint("process ", os.Getpid()))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.db")
	db := open(t, path)
	put(t, db, coordinator.PutSettings{Settings: settings})
	if _, err := db.sql.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(ctx, path)
	refused(t, err, path, "has schema 99", "schemas up to")
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the refused file was changed (%v)", err)
	}
}

func TestOlderSchemaIsCopiedFirst(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "coordinator.db"))
	put(t, db, coordinator.PutSettings{Settings: settings})
	backup := filepath.Join(dir, "coordinator.db.v1")
	for range 2 { // the second time over the first's
		if err := db.copyTo(ctx, backup); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info.Mode(), err)
	}
	if got := load(t, open(t, backup)).Settings; got != settings {
		t.Errorf("got %+v from the copy, want %+v", got, settings)
	}
	err := db.copyTo(ctx, filepath.Join(dir, "missing", "x"))
	refused(t, err, "before a migration", "no such file")
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(ctx, path)
	refused(t, err, path, "is damaged")
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(ctx, filepath.Join(file, "coordinator.db"))
	refused(t, err, "state folder", file, "not a directory")
}

func TestCrashBetween(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "coordinator.db"))
	put(t, db, coordinator.PutSettings{Settings: settings}, coordinator.PutMember{Member: member(1)})
	tx, err := db.sql.BeginTx(ctx, &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("DELETE FROM members"); err != nil {
		t.Fatal(err)
	}
	t.Log("the process dies here: its files are what the next one finds")
	next := t.TempDir()
	for _, name := range []string{"coordinator.db", "coordinator.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(next, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := load(t, open(t, filepath.Join(next, "coordinator.db")))
	if diff := cmp.Diff(got.Members, []coordinator.Member{member(1)}, same); diff != "" {
		t.Error(diff)
	}
}
