package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	// monitorPatience is how long a run whose machines are ready waits for its
	// monitor before it begins without it.
	monitorPatience = 2 * time.Minute
	// monitorReady is how long InfluxDB or Grafana may take to be ready.
	monitorReady = 3 * time.Minute
	// monitorRest is how long, at the run's end, the monitor may take to get what
	// it does not have yet.
	monitorRest = time.Minute
)

// MonitorConfig is what monitor steps become.
type MonitorConfig struct {
	// InfluxImage is the image of InfluxDB, 2 or 1.8; empty skips monitor steps.
	InfluxImage string
	// GrafanaImage is that of Grafana; empty is none.
	GrafanaImage string
	Feeder       Feeder
}

// A Feeder brings what a run measures to its own InfluxDB and Grafana.
type Feeder interface {
	// SetUp makes the fresh InfluxDB of a monitor ready, and may be called again.
	// EUnavailable says that it does not answer yet.
	SetUp(ctx context.Context, m Monitor) error
	// Feed writes the run's metrics as they come, and publishes its dashboard
	// where the monitor has a Grafana. Once ending is closed no metric is to come:
	// then it returns when all is written. Points that were written are also in the file, if
	// that is not empty.
	Feed(ctx context.Context, runUUID string, m Monitor, file string, ending <-chan struct{}) error
}

// A monitor is the monitor step of a run at work. One goroutine, runMonitor,
// drives it beside the run, which never fails with it: metrics are in the
// broker's store anyway. The machine belongs to that goroutine until it ends,
// and then to that which ends the run.
type monitor struct {
	index   int           // of the step
	begin   chan struct{} // closed when the run has its machines
	settled chan struct{} // closed when it is ready, or given up
	ending  chan struct{} // closed when all the run's frames are stored
	done    chan struct{} // closed when the goroutine has ended

	machine *machine
}

// newMonitor returns nil when the plan has no monitor step.
func newMonitor(run Run) *monitor {
	i := monitorOf(run.Plan)
	if i < 0 {
		return nil
	}
	return &monitor{
		index: i, begin: make(chan struct{}), settled: make(chan struct{}),
		ending: make(chan struct{}), done: make(chan struct{}),
	}
}

// closeOnce closes a channel that only one goroutine closes, unless it has.
func closeOnce(ch chan struct{}) {
	if !isClosed(ch) {
		close(ch)
	}
}

// beginMonitor lets the monitor ask for its machine: others come first.
func (x *execution) beginMonitor() {
	if x.monitor != nil {
		closeOnce(x.monitor.begin)
	}
}

// awaitMonitor waits, not for long, until the monitor is ready or given up.
func (x *execution) awaitMonitor(ctx context.Context) error {
	if x.monitor == nil {
		return nil
	}
	patience := time.NewTimer(monitorPatience)
	defer patience.Stop()
	select {
	case <-x.monitor.settled:
		return nil
	case <-patience.C:
		return x.note(ctx, fmt.Sprintf("The run begins without its monitor, which is not ready after %v.", monitorPatience))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endMonitor has the monitor get the rest, waits for it, and gives its machine
// back. All frames are stored.
func (x *execution) endMonitor(ctx context.Context) error {
	if x.monitor == nil {
		return nil
	}
	closeOnce(x.monitor.ending)
	select {
	case <-x.monitor.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m := x.monitor.machine; m != nil {
		return x.release(ctx, m)
	}
	return nil
}

// allMachines are those of the steps and, once it has ended, of the monitor.
func (x *execution) allMachines() []*machine {
	if x.monitor == nil || !isClosed(x.monitor.done) || x.monitor.machine == nil {
		return x.all()
	}
	return append(slices.Clone(x.all()), x.monitor.machine)
}

// runMonitor takes the monitor from its state on disk to its end. A store that
// fails is tried again.
func (x *execution) runMonitor(ctx context.Context) {
	if x.monitor == nil {
		return
	}
	defer close(x.monitor.done)
	for ctx.Err() == nil {
		err := x.driveMonitor(ctx)
		if err != nil && !isStoreError(err) {
			err = x.giveUpMonitor(ctx, err)
		}
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			x.log.Error("the monitor is held up", "error", err)
			sleep(ctx, time.Second)
		}
	}
}

// driveMonitor returns nil when the monitor has come to its end in order.
func (x *execution) driveMonitor(ctx context.Context) error {
	mo := x.monitor
	if err := x.loadMonitor(ctx, false); err != nil { // at once, as its lease is to be renewed
		return err
	}
	if x.step(mo.index).State.Over() {
		closeOnce(mo.settled)
		return nil
	}
	if x.b.cfg.Monitor.InfluxImage == "" {
		return Errorf(EInvalid, "this broker makes no monitors, and keeps the metrics itself")
	}
	at, err := x.readyMonitor(ctx)
	if err != nil {
		return err
	}
	closeOnce(mo.settled)
	if err := x.feedMonitor(ctx, at); err != nil {
		return err
	}
	return x.stopMonitor(ctx, StepEnded, "", "The monitor has all the run's metrics; it ends with the run.")
}

// readyMonitor gets the monitor ready, unless the run ends before.
func (x *execution) readyMonitor(ctx context.Context) (Monitor, error) {
	inner, cancel := x.untilEnding(ctx, 0)
	defer cancel()
	at, err := x.prepareMonitor(inner)
	if err != nil && ctx.Err() == nil && inner.Err() != nil {
		return Monitor{}, errMonitorLate
	}
	return at, err
}

// untilEnding is a context that ends that long after the run has. cancel waits
// for what it has started.
func (x *execution) untilEnding(ctx context.Context, after time.Duration) (_ context.Context, cancel func()) {
	inner, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-x.monitor.ending:
			sleep(inner, after)
			stop()
		case <-inner.Done():
		}
	}()
	return inner, func() {
		stop()
		<-over
	}
}

// errMonitorLate says why a monitor of a short run is skipped.
var errMonitorLate = errors.New("the run ended before it was ready")

// prepareMonitor gets the machine, and InfluxDB and Grafana on it, from
// whichever state they are in.
func (x *execution) prepareMonitor(ctx context.Context) (Monitor, error) {
	select {
	case <-x.monitor.begin:
	case <-ctx.Done():
		return Monitor{}, ctx.Err()
	}
	if err := x.loadMonitor(ctx, true); err != nil {
		return Monitor{}, err
	}
	m := x.monitor.machine
	if m.State == MachineRequested {
		if err := x.acquireMonitor(ctx, m); err != nil {
			return Monitor{}, err
		}
	}
	if m.State != MachineReady && m.State != MachinePrepared {
		return Monitor{}, Errorf(EUnavailable, "its machine is %s", m.State)
	}
	if err := x.connect(m); err != nil {
		return Monitor{}, err
	}
	if m.State == MachinePrepared {
		at, err := x.b.cfg.Store.Monitor(ctx, x.ref.UUID)
		if err != nil {
			return Monitor{}, &storeError{err}
		}
		return at, x.tellMonitor(ctx, at, "") // unless that was done before a restart
	}
	if _, err := x.answer(ctx, m); err != nil {
		return Monitor{}, err
	}
	return x.startMonitor(ctx, m)
}

// loadMonitor reads the monitor's machine from the store; with make it stores
// one that is to be asked for when there is none.
func (x *execution) loadMonitor(ctx context.Context, make bool) error {
	if x.monitor.machine != nil {
		return nil
	}
	stored, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return &storeError{err}
	}
	for _, m := range stored {
		if m.Step == x.monitor.index {
			x.monitor.machine = &machine{Machine: m}
			x.noteLease(m)
			return nil
		}
	}
	if !make {
		return nil
	}
	m := Machine{
		RunID: x.ref.ID, RunUUID: x.ref.UUID, Step: x.monitor.index, State: MachineRequested,
		Token: uuid.NewString(), Pool: x.b.cfg.Pools[0].Name(),
	}
	if err := x.b.cfg.Store.SaveMachine(ctx, x.ref, &m); err != nil {
		return &storeError{err}
	}
	x.monitor.machine = &machine{Machine: m}
	return nil
}

func (x *execution) acquireMonitor(ctx context.Context, m *machine) error {
	pool, err := x.b.pool(m.Pool)
	if err != nil {
		return err
	}
	req := requestOf(x.ref.Plan, m.Step, m.Index)
	req.BrokerID, req.RunUUID, req.Owner, req.Token = x.b.id, x.ref.UUID, x.ref.Owner, m.Token
	got, err := pool.Acquire(ctx, []MachineRequest{req})
	if len(got) == 0 || got[0].ProviderID == "" {
		if err == nil {
			err = Errorf(EUnavailable, "there is no machine for it")
		}
		return err
	}
	text := fmt.Sprintf("Machine %s is there, at %s.", got[0].ProviderID, got[0].Address)
	return x.updateMachine(context.WithoutCancel(ctx), m, text, func(m *Machine) { m.take(got[0]) })
}

// feedMonitor brings the run's metrics to the monitor until it has all of them.
// One that does not take them is told of in the run's history, and left behind
// at the end.
func (x *execution) feedMonitor(ctx context.Context, at Monitor) error {
	feeding, cancel := x.untilEnding(ctx, monitorRest)
	defer cancel()
	file := ""
	if url, _ := x.archiveURL(); url != "" && x.b.cfg.Archiver != nil {
		file = x.b.pointsFile(x.ref.UUID)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return fmt.Errorf("make the run's folder: %w", err)
		}
	}
	err := x.b.cfg.Monitor.Feeder.Feed(feeding, x.ref.UUID, at, file, x.monitor.ending)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if feeding.Err() != nil {
		return Errorf(EUnavailable, "its InfluxDB did not take all metrics within %v of the run's end", monitorRest)
	}
	return err
}

// giveUpMonitor ends the monitor for a reason that the run's history tells. Its
// machine, when it has one, is given back at once.
func (x *execution) giveUpMonitor(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := strings.TrimRight(oneLine(cause.Error()), ".")
	state, text := StepSkipped, fmt.Sprintf("The run has no monitor: %s. Its metrics are in the broker all the same.", why)
	if x.step(x.monitor.index).ReadyAt != nil {
		state, text = StepEnded, fmt.Sprintf("The monitor has ended: %s. The run's metrics are in the broker all the same.", why)
	}
	if err := x.stopMonitor(ctx, state, why, text); err != nil {
		return err
	}
	closeOnce(x.monitor.settled)
	if m := x.monitor.machine; m != nil {
		return x.release(ctx, m)
	}
	return nil
}

func (x *execution) stopMonitor(ctx context.Context, state StepState, why, text string) error {
	if err := x.b.cfg.Store.EndMonitor(ctx, x.ref); err != nil {
		return &storeError{err}
	}
	if x.step(x.monitor.index).State.Over() {
		return nil
	}
	return x.updateStep(ctx, x.monitor.index, text, func(rec *StepRecord) {
		rec.State, rec.Reason, rec.CompletedAt = state, why, utcNow()
	})
}
