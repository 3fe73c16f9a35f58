package db

import (
	"context"
	"time"

	"github.com/loads/loads/broker"
)

// SpentOnDeleted returns what the machines of the project's deleted runs have cost
// in USD, if any of the run's was given back after the time.
func (d *DB) SpentOnDeleted(ctx context.Context, projectUUID string, since time.Time) (usd float64, err error) {
	err = d.read(ctx, "read what deleted runs have cost", func(ctx context.Context, t *tx) error {
		return t.GetContext(ctx, &usd, `SELECT coalesce(sum(s.usd), 0.0) FROM spent s JOIN project p ON p.id = s.project_id
			WHERE p.uuid = ? AND s.until > ?`, projectUUID, at(since))
	})
	return usd, err
}

// keepSpent keeps what the machines of a run have cost that is about to be deleted.
// One that could not be given back counts until now.
func keepSpent(ctx context.Context, t *tx, runID int64) error {
	list, err := machines(ctx, t, "WHERE m.run_id = ? AND m.launched_at IS NOT NULL", runID)
	if err != nil || len(list) == 0 {
		return err
	}
	var until time.Time
	for _, m := range list {
		end := t.now
		if m.ReleasedAt != nil {
			end = *m.ReleasedAt
		}
		if end.After(until) {
			until = end
		}
	}
	_, err = t.ExecContext(ctx, `INSERT INTO spent (project_id, run_uuid, until, usd)
		SELECT plan.project_id, run.uuid, ?, ? FROM run JOIN plan ON plan.id = run.plan_id WHERE run.id = ?`,
		at(until), broker.Spent(list, t.now), runID)
	return err
}
