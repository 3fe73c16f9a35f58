package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/loads/loads/metrics"
)

// relayStopTimeout is how long a relay may take to send its final frame,
// relayReadTimeout how much longer when it reads its containers' output to the
// end before, and drainLimit how long terminate then waits for each frame until
// that one.
const (
	relayStopTimeout = 10 * time.Second
	relayReadTimeout = 30 * time.Second
	drainLimit       = 30 * time.Second
)

// releaseTries is how often terminate tries to release a machine before it
// leaves that to the reaper.
const releaseTries = 3

// terminate stops what runs, brings the last frames and logs home, releases
// the machines and completes the run. A machine that does not answer holds up
// nothing: what can't be cleaned up is reported apart from the verdict.
func (x *execution) terminate(ctx context.Context) error {
	if err := x.loadMachines(ctx); err != nil {
		return err
	}
	if err := x.settleAbort(ctx); err != nil {
		return err
	}
	if err := x.reattach(ctx); err != nil {
		return err
	}
	if err := each(x.all(), func(m *machine) error { return x.stopPlan(ctx, m) }); err != nil {
		return err
	}
	if err := x.endSteps(ctx); err != nil {
		return err
	}
	if err := x.flushFrames(ctx); err != nil { // readers don't wait for a store that fails now
		return err
	}
	x.askRelays(ctx)
	if err := each(x.all(), func(m *machine) error { return x.stopRelay(ctx, m) }); err != nil {
		return err
	}
	if err := x.flushFrames(ctx); err != nil {
		return err
	}
	if err := x.noteLedger(ctx); err != nil {
		return err
	}
	if err := x.judge(ctx); err != nil {
		return err
	}
	err := each(x.all(), func(m *machine) error { return x.release(ctx, m) })
	if err != nil {
		return err
	}
	if err := x.endMonitor(ctx); err != nil {
		return err
	}
	if err := x.releaseAllReplaced(ctx); err != nil {
		return err
	}
	if err := x.askReceipts(ctx); err != nil {
		return err
	}
	return x.complete(ctx)
}

// settleAbort gives the verdict ABORTED to a run that was asked to abort in
// the moment of its conclusion. From here on no abort is taken any more.
func (x *execution) settleAbort(ctx context.Context) error {
	stored, err := x.b.cfg.Store.Run(ctx, x.ref.UUID)
	if err != nil {
		return fmt.Errorf("read run: %w", err)
	}
	return x.update(ctx, func(run *Run) []Event {
		if !stored.Aborted || run.Verdict == Aborted {
			return nil
		}
		run.Verdict, run.Reason = Aborted, abortReason
		return []Event{{Kind: EventRun, State: Terminating.String(), Text: abortReason}}
	})
}

// reachable reports whether there is an engine to talk to.
func (x *execution) reachable(m *machine) bool {
	return m.ProviderID != "" && m.State != MachineReleasing && m.State != MachineReleased && x.connect(m) == nil
}

// stopPlan ends the plan's container on the machine, and keeps its log.
func (x *execution) stopPlan(ctx context.Context, m *machine) error {
	if !x.reachable(m) || m.State == MachineLost {
		return nil
	}
	if m.ContainerID == "" {
		// It may have been created just before the broker was killed.
		found, err := m.engine.List(ctx, x.labels(m, RolePlan))
		if err != nil || len(found) == 0 {
			return ctx.Err()
		}
		m.ContainerID = found[0].ID
	}
	if m.FinishedAt != nil {
		return nil
	}
	c, err := x.inspect(ctx, m)
	if err != nil || !c.Started() {
		return x.given(ctx, m, err)
	}
	err = x.stopContainer(ctx, m, m.ContainerID, x.stopTimeout(m))
	if err == nil {
		err = x.awaitEnd(ctx, m)
	}
	if err == nil || isStoreError(err) {
		return err
	}
	if ctx.Err() == nil {
		x.log.Warn("container could not be stopped in order; it is removed", "machine", m.ProviderID, "error", err)
	}
	return x.given(ctx, m, err)
}

// given gives up a machine that does not answer, so that what follows does not
// wait for it again. Other errors of its engine are none of the run's end.
func (x *execution) given(ctx context.Context, m *machine, err error) error {
	if ctx.Err() != nil || CodeOf(err) != EUnavailable {
		return ctx.Err()
	}
	return x.lose(ctx, m, err)
}

// anyStarted reports whether a container of step i was started.
func (x *execution) anyStarted(i int) bool {
	for _, m := range x.of(i) {
		if m.StartedAt != nil {
			return true
		}
	}
	return false
}

// endSteps closes the records of steps that are not over.
func (x *execution) endSteps(ctx context.Context) error {
	for i, step := range x.ref.Plan.Steps {
		rec := x.step(i)
		if rec.State.Over() || step.Monitor { // which ends when it has all metrics
			continue
		}
		text, state := fmt.Sprintf("Step %s was stopped with the run.", step.Name), StepEnded
		if rec.StartedAt == nil && rec.State != StepStopping && !x.anyStarted(i) {
			text, state = fmt.Sprintf("Step %s was not started.", step.Name), StepSkipped
		}
		if err := x.captureOutput(i); err != nil {
			x.log.Warn("capture output", "step", step.Name, "error", err)
		}
		err := x.updateStep(ctx, i, text, func(rec *StepRecord) {
			rec.State, rec.Reason, rec.CompletedAt = state, "the run ended", utcNow()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// askRelays has all relays send their final frames before any is waited for: while
// one goes on, its frames come too. What fails here is tried again with each.
func (x *execution) askRelays(ctx context.Context) {
	// None of these errors is lost: see drain.
	_ = each(x.all(), func(m *machine) error {
		if m.reader == nil || m.FramesFinal || m.State == MachineLost {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, x.relayTimeout(m))
		defer cancel()
		m.asked = m.engine.Stop(limited, m.RelayID, x.relayTimeout(m)) == nil
		return nil
	})
}

// relayTimeout is how long the machine's relay may take to send its final frame.
func (x *execution) relayTimeout(m *machine) time.Duration {
	if len(x.ref.Plan.Steps[m.Step].LogMetrics) > 0 {
		return relayStopTimeout + relayReadTimeout
	}
	return relayStopTimeout
}

// stopRelay has the machine's relay send its final frame, and waits until it
// has come.
func (x *execution) stopRelay(ctx context.Context, m *machine) error {
	if m.reader == nil || m.FramesFinal {
		return nil
	}
	defer m.reader.cancel()
	if m.State != MachineLost {
		if err := x.drain(ctx, m); err != nil {
			x.log.Warn("stop relay", "machine", m.ProviderID, "error", err)
			if err := x.given(ctx, m, err); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.reader.cancel()
	<-m.reader.done
	if err := m.reader.passBroken(ctx); err != nil {
		return err
	}
	if m.State != MachineLost {
		if err := x.keepRelayLog(ctx, m); err != nil && ctx.Err() == nil {
			x.log.Warn("keep the relay's log", "machine", m.ProviderID, "error", err)
		}
	}
	return ctx.Err()
}

// drain stops the relay and waits until all its frames have come.
func (x *execution) drain(ctx context.Context, m *machine) error {
	if !m.asked {
		if err := x.stopContainer(ctx, m, m.RelayID, x.relayTimeout(m)); err != nil {
			return err
		}
	}
	patience := time.NewTicker(drainLimit)
	defer patience.Stop()
	for passed := m.reader.passed.Load(); ; {
		select {
		case <-m.reader.done:
			return nil
		case <-patience.C:
			now := m.reader.passed.Load()
			if now == passed {
				return fmt.Errorf("its last frames did not come: none within %s", drainLimit)
			}
			passed = now // there are many to come yet
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keepRelayLog keeps what the relay had to say; its frames are kept elsewhere.
func (x *execution) keepRelayLog(ctx context.Context, m *machine) error {
	return x.keepLog(ctx, m, RoleRelay, m.RelayID)
}

// noteLedger tells when frames are missing, and when seconds are not told
// apart. The ledger is in the summary.
func (x *execution) noteLedger(ctx context.Context) error {
	l, err := x.b.cfg.Store.Ledger(ctx, x.ref.UUID)
	if err != nil {
		return err
	}
	for _, text := range ledgerNotes(l) {
		if err := x.note(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// ledgerNotes says, a sentence each, what there is to know of the ledger. What
// is lost is a fault of the instrument as well; what is merged is not.
func ledgerNotes(l metrics.Ledger) (notes []string) {
	if !l.Balance {
		notes = append(notes, fmt.Sprintf("Metrics are incomplete: %d frames sent, %d stored, %d broken; the last frame of %d machines did not come.",
			l.Sent, l.Stored, l.Broken, l.Open))
	}
	if l.Merged > 0 {
		notes = append(notes, fmt.Sprintf("%d seconds share a frame with a later one, as an engine was slow to take what its relay wrote; nothing of them is lost.", l.Merged))
	}
	return notes
}

// release removes what the run made on the machine and gives it back.
func (x *execution) release(ctx context.Context, m *machine) error {
	if m.State == MachineReleased {
		return nil
	}
	tries := releaseTries
	if m.State == MachineLost {
		tries = 1 // it may take each try minutes to fail
	}
	x.letGo(m)
	if m.State != MachineReleasing {
		if err := x.updateMachine(ctx, m, "", func(m *Machine) { m.State = MachineReleasing }); err != nil {
			return err
		}
	}
	var err error
	for try := range tries {
		if try > 0 && !sleep(ctx, time.Duration(try)*time.Second) {
			return ctx.Err()
		}
		if err = x.b.giveBack(ctx, m.Machine, m.engine); err == nil {
			now := utcNow()
			return x.updateMachine(ctx, m, "The machine was released.", func(m *Machine) { m.State, m.ReleasedAt = MachineReleased, now })
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := fmt.Sprintf("The machine could not be released; it is tried again: %v", err)
	return x.updateMachine(ctx, m, text, func(m *Machine) { m.Reason = err.Error() })
}

// rentedLimit is how long containers may take to be removed from a machine that
// is rented.
const rentedLimit = 30 * time.Second

// giveBack removes the run's containers from a machine and releases it. One that
// is rented is released even when it does not answer: it costs money, and its
// pool ends what it can't clean. eng is the machine's engine, or nil where nobody
// has opened it.
func (b *Broker) giveBack(ctx context.Context, m Machine, eng Engine) error {
	pool, err := b.pool(m.Pool)
	if err != nil {
		return err
	}
	if m.ProviderID == "" {
		return pool.Release(ctx, m)
	}
	if _, rented := pool.(Renter); !rented {
		if err := b.removeContainers(ctx, m, eng); err != nil {
			return err
		}
		return pool.Release(ctx, m)
	}
	limited, cancel := context.WithTimeout(ctx, rentedLimit)
	defer cancel()
	if err := b.removeContainers(limited, m, eng); err != nil {
		b.cfg.Log.Warn("remove containers of a machine that is given back", "run", m.RunUUID, "machine", m.ProviderID, "error", err)
	}
	return pool.Release(ctx, m)
}

// removeContainers removes all that the run made on the machine's engine for
// this machine: its containers, and the volume that they shared.
func (b *Broker) removeContainers(ctx context.Context, m Machine, eng Engine) error {
	if eng == nil {
		opened, err := b.cfg.Dial(m.Endpoint)
		if err != nil {
			return err
		}
		defer opened.Close()
		eng = opened
	}
	labels := map[string]string{
		LabelBroker: b.id, LabelRun: m.RunUUID,
		LabelStep: fmt.Sprint(m.Step), LabelMachine: fmt.Sprint(m.Index),
	}
	mine, err := eng.List(ctx, labels)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range mine {
		errs = append(errs, eng.Remove(ctx, c.ID))
	}
	volumes, err := eng.Volumes(ctx, labels)
	errs = append(errs, err)
	for _, v := range volumes {
		errs = append(errs, eng.RemoveVolume(ctx, v.Name))
	}
	return errors.Join(errs...)
}

// complete stores the end of the run.
func (x *execution) complete(ctx context.Context) error {
	cleanup, detail := CleanupDone, ""
	if why := whatIsLeft(x.receipts()); why != "" {
		cleanup, detail = CleanupFailed, why
	}
	replaced, err := x.b.cfg.Store.Replaced(ctx, x.ref.UUID)
	if err != nil {
		return err
	}
	for _, m := range append(machinesAt(x.allMachines()), replaced...) {
		if m.State != MachineReleased {
			cleanup, detail = CleanupFailed, fmt.Sprintf("machine %s could not be released: %s", m.ProviderID, m.Reason)
		}
	}
	if err := x.planArchive(ctx); err != nil {
		return err
	}
	defer x.b.wakeArchiver()
	return x.update(ctx, func(run *Run) []Event {
		run.State, run.CompletedAt = Completed, utcNow()
		run.Cleanup, run.CleanupDetail = cleanup, detail
		text := fmt.Sprintf("The run is over: %s.", run.Verdict)
		return []Event{{Kind: EventRun, State: Completed.String(), Text: text}}
	})
}
