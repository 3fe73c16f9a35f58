package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loads/loads/strategies"
)

// execute takes every step from its state on disk to its end, each in a
// goroutine of its own, and ends when all steps are over, one has failed, or a
// criterion ends the run.
func (x *execution) execute(ctx context.Context) error {
	if err := x.loadMachines(ctx); err != nil {
		return err
	}
	if err := x.reattach(ctx); err != nil {
		return err
	}
	if err := x.spread.resumeLate(ctx); err != nil {
		return err
	}
	x.beginMonitor()
	if r, stopped := x.stoppedBy(); stopped {
		return x.conclude(ctx, Fail, r.String()) // an earlier broker knew
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	var watchErr error
	watching.Go(func() { watchErr = x.watchCriteria(ctx, inner, cancel) })
	errs := make([]error, len(x.ref.Plan.Steps))
	var wg sync.WaitGroup
	for i := range x.ref.Plan.Steps {
		wg.Go(func() {
			errs[i] = x.runStep(inner, i)
			if errs[i] != nil || x.step(i).Failed {
				cancel() // a failed step ends the run
			}
		})
	}
	wg.Wait()
	cancel()
	watching.Wait()
	if i, failed := x.firstFailed(); failed {
		rec := x.step(i)
		return x.fail(ctx, "Step %s failed: %s.", x.ref.Plan.Steps[i].Name, rec.Reason)
	}
	if r, stopped := x.stoppedBy(); stopped {
		return x.conclude(ctx, Fail, r.String())
	}
	if err := errors.Join(append(errs, watchErr)...); err != nil {
		return err
	}
	if err := x.relaysRun(ctx); err != nil {
		return err
	}
	return x.conclude(ctx, Pass, "")
}

// relaysRun notes a fault of the instrument when the relay of a machine does
// not run any more: what it should have measured is lost, and if it went down
// with its engine, so did the containers, however well they ended. A machine
// that does not answer is not asked for longer.
func (x *execution) relaysRun(ctx context.Context) error {
	return each(x.machines, func(m *machine) error {
		if m.State != MachinePrepared {
			return nil
		}
		c, err := m.engine.Inspect(ctx, m.RelayID)
		if ctx.Err() != nil || c.Running() || err != nil && CodeOf(err) != ENotFound {
			return ctx.Err()
		}
		return x.noteFault(ctx, relayFault(x.ref.Plan, m.Machine))
	})
}

// reattach connects to the machines of a run that an earlier broker began. A
// machine that can't be connected to is noticed later, by what needs it.
func (x *execution) reattach(ctx context.Context) error {
	return each(x.machines, func(m *machine) error {
		if m.State != MachinePrepared {
			return nil
		}
		if err := x.connect(m); err != nil {
			return x.lose(ctx, m, err)
		}
		x.follow(ctx, m)
		return nil
	})
}

// lose gives up a machine.
func (x *execution) lose(ctx context.Context, m *machine, cause error) error {
	text := fmt.Sprintf("Machine %s is lost: %v", m.ProviderID, cause)
	return x.updateMachine(ctx, m, text, func(m *Machine) { m.State, m.Reason = MachineLost, cause.Error() })
}

func (x *execution) firstFailed() (int, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, rec := range x.run.StepRecords {
		if rec.Failed {
			return i, true
		}
	}
	return 0, false
}

// runStep drives one step. The state of its record says what is next.
func (x *execution) runStep(ctx context.Context, i int) error {
	if x.ref.Plan.Steps[i].Monitor {
		return nil // runMonitor drives it
	}
	for {
		var err error
		switch rec := x.step(i); rec.State {
		case StepPending:
			if err = x.getLate(ctx, i); err == nil {
				err = x.awaitStart(ctx, i)
			}
		case StepArming:
			err = x.arm(ctx, i)
		case StepStarting, StepStarted, StepReady, StepStopping:
			err = x.supervise(ctx, i)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// awaitStart waits until the step is due, and then fixes when it starts.
func (x *execution) awaitStart(ctx context.Context, i int) error {
	name := x.ref.Plan.Steps[i].Name
	for {
		x.mu.Lock()
		changed, t0 := x.changed, *x.run.StartedAt
		status := x.status()
		x.mu.Unlock()

		if why, ok := x.ref.Plan.Blocked(status)[i]; ok {
			return x.updateStep(ctx, i, fmt.Sprintf("Step %s can't start: %s.", name, why), func(rec *StepRecord) {
				rec.State, rec.Failed, rec.Reason = StepFailed, true, why
			})
		}
		now := time.Now()
		elapsed := now.Sub(t0) + x.lead(i)
		for _, due := range x.ref.Plan.Startable(status, elapsed) {
			if due == i {
				return x.beginArming(ctx, i, x.startTime(i, t0, now))
			}
		}
		if err := x.awaitChange(ctx, changed, status, elapsed); err != nil {
			return err
		}
	}
}

// status is what the timing rules must know of the steps. The caller holds
// x.mu.
func (x *execution) status() []strategies.StepStatus {
	status := make([]strategies.StepStatus, len(x.run.StepRecords))
	for i, rec := range x.run.StepRecords {
		status[i] = strategies.StepStatus{
			Started: rec.StartedAt != nil,
			Ready:   rec.ReadyAt != nil,
			Ended:   rec.State.Over(),
			Failed:  rec.Failed,
		}
	}
	return status
}

// awaitChange waits for a change of a step, or for the next time something is
// due.
func (x *execution) awaitChange(ctx context.Context, changed <-chan struct{}, status []strategies.StepStatus, elapsed time.Duration) error {
	wait := time.Hour
	if next, ok := x.ref.Plan.NextDue(status, elapsed); ok {
		wait = max(next-elapsed, time.Millisecond)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startTime is when a step that is due starts: when its delay says, but not
// before its containers can have been created.
func (x *execution) startTime(i int, t0, now time.Time) time.Time {
	planned := t0.Add(time.Duration(x.ref.Plan.Steps[i].RunDelay) * time.Second)
	if soonest := now.Add(x.lead(i)); planned.Before(soonest.Add(-startLead / 10)) {
		return soonest.UTC()
	}
	return planned.UTC()
}

// lead is how far ahead the start of step i is fixed, unless that has proved to
// be too short.
func (x *execution) lead(i int) time.Duration {
	return startLead + time.Duration(x.ref.Plan.Steps[i].InstanceCount)*createAllowance
}

func (x *execution) beginArming(ctx context.Context, i int, at time.Time) error {
	text := fmt.Sprintf("Step %s is due; creating its containers.", x.ref.Plan.Steps[i].Name)
	return x.updateStep(ctx, i, text, func(rec *StepRecord) {
		rec.State, rec.StartAt = StepArming, &at
	})
}

// arm creates the step's containers, so that they can be started together.
// After a break the start may have passed: then it is fixed anew, and with it
// the containers' LOADS_START_AT, unless one of them runs already.
func (x *execution) arm(ctx context.Context, i int) error {
	step, rec := x.ref.Plan.Steps[i], x.step(i)
	if time.Now().After(rec.StartAt.Add(startLead)) {
		return x.armAgain(ctx, i)
	}
	began := time.Now()
	var took atomic.Int64 // till the last was created; waiting for lost machines is no work that comes again
	err := each(x.of(i), func(m *machine) error {
		if m.State != MachinePrepared {
			return nil
		}
		err := x.create(ctx, m, *rec.StartAt)
		if err == nil {
			storeMax(&took, int64(time.Since(began)))
		}
		switch {
		case err == nil || ctx.Err() != nil:
			return ctx.Err()
		case isStoreError(err):
			return err
		case CodeOf(err) == EUnavailable && step.PruneRunning:
			return x.lose(ctx, m, err)
		}
		return x.failStep(ctx, i, fmt.Sprintf("machine %d can't create its container: %v", m.Index, err))
	})
	if err != nil || x.step(i).Failed {
		return err
	}
	x.leads[i] = 2 * time.Duration(took.Load())
	text := fmt.Sprintf("Step %s: all containers are created and checked.", step.Name)
	return x.updateStep(ctx, i, text, func(rec *StepRecord) { rec.State = StepStarting })
}

func storeMax(to *atomic.Int64, n int64) {
	for {
		had := to.Load()
		if had >= n || to.CompareAndSwap(had, n) {
			return
		}
	}
}

// armAgain fixes a new start for a step whose start has passed before its
// containers were created: far enough ahead for what creating them has taken,
// since they may have to be made anew for it.
func (x *execution) armAgain(ctx context.Context, i int) error {
	return x.beginArming(ctx, i, time.Now().Add(max(x.lead(i), x.leads[i])).UTC())
}

// failStep ends the step as failed, for the first reason given.
func (x *execution) failStep(ctx context.Context, i int, why string) error {
	why = oneLine(why)
	if x.step(i).Failed {
		return nil
	}
	text := fmt.Sprintf("Step %s failed: %s.", x.ref.Plan.Steps[i].Name, why)
	return x.updateStep(ctx, i, text, func(rec *StepRecord) {
		rec.State, rec.Failed, rec.Reason = StepFailed, true, why
		rec.CompletedAt = utcNow()
	})
}

func utcNow() *time.Time {
	return new(time.Now().UTC())
}

// machineStart is the planned start of the machine's container.
func (x *execution) machineStart(m *machine, first time.Time) time.Time {
	return first.Add(time.Duration(m.Index*x.ref.Plan.Steps[m.Step].NodeDelay) * time.Second)
}

// create creates the machine's container. One that was created for another
// start, and never started, makes way.
func (x *execution) create(ctx context.Context, m *machine, first time.Time) error {
	at := x.machineStart(m, first)
	r, err := x.resolve(m, at)
	if err != nil {
		return err
	}
	if r.Files, err = x.withMinutes(m, first, r.Files); err != nil {
		return err
	}
	spec := x.planSpec(m, r, at)
	var id string
	err = patiently(ctx, x.b.cfg.LostAfter, func() (err error) {
		if id, err = m.engine.Create(ctx, spec); CodeOf(err) == EConflict {
			id, err = x.replace(ctx, m, spec)
		}
		return err
	})
	if err == nil {
		err = x.tellRelay(ctx, m, id, spec.Name)
	}
	if err != nil {
		return err
	}
	return x.updateMachine(ctx, m, "", func(m *Machine) {
		m.Environment = strategies.Environment(r.Env).Masked(x.ref.Environment...)
		m.ContainerID = id
	})
}

// A planContainer is an entry of the file that tells a relay which containers
// of its machine are the plan's.
type planContainer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// tellRelay tells the machine's relay which container is the plan's. That comes
// before the container is started, and again when a broker that was killed in
// between has left open whether it came. That there is no relay any more is told
// at the end: see relaysRun.
func (x *execution) tellRelay(ctx context.Context, m *machine, id, name string) error {
	list, err := json.Marshal([]planContainer{{ID: id, Name: name}})
	if err != nil {
		return fmt.Errorf("write the list of containers: %w", err)
	}
	err = patiently(ctx, x.b.cfg.LostAfter, func() error {
		return m.engine.PutFiles(ctx, m.RelayID, map[string][]byte{containersFile: list})
	})
	if err != nil && CodeOf(err) != ENotFound {
		return fmt.Errorf("tell its relay: %w", err)
	}
	return nil
}

func (x *execution) replace(ctx context.Context, m *machine, spec ContainerSpec) (string, error) {
	old, err := m.engine.List(ctx, x.labels(m, RolePlan))
	if err != nil {
		return "", err
	}
	for _, c := range old {
		if c.Started() {
			return c.ID, nil
		}
		if err := m.engine.Remove(ctx, c.ID); err != nil {
			return "", err
		}
	}
	return m.engine.Create(ctx, spec)
}

// planSpec describes the plan's container on the machine.
func (x *execution) planSpec(m *machine, r strategies.Resolved, at time.Time) ContainerSpec {
	step := x.ref.Plan.Steps[m.Step]
	spec := ContainerSpec{
		Name: x.containerName(m, RolePlan), Image: cmp.Or(m.ImageID, r.Image), Command: r.Args,
		Labels: x.labels(m, RolePlan), Network: m.Network,
		NanoCPUs: int64(step.CPUs * 1e9), Memory: int64(step.Memory),
		StopTimeout: time.Duration(step.StopTimeout) * time.Second,
		Ulimits:     map[string][2]int64{},
		Sysctls:     sysctls(r.Ports),
		Log:         planLog(),
		Shared:      []SharedVolume{x.socketVolume(m, true)},
		Files:       r.Files,
	}
	spec.Labels[LabelStartAt] = strconv.FormatInt(at.UnixMilli(), 10)
	for _, v := range r.Env {
		spec.Env = append(spec.Env, v.Name+"="+v.Value)
	}
	for _, p := range r.Ports {
		spec.Ports = append(spec.Ports, PortBinding{Container: p.Container, Host: p.Host, Protocol: p.Protocol, Address: m.Address})
	}
	for _, v := range r.Volumes {
		spec.Volumes = append(spec.Volumes, VolumeBinding(v))
	}
	for name, u := range step.Ulimits {
		spec.Ulimits[name] = [2]int64{u.Soft, u.Hard}
	}
	if x.hasNames() {
		spec.DNS = []string{m.Address}
	}
	return spec
}

// hasNames reports whether the plan gives any step a dns_name, and so machines
// a name server.
func (x *execution) hasNames() bool {
	for _, step := range x.ref.Plan.Steps {
		if step.DNSName != "" {
			return true
		}
	}
	return false
}
