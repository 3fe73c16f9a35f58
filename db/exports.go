package db

import (
	"context"
	"math"

	"github.com/loads/loads/broker"
)

// Names in table meta: the first run that is exported, or shown on a
// dashboard. Runs that were over before somebody asked for that stay as they
// are.
const (
	exportFrom    = "export_from"
	dashboardFrom = "dashboard_from"
)

// An exportRow is an export as its columns.
type exportRow struct {
	RunID   int64          `db:"run_id"`
	Done    bool           `db:"done"`
	Newest  int64          `db:"newest"`
	Written uint64         `db:"written"`
	Refused uint64         `db:"refused"`
	Trouble broker.Trouble `db:"trouble"`
	Detail  string         `db:"detail"`
}

func (r exportRow) record(run broker.Run) broker.Export {
	return broker.Export{
		Run: run, Done: r.Done, Newest: r.Newest, Written: r.Written, Refused: r.Refused,
		Trouble: r.Trouble, Detail: r.Detail,
	}
}

// BeginExports says that from now on the metrics of runs are exported: of
// those under way, and of all that follow, also of such as run while nobody
// exports. Saying it again changes nothing.
func (d *DB) BeginExports(ctx context.Context) error {
	return d.write(ctx, "begin exports", func(ctx context.Context, t *tx) error {
		return begin(ctx, t, exportFrom)
	})
}

// begin notes the first run that is not completed, or else the next one.
func begin(ctx context.Context, t *tx, name string) error {
	_, err := t.ExecContext(ctx, `INSERT INTO meta (name, value) SELECT ?, coalesce(
		(SELECT min(id) FROM run WHERE state < ?),
		(SELECT seq + 1 FROM sqlite_sequence WHERE name = 'run'), 1) WHERE true ON CONFLICT DO NOTHING`,
		name, broker.Completed)
	return err
}

// An exportTable is where is kept how far exports are: to the InfluxDB of all
// runs, or to those that runs have to themselves.
type exportTable struct{ export, cursor string }

var (
	ofAllRuns = exportTable{export: "export", cursor: "export_cursor"}
	ofMonitor = exportTable{export: "monitor_export", cursor: "monitor_cursor"}
)

// Exports returns the runs whose metrics are not all exported, the oldest
// first. Waiting is not set.
func (d *DB) Exports(ctx context.Context) (list []broker.Export, err error) {
	err = d.read(ctx, "read exports", func(ctx context.Context, t *tx) error {
		unfinished, err := runs(ctx, t, `WHERE id >= (SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?)
			AND id NOT IN (SELECT run_id FROM export WHERE done = 1) ORDER BY id`, exportFrom)
		if err != nil {
			return err
		}
		list = make([]broker.Export, len(unfinished))
		for i, run := range unfinished {
			row, err := ofAllRuns.find(ctx, t, run.ID)
			if err != nil {
				return err
			}
			list[i] = row.record(run)
		}
		return nil
	})
	return list, err
}

// Export returns how far the run's metrics have come, or nil when they are
// not exported.
func (d *DB) Export(ctx context.Context, runUUID string) (found *broker.Export, err error) {
	err = d.read(ctx, "read export", func(ctx context.Context, t *tx) error {
		run, err := findRun(ctx, t, runUUID)
		if err != nil {
			return err
		}
		var exported bool
		err = t.GetContext(ctx, &exported, `SELECT EXISTS (SELECT 1 FROM meta WHERE name = ? AND ? >= CAST(value AS INTEGER))`,
			exportFrom, run.ID)
		if err != nil || !exported {
			return err
		}
		found, err = ofAllRuns.read(ctx, t, run)
		return err
	})
	return found, err
}

// read returns how far the run is, with what waits.
func (x exportTable) read(ctx context.Context, t *tx, run broker.Run) (*broker.Export, error) {
	row, err := x.find(ctx, t, run.ID)
	if err != nil {
		return nil, err
	}
	e := row.record(run)
	err = t.GetContext(ctx, &e.Waiting, `SELECT count(*) FROM machine m
		LEFT JOIN `+x.cursor+` c ON c.machine_id = m.id
		JOIN frame f ON f.machine_id = m.id AND f.seq > coalesce(c.seq, 0) WHERE m.run_id = ?`, run.ID)
	return &e, err
}

// find returns an empty row when there is none yet.
func (x exportTable) find(ctx context.Context, t *tx, runID int64) (exportRow, error) {
	var rows []exportRow
	err := t.SelectContext(ctx, &rows, `SELECT run_id, done, newest, written, refused, trouble, detail
		FROM `+x.export+` WHERE run_id = ?`, runID)
	if err != nil || len(rows) == 0 {
		return exportRow{RunID: runID}, err
	}
	return rows[0], nil
}

// FramesToExport returns frames that are not exported yet, of each machine of
// the run up to limit, by machine and number.
func (d *DB) FramesToExport(ctx context.Context, runUUID string, limit int) ([]broker.StoredFrame, error) {
	return d.framesToExport(ctx, ofAllRuns, runUUID, limit)
}

func (d *DB) framesToExport(ctx context.Context, x exportTable, runUUID string, limit int) (list []broker.StoredFrame, err error) {
	err = d.read(ctx, "read frames to export", func(ctx context.Context, t *tx) error {
		var cursors []struct {
			ID  int64  `db:"id"`
			Seq uint64 `db:"seq"`
		}
		err := t.SelectContext(ctx, &cursors, `SELECT m.id, coalesce(c.seq, 0) AS seq
			FROM run r JOIN machine m ON m.run_id = r.id LEFT JOIN `+x.cursor+` c ON c.machine_id = m.id
			WHERE r.uuid = ? AND m.frame_seq > coalesce(c.seq, 0) ORDER BY m.step_idx, m.idx`, runUUID)
		if err != nil {
			return err
		}
		for _, c := range cursors {
			found, err := d.selectFrames(ctx, t, `SELECT machine_id, seq, at, final, body FROM frame
				WHERE machine_id = ? AND seq > ? ORDER BY seq LIMIT ?`, c.ID, c.Seq, limit)
			if err != nil {
				return err
			}
			list = append(list, found...)
		}
		return nil
	})
	return list, err
}

// ExportedFrames returns the run's frames with from < At <= to that are
// exported, by machine and number. It looks at every frame of the run, so it
// is for what is needed seldom.
func (d *DB) ExportedFrames(ctx context.Context, runUUID string, from, to int64) ([]broker.StoredFrame, error) {
	return d.exportedFrames(ctx, ofAllRuns, runUUID, from, to)
}

func (d *DB) exportedFrames(ctx context.Context, x exportTable, runUUID string, from, to int64) (list []broker.StoredFrame, err error) {
	err = d.read(ctx, "read exported frames", func(ctx context.Context, t *tx) error {
		list, err = d.selectFrames(ctx, t, `SELECT f.machine_id, f.seq, f.at, f.final, f.body
			FROM run r JOIN machine m ON m.run_id = r.id JOIN `+x.cursor+` c ON c.machine_id = m.id
			JOIN frame f ON f.machine_id = m.id AND f.seq <= c.seq
			WHERE r.uuid = ? AND f.at > ? AND f.at <= ? ORDER BY m.step_idx, m.idx, f.seq`, runUUID, from, to)
		return err
	})
	return list, err
}

func (d *DB) selectFrames(ctx context.Context, t *tx, query string, args ...any) (list []broker.StoredFrame, err error) {
	_, err = d.scanFrames(ctx, t, func(f broker.StoredFrame) error {
		list = append(list, f)
		return nil
	}, query, args...)
	return list, err
}

// SaveExport stores how far the run's metrics have come, the numbers of the
// last frames written by machine id, and the events, in one transaction.
// ENotFound when the run has been deleted. When it is done, the run's frames
// are condensed, which had to wait for it.
func (d *DB) SaveExport(ctx context.Context, e broker.Export, cursors map[int64]uint64, events ...broker.Event) error {
	if err := d.saveExport(ctx, ofAllRuns, e, cursors, events); err != nil || !e.Done {
		return err
	}
	return d.Condense(ctx, e.Run.UUID, math.MaxInt64)
}

func (d *DB) saveExport(ctx context.Context, x exportTable, e broker.Export, cursors map[int64]uint64, events []broker.Event) error {
	return d.write(ctx, "save export", func(ctx context.Context, t *tx) error {
		if err := runExists(ctx, t, &e.Run); err != nil {
			return err
		}
		_, err := t.NamedExecContext(ctx, `INSERT INTO `+x.export+` (run_id, done, newest, written, refused, trouble, detail)
			VALUES (:run_id, :done, :newest, :written, :refused, :trouble, :detail)
			ON CONFLICT (run_id) DO UPDATE SET done = excluded.done, newest = excluded.newest,
			written = excluded.written, refused = excluded.refused, trouble = excluded.trouble, detail = excluded.detail`,
			exportRow{
				RunID: e.Run.ID, Done: e.Done, Newest: e.Newest, Written: e.Written, Refused: e.Refused,
				Trouble: e.Trouble, Detail: e.Detail,
			})
		if err != nil {
			return err
		}
		for id, seq := range cursors {
			_, err := t.ExecContext(ctx, `INSERT INTO `+x.cursor+` (machine_id, seq) VALUES (?, ?)
				ON CONFLICT (machine_id) DO UPDATE SET seq = max(seq, excluded.seq)`, id, seq)
			if err != nil {
				return err
			}
		}
		_, err = addEvents(ctx, t, e.Run.ID, events)
		return err
	})
}
