package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"meshd/coordinator"
)

// Save implements [coordinator.Store].
func (db *DB) Save(ctx context.Context, changes []coordinator.Change) error {
	tx, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	for _, c := range changes {
		if err := write(ctx, tx, c); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func write(ctx context.Context, tx *sql.Tx, change coordinator.Change) error {
	var err error
	exec := func(query string, args ...any) { _, err = tx.ExecContext(ctx, query, args...) }
	switch c := change.(type) {
	case coordinator.PutSettings:
		s := c.Settings
		exec(putSettings, s.Mesh, s.Prefix4.String(), s.Prefix6.String(), s.Zone, s.RelaySecret[:], s.NextMember, s.NextKey)
	case coordinator.PutMember:
		m := c.Member
		exec(putMember, m.ID, m.Name, m.Identity[:], m.WireGuard[:], m.Addr4.String(), m.Addr6.String(),
			m.Standing, m.Ephemeral, list(m.Tags), m.Key, millis(m.Created), millis(m.Expires), m.Version, m.Signature,
			m.Online, millis(m.LastSeen), list(m.Endpoints), m.Generation, list(m.NAT), m.Relaying,
			list(m.Services), list(m.Text), m.Plain)
	case coordinator.PutPresence:
		p := c.Presence
		exec(putPresence, c.ID, p.Online, millis(p.LastSeen), list(p.Endpoints), p.Generation, list(p.NAT), p.Relaying)
	case coordinator.DeleteMember:
		exec("DELETE FROM members WHERE id = $1", c.ID)
	case coordinator.PutKey:
		k := c.Key
		exec(putKey, k.ID, k.Hash[:], k.Reusable, k.Approved, k.Ephemeral, list(k.Tags),
			millis(k.Created), millis(k.Expires), millis(k.Revoked), k.Used)
	case coordinator.DeleteKey:
		exec("DELETE FROM keys WHERE id = $1", c.ID)
	case coordinator.PutQuarantine:
		q := c.Quarantine
		exec(putQuarantine, q.Addr4.String(), q.Identity[:], millis(q.Until))
	case coordinator.DeleteQuarantine:
		exec("DELETE FROM quarantine WHERE addr4 = $1", c.Addr4.String())
	default:
		return fmt.Errorf("a change of type %T is not known to the store", change)
	}
	return err
}

const (
	putSettings = `
INSERT INTO settings (one, mesh, prefix4, prefix6, zone, relay_secret, next_member, next_key)
VALUES (1, $1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (one) DO UPDATE SET mesh = excluded.mesh, prefix4 = excluded.prefix4, prefix6 = excluded.prefix6,
    zone = excluded.zone, relay_secret = excluded.relay_secret,
    next_member = excluded.next_member, next_key = excluded.next_key`

	putMember = `
INSERT INTO members (id, name, identity, wireguard, addr4, addr6, standing, ephemeral, tags, key_id, created, expires,
    version, signature, online, last_seen, endpoints, generation, nat, relaying,
    services, dns_text, plain)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, identity = excluded.identity, wireguard = excluded.wireguard,
    addr4 = excluded.addr4, addr6 = excluded.addr6, standing = excluded.standing, ephemeral = excluded.ephemeral,
    tags = excluded.tags, key_id = excluded.key_id, created = excluded.created, expires = excluded.expires,
    version = excluded.version, signature = excluded.signature, online = excluded.online,
    last_seen = excluded.last_seen, endpoints = excluded.endpoints, generation = excluded.generation, nat = excluded.nat,
    relaying = excluded.relaying, services = excluded.services, dns_text = excluded.dns_text, plain = excluded.plain`

	putPresence = `
UPDATE members SET online = $2, last_seen = $3, endpoints = $4, generation = $5, nat = $6, relaying = $7 WHERE id = $1`

	putKey = `
INSERT INTO keys (id, hash, reusable, approved, ephemeral, tags, created, expires, revoked, used)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, reusable = excluded.reusable, approved = excluded.approved,
    ephemeral = excluded.ephemeral, tags = excluded.tags, created = excluded.created, expires = excluded.expires,
    revoked = excluded.revoked, used = excluded.used`

	putQuarantine = `
INSERT INTO quarantine (addr4, identity, until) VALUES ($1, $2, $3)
ON CONFLICT (addr4) DO UPDATE SET identity = excluded.identity, until = excluded.until`
)

// list encodes what SQL has no type for.
func list(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own plain types always encode
	}
	return string(b)
}

// millis is a time as the columns hold it; zero for never.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
