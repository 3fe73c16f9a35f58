package db_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/strategies"
)

// mustOpen opens a new database in a folder of the test's own.
func mustOpen(tb testing.TB) (*db.DB, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "loads.db")
	return mustOpenFile(tb, path), path
}

func mustOpenFile(tb testing.TB, path string) *db.DB {
	tb.Helper()
	d, err := db.Open(context.Background(), path)
	if err != nil {
		tb.Fatalf("Open(%s): %v", path, err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return d
}

// mustOpenRaw opens the file past the package, as a person with a SQLite shell
// would.
func mustOpenRaw(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	x, err := sql.Open("sqlite3", "file:"+path+"?_foreign_keys=on&_busy_timeout=5000")
	if err != nil {
		tb.Fatalf("open raw: %v", err)
	}
	tb.Cleanup(func() { _ = x.Close() })
	return x
}

// ok ends the test on an error.
func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// wantCode reports an error of another code, or without a sentence.
func wantCode(tb testing.TB, err error, want broker.Code) {
	tb.Helper()
	if got := broker.CodeOf(err); got != want {
		tb.Errorf("got code %q (%v), want %q", got, err, want)
		return
	}
	if err != nil && !strings.Contains(err.Error(), ".") {
		tb.Errorf("got %q, want a sentence", err)
	}
}

// same reports a difference; nil and empty are the same.
func same(tb testing.TB, what string, got, want any) {
	tb.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

// samplePlan has two steps that use every kind of field.
func samplePlan(name string) strategies.Plan {
	return strategies.Plan{
		Name:        name,
		Description: "Two steps.",
		Enabled:     true,
		Steps: []strategies.Step{
			{
				Name: "service", RunMaxTime: 60, InstanceCount: 1, InstanceRegion: "us-west-2", InstanceType: "t3.micro",
				ContainerName: "loads/node:1", DNSName: "service", PortMapping: "8080:80", StopTimeout: 15,
				EnvironmentData: strategies.Environment{{Name: "B", Value: "2"}, {Name: "A", Value: "é <&>"}},
				Ready:           &strategies.Ready{Port: 80, Timeout: 30},
				Ulimits:         map[string]strategies.Ulimit{"nofile": {Soft: 1024, Hard: 4096}},
				CPUs:            1.5, Memory: 512 << 20,
			},
			{
				Name: "generator", RunDelay: 2, RunMaxTime: 30, InstanceCount: 2, ContainerName: "gen:1", PruneRunning: true,
				StopTimeout: 15, StartAfter: []strategies.StartAfter{{Step: "service", Event: strategies.EventReady}},
			},
		},
	}
}

// withoutUUIDs returns the plan as it was before it was stored.
func withoutUUIDs(p strategies.Plan) strategies.Plan {
	p.UUID = ""
	steps := make([]strategies.Step, len(p.Steps))
	for i, s := range p.Steps {
		s.UUID = ""
		steps[i] = s
	}
	p.Steps = steps
	return p
}

func mustProject(tb testing.TB, d *db.DB, name string, plans ...strategies.Plan) broker.ProjectRecord {
	tb.Helper()
	rec, err := d.CreateProject(context.Background(), strategies.Project{Name: name, HomePage: "https://example.org", Plans: plans})
	ok(tb, err)
	return rec
}

// mustRun makes a project with one plan, and a run of it.
func mustRun(tb testing.TB, d *db.DB) broker.Run {
	tb.Helper()
	p := mustProject(tb, d, "project", samplePlan("plan"))
	run, err := d.CreateRun(context.Background(), broker.Run{PlanUUID: p.Plans[0].Plan.UUID, Owner: "ann"})
	ok(tb, err)
	return run
}

// mustMachine stores a machine of the run.
func mustMachine(tb testing.TB, d *db.DB, run *broker.Run, step, index int) broker.Machine {
	tb.Helper()
	m := broker.Machine{Step: step, Index: index, State: broker.MachineRequested}
	ok(tb, d.SaveMachine(context.Background(), run, &m))
	return m
}

// complete brings the run to its end.
func complete(tb testing.TB, d *db.DB, run *broker.Run) {
	tb.Helper()
	run.State, run.Verdict, run.Cleanup = broker.Completed, broker.Pass, broker.CleanupDone
	ok(tb, d.SaveRun(context.Background(), run))
}

func sampleProject() strategies.Project {
	return strategies.Project{Name: "project", Plans: []strategies.Plan{samplePlan("plan")}}
}
