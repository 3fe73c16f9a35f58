package e2e_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

// TestThirtyMachinesOfOneStep is as many as make an engine slow.
func TestThirtyMachinesOfOneStep(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	r := d.await(d.trigger(`
name: thirty
max_skew_ms: 300000 # this computer is all of the machines
steps:
  - {name: all, instance_count: 30, container_name: loads/node, additional_command_args: sleep 3s}
`))
	d.pass(r)
	for _, m := range r.Summary.Metrics {
		if m.Name == "sleep.ticks" && m.Count != 90 {
			t.Errorf("sleep.ticks counted %v, want 90", m.Count)
		}
	}
}

// TestBrokerCloses closes the broker in each phase of a run, and while runs are
// started and deleted: all of it ends, and the next broker goes on.
func TestBrokerCloses(t *testing.T) {
	t.Parallel()
	for _, state := range []broker.StepState{
		broker.StepPending, broker.StepArming, broker.StepStarting, broker.StepStarted, broker.StepReady, broker.StepStopping, broker.StepEnded,
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			length, most := "3s", 300
			if state == broker.StepStopping {
				length, most = "300s", 25 // in which a busy engine has started it
			}
			run := l.start(fmt.Sprintf(`
name: close
steps:
  - {name: one, run_max_time: %d, stop_timeout: 15, container_name: loads/node, additional_command_args: sleep %s --print up, ready: {log: up, timeout: 120}}
`, most, length))
			until(t, "the step is "+string(state)+" or over", 5*time.Minute, func() bool {
				r, err := l.broker.Run(t.Context(), run)
				return err != nil || r.StepRecords[0].State == state || r.StepRecords[0].State.Over()
			})
			l.close()
			l.open()
			r := l.await(run)
			if r.Run.Verdict != broker.Pass || r.Run.Cleanup != broker.CleanupDone || !r.Ledger.Balance {
				t.Errorf("verdict %s (%s), cleanup %s (%s), ledger %+v; want PASS, done and a balance",
					r.Run.Verdict, r.Run.Reason, r.Run.Cleanup, r.Run.CleanupDetail, r.Ledger)
			}
		})
	}
}

// TestRunsStartedAndDeletedWhileTheBrokerCloses ends in every case.
func TestRunsStartedAndDeletedWhileTheBrokerCloses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const plan = `
name: start and close
steps:
  - {name: one, container_name: loads/node, additional_command_args: sleep 60s}
`
	run := l.start(plan)
	r, err := l.broker.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	l.untilStarted(run)
	if err := l.broker.DeleteRun(t.Context(), run); err != nil {
		t.Errorf("delete a run that runs: %v", err)
	}
	if _, err := l.broker.Run(t.Context(), run); broker.CodeOf(err) != broker.ENotFound {
		t.Errorf("the deleted run: %v, want that there is none", err)
	}
	var starting sync.WaitGroup
	for range 8 {
		starting.Go(func() {
			for {
				_, err := l.broker.StartRun(t.Context(), broker.StartRequest{PlanUUID: r.PlanUUID, RunUUID: run})
				if broker.CodeOf(err) == broker.EUnavailable {
					return
				}
				var known *broker.Error
				if err != nil && (!errors.As(err, &known) || known.Code != broker.EConflict) {
					t.Errorf("start a run: %v", err)
					return
				}
			}
		})
	}
	l.broker.Close()
	starting.Wait()
	l.store.Close()
	l.open()
	if _, err := l.broker.Abort(t.Context(), run); err != nil && broker.CodeOf(err) != broker.ENotFound {
		t.Error(err)
	} else if err == nil {
		if r := l.await(run); r.Run.Verdict != broker.Aborted || r.Run.Cleanup != broker.CleanupDone {
			t.Errorf("verdict %s, cleanup %s; want ABORTED, done", r.Run.Verdict, r.Run.Cleanup)
		}
	}
}
