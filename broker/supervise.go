package broker

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// supervise starts the step's containers, waits until they have ended or the
// step's time is over, and stores how it ended. It is also what goes on with a
// step that an earlier broker had started.
func (x *execution) supervise(ctx context.Context, i int) error {
	if again, err := x.rearm(ctx, i); again || err != nil {
		return err
	}
	s := &supervision{x: x, i: i, started: make(chan struct{}), stopping: make(chan struct{}), lost: map[*machine]chan struct{}{}}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	s.cancel = cancel

	var wg sync.WaitGroup
	for _, m := range x.of(i) {
		if m.State == MachinePrepared {
			s.machines = append(s.machines, m)
			s.lost[m] = make(chan struct{})
		}
	}
	if len(s.machines) == 0 {
		return x.failStep(ctx, i, "all its machines were lost")
	}
	council, err := x.convene(ctx, i, s.machines)
	if err != nil {
		return err
	}
	s.council = council
	adjourn := council.run(inner, s.machines)
	defer adjourn()
	ended := make(chan struct{})
	wg.Go(func() {
		defer close(ended)
		s.follow(inner)
	})
	wg.Go(func() { s.keepTime(inner, ended) })
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.err != nil || x.step(i).Failed {
		return s.err
	}
	return s.end(ctx)
}

// rearm fixes a new start for containers that were created for a start that
// has passed while no broker was there, if none of them has been started.
func (x *execution) rearm(ctx context.Context, i int) (bool, error) {
	rec := x.step(i)
	if rec.State != StepStarting || time.Now().Before(rec.StartAt.Add(startLead)) {
		return false, nil
	}
	for _, m := range x.of(i) {
		if m.State != MachinePrepared {
			continue
		}
		c, err := m.engine.Inspect(ctx, m.ContainerID)
		if err != nil || c.Started() {
			return false, ctx.Err() // to be dealt with by what starts or follows it
		}
	}
	return true, x.armAgain(ctx, i)
}

// A supervision is one supervise call's work on a step.
type supervision struct {
	x        *execution
	i        int
	machines []*machine
	cancel   context.CancelFunc         // ends the supervision when the step has failed
	started  chan struct{}              // closed when all containers have been started
	stopping chan struct{}              // closed when the step's time is over
	lost     map[*machine]chan struct{} // closed when the machine is lost
	council  *council                   // nil if the machines have nothing to agree on

	mu      sync.Mutex
	err     error
	waiting int // machines whose container has not been started
}

// fail ends the supervision; an error is of the store.
func (s *supervision) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.cancel()
}

// failStep marks the step as failed, unless its time was over or the run is
// ending.
func (s *supervision) failStep(ctx context.Context, format string, args ...any) {
	if ctx.Err() != nil {
		return
	}
	if err := s.x.failStep(ctx, s.i, fmt.Sprintf(format, args...)); err != nil {
		s.fail(err)
		return
	}
	s.cancel()
}

// follow starts each machine's container and follows it to its end.
func (s *supervision) follow(ctx context.Context) {
	s.waiting = len(s.machines)
	var wg sync.WaitGroup
	for _, m := range s.machines {
		wg.Go(func() { s.followOne(ctx, m) })
	}
	wg.Wait()
}

func (s *supervision) followOne(ctx context.Context, m *machine) {
	err := s.lifetime(ctx, m)
	if err == nil {
		s.council.ended(m)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	step := s.x.ref.Plan.Steps[s.i]
	if isStoreError(err) {
		s.fail(err)
		return
	}
	if CodeOf(err) != EUnavailable || !step.PruneRunning {
		s.failStep(ctx, "machine %d: %v", m.Index, err)
		return
	}
	if err := s.x.lose(ctx, m, err); err != nil {
		s.fail(err)
	}
	s.council.lost(m)
	close(s.lost[m])
}

// lifetime takes the machine's container from its start to its end: its own
// end, or the one that it is brought to when the step's time is over.
func (s *supervision) lifetime(ctx context.Context, m *machine) error {
	inTime, cancel := context.WithCancel(ctx)
	wait := s.afterStopping(inTime, cancel)
	defer func() {
		cancel()
		wait()
	}()

	err := s.start(inTime, m)
	s.oneStarted()
	if err == nil {
		err = s.x.awaitEnd(inTime, m)
	}
	if inTime.Err() == nil || ctx.Err() != nil {
		return err
	}
	if isStoreError(err) {
		return err
	}
	if err := s.x.stopContainer(ctx, m, m.ContainerID, s.x.stopTimeout(m)); err != nil {
		return err
	}
	c, err := s.x.inspect(ctx, m)
	if err != nil || !c.Started() {
		return err // one that was never started has no end to wait for
	}
	return s.x.awaitEnd(ctx, m)
}

// afterStopping calls f once the step's time is over, or ctx is. The function
// it returns waits for that.
func (s *supervision) afterStopping(ctx context.Context, f func()) func() {
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-s.stopping:
			f()
		case <-ctx.Done():
		}
	})
	return wg.Wait
}

// stopContainer asks a container to end, and kills it after the timeout. A
// machine that does not answer for LostAfter is given up.
func (x *execution) stopContainer(ctx context.Context, m *machine, id string, timeout time.Duration) error {
	return patiently(ctx, timeout+x.b.cfg.LostAfter, func() error { return m.engine.Stop(ctx, id, timeout) })
}

// inspect looks at the machine's container. A machine that does not answer for
// LostAfter is given up.
func (x *execution) inspect(ctx context.Context, m *machine) (c Container, err error) {
	err = patiently(ctx, x.b.cfg.LostAfter, func() error {
		c, err = m.engine.Inspect(ctx, m.ContainerID)
		return err
	})
	return c, err
}

func (s *supervision) oneStarted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
	if s.waiting == 0 {
		close(s.started)
	}
}

// settle is how long, for each machine of a step, nothing is asked of those whose
// containers were started.
const settle = 200 * time.Microsecond

// How long before a container is due the engine is told to start it then: so
// long, and this for each machine of the step.
const (
	tellLead      = 200 * time.Millisecond
	tellAllowance = 500 * time.Microsecond
)

// start starts the machine's container at its time, unless it was started.
func (s *supervision) start(ctx context.Context, m *machine) error {
	if m.StartedAt != nil {
		return nil
	}
	at := s.x.machineStart(m, *s.x.step(s.i).StartAt)
	all := time.Duration(len(s.machines))
	if !sleep(ctx, time.Until(at.Add(-tellLead-all*tellAllowance))) {
		return ctx.Err()
	}
	err := patiently(ctx, s.x.b.cfg.LostAfter, func() error { return m.engine.StartAt(ctx, m.ContainerID, at) })
	if err != nil {
		return fmt.Errorf("start its container: %w", err)
	}
	// Others start in this very moment; what came of it can wait for them.
	sleep(ctx, time.Until(at.Add(all*settle)))
	c, err := s.x.inspect(ctx, m)
	if err != nil {
		return err
	}
	return s.x.updateMachine(ctx, m, "The container was started.", func(m *Machine) { m.StartedAt = new(c.StartedAt.UTC()) })
}

// awaitEnd waits until the machine's container has ended, and stores how and
// what it wrote. A machine that does not answer for LostAfter is given up,
// with EUnavailable.
func (x *execution) awaitEnd(ctx context.Context, m *machine) error {
	if m.FinishedAt != nil {
		return nil
	}
	waiting, giveUp := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer giveUp()
	watch.Go(func() {
		defer giveUp()
		x.untilSilent(waiting, m)
	})
	for {
		c, err := x.ended(waiting, m)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if x.isTaken(ctx, m, c.FinishedAt.Add(-m.ClockOffset)) {
				return errTaken()
			}
			return x.saveEnd(ctx, m, c)
		case waiting.Err() != nil:
			return Errorf(EUnavailable, "it has not answered for %s", x.b.cfg.LostAfter)
		case isStoreError(err) || CodeOf(err) != EUnavailable:
			return err
		case x.isTaken(ctx, m, time.Now().Add(-takenSlack)):
			return errTaken()
		}
		sleep(waiting, time.Second) // the wait broke, perhaps not the machine
	}
}

// ended waits until the machine's container has ended, and keeps its log.
func (x *execution) ended(ctx context.Context, m *machine) (Container, error) {
	if err := m.engine.Wait(ctx, m.ContainerID); err != nil {
		return Container{}, err
	}
	c, err := m.engine.Inspect(ctx, m.ContainerID)
	if err != nil {
		return Container{}, err
	}
	return c, x.keepLog(ctx, m, RolePlan, m.ContainerID)
}

// saveEnd stores how a container has ended.
func (x *execution) saveEnd(ctx context.Context, m *machine, c Container) error {
	text := fmt.Sprintf("The container has ended with code %d.", c.ExitCode)
	if c.OOMKilled {
		text = "The container was killed: it was out of memory."
	}
	return x.updateMachine(ctx, m, text, func(m *Machine) {
		if m.StartedAt == nil && c.Started() {
			m.StartedAt = new(c.StartedAt.UTC())
		}
		m.FinishedAt, m.ExitCode = new(c.FinishedAt.UTC()), new(c.ExitCode)
		if c.OOMKilled {
			m.Reason = "out of memory"
		}
	})
}

func (x *execution) stopTimeout(m *machine) time.Duration {
	return time.Duration(x.ref.Plan.Steps[m.Step].StopTimeout) * time.Second
}

// keepTime stores that all containers were started, waits for the step's
// readiness, and stops the step when its time is over. ended is closed when
// all containers have ended.
func (s *supervision) keepTime(ctx context.Context, ended <-chan struct{}) {
	timeUp := time.NewTimer(time.Until(s.deadline()))
	defer timeUp.Stop()
	ready, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	// That all were started is stored first, also when they have ended by then.
	select {
	case <-s.started:
	case <-timeUp.C:
		s.stopOr(ctx)
		return
	case <-ctx.Done():
		return
	}
	if err := s.storeStart(ctx); err != nil {
		s.fail(err)
		return
	}
	timeUp.Reset(time.Until(s.deadline()))
	wg.Go(func() { s.awaitReady(ready) })
	select {
	case <-ended:
	case <-timeUp.C:
		s.stopOr(ctx)
	case <-ctx.Done():
	}
}

// stopOr stops the step, or fails when that can't be stored.
func (s *supervision) stopOr(ctx context.Context) {
	if err := s.stop(ctx); err != nil {
		s.fail(err)
	}
}

// deadline is when the step's run_max_time is over: now, when it was over for
// an earlier broker.
func (s *supervision) deadline() time.Time {
	if s.x.step(s.i).State == StepStopping {
		return time.Now()
	}
	return s.planned()
}

// planned is when the step's run_max_time is over.
func (s *supervision) planned() time.Time {
	rec := s.x.step(s.i)
	from := rec.StartAt
	if rec.StartedAt != nil {
		from = rec.StartedAt
	}
	return from.Add(time.Duration(s.x.ref.Plan.Steps[s.i].RunMaxTime) * time.Second)
}

// stop has the step's containers brought to their end.
func (s *supervision) stop(ctx context.Context) error {
	rec := s.x.step(s.i)
	if rec.State != StepStopping {
		step := s.x.ref.Plan.Steps[s.i]
		text := fmt.Sprintf("Step %s: its time of %d s is over; stopping.", step.Name, step.RunMaxTime)
		err := s.x.updateStep(ctx, s.i, text, func(rec *StepRecord) {
			rec.State = StepStopping
			if rec.StartedAt == nil {
				rec.StartedAt = rec.StartAt
			}
		})
		if err != nil {
			return err
		}
	}
	close(s.stopping)
	return nil
}

// storeStart stores when the step's containers were started, by clocks made
// comparable, and how far apart.
func (s *supervision) storeStart(ctx context.Context) error {
	if s.x.step(s.i).State != StepStarting {
		return nil
	}
	var first, low, high time.Time
	n := 0
	for _, m := range s.machines {
		if m.StartedAt == nil {
			continue
		}
		n++
		at := m.StartedAt.Add(-m.ClockOffset)
		off := at.Add(-time.Duration(m.Index*s.x.ref.Plan.Steps[s.i].NodeDelay) * time.Second)
		if n == 1 || at.Before(first) {
			first = at
		}
		if n == 1 || off.Before(low) {
			low = off
		}
		if n == 1 || off.After(high) {
			high = off
		}
	}
	if n == 0 {
		return nil // followOne tells why
	}
	skew := float64(high.Sub(low).Microseconds()) / 1000
	name := s.x.ref.Plan.Steps[s.i].Name
	text := fmt.Sprintf("Step %s: %d containers were started, %.1f ms apart.", name, n, skew)
	if n == 1 {
		text = fmt.Sprintf("Step %s was started.", name)
	}
	return s.x.updateStep(ctx, s.i, text, func(rec *StepRecord) {
		rec.State, rec.StartedAt, rec.SkewMS = StepStarted, new(first.UTC()), &skew
		if s.x.ref.Plan.Steps[s.i].Ready == nil {
			rec.State, rec.ReadyAt = StepReady, rec.StartedAt
		}
	})
}

// end judges a step whose containers have ended.
func (s *supervision) end(ctx context.Context) error {
	stopped := s.x.step(s.i).State == StepStopping
	lost := 0
	for _, m := range s.machines {
		if m.State == MachineLost {
			lost++
			continue
		}
		if why := s.misfortune(m, stopped); why != "" {
			return s.x.failStep(ctx, s.i, why)
		}
	}
	if lost == len(s.machines) {
		return s.x.failStep(ctx, s.i, "all its machines were lost")
	}
	if err := s.readLate(ctx); err != nil {
		return err
	}
	if rec := s.x.step(s.i); rec.ReadyAt == nil && s.x.ref.Plan.Steps[s.i].Ready != nil {
		return s.x.failStep(ctx, s.i, "it ended before it was ready")
	}
	if err := diskError(s.x.captureOutput(s.i)); isStoreError(err) {
		return err
	} else if err != nil {
		return s.x.failStep(ctx, s.i, fmt.Sprintf("its output can't be kept: %v", err))
	}
	text := fmt.Sprintf("Step %s has ended.", s.x.ref.Plan.Steps[s.i].Name)
	return s.x.updateStep(ctx, s.i, text, func(rec *StepRecord) {
		rec.State, rec.CompletedAt = StepEnded, utcNow()
	})
}

// misfortune says why the machine's container did not end as planned, if so.
func (s *supervision) misfortune(m *machine, stopped bool) string {
	switch {
	case m.StartedAt == nil && stopped:
		step := s.x.ref.Plan.Steps[s.i]
		return fmt.Sprintf("machine %d: its container was not started within the step's time of %d s; make run_max_time longer, or node_delay, which is %d s, shorter",
			m.Index, step.RunMaxTime, step.NodeDelay)
	case m.Reason != "":
		return fmt.Sprintf("machine %d: %s", m.Index, m.Reason)
	case m.ExitCode == nil:
		return fmt.Sprintf("machine %d: its container vanished", m.Index)
	case !endedAsPlanned(s.x.ref.Plan.Steps[s.i], *m.ExitCode) && !(stopped && s.wasStopped(m)):
		return fmt.Sprintf("machine %d: its container ended with code %d", m.Index, *m.ExitCode)
	}
	return ""
}

// stopSlack is how far the clocks of a machine and of the broker may have
// moved apart since they were compared.
const stopSlack = 500 * time.Millisecond

// wasStopped reports whether the machine's container ended because the step's
// time was over, not before.
func (s *supervision) wasStopped(m *machine) bool {
	ended := m.FinishedAt.Add(-m.ClockOffset)
	return ended.After(s.planned().Add(-m.ClockError - stopSlack))
}
