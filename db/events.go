package db

import (
	"context"
	"database/sql"

	"github.com/loads/loads/broker"
)

// An eventRow is an event as its columns.
type eventRow struct {
	broker.Event
	RunID    int64  `db:"run_id"`
	AtColumn micros `db:"at"`
}

// AddEvents adds the events to the run's history; it sets their Seq, and
// their At if that is zero.
func (d *DB) AddEvents(ctx context.Context, run *broker.Run, events ...broker.Event) error {
	return d.change(ctx, "add events", run, events, func(ctx context.Context, t *tx) error {
		return runExists(ctx, t, run)
	})
}

// change makes a change of the run's records and adds its events, both or
// neither. The Seq and At of the events are set once that is on disk.
func (d *DB) change(
	ctx context.Context, what string, run *broker.Run, events []broker.Event, do func(context.Context, *tx) error,
) error {
	var added []broker.Event
	err := d.together(ctx, what, func(ctx context.Context, t *tx) (err error) {
		if err := do(ctx, t); err != nil {
			return err
		}
		added, err = addEvents(ctx, t, run.ID, events)
		return err
	})
	if err == nil {
		copy(events, added)
	}
	return err
}

// Events returns the run's events with Seq > after, in their order.
func (d *DB) Events(ctx context.Context, runUUID string, after int64) (list []broker.Event, err error) {
	err = d.read(ctx, "read events", func(ctx context.Context, t *tx) error {
		list, err = events(ctx, t, runUUID, after)
		return err
	})
	return list, err
}

func runExists(ctx context.Context, t *tx, run *broker.Run) error {
	var id int64
	return noRun(t.GetContext(ctx, &id, "SELECT id FROM run WHERE id = ?", run.ID), run.UUID)
}

// addEvents returns the events as they are stored. It leaves the caller's
// alone: their Seq counts only once the transaction is committed. The next
// number is read and written in one immediate transaction, so there is no gap
// and no double.
func addEvents(ctx context.Context, t *tx, runID int64, events []broker.Event) ([]broker.Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var last int64
	if err := t.GetContext(ctx, &last, "SELECT coalesce(max(seq), 0) FROM event WHERE run_id = ?", runID); err != nil {
		return nil, err
	}
	added := make([]broker.Event, len(events))
	for i, e := range events {
		if e.At.IsZero() {
			e.At = t.now
		}
		e.Seq, e.At = last+int64(i)+1, exact(e.At)
		row := eventRow{Event: e, RunID: runID, AtColumn: at(e.At)}
		_, err := t.NamedExecContext(ctx, `INSERT INTO event (run_id, seq, at, kind, step, machine, state, text)
			VALUES (:run_id, :seq, :at, :kind, :step, :machine, :state, :text)`, row)
		if err != nil {
			return nil, err
		}
		added[i] = e
	}
	return added, nil
}

func events(ctx context.Context, t *tx, runUUID string, after int64) ([]broker.Event, error) {
	key, err := findRunKey(ctx, t, runUUID)
	if err != nil {
		return nil, err
	}
	var rows []eventRow
	err = t.SelectContext(ctx, &rows, `SELECT run_id, seq, at, kind, step, machine, state, text FROM event
		WHERE run_id = ? AND seq > ? ORDER BY seq`, key.ID, after)
	if err != nil {
		return nil, err
	}
	list := make([]broker.Event, len(rows))
	for i, row := range rows {
		list[i] = row.Event
		list[i].At = row.AtColumn.time()
	}
	return list, nil
}

// affected returns the number of rows that a statement changed.
func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
