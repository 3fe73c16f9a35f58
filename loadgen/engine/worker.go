package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/loadgen/stats"
)

// worker is a loop with all that runs on it: its part of each phase, its
// connections and what it counts. Everything belongs to the loop's goroutine.
type worker struct {
	e          *engine
	index      int
	loop       *loop.Loop
	rec        *stats.Recorder
	phases     []*phaseRun // nil for those that have no users
	transports []Transport // by endpoint
	random     *rand.Rand
	sessions   int
	prepared   int // of them, before the run
	shared     shared

	ticks   loop.Timer
	period  time.Duration
	began   loop.Instant
	periods int
	cpu     time.Duration // of the thread, at the end of the last period
	cpuAt   loop.Instant
	short   shortage // since then

	talks sync.WaitGroup // conversations
	turn  int            // of addresses
	grpc  []grpcConns    // by endpoint

	failures map[string]int64 // of requests, by what was wrong

	scratch value  // of pseudo-variables
	buffer  []byte // for texts that are needed for a moment
	bodies  [][]byte
}

func newWorker(e *engine, index int) (*worker, error) {
	l, err := loop.New()
	if err != nil {
		return nil, err
	}
	w := &worker{
		e: e, index: index, loop: l, rec: stats.NewRecorder(e.names), period: e.period,
		random: rand.New(rand.NewPCG(e.cfg.Seed, uint64(e.cfg.Machine)<<32|uint64(index)|1<<31)),
		phases: make([]*phaseRun, len(e.list)),
	}
	l.Rest, l.Keep = e.cfg.Grain, runtime.GOMAXPROCS(0) > e.loops
	w.ticks.Fire = w.tick
	for i := range e.list {
		if prog := e.programs[i]; prog != nil {
			w.phases[i] = newPhaseRun(w, i, e.shares[index][i], prog)
		}
	}
	for i := range e.endpoints {
		w.transports = append(w.transports, newTransport(l, e.endpoints[i].shareOf(e, w)))
	}
	return w, nil
}

// open makes the connections that are wanted beforehand, on the loop, and
// answers once.
func (w *worker) open(answer chan<- error) {
	left := len(w.transports)
	if left == 0 {
		answer <- nil
		return
	}
	var all []error
	for i, t := range w.transports {
		t.Open(func(err error) {
			if err != nil {
				all = append(all, fmt.Errorf("endpoint %s: %w", w.e.endpoints[i].spec.Authority(), err))
			}
			if left--; left == 0 {
				answer <- errors.Join(all...)
			}
		})
	}
}

// begin starts the periods of statistics.
func (w *worker) begin(at loop.Instant) {
	w.began = at
	w.cpu, w.cpuAt = cpuTime(unix.RUSAGE_THREAD), loop.Now()
	w.loop.Set(&w.ticks, at.Add(w.period))
}

// tick ends a period, or several if the loop was held up. A timer may fire a
// little before its time.
func (w *worker) tick() {
	w.countBusy()
	if batch, ok := w.rec.Take(); ok {
		w.e.tell(message{kind: counted, loop: w.index, batch: batch})
	}
	w.periods = int(max(w.loop.Now(), w.ticks.When()).Sub(w.began) / w.period)
	cpu, now := cpuTime(unix.RUSAGE_THREAD), loop.Now()
	busy := float64(cpu-w.cpu) / float64(max(1, now.Sub(w.cpuAt)))
	w.e.tell(message{kind: periodEnded, loop: w.index, period: w.periods - 1, busy: busy, short: w.short, hosts: w.hosts()})
	w.cpu, w.cpuAt, w.short = cpu, now, shortage{}
	w.loop.Set(&w.ticks, w.began.Add(time.Duration(w.periods+1)*w.period))
}

// hosts says what connections there are, by endpoint.
func (w *worker) hosts() []stats.Connections {
	list := make([]stats.Connections, len(w.transports))
	for i, t := range w.transports {
		s := t.Stats()
		list[i] = stats.Connections{Open: s.Connections, Busy: s.Busy, Waiting: s.Waiting, Opened: s.Opened, Closed: s.Closed, Failed: s.Failed}
	}
	return list
}

func (w *worker) countBusy() {
	for i, p := range w.phases {
		if p != nil {
			w.rec.Users(i).Busy = int64(len(p.busy))
		}
	}
}

// handOver gives away all that was counted.
func (w *worker) handOver() {
	w.countBusy()
	w.e.tell(message{kind: counted, loop: w.index, batch: w.rec.TakeAll()})
}

// do carries out an order for a phase; at is when it counts from.
func (w *worker) do(kind phases.OrderKind, phase int, at loop.Instant) {
	p := w.phases[phase]
	if p == nil {
		return
	}
	switch kind {
	case phases.Run:
		p.run(at)
	case phases.Finish:
		p.finish()
	case phases.Terminate:
		p.terminate()
	case phases.TryTerminate, phases.Stop: // phases terminate by themselves when they are empty
	}
}

// maxFailures is how many different failures of requests a loop tells apart.
const maxFailures = 20

// noteFailure counts why requests have failed, for people to read. Cancelled
// ones have not.
func (w *worker) noteFailure(err error) {
	if h1.KindOf(err) == h1.Cancelled {
		return
	}
	text := err.Error()
	if _, known := w.failures[text]; !known && len(w.failures) >= maxFailures {
		text = "other failures"
	}
	if w.failures == nil {
		w.failures = map[string]int64{}
	}
	w.failures[text]++
}

// close hands over what is left, and closes the connections.
func (w *worker) close() {
	w.handOver()
	w.loop.Stop(&w.ticks)
	for _, t := range w.transports {
		t.Close()
	}
	w.closeGRPC()
	w.talks.Wait() // they were given up when their sessions ended, and don't wait for the loop
	w.e.tell(message{kind: failuresSeen, loop: w.index, failures: w.failures, short: w.short})
}

func (w *worker) nextSession() int {
	w.sessions++
	return (w.sessions-1)*w.e.loops + w.index
}

// body returns an empty buffer for a body; giveBody takes it back.
func (w *worker) body() []byte {
	if n := len(w.bodies); n > 0 {
		b := w.bodies[n-1]
		w.bodies = w.bodies[:n-1]
		return b[:0]
	}
	return make([]byte, 0, 4096)
}

// keptBody is the largest buffer that is kept for the next body.
const keptBody = 1 << 20

func (w *worker) giveBody(b []byte) {
	if cap(b) > 0 && cap(b) <= keptBody && len(w.bodies) < 1024 {
		w.bodies = append(w.bodies, b)
	}
}

// run is the worker's goroutine.
func (w *worker) run(ctx context.Context) error { return w.loop.Run(ctx) }
