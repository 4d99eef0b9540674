package store

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
)

// oldMember is a row as the first schema had it.
const oldMember = `
INSERT INTO members (id, name, identity, wireguard, addr4, addr6, standing, ephemeral, tags, key_id, created, expires,
    version, signature, online, last_seen, endpoints, generation, nat)
VALUES (1, 'nas', zeroblob(32), zeroblob(32), '100.96.0.1', 'fd00::1', 2, 0, '[]', 1, 0, 0, '1', NULL, 0, 0, '[]', 1, '{}')`

func TestStoreOfTheFirstSchemaIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.db")
	file, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, file, steps)
	if err == nil {
		_, err = provider.UpTo(ctx, 1)
	}
	if err == nil {
		_, err = file.Exec(oldMember)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}

	if got := load(t, open(t, path)).Members; len(got) != 1 || got[0].Name != "nas" || got[0].Relaying {
		t.Errorf("got %+v, want the one member, which relays for nobody", got)
	}
	t.Log("a copy of what was there lies beside it")
	old, err := sql.Open("sqlite", path+".v1")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	var name string
	if err := old.QueryRow("SELECT name FROM members").Scan(&name); err != nil || name != "nas" {
		t.Errorf("the copy has %q, %v", name, err)
	}
}
