package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/hosts"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/strategies"
)

// A rental lends the local engine's machines as if they were rented: real
// machines, whose provider and prices are the test's to say.
type rental struct {
	*hosts.Local
	hour float64 // USD, as a machine costs
	low  float64 // USD, as the quote says

	mu       sync.Mutex
	launched map[string]bool // machines of all runs, by id
	renewals map[string][]time.Duration
	released map[string]int // renewals at the release
	refuse   error          // what Renew says
	hang     bool           // Renew of the first machine gets no answer
	left     []broker.Remainder
	faults   []string
	sold     string // the step whose machines can't be had, but the first few
	has      int
	notices  []broker.Notice
	admitted []int // machines, by call
	idle     bool  // the pool keeps all that it has
	acquired int   // calls of Acquire

	apart     func(*broker.Machine)                       // changes a machine before it is given
	onAcquire func(ctx context.Context, call int) error   // comes before the call, which is counted from 0
	onRelease func(context.Context, broker.Machine) error // comes before the release
}

func (r *rental) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	wanted := reqs
	r.mu.Lock()
	before, call := r.onAcquire, r.acquired
	r.acquired++
	r.mu.Unlock()
	if before != nil {
		if err := before(ctx, call); err != nil {
			return make([]broker.Machine, len(reqs)), err
		}
	}
	if r.sold == reqs[0].StepName {
		reqs = reqs[:r.has]
	}
	machines, err := r.Local.Acquire(ctx, reqs)
	if len(reqs) < len(wanted) {
		machines = append(machines, make([]broker.Machine, len(wanted)-len(reqs))...)
		err = broker.Errorf(broker.EUnavailable, "All are sold.")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for i, req := range reqs {
		m := &machines[i]
		m.Region, m.Type, m.HourUSD, m.LaunchedAt, m.Spot = req.Region, req.Type, r.hour, &now, req.Spot != strategies.SpotNever
		r.launched[m.ProviderID] = true
		if r.apart != nil {
			r.apart(m)
		}
	}
	return machines, err
}

func (r *rental) Release(ctx context.Context, m broker.Machine) error {
	r.mu.Lock()
	r.released[m.ProviderID] = len(r.renewals[m.ProviderID])
	before := r.onRelease
	r.mu.Unlock()
	if before != nil {
		if err := before(ctx, m); err != nil {
			return err
		}
	}
	return r.Local.Release(ctx, m)
}

func (r *rental) Owned(ctx context.Context, brokerID string) ([]broker.Owned, error) {
	owned, err := r.Local.Owned(ctx, brokerID)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range owned {
		owned[i].Idle = r.idle
	}
	return owned, err
}

func (r *rental) LeaseEvery() time.Duration { return 200 * time.Millisecond }

func (r *rental) Renew(ctx context.Context, m broker.Machine, e broker.Engine, life time.Duration) error {
	if _, err := e.Info(ctx); err != nil {
		return err
	}
	if r.hang && m.Index == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return r.refuse
	}
	r.renewals[m.ProviderID] = append(r.renewals[m.ProviderID], life)
	return nil
}

func (r *rental) Admit(_ context.Context, machines []broker.Machine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted = append(r.admitted, len(machines))
	return nil
}

func (r *rental) Notices(context.Context, []broker.Machine) ([]broker.Notice, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notices, nil
}

func (r *rental) Quote(_ context.Context, reqs []broker.MachineRequest) (broker.Quote, error) {
	q := broker.Quote{Faults: r.faults}
	for _, req := range reqs {
		if req.Index > 0 {
			q.Lines[len(q.Lines)-1].Count++
			continue
		}
		q.Lines = append(q.Lines, broker.QuoteLine{
			Step: req.Step, Name: req.StepName, Region: req.Region, Type: req.Type, Count: 1,
			LowUSD: r.low, HighUSD: r.low, Beyond: 5 * time.Minute, Up: 20 * time.Second,
		})
	}
	return q, nil
}

func (r *rental) Receipt(context.Context, string) (broker.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.launched)
	return broker.Receipt{At: time.Now(), Launched: n, Terminated: n, Left: r.left}, nil
}

// set changes the rental while it is in use.
func (r *rental) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// renewed is how often any machine's lease has been renewed.
func (r *rental) renewed() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range r.renewals {
		n += len(list)
	}
	return n
}

// A desk is a broker on a database of its own, with a rental.
type desk struct {
	t *testing.T
	*broker.Broker
	*rental
	cfg broker.Config
}

func openDesk(t *testing.T, change func(*broker.Config, *rental)) *desk {
	t.Helper()
	ctx := context.Background()
	store, err := db.Open(ctx, filepath.Join(t.TempDir(), "loads.db"))
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	options := dockerctl.Options{NodeDir: nodeDir(t)}
	engine, err := dockerctl.Open(dockertest.Endpoint(), options)
	ok(t, err)
	t.Cleanup(func() { ok(t, engine.Close()) })
	log := testLog(t)
	d := &desk{t: t, rental: &rental{
		Local: hosts.NewLocal(engine, dockertest.Endpoint(), log), hour: 1, low: 1,
		launched: map[string]bool{}, renewals: map[string][]time.Duration{}, released: map[string]int{},
	}}
	d.cfg = broker.Config{
		Store: store, Pools: []broker.Pool{d.rental}, Dial: dockerctl.NewDialer(options),
		Dir: t.TempDir(), Log: log, Version: "test", ReceiptWait: time.Millisecond,
	}
	if change != nil {
		change(&d.cfg, d.rental)
	}
	d.open()
	t.Cleanup(func() {
		ok(t, d.Close())
		owned, err := d.Owned(ctx, d.ID())
		ok(t, err)
		for _, o := range owned {
			t.Errorf("left behind: %s %s", o.Kind, o.Name)
			ok(t, d.Discard(ctx, o))
		}
	})
	return d
}

func (d *desk) open() {
	d.t.Helper()
	d.Broker = broker.New(d.cfg)
	ok(d.t, d.Start(context.Background()))
}

// start starts a run of one step that sleeps for so long.
func (d *desk) start(length string, terms ...string) (broker.Run, error) {
	d.t.Helper()
	text := strings.Join(append(terms, fmt.Sprintf(`name: rented
max_cpu_percent: 100 # this computer is all of the machines
steps:
  - {name: load, container_name: loads/node, additional_command_args: sleep %s, run_max_time: 60, stop_timeout: 1, instance_count: 2}
`, length)), "\n")
	return d.startPlan(text)
}

func (d *desk) startPlan(text string) (broker.Run, error) {
	d.t.Helper()
	p, err := strategies.ParseFile("plan.yaml", []byte(text))
	ok(d.t, err)
	project, err := d.Import(d.t.Context(), p, true)
	ok(d.t, err)
	return d.StartRun(d.t.Context(), broker.StartRequest{PlanUUID: project.Plans[0].Plan.UUID})
}

func (d *desk) run(length string, terms ...string) broker.Run {
	d.t.Helper()
	run, err := d.start(length, terms...)
	ok(d.t, err)
	return run
}

func (d *desk) await(run broker.Run) broker.Run {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Minute)
	defer cancel()
	run, err := d.Wait(ctx, run.UUID)
	ok(d.t, err)
	return run
}

func (d *desk) story(run broker.Run) string {
	d.t.Helper()
	events, err := d.Events(d.t.Context(), run.UUID, 0)
	ok(d.t, err)
	var texts []string
	for _, e := range events {
		texts = append(texts, e.Text)
	}
	return strings.Join(texts, "\n")
}

// endContainers ends those of the run in order, once they run.
func (d *desk) endContainers(run broker.Run) {
	d.t.Helper()
	var machines []broker.Machine
	waittest.Until(d.t, "the containers run", 5*time.Minute, func() bool {
		var err error
		machines, err = d.Machines(d.t.Context(), run.UUID)
		ok(d.t, err)
		return !slices.ContainsFunc(machines, func(m broker.Machine) bool { return m.StartedAt == nil })
	})
	for _, m := range machines {
		engine, err := d.cfg.Dial(m.Endpoint)
		ok(d.t, err)
		ok(d.t, errors.Join(engine.Stop(d.t.Context(), m.ContainerID, time.Minute), engine.Close()))
	}
}

func TestLeasesAreRenewedFromTheFirstMachineToItsRelease(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	run := d.run("55s")
	waittest.Until(t, "each lease is renewed again and again", 5*time.Minute, func() (often bool) {
		d.set(func() {
			often = len(d.renewals) == 2
			for _, lives := range d.renewals {
				often = often && len(lives) >= 3
			}
		})
		return often
	})
	d.endContainers(run)
	run = d.await(run)
	if run.Verdict != broker.Pass || run.Cleanup != broker.CleanupDone {
		t.Fatalf("verdict %s (%s), cleanup %s (%s); want PASS and done", run.Verdict, run.Reason, run.Cleanup, run.CleanupDetail)
	}
	machines, err := d.Machines(t.Context(), run.UUID)
	ok(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range machines {
		lives := d.renewals[m.ProviderID]
		if len(lives) < 3 {
			t.Errorf("machine %d: %d renewals, want three at least", m.Index, len(lives))
		}
		for i, life := range lives {
			if life > 47*time.Minute || life < 10*time.Minute || i > 0 && life > lives[i-1] {
				t.Errorf("machine %d: it may live %v, after %v; want the plan's minute and what is allowed beside, and ever less",
					m.Index, life, lives[max(i-1, 0)])
			}
		}
		if at, was := d.released[m.ProviderID]; !was || at != len(lives) {
			t.Errorf("machine %d: %d of %d renewals came before its release", m.Index, at, len(lives))
		}
		if m.HourUSD != 1 || m.Type != "t3.micro" || m.LaunchedAt == nil || m.ReleasedAt == nil || m.ReleasedAt.Before(*m.LaunchedAt) {
			t.Errorf("machine %d: %+v, want type, price, launch and release", m.Index, m)
		}
	}
	if r := run.Receipts; len(r) != 1 || r[0].Launched != 2 || r[0].Terminated != 2 || r[0].Pool != "local" {
		t.Errorf("receipts %+v, want one of 2 machines", r)
	}
	// 2 machines, 1 USD an hour, for 45 minutes, the plan's 61 s and 5 minutes.
	if c := run.Cost; c == nil || c.WorstUSD < 1.70 || c.WorstUSD > 1.71 || len(c.Lines) != 1 || c.Lines[0].Count != 2 {
		t.Errorf("cost %+v, want 1.70 USD for 2 machines", c)
	}
	if spent := broker.Spent(machines, time.Now()); spent <= 0 || spent > 0.1 {
		t.Errorf("%v USD spent, want some seconds' worth", spent)
	}
}

func TestLeasesAreRenewedAgainAfterARestart(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	run := d.run("55s")
	waittest.Until(t, "the run's leases are renewed", 5*time.Minute, func() bool { return d.renewed() > 2 })
	ok(t, d.Close())
	before := d.renewed()
	d.open()
	waittest.Until(t, "they are renewed by the next broker", 5*time.Minute, func() bool { return d.renewed() > before+2 })
	d.endContainers(run)
	if run = d.await(run); run.Verdict != broker.Pass {
		t.Errorf("verdict %s (%s), want PASS", run.Verdict, run.Reason)
	}
}

func TestARenewalThatFailsIsToldOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	d := openDesk(t, func(_ *broker.Config, r *rental) { r.refuse = errors.New("no way in") })
	run := d.run("55s")
	waittest.Until(t, "it is told of both machines", 5*time.Minute, func() bool {
		return strings.Count(d.story(run), "no way in") == 2
	})
	d.set(func() { d.refuse = nil })
	waittest.Until(t, "it works again", 5*time.Minute, func() bool {
		return strings.Count(d.story(run), "renewed again") == 2
	})
	_, err := d.Abort(t.Context(), run.UUID)
	ok(t, err)
	if run = d.await(run); run.Verdict != broker.Aborted || strings.Count(d.story(run), "no way in") != 2 {
		t.Errorf("verdict %s; want ABORTED, and each failure told once in:\n%s", run.Verdict, d.story(run))
	}
}

func TestAMachineThatDoesNotAnswerKeepsNoOtherFromBeingRenewed(t *testing.T) {
	t.Parallel()
	d := openDesk(t, func(_ *broker.Config, r *rental) { r.hang = true })
	run := d.run("55s")
	waittest.Until(t, "the other machine is renewed", 5*time.Minute, func() bool { return d.renewed() > 5 })
	_, err := d.Abort(t.Context(), run.UUID)
	ok(t, err)
	if run = d.await(run); run.Verdict != broker.Aborted {
		t.Errorf("verdict %s (%s), want ABORTED", run.Verdict, run.Reason)
	}
}

// TestMachinesThatDoNotAnswerAreToLetTheBrokerIn is about a broker whose address
// has changed.
func TestMachinesThatDoNotAnswerAreToLetTheBrokerIn(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	run := d.run("55s")
	admits := func() (n int) {
		d.set(func() { n = len(d.admitted) })
		return n
	}
	waittest.Until(t, "the leases are renewed", 5*time.Minute, func() bool { return d.renewed() > 2 })
	if n := admits(); n != 1 || d.admitted[0] != 2 {
		t.Errorf("admitted %v, want both machines, once", d.admitted)
	}
	d.set(func() { d.refuse = broker.Errorf(broker.EUnavailable, "nobody answers") })
	waittest.Until(t, "they are to admit the broker", 5*time.Minute, func() bool { return admits() > 1 })
	d.set(func() { d.refuse = nil })
	_, err := d.Abort(t.Context(), run.UUID)
	ok(t, err)
	d.await(run)
}

func TestRunsThatCanCostTooMuchDoNotStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		terms  string
		change func(*broker.Config, *rental)
		want   string
	}{
		{"the plan's limit", "max_cost: 1.5", nil, "can cost up to 1.70 USD, and 1.50 USD are the limit"},
		{"the broker's limit, when it is lower", "max_cost: 2", func(c *broker.Config, _ *rental) { c.MaxCost = 1 }, "and 1.00 USD are the limit"},
		{"a limit, but no price", "max_cost: 2", func(_ *broker.Config, r *rental) { r.low = 0 }, "not all prices are known"},
		{"machines that can't be had", "", func(_ *broker.Config, r *rental) {
			r.faults = []string{"There is no type t9.nano in us-west-2; give another."}
		}, "no type t9.nano"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := openDesk(t, tt.change)
			_, err := d.start("1s", tt.terms)
			if broker.CodeOf(err) != broker.EInvalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if runs, err := d.Runs(t.Context(), broker.RunFilter{}); err != nil || len(runs) > 0 {
				t.Errorf("%d runs, %v; want none", len(runs), err)
			}
		})
	}
}

func TestARunWhoseMachinesCostMoreThanExpectedIsEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		hour float64
	}{
		{"at once, when the money is for less than a run needs for its end", 100},
		{"later, when it has used so much up", 18},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := openDesk(t, func(_ *broker.Config, r *rental) { r.hour = tt.hour })
			run := d.await(d.run("50s", "max_cost: 2"))
			if run.Verdict != broker.Errored || !strings.Contains(run.Reason, "would cost more than the 2.00 USD that they may") {
				t.Errorf("verdict %s, %q; want ERROR for the cost", run.Verdict, run.Reason)
			}
			if run.Cleanup != broker.CleanupDone {
				t.Errorf("cleanup %s (%s), want done", run.Cleanup, run.CleanupDetail)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			for id, lives := range d.renewals {
				if last := lives[len(lives)-1]; last > 3*time.Minute {
					t.Errorf("machine %s may live %v yet, for which there is no money", id, last)
				}
			}
		})
	}
}

const latePlan = `name: late
max_cpu_percent: 100 # this computer is all of the machines
criteria:
  - count("req.count", "status:200") > 0
steps:
  - {name: load, container_name: loads/node, additional_command_args: "gen --url http://late:8000/ --rate 20 --duration 40s", run_max_time: 120, stop_timeout: 1}
  - {name: web, container_name: loads/node, additional_command_args: "serve --listen :8000", run_delay: 5, lead: 3, run_max_time: 32, stop_timeout: 1,
     port_mapping: "8000:8000", dns_name: late}
`

func TestMachinesOfLateStepsComeLateAndAreFoundByTheirName(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	run, err := d.startPlan(latePlan)
	ok(t, err)
	waittest.Until(t, "the run has begun", 5*time.Minute, func() bool {
		run, err = d.Run(t.Context(), run.UUID)
		ok(t, err)
		return run.StartedAt != nil
	})
	run = d.await(run)
	if run.Verdict != broker.Pass || run.Cleanup != broker.CleanupDone {
		t.Errorf("verdict %s (%s), cleanup %s; want PASS and done, in:\n%s", run.Verdict, run.Reason, run.Cleanup, d.story(run))
	}
	machines, err := d.Machines(t.Context(), run.UUID)
	ok(t, err)
	for _, m := range machines {
		if late := m.LaunchedAt.After(*run.StartedAt); late != (m.Step == 1) {
			t.Errorf("the machine of step %d was launched at %v, the steps began at %v", m.Step, m.LaunchedAt, run.StartedAt)
		}
	}
}

func TestTheBillCountsMachinesFromWhenTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	r := &rental{low: 1}
	at := func(delay, lead int) float64 {
		step := strategies.Step{
			Name: "s", InstanceCount: 1, RunDelay: delay, Lead: lead, RunMaxTime: 3600, InstanceType: "t3.micro", InstanceRegion: "us-west-2",
		}
		c, err := broker.Estimate(t.Context(), r, strategies.Plan{Name: "p", Steps: []strategies.Step{step}}, broker.Terms{})
		ok(t, err)
		return c.WorstUSD * 60 // minutes, at a dollar an hour
	}
	for _, tt := range []struct {
		name        string
		delay, lead int
		want        float64
	}{
		{"there from the beginning", 0, 0, 30 + 60 + 15 + 5},
		{"too soon to be late", 120, 0, 30 + 2 + 60 + 15 + 5},
		{"late, by what the pool needs", 7200, 0, 3 + 60 + 15 + 5},
		{"late, by what the plan says", 7200, 600, 10 + 60 + 15 + 5},
		{"from the beginning, as the plan says", 7200, 7200, 30 + 120 + 60 + 15 + 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := at(tt.delay, tt.lead); math.Abs(got-tt.want) > 0.01 {
				t.Errorf("got %v minutes, want %v", got, tt.want)
			}
		})
	}
}

func TestAStepWhoseLateMachinesDoNotComeEndsTheRun(t *testing.T) {
	t.Parallel()
	d := openDesk(t, func(_ *broker.Config, r *rental) { r.sold = "web" })
	run, err := d.startPlan(latePlan)
	ok(t, err)
	run = d.await(run)
	if run.Verdict != broker.Errored || !strings.Contains(run.Reason, "Step web can't have its machines: All are sold.") || run.Cleanup != broker.CleanupDone {
		t.Errorf("verdict %s (%s), cleanup %s; want ERROR for the machines, and done", run.Verdict, run.Reason, run.Cleanup)
	}
}

func TestLateMachinesComeAfterARestart(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	run, err := d.startPlan(strings.Replace(latePlan, "run_delay: 5", "run_delay: 7", 1))
	ok(t, err)
	waittest.Until(t, "the late machine is there", 5*time.Minute, func() bool {
		machines, err := d.Machines(t.Context(), run.UUID)
		ok(t, err)
		return len(machines) == 2 && machines[1].State != broker.MachineRequested
	})
	ok(t, d.Close())
	d.open()
	if run = d.await(run); run.Verdict != broker.Pass {
		t.Errorf("verdict %s (%s), want PASS, in:\n%s", run.Verdict, run.Reason, d.story(run))
	}
}

func TestAQuorumGoesOnWithoutMachinesThatCanNotBeHad(t *testing.T) {
	t.Parallel()
	d := openDesk(t, func(_ *broker.Config, r *rental) { r.sold, r.has = "load", 1 })
	run, err := d.startPlan(`{name: few, steps: [{name: load, container_name: loads/node, additional_command_args: sleep 1s, instance_count: 2, quorum: 1}]}`)
	ok(t, err)
	if run = d.await(run); run.Verdict != broker.Pass || run.Cleanup != broker.CleanupDone {
		t.Errorf("verdict %s (%s), cleanup %s; want PASS and done", run.Verdict, run.Reason, run.Cleanup)
	}
}

func TestTheReaperPassesOverWhatThePoolKeeps(t *testing.T) {
	t.Parallel()
	d := openDesk(t, func(_ *broker.Config, r *rental) { r.idle = true })
	_, err := d.Acquire(t.Context(), []broker.MachineRequest{{BrokerID: d.ID(), RunUUID: "an earlier run", Token: "t-" + d.ID(), StepName: "load"}})
	ok(t, err)
	owned := func() int {
		list, err := d.Owned(t.Context(), d.ID())
		ok(t, err)
		return len(list)
	}
	ok(t, d.Close())
	d.open()
	// A run takes longer than the look at the start, and its end means that
	// nothing was held up.
	if run := d.await(d.run("1s")); run.Verdict != broker.Pass || owned() != 1 {
		t.Errorf("verdict %s, %d machines; want PASS, and the one that is kept", run.Verdict, owned())
	}
	ok(t, d.Close())
	d.set(func() { d.idle = false })
	d.open()
	waittest.Until(t, "what is not kept any more is ended", 5*time.Minute, func() bool { return owned() == 0 })
}

func TestWhatIsLeftMakesTheCleanupFailUntilItIsGone(t *testing.T) {
	t.Parallel()
	d := openDesk(t, func(_ *broker.Config, r *rental) {
		r.left = []broker.Remainder{{Kind: "volume", ID: "vol-1", Region: "us-west-2", State: "available"}}
	})
	run := d.await(d.run("1s"))
	if run.Verdict != broker.Pass || run.Cleanup != broker.CleanupFailed || !strings.Contains(run.CleanupDetail, "volume vol-1") {
		t.Fatalf("verdict %s, cleanup %s (%s); want PASS, and the volume told", run.Verdict, run.Cleanup, run.CleanupDetail)
	}
	ok(t, d.Close())
	d.set(func() { d.left = nil })
	d.open() // clears away at once, and each minute
	waittest.Until(t, "the run is clean", 5*time.Minute, func() bool {
		var err error
		run, err = d.Run(t.Context(), run.UUID)
		ok(t, err)
		return run.Cleanup == broker.CleanupDone
	})
	if len(run.Receipts) != 1 || len(run.Receipts[0].Left) > 0 || run.CleanupDetail != "" {
		t.Errorf("receipts %+v, detail %q; want one that has nothing left", run.Receipts, run.CleanupDetail)
	}
}
