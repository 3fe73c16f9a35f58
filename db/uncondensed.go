package db

import (
	"context"

	"github.com/loads/loads/broker"
)

// Uncondensed returns the completed runs that Condense has something to do
// for, the oldest first. Runs that wait for an export are not among them.
func (d *DB) Uncondensed(ctx context.Context) (runUUIDs []string, err error) {
	err = d.read(ctx, "find runs to condense", func(ctx context.Context, t *tx) error {
		return t.SelectContext(ctx, &runUUIDs, `SELECT r.uuid FROM run r
			LEFT JOIN meta x ON x.name = ? LEFT JOIN export e ON e.run_id = r.id
			WHERE r.state = ? AND (x.value IS NULL OR r.id < CAST(x.value AS INTEGER) OR coalesce(e.done, 0) = 1)
			AND NOT EXISTS (SELECT 1 FROM monitor_export WHERE run_id = r.id AND done = 0)
			AND EXISTS (SELECT 1 FROM machine m JOIN frame f ON f.machine_id = m.id AND f.seq < m.frame_seq WHERE m.run_id = r.id)
			ORDER BY r.id`, exportFrom, broker.Completed)
	})
	return runUUIDs, err
}
