package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"meshd/coordinator"
)

// Load implements [coordinator.Store].
func (db *DB) Load(ctx context.Context) (coordinator.State, error) {
	var s coordinator.State
	err := db.load(ctx, &s)
	if err != nil {
		return s, coordinator.Errorf(connect.CodeDataLoss, "restore a backup of it", "read store %q: %w", db.path, err)
	}
	return s, nil
}

// load reads in one transaction, so that all of it is of one moment.
func (db *DB) load(ctx context.Context, s *coordinator.State) error {
	tx, err := db.sql.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if s.Settings, err = loadSettings(ctx, tx); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if s.Members, err = all(ctx, tx, selectMembers, scanMember); err != nil {
		return fmt.Errorf("members: %w", err)
	}
	if s.Keys, err = all(ctx, tx, selectKeys, scanKey); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if s.Quarantine, err = all(ctx, tx, selectQuarantine, scanQuarantine); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return nil
}

const (
	selectSettings = `SELECT mesh, prefix4, prefix6, zone, relay_secret, next_member, next_key FROM settings`
	selectMembers  = `
SELECT id, name, identity, wireguard, addr4, addr6, standing, ephemeral, tags, key_id, created, expires,
    version, signature, online, last_seen, endpoints, generation, nat, relaying,
    services, dns_text, plain FROM members ORDER BY id`
	selectKeys = `
SELECT id, hash, reusable, approved, ephemeral, tags, created, expires, revoked, used FROM keys ORDER BY id`
	selectQuarantine = `SELECT addr4, identity, until FROM quarantine ORDER BY addr4`
)

func loadSettings(ctx context.Context, tx *sql.Tx) (s coordinator.Settings, err error) {
	row := tx.QueryRowContext(ctx, selectSettings)
	err = row.Scan(&s.Mesh, text(&s.Prefix4), text(&s.Prefix6), &s.Zone, key(&s.RelaySecret), &s.NextMember, &s.NextKey)
	if errors.Is(err, sql.ErrNoRows) {
		return coordinator.Settings{}, nil
	}
	return s, err
}

func scanMember(row *sql.Rows) (m coordinator.Member, err error) {
	return m, row.Scan(&m.ID, &m.Name, key(&m.Identity), key(&m.WireGuard), text(&m.Addr4), text(&m.Addr6),
		&m.Standing, &m.Ephemeral, object(&m.Tags), &m.Key, moment(&m.Created), moment(&m.Expires), &m.Version, &m.Signature,
		&m.Online, moment(&m.LastSeen), object(&m.Endpoints), &m.Generation, object(&m.NAT), &m.Relaying,
		object(&m.Services), object(&m.Text), &m.Plain)
}

func scanKey(row *sql.Rows) (k coordinator.Key, err error) {
	return k, row.Scan(&k.ID, key(&k.Hash), &k.Reusable, &k.Approved, &k.Ephemeral, object(&k.Tags),
		moment(&k.Created), moment(&k.Expires), moment(&k.Revoked), &k.Used)
}

func scanQuarantine(row *sql.Rows) (q coordinator.Quarantine, err error) {
	return q, row.Scan(text(&q.Addr4), key(&q.Identity), moment(&q.Until))
}

func all[T any](ctx context.Context, tx *sql.Tx, query string, scan func(*sql.Rows) (T, error)) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, v)
	}
	return found, rows.Err()
}

// column reads a value of the database into a variable of ours.
type column func(src any) error

// Scan implements [sql.Scanner].
func (c column) Scan(src any) error { return c(src) }

func text[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](v P) column {
	return func(src any) error {
		s, ok := src.(string)
		if !ok {
			return fmt.Errorf("want text, have %T", src)
		}
		return v.UnmarshalText([]byte(s))
	}
}

func key[T ~[32]byte](v *T) column {
	return func(src any) error {
		b, ok := src.([]byte)
		if !ok || len(b) != len(*v) {
			return fmt.Errorf("want %d bytes, have %T", len(*v), src)
		}
		*v = T(b)
		return nil
	}
}

func object(v any) column {
	return func(src any) error {
		s, ok := src.(string)
		if !ok {
			return fmt.Errorf("want JSON, have %T", src)
		}
		return json.Unmarshal([]byte(s), v)
	}
}

func moment(v *time.Time) column {
	return func(src any) error {
		ms, ok := src.(int64)
		if !ok {
			return fmt.Errorf("want a number, have %T", src)
		}
		if ms != 0 {
			*v = time.UnixMilli(ms)
		}
		return nil
	}
}
