package db_test

import (
	"context"
	"slices"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

func TestProjects(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("come back as they were stored, with uuids everywhere", func(t *testing.T) {
		d, _ := mustOpen(t)
		made := mustProject(t, d, "one", samplePlan("a"), samplePlan("b"), strategies.Plan{Name: "empty"})
		if len(made.Plans) != 3 {
			t.Fatalf("got %d plans, want 3", len(made.Plans))
		}
		seen := map[string]bool{"": true}
		fresh := func(uuid string) {
			if seen[uuid] {
				t.Errorf("uuid %q is empty or given twice", uuid)
			}
			seen[uuid] = true
		}
		fresh(made.Project.UUID)
		for i, want := range []strategies.Plan{samplePlan("a"), samplePlan("b"), {Name: "empty"}} {
			rec := made.Plans[i]
			same(t, "plan", withoutUUIDs(rec.Plan), want)
			if rec.ProjectUUID != made.Project.UUID || rec.ProjectName != "one" || rec.Frozen || rec.CreatedAt.IsZero() {
				t.Errorf("got record %+v", rec)
			}
			fresh(rec.Plan.UUID)
			for _, s := range rec.Plan.Steps {
				fresh(s.UUID)
			}
		}
		got, err := d.Project(ctx, made.Project.UUID)
		ok(t, err)
		same(t, "Project", got, made)
		list, err := d.Projects(ctx)
		ok(t, err)
		same(t, "Projects", list, []broker.ProjectRecord{made})
	})

	t.Run("are found by name, the oldest first", func(t *testing.T) {
		d, _ := mustOpen(t)
		first := mustProject(t, d, "name", samplePlan("a"))
		mustProject(t, d, "name")
		got, err := d.ProjectByName(ctx, "name")
		ok(t, err)
		same(t, "ProjectByName", got, first)
		_, err = d.ProjectByName(ctx, "nam")
		wantCode(t, err, broker.ENotFound)
	})

	t.Run("go with all that belongs to them, and nothing else", func(t *testing.T) {
		d, path := mustOpen(t)
		kept := mustRun(t, d)
		run := mustRun(t, d)
		m := mustMachine(t, d, &run, 0, 0)
		ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, 1, false)}, nil))
		ok(t, d.AddEvents(ctx, &run, broker.Event{Kind: broker.EventNote, Text: "x"}))
		complete(t, d, &run)
		ok(t, d.DeleteProject(ctx, run.ProjectUUID))
		_, err := d.Project(ctx, run.ProjectUUID)
		wantCode(t, err, broker.ENotFound)
		_, err = d.Run(ctx, run.UUID)
		wantCode(t, err, broker.ENotFound)
		x := mustOpenRaw(t, path)
		for table, want := range map[string]int{
			"project": 1, "plan": 1, "step": 2, "run": 1, "step_record": 2, "machine": 0, "event": 0, "frame": 0,
		} {
			if got := count(t, x, table); got != want {
				t.Errorf("%s: got %d rows left, want %d", table, got, want)
			}
		}
		_, err = d.Run(ctx, kept.UUID)
		ok(t, err)
	})

	t.Run("stay while a run of theirs is not completed", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		for _, state := range []broker.RunState{broker.Initializing, broker.Running, broker.Terminating} {
			run.State = state
			ok(t, d.SaveRun(ctx, &run))
			wantCode(t, d.DeleteProject(ctx, run.ProjectUUID), broker.EConflict)
		}
		got, err := d.Run(ctx, run.UUID)
		ok(t, err)
		same(t, "plan of run", got.Plan, run.Plan)
	})

	t.Run("unknown ones are not found", func(t *testing.T) {
		d, _ := mustOpen(t)
		_, err := d.Project(ctx, "nope")
		wantCode(t, err, broker.ENotFound)
		wantCode(t, d.DeleteProject(ctx, "nope"), broker.ENotFound)
	})
}

func TestPlans(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("are listed the newest first, of one project or all", func(t *testing.T) {
		d, _ := mustOpen(t)
		one := mustProject(t, d, "one", samplePlan("a"), samplePlan("b"))
		two := mustProject(t, d, "two", samplePlan("c"))
		names := func(project string) (names []string) {
			list, err := d.Plans(ctx, project)
			ok(t, err)
			for _, p := range list {
				names = append(names, p.Plan.Name)
			}
			return names
		}
		same(t, "all", names(""), []string{"c", "b", "a"})
		same(t, "of one", names(one.Project.UUID), []string{"b", "a"})
		same(t, "of two", names(two.Project.UUID), []string{"c"})
		_, err := d.Plans(ctx, "nope")
		wantCode(t, err, broker.ENotFound)
	})

	t.Run("remember what they were forked from", func(t *testing.T) {
		d, _ := mustOpen(t)
		p := mustProject(t, d, "one", samplePlan("a"))
		made, err := d.CreatePlan(ctx, broker.PlanRecord{
			ProjectUUID: p.Project.UUID, Parent: p.Plans[0].Plan.UUID, ParentRun: "run-uuid", Plan: p.Plans[0].Plan,
		})
		ok(t, err)
		if made.Parent != p.Plans[0].Plan.UUID || made.ParentRun != "run-uuid" || made.Frozen {
			t.Errorf("got %+v", made)
		}
		if made.Plan.UUID == p.Plans[0].Plan.UUID || made.Plan.Steps[0].UUID == p.Plans[0].Plan.Steps[0].UUID {
			t.Error("the fork shares uuids with its parent")
		}
		got, err := d.Plan(ctx, made.Plan.UUID)
		ok(t, err)
		same(t, "Plan", got, made)
		_, err = d.CreatePlan(ctx, broker.PlanRecord{ProjectUUID: "nope", Plan: samplePlan("b")})
		wantCode(t, err, broker.ENotFound)
	})

	t.Run("are replaced until they have been run", func(t *testing.T) {
		d, _ := mustOpen(t)
		old := mustProject(t, d, "one", samplePlan("a")).Plans[0]
		next := samplePlan("b")
		next.Description, next.Enabled = "Turned round.", false
		slices.Reverse(next.Steps)
		got, err := d.ReplacePlan(ctx, old.Plan.UUID, next)
		ok(t, err)
		same(t, "replaced", withoutUUIDs(got.Plan), next)
		if got.ID != old.ID || got.Plan.UUID != old.Plan.UUID {
			t.Errorf("got plan %d %s, want %d %s", got.ID, got.Plan.UUID, old.ID, old.Plan.UUID)
		}
		_, err = d.CreateRun(ctx, broker.Run{PlanUUID: old.Plan.UUID})
		ok(t, err)
		_, err = d.ReplacePlan(ctx, old.Plan.UUID, old.Plan)
		wantCode(t, err, broker.EConflict)
		after, err := d.Plan(ctx, old.Plan.UUID)
		ok(t, err)
		same(t, "plan that has been run", after.Plan, got.Plan)
		if !after.Frozen {
			t.Error("got a plan with a run that is not frozen")
		}
		_, err = d.ReplacePlan(ctx, "nope", next)
		wantCode(t, err, broker.ENotFound)
	})
}
