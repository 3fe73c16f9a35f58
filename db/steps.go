package db

import (
	"context"

	"github.com/google/uuid"

	"github.com/loads/loads/broker"
)

// A stepRecordRow is a step record as its columns.
type stepRecordRow struct {
	broker.StepRecord
	CreatedColumn   micros `db:"created_at"`
	StartColumn     micros `db:"start_at"`
	StartedColumn   micros `db:"started_at"`
	ReadyColumn     micros `db:"ready_at"`
	CompletedColumn micros `db:"completed_at"`
}

func newStepRecordRow(s broker.StepRecord) stepRecordRow {
	return stepRecordRow{
		StepRecord:      s,
		CreatedColumn:   at(s.CreatedAt),
		StartColumn:     micros{s.StartAt},
		StartedColumn:   micros{s.StartedAt},
		ReadyColumn:     micros{s.ReadyAt},
		CompletedColumn: micros{s.CompletedAt},
	}
}

func (r stepRecordRow) record() broker.StepRecord {
	s := r.StepRecord
	s.CreatedAt = r.CreatedColumn.time()
	s.StartAt = r.StartColumn.T
	s.StartedAt = r.StartedColumn.T
	s.ReadyAt = r.ReadyColumn.T
	s.CompletedAt = r.CompletedColumn.T
	return s
}

// SaveStep stores all of the step record but its ids, Index and CreatedAt, and
// adds the events, whose Seq (and At, if zero) it sets.
func (d *DB) SaveStep(ctx context.Context, run *broker.Run, step *broker.StepRecord, events ...broker.Event) error {
	return d.change(ctx, "save step", run, events, func(ctx context.Context, t *tx) error {
		return saveStep(ctx, t, run, *step)
	})
}

func saveStep(ctx context.Context, t *tx, run *broker.Run, step broker.StepRecord) error {
	step.RunID = run.ID
	n, err := affected(t.NamedExecContext(ctx, `UPDATE step_record SET state = :state, failed = :failed, reason = :reason,
		start_at = :start_at, started_at = :started_at, ready_at = :ready_at, completed_at = :completed_at,
		skew_ms = :skew_ms, image_digest = :image_digest WHERE id = :id AND run_id = :run_id`, newStepRecordRow(step)))
	if err == nil && n == 0 {
		err = broker.Errorf(broker.ENotFound, "Run %s has no step record %d.", run.UUID, step.ID)
	}
	return err
}

// insertStepRecords makes a pending record for each step of the plan.
func insertStepRecords(ctx context.Context, t *tx, runID, planID int64) error {
	steps, err := stepsOf(ctx, t, []int64{planID})
	if err != nil {
		return err
	}
	for _, s := range steps[planID] {
		row := newStepRecordRow(broker.StepRecord{
			UUID:      uuid.NewString(),
			RunID:     runID,
			StepID:    s.ID,
			Index:     s.Index,
			State:     broker.StepPending,
			CreatedAt: t.now,
		})
		_, err := t.NamedExecContext(ctx, `INSERT INTO step_record
			(uuid, run_id, step_id, idx, state, failed, reason, created_at, image_digest) VALUES
			(:uuid, :run_id, :step_id, :idx, :state, :failed, :reason, :created_at, :image_digest)`, row)
		if err != nil {
			return err
		}
	}
	return nil
}

// stepRecords returns the step records of the runs, each run's in the order of
// its plan's steps.
func stepRecords(ctx context.Context, t *tx, runIDs []int64) ([]broker.StepRecord, error) {
	var rows []stepRecordRow
	err := t.SelectContext(ctx, &rows, `SELECT id, uuid, run_id, step_id, idx, state, failed, reason,
		created_at, start_at, started_at, ready_at, completed_at, skew_ms, image_digest FROM step_record
		WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id, idx`, inJSON[[]int64]{runIDs})
	if err != nil {
		return nil, err
	}
	list := make([]broker.StepRecord, len(rows))
	for i, row := range rows {
		list[i] = row.record()
	}
	return list, nil
}
