package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/loadgen/stats"
	"github.com/loads/loads/metrics"
)

// messageKind is what a loop tells the leading goroutine.
type messageKind uint8

const (
	statusChanged messageKind = iota
	phaseFailed
	counted      // a batch
	periodEnded  // all batches of the period have been told
	failuresSeen // of requests, and what was lacking since the last period, at the end
	loopEnded    // with an error
)

type message struct {
	kind     messageKind
	loop     int
	phase    int
	status   phases.Status
	period   int
	batch    *stats.Batch
	failures map[string]int64
	busy     float64             // share of the period in which the loop's thread had a processor
	short    shortage            // of the period
	hosts    []stats.Connections // by endpoint
	err      error
}

// inbox is what loops have told and nobody has read yet. Telling never waits;
// how much there can be is bounded: a loop has few batches, and as many
// statuses as phases.
type inbox struct {
	mu       sync.Mutex
	messages []message
	ready    chan struct{}
}

func (b *inbox) tell(m message) {
	b.mu.Lock()
	b.messages = append(b.messages, m)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.messages
	b.messages = nil
	return taken
}

// leader leads the loops through the phases. It belongs to Run's goroutine.
type leader struct {
	*engine
	start  loop.Instant
	course phases.Course
	judge  *stats.Judge
	totals *stats.Totals
	report *stats.Report  // of the period that runs
	ends   []int          // the last period that each loop has ended
	period int            // that runs
	gone   map[int][]bool // by phase, the loops that have terminated it
	failed map[int][]string
	result *Result
	out    *outlet
	watch  *watcher
	hosts  [][]stats.Connections // by loop, as told last
	parley *parley               // nil for a machine that is alone, or decides alone
	ended  map[int]time.Duration // when the loops had terminated a phase
	err    error
}

// lead opens connections, runs all phases and returns what came of it.
func (e *engine) lead(ctx context.Context) (*Result, error) {
	if err := e.openAll(ctx); err != nil {
		return nil, err
	}
	start, late := e.startAt()
	l := &leader{
		engine: e, start: start, course: phases.NewCourse(e.list, e.loops), judge: stats.NewJudge(e.period),
		parley: newParley(e), ended: map[int]time.Duration{},
		totals: stats.NewTotals(e.names), report: stats.NewReport(0), ends: make([]int, e.loops), failed: map[int][]string{}, gone: map[int][]bool{},
		out: newOutlet(e.cfg.Sinks), watch: newWatcher(e), hosts: make([][]stats.Connections, e.loops),
	}
	if l.parley != nil {
		l.course = phases.NewCourse(e.list, e.loops+1)
	}
	for i := range l.ends {
		l.ends[i] = -1
	}
	l.result = &Result{Start: l.start.Time(), Totals: l.totals}
	l.watch.late = late
	l.limits()
	for _, w := range e.workers {
		w.loop.Post(func() { w.begin(l.start) })
	}
	if !l.awaitStart(ctx) {
		l.stop()
	}
	l.run(ctx)
	l.finish()
	return l.result, l.err
}

// openAll makes the first connections of all loops.
func (e *engine) openAll(ctx context.Context) error {
	answers := make(chan error, len(e.workers))
	for _, w := range e.workers {
		w.loop.Post(func() { w.open(answers) })
	}
	for range e.workers {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("connect: %w", ctx.Err())
		}
	}
	return nil
}

// awaitStart waits for the time of the first phase.
func (l *leader) awaitStart(ctx context.Context) bool {
	timer := time.NewTimer(l.start.Sub(loop.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// run goes on until all phases are over.
func (l *leader) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for !l.course.Stopped {
		select {
		case <-done:
			done = nil
			l.stop()
		case <-l.ready:
			for _, m := range l.take() {
				l.heed(m)
			}
		case d := <-l.parley.heard():
			l.hear(d)
		case <-timer.C:
		}
		l.heedOthers()
		// What is due counts from when it was due, not from when we came to it.
		for at, ok := phases.Due(l.list, l.course); ok && at <= l.now(); at, ok = phases.Due(l.list, l.course) {
			before := l.course
			l.event(phases.Event{Kind: phases.Tick, At: at})
			if sameCourse(before, l.course) {
				break // loops have to answer first
			}
		}
		if at, ok := l.next(); ok {
			timer.Reset(max(at-l.now(), time.Millisecond))
		}
	}
}

// next is when something is to be done though nothing is told.
func (l *leader) next() (time.Duration, bool) {
	at, due := phases.Due(l.list, l.course)
	if others, ok := l.nextOfOthers(); ok && (!due || others.Sub(l.start) < at) {
		return others.Sub(l.start), true
	}
	return at, due
}

// sameCourse reports whether no phase has got further.
func sameCourse(a, b phases.Course) bool {
	return slices.EqualFunc(a.Phases, b.Phases, func(x, y phases.PhaseCourse) bool { return x.Status == y.Status })
}

func (l *leader) now() time.Duration { return max(0, loop.Now().Sub(l.start)) }

// event brings the phases as far as they can be, and orders what that takes.
func (l *leader) event(e phases.Event) {
	if e.Kind != phases.Tick {
		e.At = l.now()
	}
	l.eventAt(e)
}

func (l *leader) eventAt(e phases.Event) {
	var orders []phases.Order
	l.course, orders = phases.Next(l.list, l.course, l.cfg.Benchmark.OnFailure, e)
	for _, o := range orders {
		if o.Phase >= 0 {
			l.order(o.Kind, o.Phase)
		}
	}
	l.keepUp()
}

// order has all loops carry an order out. A loop without users in a phase is
// through with it at once.
func (l *leader) order(kind phases.OrderKind, phase int) {
	at := l.start.Add(l.course.Phases[phase].Start)
	for _, w := range l.workers {
		if w.phases[phase] != nil && w.loop.Post(func() { w.do(kind, phase, at) }) {
			continue
		}
		l.tell(message{kind: statusChanged, loop: w.index, phase: phase, status: phases.Terminated})
	}
}

func (l *leader) heed(m message) {
	switch m.kind {
	case counted:
		l.report.Add(m.batch, l.names)
		l.totals.AddBatch(m.batch)
		m.batch.Free()
	case periodEnded:
		l.ends[m.loop] = max(l.ends[m.loop], m.period)
		l.watch.note(m)
		l.hosts[m.loop] = m.hosts
		for slices.Min(l.ends) >= l.period {
			l.endPeriod()
		}
	case phaseFailed:
		l.say(m.phase, metrics.WordBroken)
		l.fail(m.phase, m.err.Error())
		l.order(phases.Terminate, m.phase)
	case failuresSeen:
		l.addFailures(m.failures)
		l.watch.note(m)
	case loopEnded:
		l.err = m.err
		l.event(phases.Event{Kind: phases.MachineLost, Machine: m.loop})
	case statusChanged:
		if m.status == phases.Terminated && l.isLast(m) {
			l.ended[m.phase] = l.now()
			l.judgePhase(m.phase)
		}
		l.event(phases.Event{Kind: phases.Report, Machine: m.loop, Phase: m.phase, Status: m.status})
	}
}

// fail makes a phase fail, for a reason.
func (l *leader) fail(phase int, reason string) {
	const mostReasons = 10
	if reasons := l.failed[phase]; len(reasons) < mostReasons && !slices.Contains(reasons, reason) {
		l.failed[phase] = append(reasons, reason)
	}
	l.say(phase, metrics.WordFailed)
	if !l.course.Phases[phase].Failed {
		l.event(phases.Event{Kind: phases.PhaseFailed, Phase: phase})
	}
}

// isLast notes that a loop has terminated a phase, and reports whether it was
// the last one to do so.
func (l *leader) isLast(m message) bool {
	if l.gone[m.phase] == nil {
		l.gone[m.phase] = make([]bool, l.loops)
	}
	if l.gone[m.phase][m.loop] {
		return false
	}
	l.gone[m.phase][m.loop] = true
	return !slices.Contains(l.gone[m.phase], false)
}
