package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

// shakyStore is a real store whose writes fail as it is told.
type shakyStore struct {
	broker.Store
	faults *faults
}

func (s *shakyStore) fails() error {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	if s.faults.writes == nil {
		return nil
	}
	s.faults.written++
	return s.faults.writes(s.faults.written)
}

func (s *shakyStore) SaveRun(ctx context.Context, run *broker.Run, events ...broker.Event) error {
	if err := s.fails(); err != nil {
		return err
	}
	return s.Store.SaveRun(ctx, run, events...)
}

func (s *shakyStore) SaveStep(ctx context.Context, run *broker.Run, step *broker.StepRecord, events ...broker.Event) error {
	if err := s.fails(); err != nil {
		return err
	}
	return s.Store.SaveStep(ctx, run, step, events...)
}

func (s *shakyStore) SaveMachine(ctx context.Context, run *broker.Run, m *broker.Machine, events ...broker.Event) error {
	if err := s.fails(); err != nil {
		return err
	}
	return s.Store.SaveMachine(ctx, run, m, events...)
}

func (s *shakyStore) AddFrames(ctx context.Context, frames []broker.StoredFrame, broken map[int64]uint64) error {
	if err := s.fails(); err != nil {
		return err
	}
	return s.Store.AddFrames(ctx, frames, broken)
}

// TestRunWaitsForAStoreThatFails has a write of a run fail, each time a later one. The run
// is held up, and then goes on as if nothing had been.
func TestRunWaitsForAStoreThatFails(t *testing.T) {
	t.Parallel()
	var most atomic.Int64         // writes of a run; the last subtests may be after its end
	for n := 1; n <= 24; n += 2 { // frames are stored in between, so all kinds have their turn
		t.Run(fmt.Sprintf("write %d", n), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.faults.writes = func(k int) error {
				most.Store(max(most.Load(), int64(k)))
				if k == n {
					return errors.New("disk is full")
				}
				return nil
			}
			r := l.await(l.start(`
name: store that fails
steps:
  - {name: one, container_name: loads/node, additional_command_args: sleep 1s --print up, ready: {log: up, timeout: 60}}
`))
			if r.Run.Verdict != broker.Pass || r.Run.Cleanup != broker.CleanupDone || !r.Ledger.Balance {
				t.Errorf("verdict %s (%s), cleanup %s (%s), ledger %+v; want PASS, done and a balance",
					r.Run.Verdict, r.Run.Reason, r.Run.Cleanup, r.Run.CleanupDetail, r.Ledger)
			}
			m := r.Machines[0]
			if m.State != broker.MachineReleased || m.StartedAt == nil || m.FinishedAt == nil || m.ExitCode == nil {
				t.Errorf("the machine's record is not complete: %+v", m)
			}
		})
	}
	t.Cleanup(func() {
		if most.Load() < 12 {
			t.Errorf("a run made %d writes, want 12 or more", most.Load())
		}
	})
}

// noCondensing is a real store that condenses nothing, as when the broker ends
// right after the run.
type noCondensing struct{ *db.DB }

func (noCondensing) Condense(context.Context, string, int64) error {
	return errors.New("the broker has ended")
}

func TestWhatOneBrokerLeftIsCondensedByTheNext(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.restart(noCondensing{l.store})
	before := l.await(l.start("name: left\n" + ticks + "\nsteps:\n  - " + ticking + "\n"))
	if left, err := l.store.Uncondensed(t.Context()); err != nil || len(left) != 1 {
		t.Fatalf("got %v, %v to condense, want the run", left, err)
	}
	l.close()
	l.open()
	until(t, "it is condensed", 2*time.Minute, func() bool {
		left, err := l.store.Uncondensed(t.Context())
		return err == nil && len(left) == 0
	})
	after, err := l.broker.Report(t.Context(), before.Run.UUID)
	if err != nil || counted(after, "sleep.ticks") != 6 || !after.Ledger.Balance || after.Ledger.Stored != before.Ledger.Stored {
		t.Errorf("ticks %v, ledger %+v, %v; want 6 and that of before, %+v", counted(after, "sleep.ticks"), after.Ledger, err, before.Ledger)
	}
}
