package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/hosts"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// A lab is a broker in this process, whose engines can be made to fail: all
// else in it is real.
type lab struct {
	t      *testing.T
	dir    string
	broker *broker.Broker
	store  *db.DB
	faults *faults
	lost   time.Duration // how long a machine may be silent; 0 is as brokers have it
}

// impatience is how long a machine may be silent where one falls silent: more
// than a busy engine needs to answer, and less than brokers have it.
const impatience = 30 * time.Second

// faults says what fails. Every machine has an endpoint of its own, so that
// one can fail alone.
type faults struct {
	mu      sync.Mutex
	silent  map[string]bool               // endpoints that don't answer
	before  func(host, call string) error // called before Create, Start and Inspect; its error is theirs
	writes  func(n int) error             // called before the nth write of the store; its error is that of the write
	written int
	clock   time.Duration               // what the machines' clocks are ahead
	alter   func(*broker.ContainerSpec) // changes what is created
	garble  atomic.Bool                 // a byte of a followed log is changed on its way
	cutLogs atomic.Bool                 // followed logs break off after a few lines
	cuts    map[string]int              // how often those of an endpoint did
	deaf    atomic.Bool                 // what plans' containers write is not heard while they run
}

func (f *faults) silence(host string, silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent[host] = silent
}

func (f *faults) intercept(before func(host, call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *faults) isSilent(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.silent[host]
}

func newLab(t *testing.T) *lab {
	return newLabWith(t, nil)
}

// newLabWith has containers that alter has changed.
func newLabWith(t *testing.T, alter func(*broker.ContainerSpec)) *lab {
	return openLab(t, &lab{faults: &faults{alter: alter}})
}

// newImpatientLab soon gives up a machine that is silent.
func newImpatientLab(t *testing.T, alter func(*broker.ContainerSpec)) *lab {
	return openLab(t, &lab{faults: &faults{alter: alter}, lost: impatience})
}

func openLab(t *testing.T, l *lab) *lab {
	l.t, l.dir, l.faults.silent, l.faults.cuts = t, t.TempDir(), map[string]bool{}, map[string]int{}
	l.open()
	t.Cleanup(func() {
		l.close()
		sweep(t, l.broker.ID())
	})
	settle(t, l.broker.ID())
	return l
}

func (l *lab) open() {
	l.t.Helper()
	store, err := db.Open(l.t.Context(), filepath.Join(l.dir, "loads.db"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.store = store
	l.serve(store)
}

// restart lets a broker on another view of the store take over.
func (l *lab) restart(store broker.Store) {
	l.t.Helper()
	l.broker.Close()
	l.serve(store)
}

// serve starts a broker on the store.
func (l *lab) serve(store broker.Store) {
	l.t.Helper()
	pool := ownEndpoints{hosts.NewLocal(localEngine(l.t), broker.Endpoint{Host: "unix:///var/run/docker.sock"}, slog.New(slog.DiscardHandler))}
	l.broker = broker.New(broker.Config{
		Store: &shakyStore{Store: store, faults: l.faults}, Pools: []broker.Pool{pool}, Dial: l.dial, Dir: filepath.Join(l.dir, "data"),
		Log: slog.New(slog.DiscardHandler), Version: "test", LostAfter: l.lost,
	})
	if err := l.broker.Start(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) close() {
	l.broker.Close()
	l.store.Close()
}

// ownEndpoints gives every machine of the pool an endpoint of its own name.
type ownEndpoints struct{ broker.Pool }

func (p ownEndpoints) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	ms, err := p.Pool.Acquire(ctx, reqs)
	for i := range ms {
		ms[i].Endpoint.Host = fmt.Sprintf("s%d-m%d", reqs[i].Step, reqs[i].Index)
	}
	return ms, err
}

func (l *lab) dial(ep broker.Endpoint) (broker.Engine, error) {
	eng, err := dockerctl.Open(broker.Endpoint{Host: "unix:///var/run/docker.sock"}, dockerctl.Options{NodeDir: binDir})
	if err != nil {
		return nil, err
	}
	return &shaky{Engine: eng, host: ep.Host, faults: l.faults}, nil
}

// shaky is a real engine that fails as it is told.
type shaky struct {
	broker.Engine
	host   string
	faults *faults
}

func (s *shaky) answers() error {
	if s.faults.isSilent(s.host) {
		return broker.Errorf(broker.EUnavailable, "machine %s does not answer", s.host)
	}
	return nil
}

// call fails as it was told for that call, or as a machine that is silent.
func (s *shaky) call(name string) error {
	s.faults.mu.Lock()
	before := s.faults.before
	s.faults.mu.Unlock()
	if before != nil {
		if err := before(s.host, name); err != nil {
			return err
		}
	}
	return s.answers()
}

func (s *shaky) Create(ctx context.Context, spec broker.ContainerSpec) (string, error) {
	if err := s.call("Create"); err != nil {
		return "", err
	}
	if s.faults.alter != nil {
		s.faults.alter(&spec)
	}
	return s.Engine.Create(ctx, spec)
}

func (s *shaky) PutFiles(ctx context.Context, id string, files map[string][]byte) error {
	if err := s.call("PutFiles"); err != nil {
		return err
	}
	return s.Engine.PutFiles(ctx, id, files)
}

func (s *shaky) Start(ctx context.Context, id string) error {
	if err := s.call("Start"); err != nil {
		return err
	}
	return s.Engine.Start(ctx, id)
}

func (s *shaky) StartAt(ctx context.Context, id string, at time.Time) error {
	if err := s.call("Start"); err != nil {
		return err
	}
	return s.Engine.StartAt(ctx, id, at)
}

func (s *shaky) Info(ctx context.Context) (broker.EngineInfo, error) {
	if err := s.answers(); err != nil {
		return broker.EngineInfo{}, err
	}
	info, err := s.Engine.Info(ctx)
	info.Offset += s.faults.clock
	return info, err
}

func (s *shaky) List(ctx context.Context, labels map[string]string) ([]broker.Container, error) {
	if err := s.answers(); err != nil {
		return nil, err
	}
	return s.Engine.List(ctx, labels)
}

func (s *shaky) Inspect(ctx context.Context, id string) (broker.Container, error) {
	if err := s.call("Inspect"); err != nil {
		return broker.Container{}, err
	}
	c, err := s.Engine.Inspect(ctx, id)
	if c.Started() {
		c.StartedAt = c.StartedAt.Add(s.faults.clock)
	}
	if !c.FinishedAt.IsZero() {
		c.FinishedAt = c.FinishedAt.Add(s.faults.clock)
	}
	return c, err
}

func (s *shaky) Stop(ctx context.Context, id string, d time.Duration) error {
	if err := s.answers(); err != nil {
		return err
	}
	return s.Engine.Stop(ctx, id, d)
}

// Wait breaks when the machine falls silent, as a connection would in the end.
func (s *shaky) Wait(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Engine.Wait(ctx, id) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if err := s.answers(); err != nil {
				cancel()
				<-ended
				return err
			}
		}
	}
}

var errCut = errors.New("the link broke")

func (s *shaky) Logs(ctx context.Context, id string, opts broker.LogOptions, stdout, stderr io.Writer) error {
	if err := s.answers(); err != nil {
		return err
	}
	if opts.Follow && s.faults.deaf.Load() {
		if c, err := s.Engine.Inspect(ctx, id); err != nil || c.Labels[broker.LabelRole] == broker.RolePlan {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	if opts.Follow && s.faults.cutLogs.Load() && stdout != nil {
		stdout = &cutAfter{w: stdout, lines: 5 + rand.IntN(3), host: s.host, faults: s.faults}
	}
	if opts.Follow && s.faults.garble.CompareAndSwap(true, false) && stdout != nil {
		stdout = &garbler{w: stdout}
	}
	return s.Engine.Logs(ctx, id, opts, stdout, stderr)
}

// garbler changes the first byte of the third line that it passes on.
type garbler struct {
	w     io.Writer
	lines int
	done  bool
}

func (g *garbler) Write(p []byte) (int, error) {
	sent := bytes.Clone(p)
	for i := range sent {
		if g.lines == 2 && !g.done {
			sent[i], g.done = '?', true
		}
		if p[i] == '\n' {
			g.lines++
		}
	}
	return g.w.Write(sent)
}

// cutAfter passes on a number of lines and then fails, mostly within a line. It
// is more than the seconds that are read again after a break.
type cutAfter struct {
	w      io.Writer
	lines  int
	host   string
	faults *faults
}

func (c *cutAfter) Write(p []byte) (int, error) {
	if n := bytes.Count(p, []byte("\n")); n < c.lines {
		c.lines -= n
		return c.w.Write(p)
	}
	n, _ := c.w.Write(p[:rand.IntN(len(p))])
	c.lines = 0
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.cuts[c.host]++
	return n, errCut
}

func (l *lab) start(text string) string {
	l.t.Helper()
	p, err := strategies.ParseFile("plan.yaml", []byte(text))
	if err != nil {
		l.t.Fatal(err)
	}
	rec, err := l.broker.Import(l.t.Context(), p, true)
	if err != nil {
		l.t.Fatal(err)
	}
	run, err := l.broker.StartRun(l.t.Context(), broker.StartRequest{PlanUUID: rec.Plans[0].Plan.UUID})
	if err != nil {
		l.t.Fatal(err)
	}
	return run.UUID
}

// goroutines returns what every goroutine is at.
func goroutines() []byte {
	buf := make([]byte, 4<<20)
	return buf[:runtime.Stack(buf, true)]
}

func (l *lab) await(run string) broker.Report {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	if _, err := l.broker.Wait(ctx, run); err != nil {
		events, _ := l.broker.Events(l.t.Context(), run, 0)
		for _, e := range events {
			l.t.Logf("%s %s", e.At.Format(time.StampMilli), e.Text)
		}
		l.t.Logf("the goroutines:\n%s", goroutines())
		l.t.Fatal(err)
	}
	r, err := l.broker.Report(ctx, run)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) untilStarted(run string) {
	l.t.Helper()
	until(l.t, "all steps are started", 5*time.Minute, func() bool {
		r, err := l.broker.Run(l.t.Context(), run)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, rec := range r.StepRecords {
			if rec.StartedAt == nil {
				return false
			}
		}
		return true
	})
}

// endStep ends the containers of a step in order, unless the run does. So it is
// the test, and not a time in the plan, that decides how long they take.
func (l *lab) endStep(run string, step int) {
	l.t.Helper()
	err := stopContainers(l.t, run, step)
	if r, runErr := l.broker.Run(l.t.Context(), run); err != nil && (runErr != nil || r.State < broker.Terminating) {
		l.t.Errorf("end step %d: %v, %v", step, err, runErr)
	}
}

// TestStepWhoseReadinessIsReadTooLate has a container end before anybody has
// heard what it wrote: whether it was ready is seen by that all the same.
func TestStepWhoseReadinessIsReadTooLate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.faults.deaf.Store(true)
	r := l.await(l.start(`
name: unheard
steps:
  - {name: warm, container_name: loads/node, additional_command_args: sleep 1s --print awake, ready: {log: ^awake$, timeout: 240}}
  - {name: load, container_name: loads/node, additional_command_args: sleep 1s, start_after: warm}
`))
	if r.Run.Verdict != broker.Pass {
		t.Errorf("verdict %s (%s), want PASS", r.Run.Verdict, r.Run.Reason)
	}
	if rec := r.Run.StepRecords[0]; rec.ReadyAt == nil || rec.ReadyAt.After(*rec.CompletedAt) {
		t.Errorf("step %+v, want it ready before it ended", rec)
	}
}

func TestFramesSurviveLinksThatBreak(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.faults.cutLogs.Store(true)
	run := l.start(`
name: broken links
max_skew_ms: 300000
steps:
  - {name: ticks, instance_count: 2, container_name: loads/node, additional_command_args: sleep 8s}
  - {name: hold, container_name: loads/node, additional_command_args: sleep 600s, run_max_time: 900}
`)
	until(t, "both links have broken", 5*time.Minute, func() bool {
		l.faults.mu.Lock()
		defer l.faults.mu.Unlock()
		return l.faults.cuts["s0-m0"] > 0 && l.faults.cuts["s0-m1"] > 0
	})
	l.untilStarted(run)
	l.endStep(run, 1)
	r := l.await(run)
	if r.Run.Verdict != broker.Pass || !r.Ledger.Balance {
		t.Errorf("verdict %s (%s), ledger %+v; want PASS and a balance", r.Run.Verdict, r.Run.Reason, r.Ledger)
	}
	lines, err := l.broker.Series(t.Context(), run, metrics.Query{Metric: "sleep.ticks", By: "step"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		ticks := 0.0
		for _, b := range line.Buckets {
			ticks += b.Count
		}
		if line.Step == "ticks" && ticks != 16 {
			t.Errorf("sleep.ticks counted %v, want 16", ticks)
		}
	}
}

func TestMachineThatFallsSilent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		terms   string
		verdict broker.Verdict
	}{
		{"is left behind when the rest is enough", "quorum: 1", broker.Pass},
		{"makes the result worth nothing when it was needed", "prune_running: true", broker.Invalid},
		{"fails the step when it says so", "prune_running: false", broker.Errored},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newImpatientLab(t, nil)
			run := l.start(fmt.Sprintf(`
name: silent
max_skew_ms: 300000
steps:
  - {name: pair, instance_count: 2, %s, container_name: loads/node, additional_command_args: sleep 300s}
`, tt.terms))
			l.untilStarted(run)
			l.faults.silence("s0-m1", true)
			until(t, "the machine is given up", 5*time.Minute, func() bool {
				ms, err := l.broker.Machines(t.Context(), run)
				return err == nil && ms[1].State != broker.MachinePrepared
			})
			l.endStep(run, 0)
			r := l.await(run)
			if r.Run.Verdict != tt.verdict {
				t.Errorf("verdict %s (%s), want %s", r.Run.Verdict, r.Run.Reason, tt.verdict)
			}
			if r.Run.Cleanup != broker.CleanupFailed || !strings.Contains(r.Run.CleanupDetail, "does not answer") {
				t.Errorf("cleanup %s (%s), want failed and why", r.Run.Cleanup, r.Run.CleanupDetail)
			}
			if r.Ledger.Balance || r.Ledger.Open != 1 {
				t.Errorf("ledger %+v, want one machine's last frame missing", r.Ledger)
			}

			l.faults.silence("s0-m1", false)
			l.close()
			l.open() // looks for leftovers at once
			until(t, "the cleanup is done", 5*time.Minute, func() bool {
				r, err := l.broker.Run(t.Context(), run)
				return err == nil && r.Cleanup == broker.CleanupDone
			})
			if left := leftovers(t, map[string]string{broker.LabelRun: run}); len(left) > 0 {
				t.Errorf("left in the engine: %v", left)
			}
			if again, err := l.broker.Run(t.Context(), run); err != nil || again.Verdict != tt.verdict {
				t.Errorf("verdict after the cleanup %s, %v; want %s still", again.Verdict, err, tt.verdict)
			}
		})
	}
}

// TestMachineThatFallsSilentBeforeItIsReady loses one machine of two while its
// step waits for it: the step is ready when the other one is.
func TestMachineThatFallsSilentBeforeItIsReady(t *testing.T) {
	t.Parallel()
	l := newImpatientLab(t, func(spec *broker.ContainerSpec) {
		if strings.HasSuffix(spec.Name, "-s0-m1-plan") {
			spec.Command = []string{"sleep", "300s"} // and says nothing
		}
	})
	run := l.start(`
name: unready
max_skew_ms: 300000
steps:
  - {name: pair, instance_count: 2, quorum: 1, container_name: loads/node, additional_command_args: sleep 300s --print awake,
     ready: {log: awake, timeout: 240}}
`)
	l.untilStarted(run)
	l.faults.silence("s0-m1", true)
	until(t, "the step is ready", 4*time.Minute, func() bool {
		r, err := l.broker.Run(t.Context(), run)
		return err == nil && (r.StepRecords[0].ReadyAt != nil || r.StepRecords[0].State.Over())
	})
	l.endStep(run, 0)
	r := l.await(run)
	l.faults.silence("s0-m1", false)
	if r.Run.Verdict != broker.Pass {
		t.Errorf("verdict %s (%s), want PASS", r.Run.Verdict, r.Run.Reason)
	}
	if rec := r.Run.StepRecords[0]; rec.ReadyAt == nil || rec.ReadyAt.After(*rec.CompletedAt) {
		t.Errorf("step %+v, want it ready before it ended", rec)
	}
	l.close()
	l.open() // looks for leftovers at once
	until(t, "the cleanup is done", 5*time.Minute, func() bool {
		r, err := l.broker.Run(t.Context(), run)
		return err == nil && r.Cleanup == broker.CleanupDone
	})
}

// TestRelayThatIsGone ends the relay of one machine behind the broker's back.
func TestRelayThatIsGone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		end     []string // arguments for docker, before the relay's id
		verdict broker.Verdict
	}{
		{"killed", []string{"kill"}, broker.Invalid},
		{"stopped", []string{"stop"}, broker.Invalid},
		{"removed", []string{"rm", "--force"}, broker.Invalid},
		{"started again", []string{"restart"}, broker.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			run := l.start(`
name: relay gone
max_skew_ms: 300000
steps:
  - {name: pair, instance_count: 2, container_name: loads/node, additional_command_args: sleep 300s}
`)
			l.untilStarted(run)
			ms, err := l.broker.Machines(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("docker", append(tt.end, ms[1].RelayID)...).CombinedOutput(); err != nil {
				t.Fatalf("docker %v: %v: %s", tt.end, err, out)
			}
			l.endStep(run, 0)
			r := l.await(run)
			if r.Run.Verdict != tt.verdict || r.Run.Cleanup != broker.CleanupDone {
				t.Errorf("verdict %s (%s), cleanup %s; want %s, done", r.Run.Verdict, r.Run.Reason, r.Run.Cleanup, tt.verdict)
			}
			if r.Ledger.Balance || r.Ledger.Open+int(r.Ledger.Broken) == 0 {
				t.Errorf("ledger %+v, want it to say that metrics are missing", r.Ledger)
			}
		})
	}
}

func TestStrayOfThisBrokerIsEndedAndOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	eng := localEngine(t)
	if _, err := eng.EnsureNodeImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	stray := func(brokerID string) string {
		id, err := eng.Create(t.Context(), broker.ContainerSpec{
			Name: "loads-test-stray-" + brokerID, Image: broker.NodeImage, Command: []string{"sleep", "600s"},
			Labels: map[string]string{broker.LabelBroker: brokerID, broker.LabelRun: "of-no-run"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { eng.Remove(context.Background(), id) })
		return id
	}
	mine, other := stray(l.broker.ID()), stray("not-"+l.broker.ID())
	l.close()
	l.open()
	until(t, "the stray is gone", 5*time.Minute, func() bool {
		_, err := eng.Inspect(t.Context(), mine)
		return broker.CodeOf(err) == broker.ENotFound
	})
	if _, err := eng.Inspect(t.Context(), other); err != nil {
		t.Errorf("another broker's container: %v, want it left alone", err)
	}
}
