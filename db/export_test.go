package db

import (
	"context"
	"database/sql"
	"testing"
)

// FramesOfRun is the query that Frames runs.
const FramesOfRun = framesOfRun

// Pragma returns a setting of the write connection and of a read connection.
func (d *DB) Pragma(tb testing.TB, name string) string {
	tb.Helper()
	var w, r string
	if err := d.writer.Get(&w, "PRAGMA "+name); err != nil {
		tb.Fatal(err)
	}
	if err := d.reader.Get(&r, "PRAGMA "+name); err != nil {
		tb.Fatal(err)
	}
	return w + " " + r
}

// MigrateTo applies the migrations up to the version, and returns the newest
// version there is.
func MigrateTo(ctx context.Context, x *sql.DB, version int64) (newest int64, err error) {
	p, err := newProvider(x)
	if err != nil {
		return 0, err
	}
	if version > 0 {
		if _, err := p.UpTo(ctx, version); err != nil {
			return 0, err
		}
	}
	_, newest, err = p.GetVersions(ctx)
	return newest, err
}

// UsedBytes returns what the database's pages that are not free take.
func (d *DB) UsedBytes() (int64, error) {
	var n int64
	err := d.reader.Get(&n, `SELECT (page_count - freelist_count) * page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`)
	return n, err
}
