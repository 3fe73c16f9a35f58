package broker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// Config is what a Broker is made of.
type Config struct {
	Store Store
	// Pools lend the machines; the first is the default.
	Pools []Pool
	Dial  Dialer
	// Dir is where the logs and captured outputs of runs are kept.
	Dir     string
	Log     *slog.Logger
	Version string
	// LostAfter is how long a machine may be silent before it is given up; 0
	// is a minute.
	LostAfter time.Duration
	// MaxCost is what the rented machines of a run may cost at most, in USD; 0
	// is no limit. A plan may set a lower one.
	MaxCost float64
	// ReceiptWait is how long the end of a run waits for a provider to have
	// cleared away all that it will; 0 is two minutes.
	ReceiptWait time.Duration
	// CheckBenchmarks returns, as strategies.Faults, what is wrong with the
	// benchmarks of a plan's steps; nil finds no fault. A run of such a plan is
	// refused.
	CheckBenchmarks func(strategies.Plan, strategies.Environment) error
	// Monitor is what monitor steps become.
	Monitor MonitorConfig
	// Archiver, when not nil, keeps what came of runs; see ArchiveConfig.
	Archiver Archiver
	Archive  ArchiveConfig
}

// A Broker runs plans. All its methods may be called by many goroutines at
// once, between Start and Close.
type Broker struct {
	cfg  Config
	id   string
	hub  *hub
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	ctx  context.Context // of all runs; ended by Close
	runs map[string]*execution

	cache, totals seriesCache // the latter of withTotals

	archives chan struct{} // of capacity 1; says that there is one to make
}

// StartRequest asks for a run.
type StartRequest struct {
	PlanUUID    string
	RunUUID     string // fixed id of the run; empty makes one
	Owner       string
	Environment strategies.Environment // for interpolation and the containers; wins over the steps'
}

// Edits change a plan on its way to a fork.
type Edits struct {
	// Name of the fork; empty keeps the parent's.
	Name string
	// Set gives new values by path, for example steps.generator.instance_count
	// or description; a step is named by its name or its index.
	Set map[string]any
	// Plan, when not nil, takes the place of the whole plan before Set.
	Plan *strategies.Plan
}

// A LogQuery selects logs of a run.
type LogQuery struct {
	Step    string // step name; empty is all
	Machine *int   // index in the step; nil is all
	Relay   bool   // the relay's own log in place of the plan's containers'
	Follow  bool
	Tail    int // last lines of each; 0 is all
}

// A LogLine is one line of a container's output.
type LogLine struct {
	At      time.Time `json:"at"`
	Step    string    `json:"step"`
	Machine int       `json:"machine"`
	Stream  string    `json:"stream"` // stdout or stderr
	Text    string    `json:"text"`
}

// An Instance is a machine as its pool sees it.
type Instance struct {
	Owned
	Pool string
}

// Report is a run with its metrics and its account.
type Report struct {
	Run      Run
	Machines []Machine
	Replaced []Machine // that were of no use, and in whose place others are
	Summary  metrics.Summary
	Hosts    []metrics.HostSummary // what the machines told of themselves
	Ledger   metrics.Ledger
	Archive  *Archive // nil when the run is not archived
}

// SpentUSD is what the run's machines have cost until now, in USD.
func (r Report) SpentUSD(now time.Time) float64 {
	return Spent(r.Machines, now) + Spent(r.Replaced, now)
}

// New makes a Broker. Start begins its work.
func New(cfg Config) *Broker {
	if cfg.LostAfter == 0 {
		cfg.LostAfter = time.Minute
	}
	if cfg.ReceiptWait == 0 {
		cfg.ReceiptWait = 2 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Broker{cfg: cfg, hub: newHub(), runs: map[string]*execution{}, archives: make(chan struct{}, 1)}
}

// Start goes on with the runs that an earlier broker left unfinished, and
// begins to clear away what no run owns. ctx bounds the start only.
func (b *Broker) Start(ctx context.Context) error {
	id, err := b.cfg.Store.BrokerID(ctx)
	if err != nil {
		return err
	}
	unfinished, err := b.cfg.Store.Runs(ctx, RunFilter{States: []RunState{Initializing, Running, Terminating}})
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id = id
	b.ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, run := range unfinished {
		note := Event{Kind: EventNote, Text: "The broker was started again; the run goes on."}
		if err := b.cfg.Store.AddEvents(ctx, &run, note); err != nil {
			b.stop()
			return err
		}
		b.launch(run)
	}
	b.wg.Go(func() { b.reapLoop(b.ctx) })
	b.wg.Go(func() { b.condenseLeftovers(b.ctx) })
	if b.cfg.Archiver != nil {
		b.wg.Go(func() { b.archiveLoop(b.ctx) })
	}
	return nil
}

// Close stops driving runs and waits for all goroutines. The runs stay as they
// are on disk and on their machines; the next Start goes on with them.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.stop != nil {
		b.stop() // under the lock, so that no run is launched from now on
	}
	b.mu.Unlock()
	b.wg.Wait()
	return nil
}

// ID returns the broker's id, which labels all that it makes.
func (b *Broker) ID() string { return b.id }

// Version returns the version that Config gave.
func (b *Broker) Version() string { return b.cfg.Version }

// launch starts the goroutine that drives the run. The caller holds b.mu.
func (b *Broker) launch(run Run) {
	x := newExecution(b, run)
	b.runs[run.UUID] = x
	b.wg.Go(func() {
		x.drive(b.ctx)
		b.mu.Lock()
		if b.runs[run.UUID] == x { // not a later run of that id
			delete(b.runs, run.UUID)
		}
		b.mu.Unlock()
		b.hub.notify(run.UUID)
	})
}

// StartRun starts a run of a plan. It gives ENotFound for an unknown plan,
// EInvalid when a variable of the plan is not set, one given can't be or a benchmark has
// faults, and EConflict for a RunUUID in use. Where machines are rented it also gives EInvalid when they
// can't be had, or can cost more than they may.
func (b *Broker) StartRun(ctx context.Context, req StartRequest) (Run, error) {
	plan, err := b.cfg.Store.Plan(ctx, req.PlanUUID)
	if err != nil {
		return Run{}, err
	}
	if err := invalid(strategies.CheckVariables(plan.Plan, req.Environment)); err != nil {
		return Run{}, err
	}
	if b.cfg.CheckBenchmarks != nil {
		if err := invalid(b.cfg.CheckBenchmarks(plan.Plan, req.Environment)); err != nil {
			return Run{}, err
		}
	}
	cost, err := b.estimate(ctx, plan.Plan)
	if err != nil {
		return Run{}, err
	}
	b.mu.Lock() // so that no two runs are promised the same money
	defer b.mu.Unlock()
	if cost != nil {
		if err := b.withBudget(ctx, plan.ProjectUUID, cost); err != nil {
			return Run{}, err
		}
		if cost.Err() != nil {
			return Run{}, cost.Err()
		}
	}
	if b.ctx == nil || b.ctx.Err() != nil {
		return Run{}, Errorf(EUnavailable, "The broker is stopping; try again once it has been started.")
	}
	run, err := b.cfg.Store.CreateRun(ctx, Run{
		UUID: req.RunUUID, PlanUUID: req.PlanUUID, Owner: req.Owner, Environment: req.Environment, Cleanup: CleanupPending,
		Cost: cost,
	})
	if err != nil {
		return Run{}, err
	}
	b.launch(run)
	return run, nil
}

// Abort asks a run to end now. It returns false when the run was ending or
// over already.
func (b *Broker) Abort(ctx context.Context, uuid string) (bool, error) {
	asked, err := b.cfg.Store.RequestAbort(ctx, uuid)
	if err != nil || !asked {
		return false, err
	}
	if x := b.execution(uuid); x != nil {
		x.requestAbort()
	}
	return true, nil
}

func (b *Broker) execution(uuid string) *execution {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs[uuid]
}

// Run returns a run with its step records, or ENotFound.
func (b *Broker) Run(ctx context.Context, uuid string) (Run, error) {
	return b.cfg.Store.Run(ctx, uuid)
}

// Runs returns the runs that the filter selects, the newest first.
func (b *Broker) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	return b.cfg.Store.Runs(ctx, f)
}

// DeleteRun deletes a run's record, metrics and logs, after aborting the run
// and waiting for its end where needed.
func (b *Broker) DeleteRun(ctx context.Context, uuid string) error {
	if _, err := b.Abort(ctx, uuid); err != nil {
		return err
	}
	if _, err := b.Wait(ctx, uuid); err != nil {
		return err
	}
	if err := b.cfg.Store.DeleteRun(ctx, uuid); err != nil {
		return err
	}
	b.cache.remove(uuid)
	b.totals.remove(uuid)
	return b.deleteLogs(uuid)
}

// Wait returns the run once it is completed, or the context's error.
func (b *Broker) Wait(ctx context.Context, uuid string) (Run, error) {
	changed, cancel := b.Watch(uuid)
	defer cancel()
	for {
		run, err := b.cfg.Store.Run(ctx, uuid)
		if err != nil || run.State == Completed {
			return run, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return run, ctx.Err()
		}
	}
}

// Machines returns the run's machines by step and index.
func (b *Broker) Machines(ctx context.Context, runUUID string) ([]Machine, error) {
	return b.cfg.Store.Machines(ctx, runUUID)
}

// Events returns the run's events whose number is higher than after.
func (b *Broker) Events(ctx context.Context, runUUID string, after int64) ([]Event, error) {
	return b.cfg.Store.Events(ctx, runUUID, after)
}

// Watch returns a channel that receives after new events or frames of the run,
// and a function that ends the watch.
func (b *Broker) Watch(runUUID string) (changed <-chan struct{}, cancel func()) {
	return b.hub.watch(runUUID)
}
