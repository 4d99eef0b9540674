package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"

	"connectrpc.com/connect"
	"github.com/pressly/goose/v3"

	"meshd/coordinator"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema to this program's version, one transaction a step,
// after a copy of what was there.
func (db *DB) migrate(ctx context.Context) error {
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.sql, steps)
	if err != nil {
		return fmt.Errorf("read own migrations: %v", err)
	}
	have, want, err := provider.GetVersions(ctx)
	switch {
	case damaged(err):
		return coordinator.Errorf(connect.CodeDataLoss, "restore a backup of it", "store %q is damaged: %w", db.path, err)
	case err != nil:
		return coordinator.Errorf(connect.CodeInternal, "", "read store %q: %w", db.path, err)
	case have > want:
		return coordinator.Errorf(connect.CodeFailedPrecondition, "run the newer meshd, or restore a backup from before it",
			"store %q has schema %d; this meshd knows schemas up to %d", db.path, have, want)
	case have == want:
		return nil
	case have > 0:
		if err := db.copyTo(ctx, fmt.Sprintf("%s.v%d", db.path, have)); err != nil {
			return err
		}
	}
	if _, err := provider.Up(ctx); err != nil {
		return coordinator.Errorf(connect.CodeInternal, "nothing was changed; make room on its disk if that is what lacks",
			"bring store %q from schema %d to %d: %w", db.path, have, want, err)
	}
	return nil
}

// copyTo writes a consistent copy of the database, whole or not at all.
func (db *DB) copyTo(ctx context.Context, path string) error {
	temporary := path + ".new"
	defer os.Remove(temporary)                 // fails, rightly, once renamed
	err := os.WriteFile(temporary, nil, 0o600) // VACUUM INTO takes an empty file, and keeps its mode
	if err == nil {
		_, err = db.sql.ExecContext(ctx, "VACUUM INTO $1", temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return coordinator.Errorf(connect.CodeInternal, "make room on that disk", "copy store to %q before a migration: %w", path, cause(err))
	}
	return nil
}
