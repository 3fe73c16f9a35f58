package broker

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/loads/loads/strategies"
)

// stepStore takes what is stored of steps.
type stepStore struct{ Store }

func (stepStore) SaveStep(context.Context, *Run, *StepRecord, ...Event) error { return nil }

func TestEnd_LooksWhetherContainersSaidThatTheyWereReady(t *testing.T) {
	const said, other = "2026-11-21T12:00:00Z stdout it is up\n", "2026-11-21T12:00:00Z stdout hello\n"
	for _, row := range []struct {
		name  string
		ready strategies.Ready
		logs  []string // of the machines
		want  StepState
	}{
		{"all did, and nobody had looked yet", strategies.Ready{Log: "up$"}, []string{said, other + said}, StepEnded},
		{"one did not", strategies.Ready{Log: "up$"}, []string{said, other}, StepFailed},
		{"one left no log", strategies.Ready{Log: "up$"}, []string{said, ""}, StepFailed},
		{"what is kept beside a line does not count", strategies.Ready{Log: "stdout"}, []string{said}, StepFailed},
		{"a port says nothing any more", strategies.Ready{Port: 80}, []string{said}, StepFailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := time.Now()
			step := strategies.Step{Name: "one", Ready: &row.ready, RunMaxTime: 60}
			run := Run{UUID: "run", Plan: strategies.Plan{Steps: []strategies.Step{step}}, StepRecords: []StepRecord{{State: StepStarted, StartAt: &now, StartedAt: &now}}}
			b := &Broker{cfg: Config{Store: stepStore{}, Dir: t.TempDir()}, hub: newHub()}
			x := &execution{b: b, ref: &run, run: run, changed: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
			s := &supervision{x: x}
			for i, text := range row.logs {
				m := Machine{RunUUID: run.UUID, Index: i, State: MachinePrepared, StartedAt: &now, FinishedAt: &now, ExitCode: new(0)}
				s.machines = append(s.machines, &machine{Machine: m})
				if text != "" {
					mustWrite(t, b.logFile(m, RolePlan), text)
				}
			}
			if err := s.end(t.Context()); err != nil {
				t.Fatal(err)
			}
			rec := x.step(0)
			if rec.State != row.want || (rec.ReadyAt != nil) != (row.want == StepEnded) {
				t.Errorf("got step %s (%s), ready at %v; want %s", rec.State, rec.Reason, rec.ReadyAt, row.want)
			}
		})
	}
}

func mustWrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
