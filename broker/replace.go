package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/strategies"
)

// replaceTry is how many machines may be taken, one after the other, in the place
// of one that turns out to be of no use. In all of a step it is half as many as it
// has machines, though not less than for one: a fault that meets more of them is
// hardly theirs.
const replaceTry = 2

// nowLimit is how long an engine may take that is asked whether it answers now.
const nowLimit = 10 * time.Second

// replacements counts the machines that were taken in the place of others.
type replacements struct {
	mu sync.Mutex
	at map[[2]int]int // by step and index
}

// take counts one more for the place, if there may be.
func (r *replacements) take(step strategies.Step, i, j int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ofStep := 0
	for place, n := range r.at {
		if place[0] == i {
			ofStep += n
		}
	}
	if r.at[[2]int{i, j}] >= replaceTry || ofStep >= max(replaceTry, step.InstanceCount/2) {
		return false
	}
	r.add(i, j)
	return true
}

// add is called with the lock held.
func (r *replacements) add(i, j int) {
	if r.at == nil {
		r.at = map[[2]int]int{}
	}
	r.at[[2]int{i, j}]++
}

// undo takes one back that could not be stored.
func (r *replacements) undo(i, j int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[[2]int{i, j}]--
}

// set counts those that are stored.
func (r *replacements) set(replaced []Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = nil
	for _, m := range replaced {
		r.add(m.Step, m.Index)
	}
}

// of is how many there were for the place.
func (r *replacements) of(i, j int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[[2]int{i, j}]
}

// any reports whether there was one.
func (r *replacements) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.at) > 0
}

// isRented reports whether the machine's pool rents it, and so may have another.
func (x *execution) isRented(m *machine) bool {
	_, ok := x.b.renter(m.Pool)
	return ok
}

// prepareOne makes a machine ready for its container, or another in its place when
// it can't be used.
func (x *execution) prepareOne(ctx context.Context, m *machine, images *imageLoads) error {
	again := false
	for m != nil {
		err := x.prepare(ctx, m, images)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if !again && CodeOf(err) == EUnavailable && x.isRented(m) && answersNow(ctx, m) {
			again, images = true, newImageLoads() // it was silent for a moment only
			continue
		}
		if m, err = x.another(ctx, m, err); err != nil {
			return err
		}
		again, images = false, newImageLoads()
	}
	return nil
}

// answersNow reports whether the machine's engine answers at once.
func answersNow(ctx context.Context, m *machine) bool {
	if m.engine == nil {
		return false
	}
	quick, cancel := context.WithTimeout(ctx, nowLimit)
	defer cancel()
	_, err := m.engine.Info(quick)
	return err == nil
}

// lastLook takes another machine for one that was prepared, and is gone before all
// others were.
func (x *execution) lastLook(ctx context.Context, m *machine) error {
	if m.State != MachinePrepared || !x.isRented(m) {
		return nil
	}
	cause := x.isGone(ctx, m)
	if cause == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	next, err := x.another(ctx, m, cause)
	if err != nil {
		return err
	}
	return x.prepareOne(ctx, next, newImageLoads())
}

// isGone says why a machine that was prepared can't be used any more, if so.
func (x *execution) isGone(ctx context.Context, m *machine) error {
	var relay Container
	err := patiently(ctx, x.b.cfg.LostAfter, func() (err error) {
		relay, err = m.engine.Inspect(ctx, m.RelayID)
		return err
	})
	switch {
	case CodeOf(err) == ENotFound:
		return Errorf(EBroken, "its relay is gone")
	case err == nil && !relay.Running():
		return Errorf(EBroken, "its relay has ended: %s", m.reader.stderr.String())
	}
	return err
}

// another gives back a machine that can't be used, and gets one in its place: nil
// when the run goes on without.
func (x *execution) another(ctx context.Context, m *machine, cause error) (*machine, error) {
	step := x.ref.Plan.Steps[m.Step]
	itsOwn := CodeOf(cause) == EUnavailable || CodeOf(cause) == EBroken
	if !itsOwn || isStoreError(cause) || !x.isRented(m) || x.state() >= Terminating || !x.replacements.take(step, m.Step, m.Index) {
		return nil, x.notPrepared(ctx, m, cause)
	}
	next, err := x.replaceMachine(ctx, m, cause)
	if err != nil {
		return nil, err
	}
	if err := x.acquireThese(ctx, m.Step, []*machine{next}); err != nil {
		return nil, err
	}
	if next.State != MachineReady {
		return nil, nil // the quorum does without it
	}
	return next, x.admit(ctx)
}

// replaceMachine stores that another machine is to take the place of m, and gives
// m back. Nothing of m is on its way to the store from here on.
func (x *execution) replaceMachine(ctx context.Context, m *machine, cause error) (*machine, error) {
	if m.reader != nil {
		m.reader.cancel()
		<-m.reader.done
		m.reader = nil
		if err := x.flushFrames(ctx); err != nil {
			return nil, err
		}
	}
	x.letGo(m)
	old, next := m.Machine, &machine{Machine: Machine{State: MachineRequested, Token: uuid.NewString(), Pool: m.Pool}}
	old.Reason = oneLine(cause.Error())
	text := fmt.Sprintf("Machine %s is of no use, and another is taken in its place: %s", old.ProviderID, old.Reason)
	e := Event{Kind: EventMachine, Step: x.ref.Plan.Steps[m.Step].Name, Machine: &old.Index, State: string(MachineRequested), Text: text}
	if err := x.b.cfg.Store.ReplaceMachine(ctx, x.ref, &old, &next.Machine, e); err != nil {
		x.replacements.undo(m.Step, m.Index)
		return nil, &storeError{fmt.Errorf("store another machine: %w", err)}
	}
	x.log.Warn(text, "step", e.Step, "machine", m.Index)
	x.b.hub.notify(x.ref.UUID)

	x.exchange(m, next)
	x.names.remove(m.ID)
	x.spread.forget(m)
	x.seriesMu.Lock()
	x.series.Forget(e.Step, m.Index)
	x.seriesMu.Unlock()
	return next, x.releaseReplaced(ctx, old, m.engine)
}

// all are the machines of the steps. The slice does not change; there is another
// one when a machine has taken the place of one of them.
func (x *execution) all() []*machine {
	x.machinesMu.Lock()
	defer x.machinesMu.Unlock()
	return x.machines
}

// exchange puts a machine in the place of another.
func (x *execution) exchange(old, next *machine) {
	x.machinesMu.Lock()
	defer x.machinesMu.Unlock()
	x.machines = slices.Clone(x.machines)
	x.machines[slices.Index(x.machines, old)] = next
}

// releaseReplaced gives back a machine that was replaced. What can't be given back
// now is when the run ends. eng may be nil.
func (x *execution) releaseReplaced(ctx context.Context, m Machine, eng Engine) error {
	if err := x.b.giveBack(ctx, m, eng); err != nil {
		if ctx.Err() == nil {
			x.log.Warn("give back a machine that was replaced", "machine", m.ProviderID, "error", err)
		}
		return ctx.Err()
	}
	m.State, m.ReleasedAt = MachineReleased, utcNow()
	if err := x.b.cfg.Store.SaveMachine(ctx, x.ref, &m); err != nil {
		return &storeError{fmt.Errorf("store machine: %w", err)}
	}
	return nil
}

// releaseAllReplaced gives back those that have not been.
func (x *execution) releaseAllReplaced(ctx context.Context) error {
	list, err := x.b.cfg.Store.Replaced(ctx, x.ref.UUID)
	if err != nil {
		return &storeError{fmt.Errorf("read replaced machines: %w", err)}
	}
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, m := range list {
		if m.State != MachineReleased {
			wg.Go(func() { errs[i] = x.releaseReplaced(ctx, m, nil) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// releaseLeftReplaced gives back those that an earlier broker has left.
func (x *execution) releaseLeftReplaced(ctx context.Context) {
	if err := x.releaseAllReplaced(ctx); err != nil && ctx.Err() == nil {
		x.log.Warn("give back replaced machines", "error", err) // the end of the run does it again
	}
}
