package db

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// A runRow is a run as its columns; those of broker.Run tagged db are used
// directly.
type runRow struct {
	broker.Run
	EnvironmentColumn inJSON[strategies.Environment] `db:"environment"`
	VersionsColumn    inJSON[map[string]string]      `db:"versions"`
	JudgementColumn   inJSON[broker.Judgement]       `db:"judgement"`
	PlanColumn        inJSON[strategies.Plan]        `db:"plan"`
	CostColumn        inJSON[*broker.Cost]           `db:"cost"`
	ReceiptsColumn    inJSON[[]broker.Receipt]       `db:"receipts"`
	ImagesColumn      inJSON[[]broker.ImageSpread]   `db:"images"`
	CreatedColumn     micros                         `db:"created_at"`
	StartedColumn     micros                         `db:"started_at"`
	CompletedColumn   micros                         `db:"completed_at"`
}

func newRunRow(run broker.Run) runRow {
	return runRow{
		Run:               run,
		EnvironmentColumn: inJSON[strategies.Environment]{run.Environment},
		VersionsColumn:    inJSON[map[string]string]{run.Versions},
		JudgementColumn:   inJSON[broker.Judgement]{run.Judgement},
		PlanColumn:        inJSON[strategies.Plan]{run.Plan},
		CostColumn:        inJSON[*broker.Cost]{run.Cost},
		ReceiptsColumn:    inJSON[[]broker.Receipt]{run.Receipts},
		ImagesColumn:      inJSON[[]broker.ImageSpread]{run.Images},
		CreatedColumn:     at(run.CreatedAt),
		StartedColumn:     micros{run.StartedAt},
		CompletedColumn:   micros{run.CompletedAt},
	}
}

func (r runRow) record() broker.Run {
	run := r.Run
	run.Environment = r.EnvironmentColumn.V
	run.Versions = r.VersionsColumn.V
	run.Judgement = r.JudgementColumn.V
	run.Plan = r.PlanColumn.V
	run.Cost = r.CostColumn.V
	run.Receipts = r.ReceiptsColumn.V
	run.Images = r.ImagesColumn.V
	run.CreatedAt = r.CreatedColumn.time()
	run.StartedAt = r.StartedColumn.T
	run.CompletedAt = r.CompletedColumn.T
	run.StepRecords = []broker.StepRecord{}
	return run
}

const runColumns = `id, uuid, state, plan_id, plan_uuid, plan_name, project_uuid, project_name, owner,
	created_at, started_at, completed_at, aborted, verdict, reason, cleanup, cleanup_detail,
	environment, versions, judgement, plan, cost, receipts, images`

// CreateRun stores a run of the plan run.PlanUUID in its first state, with a
// pending step record for each step, and freezes the plan. Of run it takes
// UUID (a new one when empty), Owner, Environment, Versions, Cost and CreatedAt
// (now when zero); the rest of what it returns is its own. EConflict when there is
// a run of that uuid.
func (d *DB) CreateRun(ctx context.Context, run broker.Run) (made broker.Run, err error) {
	err = d.write(ctx, "create run", func(ctx context.Context, t *tx) error {
		made, err = createRun(ctx, t, run)
		return err
	})
	return made, err
}

// Run returns one run with its step records.
func (d *DB) Run(ctx context.Context, uuid string) (run broker.Run, err error) {
	err = d.read(ctx, "read run", func(ctx context.Context, t *tx) error {
		run, err = findRun(ctx, t, uuid)
		return err
	})
	return run, err
}

// Runs returns the runs that f selects with their step records, the newest
// first.
func (d *DB) Runs(ctx context.Context, f broker.RunFilter) (list []broker.Run, err error) {
	err = d.read(ctx, "read runs", func(ctx context.Context, t *tx) error {
		rest, args := where(f)
		list, err = runs(ctx, t, rest, args...)
		return err
	})
	return list, err
}

// DeleteRun removes a completed run and all that belongs to it; EConflict when
// it is not completed. Its plan stays frozen, and what its machines have cost goes
// on counting for its project.
func (d *DB) DeleteRun(ctx context.Context, uuid string) error {
	return d.write(ctx, "delete run", func(ctx context.Context, t *tx) error {
		key, err := findRunKey(ctx, t, uuid)
		if err != nil {
			return err
		}
		if key.State != broker.Completed {
			return broker.Errorf(broker.EConflict, "Run %s is not completed; abort it first.", uuid)
		}
		if err := keepSpent(ctx, t, key.ID); err != nil {
			return err
		}
		_, err = t.ExecContext(ctx, "DELETE FROM run WHERE id = ?", key.ID)
		return err
	})
}

// RequestAbort sets Aborted; it returns false, and changes nothing, when the
// run is already terminating or completed.
func (d *DB) RequestAbort(ctx context.Context, uuid string) (asked bool, err error) {
	err = d.write(ctx, "request abort", func(ctx context.Context, t *tx) error {
		key, err := findRunKey(ctx, t, uuid)
		if err != nil {
			return err
		}
		if asked = key.State < broker.Terminating; !asked {
			return nil
		}
		_, err = t.ExecContext(ctx, "UPDATE run SET aborted = 1 WHERE id = ?", key.ID)
		return err
	})
	return asked && err == nil, err
}

// SaveRun stores State, StartedAt, CompletedAt, Verdict, Reason, Judgement,
// Cleanup, CleanupDetail, Receipts, Images and Versions, and adds the events, whose Seq (and At, if zero)
// it sets. EConflict when the stored state is a later one, or when a completed
// run would get another verdict. With the state Completed it masks the secret
// values of the environment, on disk and in run.
func (d *DB) SaveRun(ctx context.Context, run *broker.Run, events ...broker.Event) error {
	var env strategies.Environment
	err := d.change(ctx, "save run", run, events, func(ctx context.Context, t *tx) (err error) {
		env, err = saveRun(ctx, t, *run)
		return err
	})
	if err != nil {
		return err
	}
	run.Environment = env
	return nil
}

type runKey struct {
	ID    int64           `db:"id"`
	State broker.RunState `db:"state"`
}

func findRunKey(ctx context.Context, t *tx, uuid string) (key runKey, err error) {
	err = t.GetContext(ctx, &key, "SELECT id, state FROM run WHERE uuid = ?", uuid)
	return key, noRun(err, uuid)
}

func noRun(err error, uuid string) error {
	return orNotFound(err, "There is no run %s; loads runs lists them.", uuid)
}

func createRun(ctx context.Context, t *tx, run broker.Run) (broker.Run, error) {
	p, err := plan(ctx, t, run.PlanUUID)
	if err != nil {
		return broker.Run{}, err
	}
	row := newRunRow(firstState(run, p, t))
	// A trigger on run freezes the plan.
	id, err := lastID(t.NamedExecContext(ctx, `INSERT INTO run
		(uuid, state, plan_id, plan_uuid, plan_name, project_uuid, project_name, owner,
		created_at, aborted, verdict, reason, cleanup, cleanup_detail, environment, versions, judgement, plan, cost, receipts, images) VALUES
		(:uuid, :state, :plan_id, :plan_uuid, :plan_name, :project_uuid, :project_name, :owner,
		:created_at, :aborted, :verdict, :reason, :cleanup, :cleanup_detail, :environment, :versions, :judgement, :plan, :cost, :receipts, :images)`, row))
	if err != nil {
		return broker.Run{}, orConflict(err, "There is a run %s already.", row.UUID)
	}
	if err := insertStepRecords(ctx, t, id, p.ID); err != nil {
		return broker.Run{}, err
	}
	return findRun(ctx, t, row.UUID)
}

// firstState returns the run as it is when nothing of it has happened yet.
func firstState(run broker.Run, p broker.PlanRecord, t *tx) broker.Run {
	if run.UUID == "" {
		run.UUID = uuid.NewString()
	}
	if run.CreatedAt.IsZero() {
		run.CreatedAt = t.now
	}
	return broker.Run{
		UUID:        run.UUID,
		State:       broker.Initializing,
		PlanID:      p.ID,
		PlanUUID:    p.Plan.UUID,
		PlanName:    p.Plan.Name,
		ProjectUUID: p.ProjectUUID,
		ProjectName: p.ProjectName,
		Owner:       run.Owner,
		Plan:        p.Plan,
		Environment: run.Environment,
		CreatedAt:   run.CreatedAt,
		Cleanup:     broker.CleanupPending,
		Versions:    run.Versions,
		Cost:        run.Cost,
	}
}

func findRun(ctx context.Context, t *tx, uuid string) (broker.Run, error) {
	list, err := runs(ctx, t, "WHERE uuid = ?", uuid)
	if err != nil {
		return broker.Run{}, err
	}
	if len(list) == 0 {
		return broker.Run{}, broker.Errorf(broker.ENotFound, "There is no run %s; loads runs lists them.", uuid)
	}
	return list[0], nil
}

// runs returns the runs that rest, the end of the query, selects.
func runs(ctx context.Context, t *tx, rest string, args ...any) ([]broker.Run, error) {
	var rows []runRow
	if err := t.SelectContext(ctx, &rows, "SELECT "+runColumns+" FROM run "+rest, args...); err != nil {
		return nil, err
	}
	list := make([]broker.Run, len(rows))
	at := make(map[int64]int, len(rows))
	ids := make([]int64, len(rows))
	for i, row := range rows {
		list[i], at[row.ID], ids[i] = row.record(), i, row.ID
	}
	steps, err := stepRecords(ctx, t, ids)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		run := &list[at[s.RunID]]
		run.StepRecords = append(run.StepRecords, s)
	}
	return list, nil
}

// where returns the end of the query for the runs that f selects.
func where(f broker.RunFilter) (string, []any) {
	terms, args := []string{"1"}, []any{}
	and := func(term string, arg any) {
		terms, args = append(terms, term), append(args, arg)
	}
	if len(f.States) > 0 {
		and("state IN (SELECT value FROM json_each(?))", inJSON[[]broker.RunState]{f.States})
	}
	if f.PlanUUID != "" {
		and("plan_uuid = ?", f.PlanUUID)
	}
	if f.ProjectUUID != "" {
		and("project_uuid = ?", f.ProjectUUID)
	}
	if f.Owner != "" {
		and("owner = ?", f.Owner)
	}
	if f.Cleanup != "" {
		and("cleanup = ?", f.Cleanup)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	args = append(args, limit, f.Offset)
	return "WHERE " + strings.Join(terms, " AND ") + " ORDER BY id DESC LIMIT ? OFFSET ?", args
}

// saveRun stores the run's changeable columns and returns the environment as
// it is stored now. The environment comes from the row, not from the caller,
// so that what has been masked stays so.
func saveRun(ctx context.Context, t *tx, run broker.Run) (strategies.Environment, error) {
	var stored struct {
		State       broker.RunState                `db:"state"`
		Environment inJSON[strategies.Environment] `db:"environment"`
	}
	err := t.GetContext(ctx, &stored, "SELECT state, environment FROM run WHERE id = ?", run.ID)
	if err != nil {
		return nil, noRun(err, run.UUID)
	}
	if stored.State > run.State {
		return nil, broker.Errorf(broker.EConflict, "Run %s is %s, so it cannot become %s.", run.UUID, stored.State, run.State)
	}
	row := newRunRow(run)
	row.EnvironmentColumn = stored.Environment
	if run.State == broker.Completed {
		row.EnvironmentColumn.V = stored.Environment.V.Masked()
		if err := forgetSecrets(ctx, t, run.ID); err != nil {
			return nil, err
		}
	}
	_, err = t.NamedExecContext(ctx, `UPDATE run SET state = :state, started_at = :started_at,
		completed_at = :completed_at, verdict = :verdict, reason = :reason, cleanup = :cleanup,
		cleanup_detail = :cleanup_detail, versions = :versions, judgement = :judgement, receipts = :receipts, images = :images, environment = :environment WHERE id = :id`, row)
	return row.EnvironmentColumn.V, err
}
