package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

// runPlan runs the plan by loads run and returns the last line of its JSON.
func (d *daemon) runPlan(t *testing.T, plan string) (result struct {
	Verdict    broker.Verdict           `json:"verdict"`
	ExitCode   int                      `json:"exit_code"`
	Criteria   []broker.CriterionResult `json:"criteria"`
	Instrument []string                 `json:"instrument"`
	Run        struct {
		Reason string `json:"reason"`
	} `json:"run"`
}, exit int,
) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "loads"), "run", file, "--json", "--broker", d.BaseURL)
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatalf("loads run: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
		t.Fatalf("last line of loads run: %v\n%s", err, out)
	}
	return result, cmd.ProcessState.ExitCode()
}

func TestVerdictsOfRunsThatGoAsPlanned(t *testing.T) {
	t.Parallel()
	const load = `
steps:
  - {name: warm, container_name: loads/node, additional_command_args: sleep 2s, stop_timeout: 1}
  - {name: load, instance_count: 2, container_name: loads/node, additional_command_args: sleep %s, stop_timeout: 1, start_after: {step: warm, event: end}}
`
	d := startBroker(t)
	t.Run("all", func(t *testing.T) {
		for _, tt := range []struct {
			name, terms, length string
			verdict             broker.Verdict
			states, detail      string
		}{
			{
				"every criterion holds",
				`criteria: ['count("sleep.ticks") == 10', {expr: 'count("sleep.ticks") >= 5 and count("sleep.ticks") <= 8', during: load}, {expr: 'count("sleep.ticks") <= 2', for: 3s, during: load}]`,
				"4s", broker.Pass, "held held held", "",
			},
			{
				"one fails at the end",
				`criteria: [{name: enough, expr: 'count("sleep.ticks") > 10'}, 'rate("sleep.ticks") > 0']`,
				"4s", broker.Fail, "failed held", "Criterion enough failed: 10, limit > 10.",
			},
			{
				"one ends the run at once",
				`criteria: [{name: few, expr: 'count("sleep.ticks") < 5', stop: true}, 'rate("sleep.ticks") > 0']`,
				"900s", broker.Fail, "failed held", "limit < 5",
			},
			{
				"one that does not hold for long enough ends the run",
				`criteria: [{name: slow, expr: 'count("sleep.ticks") > 5', for: 3s, stop: true, during: load}]`,
				"900s", broker.Fail, "failed", "did not hold for 3 s",
			},
			{
				"an instrument at fault makes it invalid, whatever the criteria say",
				"max_skew_ms: 1\ncriteria: ['count(\"sleep.ticks\") > 1000']",
				"3s", broker.Invalid, "failed", "ms apart",
			},
			{
				"or is only told where the plan says so",
				"max_skew_ms: 1\non_invalid: warn\ncriteria: ['count(\"sleep.ticks\") > 1']",
				"3s", broker.Pass, "held", "",
			},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				steps := fmt.Sprintf(load, tt.length)
				if strings.Contains(tt.terms, "max_skew_ms") {
					// Two containers may start within a millisecond by chance.
					steps = strings.Replace(steps, "instance_count: 2", "instance_count: 6", 1)
				} else {
					steps = "\nmax_skew_ms: 60000" + steps
				}
				got, exit := d.runPlan(t, fmt.Sprintf("name: %q\n%s", tt.name, tt.terms)+steps)
				if got.Verdict != tt.verdict || exit != exitCodes[tt.verdict] || got.ExitCode != exit {
					t.Errorf("verdict %s, exit code %d; want %s", got.Verdict, exit, tt.verdict)
				}
				var states []string
				for _, c := range got.Criteria {
					states = append(states, string(c.State))
				}
				if s := strings.Join(states, " "); s != tt.states || !strings.Contains(got.Run.Reason, tt.detail) {
					t.Errorf("criteria %s, reason %q; want %s, %q", s, got.Run.Reason, tt.states, tt.detail)
				}
				if faulty := strings.Contains(tt.terms, "max_skew_ms"); faulty != (len(got.Instrument) > 0) {
					t.Errorf("instrument: %v", got.Instrument)
				}
			})
		}
	})
}

// stopping ends by its criterion after a while.
const stopping = `
name: stops after a while
criteria: [{name: few, expr: 'count("sleep.ticks") < 8', stop: true}, 'rate("sleep.ticks") > 0.01']
steps:
  - {name: load, container_name: loads/node, additional_command_args: sleep 300s, stop_timeout: 1}
`

func TestRunGoesOnToItsVerdictThroughKills(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	run := d.trigger(stopping)
	for range 3 {
		before := d.mustRun(run)
		until(t, "the run goes on", 2*time.Minute, func() bool { return d.mustRun(run).State >= broker.Running })
		d.kill()
		d.start()
		if before.State == broker.Completed {
			break
		}
	}
	r := d.outcome(t, run)
	if r.Run.Verdict != broker.Fail || len(r.Run.Criteria) != 2 || !r.Run.Criteria[0].Stopped || r.Run.Criteria[1].State != broker.CriterionHeld {
		t.Errorf("verdict %s (%s), criteria %+v; want FAIL by the first, which ended the run", r.Run.Verdict, r.Run.Reason, r.Run.Criteria)
	}
	d.clean(r)
}

func TestRelayThatDiesWhileNoBrokerIsThereMakesTheRunInvalid(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	run := d.trigger("name: alone\nsteps:\n  - " + lasting + "\n")
	until(t, "the step has started", 2*time.Minute, func() bool { return d.mustRun(run).StepRecords[0].StartedAt != nil })
	d.untilTick(t, run)
	d.kill()
	signal(broker.RoleRelay, "KILL")(t, d, run)
	d.start()
	endLoad(t, d, run)
	if r := d.outcome(t, run); r.Run.Verdict != broker.Invalid {
		t.Errorf("verdict %s (%s), want INVALID", r.Run.Verdict, r.Run.Reason)
	}
}

func TestFramesGarbledOnTheirWayMakeTheRunInvalid(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.faults.garble.Store(true)
	r := l.await(l.start("name: garbled\n" + ticks + "\nsteps:\n  - " + ticking + "\n"))
	if r.Run.Verdict != broker.Invalid || !strings.Contains(r.Run.Reason, "1 broken") {
		t.Errorf("verdict %s (%s), want INVALID for a broken frame", r.Run.Verdict, r.Run.Reason)
	}
}

func TestMachineThatNeverAnswersIsNoPass(t *testing.T) {
	t.Parallel()
	l := newImpatientLab(t, nil)
	l.faults.silence("s0-m0", true)
	r := l.await(l.start("name: deaf\nsteps:\n  - " + ticking + "\n"))
	if r.Run.Verdict != broker.Errored {
		t.Errorf("verdict %s (%s), want ERROR", r.Run.Verdict, r.Run.Reason)
	}
	l.faults.silence("s0-m0", false)
	l.close()
	l.open() // clears up at once
	until(t, "the cleanup is done", 2*time.Minute, func() bool {
		again, err := l.broker.Run(t.Context(), r.Run.UUID)
		return err == nil && again.Cleanup == broker.CleanupDone
	})
}

// fullDisk is a real store whose disk can be full.
type fullDisk struct {
	*db.DB
	full atomic.Bool
}

var errFull = errors.New("database or disk is full")

func (f *fullDisk) AddFrames(ctx context.Context, frames []broker.StoredFrame, broken map[int64]uint64) error {
	if f.full.Load() {
		return errFull
	}
	return f.DB.AddFrames(ctx, frames, broken)
}

func (f *fullDisk) SaveRun(ctx context.Context, run *broker.Run, events ...broker.Event) error {
	if f.full.Load() {
		return errFull
	}
	return f.DB.SaveRun(ctx, run, events...)
}

func TestFullDiskNeverPassesAndAFreedOneLosesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	disk := &fullDisk{DB: l.store}
	l.restart(disk)
	l.faults.intercept(func(_, call string) error {
		if call == "PutFiles" { // which comes before the start
			disk.full.Store(true)
		}
		return nil
	})
	run := l.start("name: full\n" + ticks + "\nsteps:\n  - " + ticking + "\n")
	until(t, "the step is over", 2*time.Minute, func() bool {
		r, err := l.broker.Run(t.Context(), run)
		return err == nil && r.StepRecords[0].State.Over()
	})
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if r, err := l.broker.Wait(short, run); err == nil || r.Verdict != "" {
		t.Errorf("with a full disk: verdict %q, %v; want none yet", r.Verdict, err)
	}
	l.close() // and the broker is gone, too
	disk.full.Store(false)
	l.open()
	r := l.await(run)
	if r.Run.Verdict != broker.Pass || !r.Ledger.Balance {
		t.Errorf("verdict %s (%s), ledger %+v; want PASS with all six ticks", r.Run.Verdict, r.Run.Reason, r.Ledger)
	}
}
