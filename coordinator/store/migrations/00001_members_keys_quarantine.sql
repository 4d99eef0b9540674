-- Times are Unix milliseconds, 0 meaning never. Lists are JSON.

-- +goose Up
CREATE TABLE settings (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    mesh         TEXT    NOT NULL,
    prefix4      TEXT    NOT NULL,
    prefix6      TEXT    NOT NULL,
    zone         TEXT    NOT NULL,
    relay_secret BLOB    NOT NULL,
    next_member  INTEGER NOT NULL,
    next_key     INTEGER NOT NULL
);

CREATE TABLE members (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    identity   BLOB    NOT NULL UNIQUE,
    wireguard  BLOB    NOT NULL UNIQUE,
    addr4      TEXT    NOT NULL UNIQUE,
    addr6      TEXT    NOT NULL UNIQUE,
    standing   INTEGER NOT NULL,
    ephemeral  BOOLEAN NOT NULL,
    tags       TEXT    NOT NULL,
    key_id     INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    version    TEXT    NOT NULL,
    signature  BLOB,
    online     BOOLEAN NOT NULL,
    last_seen  INTEGER NOT NULL,
    endpoints  TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    nat        TEXT    NOT NULL
);

CREATE TABLE keys (
    id        INTEGER PRIMARY KEY,
    hash      BLOB    NOT NULL UNIQUE,
    reusable  BOOLEAN NOT NULL,
    approved  BOOLEAN NOT NULL,
    ephemeral BOOLEAN NOT NULL,
    tags      TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    revoked   INTEGER NOT NULL,
    used      INTEGER NOT NULL
);

CREATE TABLE quarantine (
    addr4    TEXT PRIMARY KEY,
    identity BLOB    NOT NULL,
    until    INTEGER NOT NULL
);
