package db

import (
	"context"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// Agreement returns what the step's machines have told, by machine, and what was
// decided, in that order.
func (d *DB) Agreement(ctx context.Context, runUUID string, step int) (words []broker.MachineWord, decided []agreement.Decision, err error) {
	err = d.read(ctx, "read what machines agree on", func(ctx context.Context, t *tx) error {
		key, err := findRunKey(ctx, t, runUUID)
		if err != nil {
			return err
		}
		var said []struct {
			Machine int            `db:"idx"`
			Phase   string         `db:"phase"`
			Status  metrics.WordIs `db:"status"`
		}
		err = t.SelectContext(ctx, &said, `SELECT m.idx, w.phase, w.status FROM machine m JOIN word w ON w.machine_id = m.id
			WHERE m.run_id = ? AND m.step_idx = ? ORDER BY m.idx, w.phase, w.status`, key.ID, step)
		if err != nil {
			return err
		}
		for _, w := range said {
			words = append(words, broker.MachineWord{Machine: w.Machine, Word: metrics.Word{Phase: w.Phase, Is: w.Status}})
		}
		decided, err = decisions(ctx, t, key.ID, step)
		return err
	})
	return words, decided, err
}

func decisions(ctx context.Context, t *tx, runID int64, step int) (list []agreement.Decision, err error) {
	rows, err := t.QueryContext(ctx, "SELECT phase, status, at, machine FROM decision WHERE run_id = ? AND step_idx = ? ORDER BY id", runID, step)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d agreement.Decision
		if err := rows.Scan(&d.Phase, &d.Is, &d.At, &d.Machine); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// AddDecisions stores what was decided for the step's machines, and the events,
// whose Seq (and At, if zero) it sets. EConflict when one was decided before.
func (d *DB) AddDecisions(ctx context.Context, run *broker.Run, step int, decided []agreement.Decision, events ...broker.Event) error {
	return d.change(ctx, "store what machines agree on", run, events, func(ctx context.Context, t *tx) error {
		if err := runExists(ctx, t, run); err != nil {
			return err
		}
		for _, d := range decided {
			if _, err := t.ExecContext(ctx, "INSERT INTO decision (run_id, step_idx, phase, status, at, machine) VALUES (?, ?, ?, ?, ?, ?)",
				run.ID, step, d.Phase, d.Is, d.At, d.Machine); err != nil {
				return err
			}
		}
		return nil
	})
}

// insertWords stores the frames' words, ignoring those it has.
func insertWords(ctx context.Context, t *tx, frames []broker.StoredFrame) error {
	for _, f := range frames {
		for _, w := range f.Words {
			if _, err := t.ExecContext(ctx, "INSERT INTO word (machine_id, phase, status) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
				f.MachineID, w.Phase, w.Is); err != nil {
				return err
			}
		}
	}
	return nil
}
