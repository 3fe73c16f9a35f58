// Package engine runs benchmarks: it starts users when they are due, has each
// do what the scenario says, and counts what comes of it. A machine has some
// loops, each on a thread of its own with its part of the users, the
// connections and the counts, so that users need no locks; one goroutine, that
// of Run, leads the loops through the phases and adds up what they count.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/loadgen/stats"
)

// Config says what to run.
type Config struct {
	Benchmark *benchmark.Benchmark
	Name      string                            // of the file, for faults
	Phases    []phases.Phase                    // as phases.Expand has made them
	Read      func(name string) ([]byte, error) // reads a file that a step names; nil if there are none

	Machine  int // this one's number, from 0
	Machines int // among which the benchmark is divided; 0 is 1
	Threads  int // most loops; 0 is as the benchmark says, or one for each processor
	// Processors is how many the program may use, if that is not GOMAXPROCS, which
	// should be above the number of loops: see loop.Run.
	Processors int
	// Grain is how far apart users may be due who start together, and how long an
	// answer may lie for which nobody waits; 0 is DefaultGrain, below 0 none.
	// Latencies don't depend on it: see decision 49.
	Grain   time.Duration
	Seed    uint64
	RunID   string
	Start   time.Time // of the first phase; the past is now
	Others  Others    // with whom phase ends are agreed on; nil is nobody: this machine decides alone
	Until   time.Time // when Others are waited for no more; zero is never
	Patient bool      // servers that can't be reached at the start may come later: until then requests fail

	Sinks  []stats.Sink // get the reports of all periods
	Live   func(*Progress)
	Limits Limits
	Log    *slog.Logger // of the scenario's log steps; nil is none
}

// DefaultGrain is the Grain of a Config without.
const DefaultGrain = time.Millisecond

// Progress is what a person who watches wants to know. It is only good in the
// call of Live.
type Progress struct {
	At      time.Duration // since the start
	Report  *stats.Report // of the period that has ended
	Totals  *stats.Totals // of the run until then
	Running []string      // names of phases
}

// PhaseResult is how a phase went.
type PhaseResult struct {
	Name    string   `json:"name"`
	Status  string   `json:"status"`
	Warmup  bool     `json:"warmup,omitempty"`
	StartMS float64  `json:"start_ms"`         // since the start of the run
	EndMS   float64  `json:"end_ms,omitempty"` // likewise, when the last user of this machine had ended
	Failed  bool     `json:"failed"`
	Reasons []string `json:"reasons,omitempty"`
}

// Result is how a run went.
type Result struct {
	Start    time.Time
	Elapsed  time.Duration
	Totals   *stats.Totals
	Phases   []PhaseResult // without umbrellas
	Breaches []stats.Breach
	Failures []FailureCount // why requests have failed, the most frequent first
	Invalid  []string       // why the numbers must not be trusted
	Notes    []string       // what is worth knowing about the generator
	Stopped  bool           // the context ended the run early
	Self     stats.SelfReport
}

// FailureCount is how many requests have failed for a reason.
type FailureCount struct {
	What  string `json:"what"`
	Count int64  `json:"count"`
}

// Failed reports whether a phase has failed.
func (r *Result) Failed() bool {
	for _, p := range r.Phases {
		if p.Failed {
			return true
		}
	}
	return false
}

// engine is shared by the workers; but for inbox it does not change while they
// run.
type engine struct {
	cfg       Config
	list      []phases.Phase
	names     []string
	programs  []*program // by phase; nil for those without users
	endpoints []endpoint
	shares    [][]phases.Share // by loop and phase
	loops     int
	period    time.Duration
	workers   []*worker
	agent     agentData
	warned    sync.Map // what warnOnce has said
	inbox
}

// Run carries out the benchmark and returns when all phases are over. When ctx
// is done the phases are ended, which is no error. The error is about the
// config, or about servers that can't be reached at all.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	e, err := prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	collectMuch()
	for i := range e.loops {
		w, err := newWorker(e, i)
		if err != nil {
			return nil, fmt.Errorf("make a loop: %w", err)
		}
		e.workers = append(e.workers, w)
	}
	// The loops go on when ctx is done, until the phases have ended.
	loopsCtx, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	errs := make([]error, e.loops)
	for i, w := range e.workers {
		running.Go(func() {
			if errs[i] = w.run(loopsCtx); errs[i] != nil {
				e.tell(message{kind: loopEnded, loop: i, err: errs[i]})
			}
		})
	}
	running.Go(func() { e.lookAgain(loopsCtx) })
	defer running.Wait()
	defer stopLoops()
	result, err := e.lead(ctx)
	stopLoops()
	running.Wait()
	return result, errors.Join(append(errs, err)...)
}

// collectMuch collects garbage if that takes so long that it had better not be
// done within the run.
func collectMuch() {
	const much = 16 << 20
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapAlloc > much {
		runtime.GC()
	}
}

// Check returns what is in the benchmark that this engine can't run, in
// sentences, and files that can't be read. It sends nothing.
func Check(cfg Config) benchmark.Faults {
	_, faults := compileAll(cfg)
	return faults
}

// prepare works out what each loop has to do.
func prepare(ctx context.Context, cfg Config) (*engine, error) {
	cfg.Machines = max(cfg.Machines, 1)
	if cfg.Machine < 0 || cfg.Machine >= cfg.Machines {
		return nil, fmt.Errorf("the machine is %d of %d", cfg.Machine, cfg.Machines)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &engine{cfg: cfg, list: cfg.Phases, period: time.Duration(cfg.Benchmark.Period) * time.Millisecond}
	if e.cfg.Grain == 0 {
		e.cfg.Grain = DefaultGrain
	}
	e.cfg.Grain = max(e.cfg.Grain, 0)
	e.inbox.ready = make(chan struct{}, 1)
	for _, p := range e.list {
		e.names = append(e.names, p.Name)
	}
	programs, faults := compileAll(cfg)
	if len(faults) > 0 {
		return nil, faults
	}
	e.programs = programs
	if e.cfg.Processors == 0 {
		e.cfg.Processors = runtime.GOMAXPROCS(0)
	}
	if e.cfg.Threads == 0 {
		e.cfg.Threads = cfg.Benchmark.Threads
	}
	if e.cfg.Threads == 0 {
		e.cfg.Threads = e.cfg.Processors
	}
	shares, err := phases.Divide(e.list, phases.Cluster{Machines: cfg.Machines, Threads: e.cfg.Threads, Seed: cfg.Seed}, cfg.Machine)
	if err != nil {
		return nil, err
	}
	if err := e.prepareEndpoints(ctx); err != nil {
		return nil, err
	}
	e.loops = e.countLoops(shares)
	e.divide(shares)
	return e, nil
}

// leastOfLoop is how many connections, and sessions where they are limited, a
// loop has at least, if there is more than one: one loop may have none left
// while others have, so a small pool is not divided. One loop is enough to keep a
// small pool busy.
const leastOfLoop = 8

// countLoops returns how many loops there are to be.
func (e *engine) countLoops(shares []phases.Share) int {
	loops := max(1, e.cfg.Threads)
	for i := range e.endpoints {
		loops = min(loops, max(1, e.endpoints[i].most/leastOfLoop))
	}
	for _, s := range shares {
		if s.MaxSessions > 0 {
			loops = min(loops, max(1, s.MaxSessions/leastOfLoop))
		}
	}
	return loops
}

// divide divides this machine's part among its loops.
func (e *engine) divide(shares []phases.Share) {
	e.shares = make([][]phases.Share, e.loops)
	for i := range e.shares {
		e.shares[i] = make([]phases.Share, len(shares))
	}
	even := make([]float64, e.loops)
	for i := range even {
		even[i] = 1
	}
	for at, s := range shares {
		users, sessions, estimate := phases.Split(s.Users, even), phases.Split(s.MaxSessions, even), phases.Split(s.Estimate, even)
		for i := range e.loops {
			part := s
			part.Users, part.MaxSessions, part.Estimate = users[i], sessions[i], estimate[i]
			if s.Arrivals != nil {
				// Of this machine's arrivals each loop takes every n-th, however
				// many loops other machines have.
				a := *s.Arrivals
				a.Machine, a.Machines = e.cfg.Machine+e.cfg.Machines*i, e.cfg.Machines*e.loops
				part.Arrivals = &a
			}
			e.shares[i][at] = part
		}
	}
}

// startAt is the instant at which the run begins, and by how much that is later
// than it should.
func (e *engine) startAt() (at loop.Instant, late time.Duration) {
	now := loop.Now()
	if e.cfg.Start.IsZero() {
		return now, 0
	}
	planned := loop.At(e.cfg.Start)
	return max(now, planned), max(0, now.Sub(planned))
}

// warnOnce logs what would be said again and again.
func (e *engine) warnOnce(message string, args ...any) {
	if _, said := e.warned.LoadOrStore(message+fmt.Sprint(args...), true); !said {
		e.cfg.Log.Warn(message, args...)
	}
}
