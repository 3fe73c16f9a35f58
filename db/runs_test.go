package db_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

func TestCreateRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("keeps the plan as it is run, and has a record for each step", func(t *testing.T) {
		d, _ := mustOpen(t)
		p := mustProject(t, d, "project", samplePlan("plan"))
		env := strategies.Environment{{Name: "URL", Value: "http://x"}}
		run, err := d.CreateRun(ctx, broker.Run{
			UUID: "fixed", PlanUUID: p.Plans[0].Plan.UUID, Owner: "ann", Environment: env,
			Versions: map[string]string{"broker": "1"}, State: broker.Completed, Verdict: broker.Pass, Aborted: true,
		})
		ok(t, err)
		same(t, "plan", run.Plan, p.Plans[0].Plan)
		same(t, "run", withoutTimes(run), broker.Run{
			ID: run.ID, UUID: "fixed", PlanID: p.Plans[0].ID, PlanUUID: p.Plans[0].Plan.UUID, PlanName: "plan",
			ProjectName: "project", ProjectUUID: p.Project.UUID, Owner: "ann", Environment: env,
			Cleanup: broker.CleanupPending, Versions: map[string]string{"broker": "1"},
		})
		if len(run.StepRecords) != 2 {
			t.Fatalf("got %d step records, want 2", len(run.StepRecords))
		}
		for i, s := range run.StepRecords {
			if s.Index != i || s.State != broker.StepPending || s.UUID == "" || s.RunID != run.ID || s.StepID == 0 || s.CreatedAt.IsZero() {
				t.Errorf("step record %d: got %+v", i, s)
			}
		}
		got, err := d.Run(ctx, "fixed")
		ok(t, err)
		same(t, "Run", got, run)
	})

	t.Run("makes a uuid when none is given, and takes none twice", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		if run.UUID == "" {
			t.Error("got no uuid")
		}
		_, err := d.CreateRun(ctx, broker.Run{UUID: run.UUID, PlanUUID: run.PlanUUID})
		wantCode(t, err, broker.EConflict)
		_, err = d.CreateRun(ctx, broker.Run{PlanUUID: "nope"})
		wantCode(t, err, broker.ENotFound)
	})
}

// withoutTimes leaves out what the store adds of its own.
func withoutTimes(run broker.Run) broker.Run {
	run.CreatedAt, run.Plan, run.StepRecords = time.Time{}, strategies.Plan{}, nil
	return run
}

func TestSaveRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("stores the changeable columns to the microsecond, and the events", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		start := time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.FixedZone("", 3600))
		end := start.Add(90 * time.Second)
		run.State, run.StartedAt, run.CompletedAt = broker.Terminating, &start, &end
		run.Verdict, run.Reason = broker.Errored, "Step generator failed."
		run.Cleanup, run.CleanupDetail = broker.CleanupFailed, "A network is left."
		run.Versions = map[string]string{"engine": "20.10"}
		machine := 1
		events := []broker.Event{
			{Kind: broker.EventRun, State: "TERMINATING", Text: "Ends."},
			{Kind: broker.EventMachine, Step: "generator", Machine: &machine, At: start, Text: "Gone."},
		}
		ok(t, d.SaveRun(ctx, &run, events...))
		got, err := d.Run(ctx, run.UUID)
		ok(t, err)
		want := run
		s, e := start.UTC().Truncate(time.Microsecond), end.UTC().Truncate(time.Microsecond)
		want.StartedAt, want.CompletedAt = &s, &e
		same(t, "run", got, want)
		list, err := d.Events(ctx, run.UUID, 0)
		ok(t, err)
		same(t, "events", list, events)
		if events[0].Seq != 1 || events[1].Seq != 2 || events[0].At.IsZero() || !events[1].At.Equal(s) {
			t.Errorf("got events %+v", events)
		}
	})

	t.Run("goes forward only", func(t *testing.T) {
		for from := broker.Initializing; from <= broker.Completed; from++ {
			for to := broker.Initializing; to <= broker.Completed; to++ {
				d, _ := mustOpen(t)
				run := mustRun(t, d)
				run.State = from
				ok(t, d.SaveRun(ctx, &run))
				run.State = to
				event := []broker.Event{{Kind: broker.EventRun, Text: "moved"}}
				err := d.SaveRun(ctx, &run, event...)
				got, readErr := d.Run(ctx, run.UUID)
				ok(t, readErr)
				if to >= from {
					wantCode(t, err, "")
					same(t, fmt.Sprint(from, " to ", to), got.State, to)
					continue
				}
				wantCode(t, err, broker.EConflict)
				same(t, fmt.Sprint(from, " to ", to), got.State, from)
				list, err := d.Events(ctx, run.UUID, 0)
				ok(t, err)
				if len(list) != 0 || event[0].Seq != 0 {
					t.Errorf("got events %v and Seq %d of a refused change, want none", list, event[0].Seq)
				}
			}
		}
	})

	t.Run("never takes an abort back", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		asked, err := d.RequestAbort(ctx, run.UUID)
		ok(t, err)
		if !asked {
			t.Error("got false, want true")
		}
		run.State = broker.Running // run.Aborted is still false
		ok(t, d.SaveRun(ctx, &run))
		got, err := d.Run(ctx, run.UUID)
		ok(t, err)
		if !got.Aborted || got.State != broker.Running {
			t.Errorf("got aborted %v in state %v, want true in RUNNING", got.Aborted, got.State)
		}
	})

	t.Run("keeps the verdict of a completed run while its cleanup goes on", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		complete(t, d, &run)
		run.Cleanup, run.CleanupDetail = broker.CleanupFailed, "A network is left."
		ok(t, d.SaveRun(ctx, &run))
		run.Verdict = broker.Errored
		wantCode(t, d.SaveRun(ctx, &run), broker.EConflict)
		got, err := d.Run(ctx, run.UUID)
		ok(t, err)
		if got.Verdict != broker.Pass || got.Cleanup != broker.CleanupFailed {
			t.Errorf("got verdict %s, cleanup %s", got.Verdict, got.Cleanup)
		}
	})

	t.Run("an unknown run is not found", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		run.ID += 100
		wantCode(t, d.SaveRun(ctx, &run), broker.ENotFound)
		wantCode(t, d.SaveStep(ctx, &run, &run.StepRecords[0]), broker.ENotFound)
		wantCode(t, d.SaveMachine(ctx, &run, &broker.Machine{}), broker.ENotFound)
		wantCode(t, d.AddEvents(ctx, &run, broker.Event{}), broker.ENotFound)
		wantCode(t, d.AddEvents(ctx, &run), broker.ENotFound)
	})
}

func TestSecretsAreMaskedForGood(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, path := mustOpen(t)
	p := mustProject(t, d, "project", samplePlan("plan"))
	// Long enough to leave its record's page, as a private key does.
	const word = "correct-horse-battery-staple"
	secret := strings.Repeat(word+"\n", 400)
	run, err := d.CreateRun(ctx, broker.Run{PlanUUID: p.Plans[0].Plan.UUID, Environment: strategies.Environment{
		{Name: "DB_PASSWORD", Value: secret}, {Name: "URL", Value: "http://x"},
	}})
	ok(t, err)
	run.State = broker.Terminating
	ok(t, d.SaveRun(ctx, &run))
	got, err := d.Run(ctx, run.UUID)
	ok(t, err)
	if v, _ := got.Environment.Get("DB_PASSWORD"); v != secret {
		t.Fatalf("got %q before the end, want the value: the run needs it", v)
	}
	old := got
	complete(t, d, &run)
	old.State, old.Verdict, old.Cleanup = broker.Completed, broker.Pass, broker.CleanupDone
	ok(t, d.SaveRun(ctx, &old)) // a copy that still has the value cannot bring it back
	got, err = d.Run(ctx, run.UUID)
	ok(t, err)
	for name, env := range map[string]strategies.Environment{"stored": got.Environment, "caller's": run.Environment, "copy's": old.Environment} {
		if v, _ := env.Get("DB_PASSWORD"); v == secret || v == "" {
			t.Errorf("%s: got %q, want it masked", name, v)
		}
		if v, _ := env.Get("URL"); v != "http://x" {
			t.Errorf("%s: got %q, want what is no secret as it was", name, v)
		}
	}
	ok(t, d.Close())
	body, err := os.ReadFile(path)
	ok(t, err)
	if bytes.Contains(body, []byte(word)) {
		t.Errorf("the file still holds %d pieces of the secret", bytes.Count(body, []byte(word)))
	}
}

func TestSaveStep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	other := mustRun(t, d)
	at := func(s int) *time.Time {
		v := time.Date(2026, 1, 2, 3, 4, s, 5000, time.UTC)
		return &v
	}
	skew := 1.25
	step := &run.StepRecords[1]
	step.State, step.Failed, step.Reason = broker.StepFailed, true, "No machine."
	step.StartAt, step.StartedAt, step.ReadyAt, step.CompletedAt = at(1), at(2), at(3), at(4)
	step.SkewMS, step.ImageDigest = &skew, "sha256:abc"
	ok(t, d.SaveStep(ctx, &run, step, broker.Event{Kind: broker.EventStep, Step: "generator", Text: "Failed."}))
	got, err := d.Run(ctx, run.UUID)
	ok(t, err)
	same(t, "step records", got.StepRecords, run.StepRecords)
	list, err := d.Events(ctx, run.UUID, 0)
	ok(t, err)
	if len(list) != 1 {
		t.Errorf("got %d events, want 1", len(list))
	}
	wantCode(t, d.SaveStep(ctx, &other, step), broker.ENotFound)
	same(t, "run of the record", step.RunID, run.ID)
}

func TestRuns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	one := mustProject(t, d, "one", samplePlan("a"), samplePlan("b"))
	two := mustProject(t, d, "two", samplePlan("c"))
	make := func(uuid, plan, owner string, state broker.RunState) {
		run, err := d.CreateRun(ctx, broker.Run{UUID: uuid, PlanUUID: plan, Owner: owner})
		ok(t, err)
		run.State = state
		ok(t, d.SaveRun(ctx, &run))
	}
	a, b, c := one.Plans[0].Plan.UUID, one.Plans[1].Plan.UUID, two.Plans[0].Plan.UUID
	make("r1", a, "ann", broker.Completed)
	make("r2", b, "bob", broker.Running)
	make("r3", c, "ann", broker.Terminating)
	make("r4", a, "bob", broker.Initializing)
	for _, row := range []struct {
		desc   string
		filter broker.RunFilter
		want   []string
	}{
		{"all, the newest first", broker.RunFilter{}, []string{"r4", "r3", "r2", "r1"}},
		{"those in one of some states", broker.RunFilter{States: []broker.RunState{broker.Running, broker.Terminating}}, []string{"r3", "r2"}},
		{"those in the state that is zero", broker.RunFilter{States: []broker.RunState{broker.Initializing}}, []string{"r4"}},
		{"those of a plan", broker.RunFilter{PlanUUID: a}, []string{"r4", "r1"}},
		{"those of a project", broker.RunFilter{ProjectUUID: one.Project.UUID}, []string{"r4", "r2", "r1"}},
		{"those of an owner", broker.RunFilter{Owner: "ann"}, []string{"r3", "r1"}},
		{"those that meet every term", broker.RunFilter{Owner: "bob", PlanUUID: a}, []string{"r4"}},
		{"the first two", broker.RunFilter{Limit: 2}, []string{"r4", "r3"}},
		{"the next two", broker.RunFilter{Limit: 2, Offset: 2}, []string{"r2", "r1"}},
		{"all but the first", broker.RunFilter{Offset: 1}, []string{"r3", "r2", "r1"}},
		{"none of an unknown plan", broker.RunFilter{PlanUUID: "nope"}, nil},
	} {
		t.Run(row.desc, func(t *testing.T) {
			list, err := d.Runs(ctx, row.filter)
			ok(t, err)
			var got []string
			for _, run := range list {
				got = append(got, run.UUID)
				one, err := d.Run(ctx, run.UUID)
				ok(t, err)
				same(t, "run "+run.UUID, run, one)
			}
			same(t, "runs", got, row.want)
		})
	}
}

func TestRequestAbort(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, row := range []struct {
		state broker.RunState
		want  bool
	}{
		{broker.Initializing, true}, {broker.Running, true}, {broker.Terminating, false}, {broker.Completed, false},
	} {
		t.Run(row.state.String(), func(t *testing.T) {
			d, _ := mustOpen(t)
			run := mustRun(t, d)
			run.State = row.state
			ok(t, d.SaveRun(ctx, &run))
			for range 2 {
				asked, err := d.RequestAbort(ctx, run.UUID)
				ok(t, err)
				got, err := d.Run(ctx, run.UUID)
				ok(t, err)
				if asked != row.want || got.Aborted != row.want {
					t.Errorf("got %v and Aborted %v, want %v", asked, got.Aborted, row.want)
				}
			}
		})
	}
	d, _ := mustOpen(t)
	_, err := d.RequestAbort(ctx, "nope")
	wantCode(t, err, broker.ENotFound)
}

func TestDeleteRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, path := mustOpen(t)
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, 1, true)}, nil))
	ok(t, d.AddEvents(ctx, &run, broker.Event{Kind: broker.EventNote, Text: "x"}))
	wantCode(t, d.DeleteRun(ctx, run.UUID), broker.EConflict)
	complete(t, d, &run)
	ok(t, d.DeleteRun(ctx, run.UUID))
	wantCode(t, d.DeleteRun(ctx, run.UUID), broker.ENotFound)
	x := mustOpenRaw(t, path)
	for table, want := range map[string]int{"plan": 1, "step": 2, "run": 0, "step_record": 0, "machine": 0, "event": 0, "frame": 0} {
		if got := count(t, x, table); got != want {
			t.Errorf("%s: got %d rows left, want %d", table, got, want)
		}
	}
	p, err := d.Plan(ctx, run.PlanUUID)
	ok(t, err)
	if !p.Frozen {
		t.Error("the plan is not frozen any more, though it has been run")
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	one, two := mustRun(t, d), mustRun(t, d)
	for _, run := range []*broker.Run{&one, &two, &one} {
		events := []broker.Event{{Kind: broker.EventNote, Text: "a"}, {Kind: broker.EventNote, Text: "b"}}
		ok(t, d.AddEvents(ctx, run, events...))
	}
	seqs := func(run broker.Run, after int64) (got []int64) {
		list, err := d.Events(ctx, run.UUID, after)
		ok(t, err)
		for _, e := range list {
			got = append(got, e.Seq)
		}
		return got
	}
	same(t, "all of one", seqs(one, 0), []int64{1, 2, 3, 4})
	same(t, "rest of one", seqs(one, 3), []int64{4})
	same(t, "past the end", seqs(one, 4), []int64{})
	same(t, "all of two", seqs(two, 0), []int64{1, 2})
	_, err := d.Events(ctx, "nope", 0)
	wantCode(t, err, broker.ENotFound)
}
