package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/images/order"
	"github.com/loads/loads/metrics"
)

// An execution drives one run: one goroutine, drive, which waits for all that
// it starts. What it knows is what is in the store; a new execution of a run
// that was broken off finds out the rest from the engines.
type execution struct {
	b   *Broker
	log *slog.Logger
	ref *Run // what never changes of the run: ids, Plan, Environment

	aborted    chan struct{} // closed when an abort is asked
	abortOnce  sync.Once
	stopped    chan struct{} // closed when stopReason is set
	stopOnce   sync.Once
	stopReason string // why the broker itself ends the run

	// mu guards run, changed, told and noted. It is held while a change of run is
	// stored, so that the store sees changes in their order.
	mu      sync.Mutex
	run     Run
	changed chan struct{}     // closed and replaced at each change of a step
	told    map[string]bool   // what was noted once and is no fault, by how it begins
	noted   []CriterionResult // of the running run's criteria, as last seen; nil before that

	// leads are how far ahead the start of each step is fixed; each belongs to
	// its step's goroutine.
	leads []time.Duration

	leases  leases
	monitor *monitor // nil when the plan has none
	notices notices

	lettingIn sync.Mutex // guards letInAt
	letInAt   time.Time

	names    names
	machines []*machine // set by loadMachines; the slice does not change after
	engines  engines
	spread   spread

	councils councils
	work     sync.WaitGroup // what drive waits for: frame readers, storeFrames and condense
	frames   chan frameItem // to storeFrames
	seriesMu sync.Mutex
	series   *metrics.Series
}

// A machine is a Machine at work. Its record belongs to one goroutine at a
// time: first that which prepares it, then that of its container, then the one
// that ends the run.
type machine struct {
	Machine
	engine Engine
	reader *frameReader
	asked  bool // its relay has been asked for the final frame, and has ended
}

func newExecution(b *Broker, run Run) *execution {
	x := &execution{
		b: b, run: run, ref: new(run),
		log:     b.cfg.Log.With("run", run.UUID),
		aborted: make(chan struct{}),
		stopped: make(chan struct{}),
		leases:  leases{held: map[int64]*lease{}, added: make(chan struct{}, 1)},
		changed: make(chan struct{}),
		frames:  make(chan frameItem, 1024),
		series:  metrics.NewSeries(),
		leads:   make([]time.Duration, len(run.Plan.Steps)),
		monitor: newMonitor(run),
	}
	x.engines.dial = b.cfg.Dial
	x.spread = spread{x: x, resumed: true, stored: run.Images, prepared: map[int]bool{}, trees: map[string]*tree{}, recipes: map[string]order.Recipe{}, posts: map[int64]*post{}}
	if run.Aborted {
		x.requestAbort()
	}
	return x
}

// requestAbort makes the run end. The store knows of it already.
func (x *execution) requestAbort() {
	x.abortOnce.Do(func() { close(x.aborted) })
}

// requestStop makes the run end with the verdict ERROR, unless it is ending. A
// broker that takes over has to find the reason again.
func (x *execution) requestStop(reason string) {
	x.stopOnce.Do(func() {
		x.stopReason = reason
		close(x.stopped)
	})
}

// drive takes the run from its state on disk to Completed. It returns early,
// leaving the run to the next start, when ctx ends. A phase returns an error
// only when the store fails: it is then tried again, as phases can be.
func (x *execution) drive(ctx context.Context) {
	defer x.engines.close()
	defer x.work.Wait()
	storing, stopStoring := context.WithCancel(ctx)
	defer stopStoring()
	if err := x.restoreSeries(ctx); err != nil {
		x.log.Error("read the stored frames", "error", err)
	}
	x.work.Go(func() { x.storeFrames(storing) })
	x.work.Go(func() { x.condense(storing) })
	x.work.Go(func() { x.renewLeases(storing) })
	x.work.Go(func() { x.runMonitor(storing) })
	x.work.Go(func() { x.watchNotices(storing) })

	pause := time.Second
	for ctx.Err() == nil {
		state := x.state()
		if state == Completed {
			x.condenseRest(ctx)
			return
		}
		err := x.phase(ctx, state)
		if err == nil || ctx.Err() != nil {
			pause = time.Second
			continue
		}
		x.log.Error("run is held up", "state", state, "retry_in", pause, "error", err)
		sleep(ctx, pause)
		pause = min(2*pause, time.Minute)
	}
}

func (x *execution) phase(ctx context.Context, state RunState) error {
	switch state {
	case Initializing:
		return x.abortable(ctx, x.initialize)
	case Running:
		return x.abortable(ctx, x.execute)
	default:
		return x.terminate(ctx)
	}
}

// abortReason is the reason of the verdict ABORTED.
const abortReason = "The run was aborted."

// errStop ends a phase; the outcome that conclude stored says why.
var errStop = errors.New("the run is to end")

// abortable runs the phase with a context that ends when an abort is asked.
func (x *execution) abortable(ctx context.Context, phase func(context.Context) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-x.aborted:
			cancel()
		case <-x.stopped:
			cancel()
		case <-stop:
		}
	})
	err := phase(inner)
	close(stop)
	watcher.Wait()
	switch {
	case ctx.Err() != nil:
		return nil // the broker stops; the run stays as it is on disk
	case x.isAborted():
		return x.conclude(ctx, Aborted, abortReason)
	case isClosed(x.stopped):
		return x.conclude(ctx, Errored, x.stopReason)
	case errors.Is(err, errStop):
		return nil
	}
	return err
}

func (x *execution) isAborted() bool { return isClosed(x.aborted) }

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (x *execution) state() RunState {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.run.State
}

// conclude moves the run to Terminating, and stores the verdict that it has for
// certain then: PASS, FAIL and INVALID are judge's to give, when all metrics
// are home. The first conclusion stands.
func (x *execution) conclude(ctx context.Context, v Verdict, reason string) error {
	if stored, err := x.b.cfg.Store.Run(ctx, x.ref.UUID); err != nil {
		return fmt.Errorf("read run: %w", err)
	} else if stored.Aborted { // perhaps this very moment
		v, reason = Aborted, abortReason
	}
	reason = oneLine(reason)
	return x.update(ctx, func(run *Run) []Event {
		if run.State >= Terminating {
			return nil
		}
		run.State = Terminating
		text := "All steps are over; stopping."
		if v != Pass {
			run.Reason, text = reason, reason
		}
		if v == Errored || v == Aborted {
			run.Verdict = v
		}
		return []Event{{Kind: EventRun, State: Terminating.String(), Text: text}}
	})
}

// oneLine makes one line of joined errors: a reason is a sentence.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// update changes the run and stores it with the events, if there are any.
func (x *execution) update(ctx context.Context, change func(*Run) []Event) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.run
	events := change(&x.run)
	if len(events) == 0 {
		return nil
	}
	if err := x.b.cfg.Store.SaveRun(ctx, &x.run, events...); err != nil {
		x.run = before
		return &storeError{fmt.Errorf("store run: %w", err)}
	}
	for _, e := range events {
		x.log.Info(e.Text, "state", x.run.State)
	}
	x.b.hub.notify(x.run.UUID)
	return nil
}

// step returns a copy of the record of step i.
func (x *execution) step(i int) StepRecord {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.run.StepRecords[i]
}

// updateStep changes the record of step i, stores it with an event of that
// text, and wakes those who wait for a change of a step.
func (x *execution) updateStep(ctx context.Context, i int, text string, change func(*StepRecord)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	rec := x.run.StepRecords[i]
	change(&rec)
	e := Event{Kind: EventStep, Step: x.ref.Plan.Steps[i].Name, State: string(rec.State), Text: text}
	if err := x.b.cfg.Store.SaveStep(ctx, &x.run, &rec, e); err != nil {
		return &storeError{fmt.Errorf("store step: %w", err)}
	}
	x.run.StepRecords[i] = rec
	close(x.changed)
	x.changed = make(chan struct{})
	x.log.Info(text, "step", e.Step, "state", rec.State)
	x.b.hub.notify(x.run.UUID)
	return nil
}

// updateMachine stores the machine as change makes it, with an event when text
// is not empty, and then changes it. Fields that change leaves alone are not
// written, as others may be reading them.
func (x *execution) updateMachine(ctx context.Context, m *machine, text string, change func(*Machine)) error {
	after := m.Machine
	change(&after)
	var events []Event
	if text != "" {
		events = append(events, Event{
			Kind: EventMachine, Step: x.ref.Plan.Steps[m.Step].Name, Machine: &after.Index,
			State: string(after.State), Text: text,
		})
	}
	if err := x.b.cfg.Store.SaveMachine(ctx, x.ref, &after, events...); err != nil {
		return &storeError{fmt.Errorf("store machine: %w", err)}
	}
	change(&m.Machine)
	x.noteLease(m.Machine)
	if text != "" {
		x.log.Info(text, "step", events[0].Step, "machine", m.Index, "state", m.State)
		x.b.hub.notify(m.RunUUID)
	}
	return nil
}

// note stores an event that changes nothing.
func (x *execution) note(ctx context.Context, text string) error {
	if err := x.b.cfg.Store.AddEvents(ctx, x.ref, Event{Kind: EventNote, Text: text}); err != nil {
		return fmt.Errorf("store event: %w", err)
	}
	x.log.Info(text)
	x.b.hub.notify(x.ref.UUID)
	return nil
}

// of returns the machines of step i.
func (x *execution) of(step int) []*machine {
	var ms []*machine
	for _, m := range x.machines {
		if m.Step == step {
			ms = append(ms, m)
		}
	}
	return ms
}

// How many machines are talked to at once: of one engine, which may play many of
// them, and of all. Most of the time of a call is the way to the machine and
// back.
const (
	onEngine = 32
	onAll    = 256
)

// each calls f, which talks to the machine's engine, for the machines, many at
// once, and joins the errors.
func each(ms []*machine, f func(*machine) error) error {
	all, engines := make(chan struct{}, onAll), map[string]chan struct{}{}
	for _, m := range ms {
		if engines[m.Endpoint.Host] == nil {
			engines[m.Endpoint.Host] = make(chan struct{}, onEngine)
		}
	}
	return together(ms, func(m *machine) error {
		engine := engines[m.Endpoint.Host]
		engine <- struct{}{}
		all <- struct{}{}
		defer func() { <-all; <-engine }()
		return f(m)
	})
}

// together calls f for all machines at once, and joins the errors.
func together(ms []*machine, f func(*machine) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(ms))
	for i, m := range ms {
		wg.Go(func() { errs[i] = f(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sleep waits for d or the end of ctx, and reports whether d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// engines opens each engine once.
type engines struct {
	dial Dialer
	mu   sync.Mutex
	open map[Endpoint]Engine
}

func (e *engines) get(ep Endpoint) (Engine, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if eng, ok := e.open[ep]; ok {
		return eng, nil
	}
	eng, err := e.dial(ep)
	if err != nil {
		return nil, err
	}
	if e.open == nil {
		e.open = map[Endpoint]Engine{}
	}
	e.open[ep] = eng
	return eng, nil
}

func (e *engines) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, eng := range e.open {
		// Nothing depends on how the connections end.
		_ = eng.Close()
	}
	e.open = nil
}
