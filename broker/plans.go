package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/loads/loads/strategies"
)

// Projects returns all projects with their plans.
func (b *Broker) Projects(ctx context.Context) ([]ProjectRecord, error) {
	return b.cfg.Store.Projects(ctx)
}

// Project returns a project with its plans, or ENotFound.
func (b *Broker) Project(ctx context.Context, uuid string) (ProjectRecord, error) {
	return b.cfg.Store.Project(ctx, uuid)
}

// CreateProject validates and stores a project with its plans.
func (b *Broker) CreateProject(ctx context.Context, p strategies.Project) (ProjectRecord, error) {
	if err := invalid(p.Validate()); err != nil {
		return ProjectRecord{}, err
	}
	return b.cfg.Store.CreateProject(ctx, p)
}

// DeleteProject deletes a project with its plans and their runs. It gives
// EConflict while one of them is not completed.
func (b *Broker) DeleteProject(ctx context.Context, uuid string) error {
	return b.cfg.Store.DeleteProject(ctx, uuid)
}

// Import stores the project, matched by name. Plans that it does not have yet
// are added. One that it has is left as it is, or, with update, replaced when
// it differs, and forked when it differs and has been run. The Plans returned
// are those of p, in its order. With update a max_cost that p gives is the
// project's from then on; it is taken away by SetMaxCost only.
func (b *Broker) Import(ctx context.Context, p strategies.Project, update bool) (ProjectRecord, error) {
	if err := invalid(p.Validate()); err != nil {
		return ProjectRecord{}, err
	}
	rec, err := b.cfg.Store.ProjectByName(ctx, p.Name)
	if CodeOf(err) == ENotFound {
		return b.cfg.Store.CreateProject(ctx, p)
	}
	if err != nil {
		return ProjectRecord{}, err
	}
	if update && p.MaxCost > 0 && p.MaxCost != rec.Project.MaxCost {
		if err := b.cfg.Store.SetMaxCost(ctx, rec.Project.UUID, p.MaxCost); err != nil {
			return ProjectRecord{}, err
		}
		rec.Project.MaxCost = p.MaxCost
	}
	known, err := b.cfg.Store.Plans(ctx, rec.Project.UUID)
	if err != nil {
		return ProjectRecord{}, err
	}
	newest := map[string]PlanRecord{}
	for _, plan := range known { // the newest come first
		if _, ok := newest[plan.Plan.Name]; !ok {
			newest[plan.Plan.Name] = plan
		}
	}
	rec.Plans = nil
	for _, plan := range p.Plans {
		old, ok := newest[plan.Name]
		stored, err := b.importPlan(ctx, rec, plan, old, ok, update)
		if err != nil {
			return ProjectRecord{}, err
		}
		rec.Plans = append(rec.Plans, stored)
	}
	return rec, nil
}

func (b *Broker) importPlan(ctx context.Context, rec ProjectRecord, plan strategies.Plan, old PlanRecord, exists, update bool) (PlanRecord, error) {
	create := PlanRecord{ProjectUUID: rec.Project.UUID, Plan: plan}
	switch {
	case !exists:
		return b.cfg.Store.CreatePlan(ctx, create)
	case !update || samePlan(old.Plan, plan):
		return old, nil
	case old.Frozen:
		create.Parent = old.Plan.UUID
		return b.cfg.Store.CreatePlan(ctx, create)
	}
	return b.cfg.Store.ReplacePlan(ctx, old.Plan.UUID, plan)
}

// samePlan compares plans without their uuids.
func samePlan(a, b strategies.Plan) bool {
	x, errA := json.Marshal(withoutIDs(a))
	y, errB := json.Marshal(withoutIDs(b))
	return errA == nil && errB == nil && string(x) == string(y)
}

func withoutIDs(p strategies.Plan) strategies.Plan {
	p = p.Clone()
	p.UUID = ""
	for i := range p.Steps {
		p.Steps[i].UUID = ""
	}
	return p
}

// Plans returns all plans, or those of one project, the newest first.
func (b *Broker) Plans(ctx context.Context, projectUUID string) ([]PlanRecord, error) {
	return b.cfg.Store.Plans(ctx, projectUUID)
}

// Plan returns a plan, or ENotFound.
func (b *Broker) Plan(ctx context.Context, uuid string) (PlanRecord, error) {
	return b.cfg.Store.Plan(ctx, uuid)
}

// ReplacePlan validates p and puts it in the place of the plan. A plan that
// has been run gives EConflict: fork it.
func (b *Broker) ReplacePlan(ctx context.Context, uuid string, p strategies.Plan) (PlanRecord, error) {
	if err := invalid(p.Validate()); err != nil {
		return PlanRecord{}, err
	}
	return b.cfg.Store.ReplacePlan(ctx, uuid, p)
}

// ForkPlan stores a changed copy of a plan in the same project. The copy
// remembers its parent.
func (b *Broker) ForkPlan(ctx context.Context, uuid string, e Edits) (PlanRecord, error) {
	parent, err := b.cfg.Store.Plan(ctx, uuid)
	if err != nil {
		return PlanRecord{}, err
	}
	fork := PlanRecord{ProjectUUID: parent.ProjectUUID, Parent: uuid}
	return b.fork(ctx, fork, parent.Plan, e)
}

// ForkRun stores a changed copy of the plan exactly as the run used it.
func (b *Broker) ForkRun(ctx context.Context, uuid string, e Edits) (PlanRecord, error) {
	run, err := b.cfg.Store.Run(ctx, uuid)
	if err != nil {
		return PlanRecord{}, err
	}
	fork := PlanRecord{ProjectUUID: run.ProjectUUID, Parent: run.PlanUUID, ParentRun: uuid}
	return b.fork(ctx, fork, run.Plan, e)
}

func (b *Broker) fork(ctx context.Context, fork PlanRecord, parent strategies.Plan, e Edits) (PlanRecord, error) {
	plan := parent
	if e.Plan != nil {
		plan = *e.Plan
	}
	plan = withoutIDs(plan)
	if e.Name != "" {
		plan.Name = e.Name
	}
	plan, err := plan.Edit(e.Set)
	if err := invalid(err); err != nil {
		return PlanRecord{}, err
	}
	if err := invalid(plan.Validate()); err != nil {
		return PlanRecord{}, err
	}
	fork.Plan = plan
	return b.cfg.Store.CreatePlan(ctx, fork)
}

// invalid turns the faults of a plan into an EInvalid that says how many there
// are; it keeps nil and other errors.
func invalid(err error) error {
	var faults strategies.Faults
	if !errors.As(err, &faults) {
		return err
	}
	message := faults[0].String()
	if len(faults) > 1 {
		message = fmt.Sprintf("the plan has %d faults; the first: %s", len(faults), message)
	}
	return &Error{Code: EInvalid, Message: message, Faults: faults}
}
