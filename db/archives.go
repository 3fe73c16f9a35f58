package db

import (
	"context"

	"github.com/loads/loads/broker"
)

const archiveColumns = "run_uuid, url, upload, size, sha256, checksum, trouble, done"

// Archives returns the archives that are not done, the oldest first.
func (d *DB) Archives(ctx context.Context) (list []broker.Archive, err error) {
	err = d.read(ctx, "read archives", func(ctx context.Context, t *tx) error {
		return t.SelectContext(ctx, &list, "SELECT "+archiveColumns+" FROM archive WHERE done = 0 ORDER BY rowid")
	})
	return list, err
}

// Archive returns the archive of a run; ENotFound when there is none.
func (d *DB) Archive(ctx context.Context, runUUID string) (a broker.Archive, err error) {
	err = d.read(ctx, "read archive", func(ctx context.Context, t *tx) error {
		err := t.GetContext(ctx, &a, "SELECT "+archiveColumns+" FROM archive WHERE run_uuid = ?", runUUID)
		return orNotFound(err, "Run %s is not archived.", runUUID)
	})
	return a, err
}

// SaveArchive stores how far an archive is, and events of its run.
func (d *DB) SaveArchive(ctx context.Context, run *broker.Run, a broker.Archive, events ...broker.Event) error {
	return d.change(ctx, "save archive", run, events, func(ctx context.Context, t *tx) error {
		_, err := t.NamedExecContext(ctx, `INSERT INTO archive (`+archiveColumns+`)
			VALUES (:run_uuid, :url, :upload, :size, :sha256, :checksum, :trouble, :done)
			ON CONFLICT (run_uuid) DO UPDATE SET url = :url, upload = :upload, size = :size, sha256 = :sha256,
			checksum = :checksum, trouble = :trouble, done = :done`, a)
		return err
	})
}

// DeleteArchive forgets the archive of a run.
func (d *DB) DeleteArchive(ctx context.Context, runUUID string) error {
	return d.write(ctx, "forget archive", func(ctx context.Context, t *tx) error {
		_, err := t.ExecContext(ctx, "DELETE FROM archive WHERE run_uuid = ?", runUUID)
		return err
	})
}
