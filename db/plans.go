package db

import (
	"context"
	"database/sql"

	"github.com/google/uuid"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

type projectRow struct {
	ID       int64   `db:"id"`
	UUID     string  `db:"uuid"`
	Name     string  `db:"name"`
	HomePage string  `db:"home_page"`
	MaxCost  float64 `db:"max_cost"`
}

type planRow struct {
	ID          int64  `db:"id"`
	UUID        string `db:"uuid"`
	ProjectID   int64  `db:"project_id"`
	ProjectUUID string `db:"project_uuid"`
	ProjectName string `db:"project_name"`
	Name        string `db:"name"`
	Description string `db:"description"`
	Enabled     bool   `db:"enabled"`
	Parent      string `db:"parent"`
	ParentRun   string `db:"parent_run"`
	Frozen      bool   `db:"frozen"`
	CreatedAt   micros `db:"created_at"`

	Terms inJSON[planTerms] `db:"terms"`
}

// planTerms is what a plan says of the verdict of its runs.
type planTerms struct {
	Criteria  []strategies.Criterion `json:"criteria,omitempty"`
	OnInvalid strategies.OnInvalid   `json:"on_invalid,omitempty"`
	MaxSkewMS int                    `json:"max_skew_ms,omitempty"`
	MaxCPU    int                    `json:"max_cpu_percent,omitempty"`
	MaxCost   float64                `json:"max_cost,omitempty"`
}

func termsOf(p strategies.Plan) inJSON[planTerms] {
	return inJSON[planTerms]{planTerms{p.Criteria, p.OnInvalid, p.MaxSkewMS, p.MaxCPUPercent, p.MaxCost}}
}

type stepRow struct {
	ID     int64                   `db:"id"`
	UUID   string                  `db:"uuid"`
	PlanID int64                   `db:"plan_id"`
	Index  int                     `db:"idx"`
	Name   string                  `db:"name"`
	Body   inJSON[strategies.Step] `db:"body"` // without UUID
}

// Projects returns all projects, the oldest first, each with its plans in the
// order of their making.
func (d *DB) Projects(ctx context.Context) (list []broker.ProjectRecord, err error) {
	err = d.read(ctx, "read projects", func(ctx context.Context, t *tx) error {
		list, err = projects(ctx, t, "ORDER BY id")
		return err
	})
	return list, err
}

// Project returns one project with its plans.
func (d *DB) Project(ctx context.Context, uuid string) (rec broker.ProjectRecord, err error) {
	err = d.read(ctx, "read project", func(ctx context.Context, t *tx) error {
		rec, err = project(ctx, t, uuid)
		return err
	})
	return rec, err
}

// ProjectByName returns the oldest project of that name.
func (d *DB) ProjectByName(ctx context.Context, name string) (rec broker.ProjectRecord, err error) {
	err = d.read(ctx, "read project", func(ctx context.Context, t *tx) error {
		list, err := projects(ctx, t, "WHERE name = ? ORDER BY id LIMIT 1", name)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return broker.Errorf(broker.ENotFound, "There is no project named %q.", name)
		}
		rec = list[0]
		return nil
	})
	return rec, err
}

// CreateProject stores the project and its plans, and returns them with their
// new uuids. Names need not be new.
func (d *DB) CreateProject(ctx context.Context, p strategies.Project) (rec broker.ProjectRecord, err error) {
	err = d.write(ctx, "create project", func(ctx context.Context, t *tx) error {
		rec, err = createProject(ctx, t, p)
		return err
	})
	return rec, err
}

// DeleteProject deletes the project with its plans and their runs; EConflict
// while a run of it is not completed.
func (d *DB) DeleteProject(ctx context.Context, uuid string) error {
	return d.write(ctx, "delete project", func(ctx context.Context, t *tx) error {
		return deleteProject(ctx, t, uuid)
	})
}

// SetMaxCost sets what all runs of the project may cost together.
func (d *DB) SetMaxCost(ctx context.Context, projectUUID string, usd float64) error {
	return d.write(ctx, "change project", func(ctx context.Context, t *tx) error {
		row, err := findProject(ctx, t, projectUUID)
		if err != nil {
			return err
		}
		_, err = t.ExecContext(ctx, "UPDATE project SET max_cost = ? WHERE id = ?", usd, row.ID)
		return err
	})
}

// Plans returns all plans, the newest first; those of one project unless
// projectUUID is empty.
func (d *DB) Plans(ctx context.Context, projectUUID string) (list []broker.PlanRecord, err error) {
	err = d.read(ctx, "read plans", func(ctx context.Context, t *tx) error {
		if projectUUID == "" {
			list, err = plans(ctx, t, "ORDER BY p.id DESC")
			return err
		}
		row, err := findProject(ctx, t, projectUUID)
		if err != nil {
			return err
		}
		list, err = plans(ctx, t, "WHERE p.project_id = ? ORDER BY p.id DESC", row.ID)
		return err
	})
	return list, err
}

// Plan returns one plan.
func (d *DB) Plan(ctx context.Context, uuid string) (rec broker.PlanRecord, err error) {
	err = d.read(ctx, "read plan", func(ctx context.Context, t *tx) error {
		rec, err = plan(ctx, t, uuid)
		return err
	})
	return rec, err
}

// CreatePlan stores rec.Plan, with rec's parents, in the project
// rec.ProjectUUID, and returns it with its new uuids. Other fields of rec are
// ignored.
func (d *DB) CreatePlan(ctx context.Context, rec broker.PlanRecord) (made broker.PlanRecord, err error) {
	err = d.write(ctx, "create plan", func(ctx context.Context, t *tx) error {
		made, err = createPlan(ctx, t, rec)
		return err
	})
	return made, err
}

// ReplacePlan replaces the plan's fields and steps, which get new uuids;
// EConflict when the plan has been run.
func (d *DB) ReplacePlan(ctx context.Context, uuid string, p strategies.Plan) (rec broker.PlanRecord, err error) {
	err = d.write(ctx, "replace plan", func(ctx context.Context, t *tx) error {
		rec, err = replacePlan(ctx, t, uuid, p)
		return err
	})
	return rec, err
}

func findProject(ctx context.Context, t *tx, uuid string) (row projectRow, err error) {
	err = t.GetContext(ctx, &row, "SELECT id, uuid, name, home_page, max_cost FROM project WHERE uuid = ?", uuid)
	return row, orNotFound(err, "There is no project %s.", uuid)
}

func project(ctx context.Context, t *tx, uuid string) (broker.ProjectRecord, error) {
	row, err := findProject(ctx, t, uuid)
	if err != nil {
		return broker.ProjectRecord{}, err
	}
	list, err := withPlans(ctx, t, []projectRow{row})
	if err != nil {
		return broker.ProjectRecord{}, err
	}
	return list[0], nil
}

// projects returns the projects that rest, the end of the query, selects.
func projects(ctx context.Context, t *tx, rest string, args ...any) ([]broker.ProjectRecord, error) {
	var rows []projectRow
	if err := t.SelectContext(ctx, &rows, "SELECT id, uuid, name, home_page, max_cost FROM project "+rest, args...); err != nil {
		return nil, err
	}
	return withPlans(ctx, t, rows)
}

func withPlans(ctx context.Context, t *tx, rows []projectRow) ([]broker.ProjectRecord, error) {
	list := make([]broker.ProjectRecord, len(rows))
	at := make(map[string]int, len(rows))
	ids := make([]int64, len(rows))
	for i, row := range rows {
		list[i] = broker.ProjectRecord{
			ID:      row.ID,
			Project: strategies.Project{UUID: row.UUID, Name: row.Name, HomePage: row.HomePage, MaxCost: row.MaxCost},
			Plans:   []broker.PlanRecord{},
		}
		at[row.UUID], ids[i] = i, row.ID
	}
	all, err := plans(ctx, t, "WHERE p.project_id IN (SELECT value FROM json_each(?)) ORDER BY p.id", inJSON[[]int64]{ids})
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		rec := &list[at[p.ProjectUUID]]
		rec.Plans = append(rec.Plans, p)
	}
	return list, nil
}

func createProject(ctx context.Context, t *tx, p strategies.Project) (broker.ProjectRecord, error) {
	id := uuid.NewString()
	_, err := t.ExecContext(ctx, "INSERT INTO project (uuid, name, home_page, max_cost, created_at) VALUES (?, ?, ?, ?, ?)",
		id, p.Name, p.HomePage, p.MaxCost, at(t.now))
	if err != nil {
		return broker.ProjectRecord{}, err
	}
	for _, pl := range p.Plans {
		if _, err := createPlan(ctx, t, broker.PlanRecord{ProjectUUID: id, Plan: pl}); err != nil {
			return broker.ProjectRecord{}, err
		}
	}
	return project(ctx, t, id)
}

func deleteProject(ctx context.Context, t *tx, uuid string) error {
	row, err := findProject(ctx, t, uuid)
	if err != nil {
		return err
	}
	var live []string
	err = t.SelectContext(ctx, &live, `SELECT run.uuid FROM run JOIN plan ON plan.id = run.plan_id
		WHERE plan.project_id = ? AND run.state < ? ORDER BY run.id LIMIT 1`, row.ID, broker.Completed)
	if err != nil {
		return err
	}
	if len(live) > 0 {
		return broker.Errorf(broker.EConflict,
			"Run %s of project %q is not completed; abort it, then delete the project.", live[0], row.Name)
	}
	_, err = t.ExecContext(ctx, "DELETE FROM project WHERE id = ?", row.ID)
	return err
}

func plan(ctx context.Context, t *tx, uuid string) (broker.PlanRecord, error) {
	list, err := plans(ctx, t, "WHERE p.uuid = ?", uuid)
	if err != nil {
		return broker.PlanRecord{}, err
	}
	if len(list) == 0 {
		return broker.PlanRecord{}, broker.Errorf(broker.ENotFound, "There is no plan %s; loads plans lists them.", uuid)
	}
	return list[0], nil
}

// plans returns the plans that rest, the end of the query, selects.
func plans(ctx context.Context, t *tx, rest string, args ...any) ([]broker.PlanRecord, error) {
	var rows []planRow
	err := t.SelectContext(ctx, &rows, `SELECT p.id, p.uuid, p.project_id, r.uuid AS project_uuid, r.name AS project_name,
		p.name, p.description, p.enabled, p.parent, p.parent_run, p.frozen, p.created_at, p.terms
		FROM plan p JOIN project r ON r.id = p.project_id `+rest, args...)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	steps, err := stepsOf(ctx, t, ids)
	if err != nil {
		return nil, err
	}
	list := make([]broker.PlanRecord, len(rows))
	for i, row := range rows {
		list[i] = row.record(steps[row.ID])
	}
	return list, nil
}

func (r planRow) record(steps []stepRow) broker.PlanRecord {
	p := strategies.Plan{
		UUID:          r.UUID,
		Name:          r.Name,
		Description:   r.Description,
		Enabled:       r.Enabled,
		Steps:         make([]strategies.Step, len(steps)),
		Criteria:      r.Terms.V.Criteria,
		OnInvalid:     r.Terms.V.OnInvalid,
		MaxSkewMS:     r.Terms.V.MaxSkewMS,
		MaxCPUPercent: r.Terms.V.MaxCPU,
		MaxCost:       r.Terms.V.MaxCost,
	}
	for i, s := range steps {
		p.Steps[i] = s.Body.V
		p.Steps[i].UUID = s.UUID
	}
	return broker.PlanRecord{
		ID:          r.ID,
		ProjectUUID: r.ProjectUUID,
		ProjectName: r.ProjectName,
		Parent:      r.Parent,
		ParentRun:   r.ParentRun,
		CreatedAt:   r.CreatedAt.time(),
		Frozen:      r.Frozen,
		Plan:        p,
	}
}

// stepsOf returns the steps of the plans, in their order, by the plan's id.
func stepsOf(ctx context.Context, t *tx, planIDs []int64) (map[int64][]stepRow, error) {
	var rows []stepRow
	err := t.SelectContext(ctx, &rows, `SELECT id, uuid, plan_id, idx, name, body FROM step
		WHERE plan_id IN (SELECT value FROM json_each(?)) ORDER BY plan_id, idx`, inJSON[[]int64]{planIDs})
	if err != nil {
		return nil, err
	}
	steps := make(map[int64][]stepRow, len(planIDs))
	for _, s := range rows {
		steps[s.PlanID] = append(steps[s.PlanID], s)
	}
	return steps, nil
}

func createPlan(ctx context.Context, t *tx, rec broker.PlanRecord) (broker.PlanRecord, error) {
	owner, err := findProject(ctx, t, rec.ProjectUUID)
	if err != nil {
		return broker.PlanRecord{}, err
	}
	row := planRow{
		UUID:        uuid.NewString(),
		ProjectID:   owner.ID,
		Name:        rec.Plan.Name,
		Description: rec.Plan.Description,
		Enabled:     rec.Plan.Enabled,
		Parent:      rec.Parent,
		ParentRun:   rec.ParentRun,
		CreatedAt:   at(t.now),
		Terms:       termsOf(rec.Plan),
	}
	id, err := lastID(t.NamedExecContext(ctx, `INSERT INTO plan
		(uuid, project_id, name, description, enabled, parent, parent_run, created_at, terms) VALUES
		(:uuid, :project_id, :name, :description, :enabled, :parent, :parent_run, :created_at, :terms)`, row))
	if err != nil {
		return broker.PlanRecord{}, err
	}
	if err := insertSteps(ctx, t, id, rec.Plan.Steps); err != nil {
		return broker.PlanRecord{}, err
	}
	return plan(ctx, t, row.UUID)
}

func replacePlan(ctx context.Context, t *tx, uuid string, p strategies.Plan) (broker.PlanRecord, error) {
	old, err := plan(ctx, t, uuid)
	if err != nil {
		return broker.PlanRecord{}, err
	}
	if old.Frozen {
		return broker.PlanRecord{}, broker.Errorf(broker.EConflict,
			"Plan %q (%s) has been run, so it never changes; fork it and change the fork.", old.Plan.Name, uuid)
	}
	_, err = t.ExecContext(ctx, "UPDATE plan SET name = ?, description = ?, enabled = ?, terms = ? WHERE id = ?",
		p.Name, p.Description, p.Enabled, termsOf(p), old.ID)
	if err != nil {
		return broker.PlanRecord{}, err
	}
	if _, err := t.ExecContext(ctx, "DELETE FROM step WHERE plan_id = ?", old.ID); err != nil {
		return broker.PlanRecord{}, err
	}
	if err := insertSteps(ctx, t, old.ID, p.Steps); err != nil {
		return broker.PlanRecord{}, err
	}
	return plan(ctx, t, uuid)
}

// insertSteps stores the steps of a plan under new uuids.
func insertSteps(ctx context.Context, t *tx, planID int64, steps []strategies.Step) error {
	for i, s := range steps {
		s.UUID = ""
		row := stepRow{UUID: uuid.NewString(), PlanID: planID, Index: i, Name: s.Name, Body: inJSON[strategies.Step]{s}}
		_, err := t.NamedExecContext(ctx, `INSERT INTO step (uuid, plan_id, idx, name, body)
			VALUES (:uuid, :plan_id, :idx, :name, :body)`, row)
		if err != nil {
			return err
		}
	}
	return nil
}

// lastID returns the id of the row that an INSERT made.
func lastID(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}
