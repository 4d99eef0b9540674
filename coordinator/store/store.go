package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"connectrpc.com/connect"
	"modernc.org/sqlite"

	"meshd/coordinator"
)

// DB implements [coordinator.Store]. Safe for concurrent use.
type DB struct {
	path string
	sql  *sql.DB
	lock *os.File
}

// pragmas hold for each connection, so they travel in the DSN. WAL with
// synchronous=NORMAL survives a crash of the process with everything, a power
// cut with all but the last transactions, and neither with half of one.
const pragmas = "_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)" +
	"&_pragma=synchronous(NORMAL)&_txlock=immediate"

// Open opens the file at path, or makes it and its folder, and holds it against
// every other process until Close. Errors are [coordinator.Error]: the folder
// cannot be written, another coordinator runs on it, the schema is newer than
// this program's, the file is damaged.
func Open(ctx context.Context, path string) (_ *DB, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %v", err)
	}
	db := &DB{path: path}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := db.takeFile(); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: pragmas}
	if db.sql, err = sql.Open("sqlite", dsn.String()); err != nil {
		return nil, fmt.Errorf("open store %q: %v", path, err)
	}
	return db, db.migrate(ctx)
}

// takeFile makes what is missing, readable by nobody else, and takes the lock.
func (db *DB) takeFile() error {
	const hint = "choose another folder by --state, or run as root"
	dir := filepath.Dir(db.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return coordinator.Errorf(connect.CodeInternal, hint, "make state folder %q: %w", dir, cause(err))
	}
	lock, err := takeLock(db.path + ".lock")
	if held := (*heldError)(nil); errors.As(err, &held) {
		return coordinator.Errorf(connect.CodeFailedPrecondition, "stop that one, or choose another folder by --state",
			"another coordinator runs on state folder %q (process %s)", dir, held.pid)
	}
	if err != nil {
		return coordinator.Errorf(connect.CodeInternal, hint, "write to state folder %q: %w", dir, cause(err))
	}
	db.lock = lock
	f, err := os.OpenFile(db.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return coordinator.Errorf(connect.CodeInternal, hint, "open store %q: %w", db.path, cause(err))
	}
	return f.Close()
}

// Close implements [coordinator.Store].
func (db *DB) Close() error {
	var err error
	if db.sql != nil {
		err = db.sql.Close()
	}
	if db.lock != nil {
		db.lock.Close() // and with it the lock
	}
	return err
}

// cause strips the operation and the path, which our own message names.
func cause(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// damaged reports whether the file holds no usable database.
func damaged(err error) bool {
	const sqliteCorrupt, sqliteNotADB = 11, 26
	se := (*sqlite.Error)(nil)
	return errors.As(err, &se) && (se.Code()&0xff == sqliteCorrupt || se.Code()&0xff == sqliteNotADB)
}
