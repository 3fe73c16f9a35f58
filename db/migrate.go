package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/pressly/goose/v3"

	"github.com/loads/loads/broker"
)

// applicationID marks the file as ours; the first migration sets it.
const applicationID = 0x4c4f4144

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the database to the newest schema. Each migration is a
// transaction of its own, so a crash leaves a whole number of them.
func migrate(ctx context.Context, x *sql.DB, path string) error {
	p, err := newProvider(x)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if current > target {
		return broker.Errorf(broker.EInvalid,
			"The database %s has schema version %d, and this program knows only up to %d; "+
				"use the newer program that made it, or another file.", path, current, target)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func newProvider(x *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, x, files, goose.WithDisableGlobalRegistry(true))
}

// checkOwner refuses a file that another program made, before anything in it
// is changed: its connection sets no journal mode.
func checkOwner(ctx context.Context, path string) (err error) {
	x, err := connect(path, url.Values{"mode": {"rw"}, "_busy_timeout": {"5000"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	var found struct {
		ID     int64 `db:"id"`
		Tables int64 `db:"tables"`
	}
	// The runner's own table may be there before the first migration is.
	err = x.GetContext(ctx, &found, `SELECT application_id AS id, (SELECT count(*) FROM sqlite_schema
		WHERE tbl_name NOT IN ('goose_db_version', 'sqlite_sequence')) AS tables FROM pragma_application_id`)
	if isNotADatabase(err) {
		return broker.Errorf(broker.EInvalid, "The file %s is no SQLite database; give another file.", path)
	}
	if err != nil {
		return fmt.Errorf("read database: %w", err)
	}
	if found.ID == applicationID || found.ID == 0 && found.Tables == 0 {
		return nil
	}
	return broker.Errorf(broker.EInvalid, "The database %s was made by another program; give another file.", path)
}
