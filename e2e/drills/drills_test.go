package drills_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
)

// A mix is many drills on one cloud and one broker, which is killed meanwhile.
type mix struct {
	t      *testing.T
	seed   uint64
	cloud  *cloud
	broker *process
	boots  time.Duration // how long a machine is given to boot

	kills  atomic.Int64
	over   atomic.Int64 // drills
	mu     sync.Mutex
	counts map[string]int // of drills, by scenario and verdict
}

// How long machines are given to boot, and may be silent: short of the defaults,
// so that drills don't wait for long, and so long that a busy computer's machines
// are not taken for dead. A real machine's engine takes half a minute to come up
// where two cores have much else to do.
const (
	lightBoots = 90 * time.Second
	realBoots  = 2 * time.Minute
	lostAfter  = 30 * time.Second
)

// A course says what a mix is like.
type course struct {
	seed   uint64
	drills int
	atOnce int
	from   []scenario
	host   func(*testing.T) ec2sim.Host
	node   string // folder of the node programs
	cloud  ec2sim.Drill
	boots  time.Duration // how long a machine is given to boot
	// kills are the least and the most time between two kills. A third of them
	// come only after a calm, so that patience can end which a kill begins anew,
	// and none come to the last quarter of the drills, for the same reason. There
	// are no more than mostKills: a busy computer's broker has not done much by
	// the next.
	kills     [2]time.Duration
	calm      time.Duration
	mostKills int
}

// setting reads a number from the environment.
func setting(t *testing.T, name string, or uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return or
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q; give a number", name, text)
	}
	return n
}

// roughCloud is one in which everything takes its time, and any call may go
// wrong.
func roughCloud(seed uint64) ec2sim.Drill {
	d := ec2sim.DefaultDrill()
	d.Seed = seed
	d.Delays = ec2sim.Delays{
		Pending: ec2sim.Uniform(100*time.Millisecond, 2*time.Second), Terminating: ec2sim.Uniform(0, 1500*time.Millisecond),
		Visible: ec2sim.Uniform(0, time.Second), Lag: ec2sim.Uniform(0, time.Second),
		Notice: ec2sim.Fixed(2 * time.Second), Listed: ec2sim.Fixed(24 * time.Hour),
	}
	for _, name := range []ec2sim.FaultName{ec2sim.Throttled, ec2sim.ErrorAfter, ec2sim.AnswerLost} {
		d.Faults = append(d.Faults, ec2sim.Fault{Name: name, Rate: 0.02})
		for _, action := range []string{"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "DeleteSecurityGroup", "TerminateInstances"} {
			d.Faults = append(d.Faults, ec2sim.Fault{Name: name, Action: action, Rate: 0.1})
		}
	}
	return d
}

// TestDrills_LightMachines lets some hundred runs go through all faults, while
// the broker is killed every few seconds.
func TestDrills_LightMachines(t *testing.T) {
	t.Parallel()
	seed, drills := setting(t, "SEED", rand.Uint64()), int(setting(t, "DRILLS", 200))
	run(t, course{
		seed: seed, drills: drills, atOnce: 80, from: scenarios, host: lightHost, node: emptyNode(t), cloud: roughCloud(seed), boots: lightBoots,
		kills: [2]time.Duration{time.Second, 8 * time.Second}, calm: 40 * time.Second, mostKills: max(drills/12, 1),
	})
}

// TestRealMachines drills machines that have a kernel around them, a disk, a
// network and a Docker engine. They are real processes, so no light ones are
// drilled beside them.
func TestRealMachines(t *testing.T) {
	t.Run("Drills", func(t *testing.T) {
		t.Parallel()
		seed := setting(t, "SEED", rand.Uint64())
		run(t, course{
			seed: seed, drills: 10, atOnce: 6, from: realScenarios(), host: realHost, node: binDir, cloud: roughCloud(seed), boots: realBoots,
			kills: [2]time.Duration{2 * time.Second, 8 * time.Second}, calm: 30 * time.Second, mostKills: 6,
		})
	})
	t.Run("FaultsEachAlone", func(t *testing.T) {
		t.Parallel()
		eachAlone(t, course{
			host: realHost, node: binDir, cloud: calmCloud(), boots: realBoots,
		}, true)
	})
}

// run drills a course, and fails the test unless every run ended as what met it
// explains, and nothing is left.
func run(t *testing.T, c course) {
	t.Helper()
	t.Logf("SEED=%d DRILLS=%d repeats these drills", c.seed, c.drills)
	m := newMix(t, c)
	began := time.Now()

	over, stop := context.WithCancel(t.Context())
	var aside sync.WaitGroup
	aside.Go(func() { m.killBrokers(over, c) })
	aside.Go(func() { m.watchTags(over) })
	var drills sync.WaitGroup
	room := make(chan struct{}, c.atOnce)
	for _, d := range all(c) {
		room <- struct{}{}
		drills.Go(func() {
			defer func() { <-room }()
			m.drill(d)
			m.over.Add(1)
		})
	}
	drills.Wait()
	stop()
	aside.Wait()

	m.end()
	t.Logf("%d drills in %v: the broker was killed %d times, %d machines were launched",
		c.drills, time.Since(began).Round(time.Second), m.kills.Load(), m.cloud.State().Launched)
	for _, line := range m.table() {
		t.Log(line)
	}
}

func newMix(t *testing.T, c course) *mix {
	t.Helper()
	m := &mix{t: t, seed: c.seed, boots: c.boots, cloud: startCloud(t, c.cloud, c.host(t)), counts: map[string]int{}}
	m.broker = startBroker(t, m.cloud.env, "--node-dir", c.node, "--ec2", "--ec2-private", "--ec2-idle", "0",
		"--ec2-boot-limit", c.boots.String(), "--lost-after", lostAfter.String())
	return m
}

// end fails the test unless nothing is left, and the broker ends in order.
func (m *mix) end() {
	m.t.Helper()
	waittest.Until(m.t, "nothing is left at EC2", patience, func() bool { return len(m.cloud.Things(nil)) == 0 })
	for kind, tally := range m.cloud.State().Receipt {
		if tally.Left != 0 {
			m.t.Errorf("%d %s are left", tally.Left, kind)
		}
	}
	if err := m.broker.stop(); err != nil {
		m.t.Error(err)
	}
	if races := m.broker.logged("DATA RACE"); races != "" {
		m.t.Errorf("the broker has data races; its log is\n%s", m.broker.logged(""))
	}
}

// killBrokers kills the broker and starts it again, until ctx ends.
func (m *mix) killBrokers(ctx context.Context, c course) {
	r := rand.New(rand.NewPCG(m.seed, 1<<32))
	next := func() time.Duration {
		wait := c.kills[0] + time.Duration(r.Int64N(int64(c.kills[1]-c.kills[0])))
		if r.IntN(3) == 0 {
			wait += c.calm
		}
		return wait
	}
	for m.kills.Load() < int64(c.mostKills) && pause(ctx, next()) && m.over.Load() < int64(c.drills*3/4) {
		m.broker.kill()
		m.kills.Add(1)
		if err := m.broker.start(); err != nil {
			m.t.Errorf("start the broker again: %v\n%s", err, m.broker.logged(""))
			return
		}
	}
}

// watchTags fails the test when there is anything that nobody could tell whose
// it is.
func (m *mix) watchTags(ctx context.Context) {
	told := map[string]bool{}
	for pause(ctx, 200*time.Millisecond) {
		for _, thing := range m.cloud.Things(nil) {
			if !told[thing.ID] && (thing.Tags["RunId"] == "" || thing.Tags["loads:broker"] == "" || thing.Tags["Project"] != "loads") {
				told[thing.ID] = true
				m.t.Errorf("%s of %s has only the tags %v", thing.ID, thing.Kind, thing.Tags)
			}
		}
	}
}

// drill drills one run.
func (m *mix) drill(d *drill) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	report, err := m.completed(ctx, d)
	if err != nil {
		m.t.Errorf("%v: %v\n%s", d, err, m.story(d, nil))
		return
	}
	var made []ec2sim.MachineInfo
	for _, info := range m.cloud.Machines() {
		if info.Tags["RunId"] == d.run {
			made = append(made, info)
		}
	}
	o := newOutcome(d, report, made, m.left(ctx, d), m.boots)
	if faults := append(o.faults(), d.wrong(o)...); len(faults) > 0 {
		m.t.Errorf("%v: %s\n%s", d, strings.Join(faults, "; "), m.story(d, made))
	}
	m.t.Logf("%v took %v", d, time.Since(began).Round(time.Second))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[fmt.Sprintf("%-35s %s", d.name, report.Run.Verdict)]++
}

// left is what is left of the run. A security group costs nothing, and may be
// made so shortly before a kill that only the reaper sees it.
func (m *mix) left(ctx context.Context, d *drill) []ec2sim.Thing {
	for {
		left := m.cloud.Things(map[string]string{"RunId": d.run})
		costs := slices.ContainsFunc(left, func(t ec2sim.Thing) bool { return t.Kind != "security-groups" })
		if len(left) == 0 || costs || !pause(ctx, time.Second) {
			return left
		}
	}
}

// completed runs the drill to its end, and waits until it is clean.
func (m *mix) completed(ctx context.Context, d *drill) (report api.Report, err error) {
	for _, f := range d.armed {
		m.cloud.Arm(f)
	}
	if err := m.trigger(ctx, d); err != nil {
		return report, err
	}
	if d.strike != nil {
		if err := m.strike(ctx, d); err != nil {
			return report, err
		}
	}
	if d.abort > 0 && pause(ctx, d.abort) {
		if err := m.broker.ask(ctx, func(c *api.Client) error { _, err := c.Abort(ctx, d.run); return err }); err != nil {
			return report, fmt.Errorf("abort: %w", err)
		}
	}
	for {
		err := m.broker.ask(ctx, func(c *api.Client) (err error) {
			if _, over, err := c.Wait(ctx, d.run, 20*time.Second); err != nil || !over {
				return err
			}
			report, err = c.Report(ctx, d.run)
			return err
		})
		run := report.Run
		switch {
		case err != nil:
			return report, fmt.Errorf("wait for its end: %w", err)
		case run.Completed() && run.Cleanup == broker.CleanupDone:
			return report, nil
		case run.Completed() && !pause(ctx, time.Second), ctx.Err() != nil: // the reaper looks each minute
			return report, fmt.Errorf("it is %s, its cleanup %s: %s", run.StateName, run.Cleanup, run.CleanupDetail)
		}
	}
}

// strike lets the drill's fault come upon the run's first machine while it works.
func (m *mix) strike(ctx context.Context, d *drill) error {
	for {
		var machines []api.Machine
		err := m.broker.ask(ctx, func(c *api.Client) (err error) { machines, err = c.Machines(ctx, d.run); return err })
		if err != nil {
			return fmt.Errorf("look at its machines: %w", err)
		}
		if len(machines) > 0 && !slices.ContainsFunc(machines, func(m api.Machine) bool { return m.StartedAt == nil }) {
			return m.cloud.Strike(path.Base(machines[0].ProviderID), *d.strike)
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("its machines did not start: %w", ctx.Err())
		}
	}
}

// trigger starts the run, once: its id is given, so that a call whose answer a
// kill has lost can be repeated.
func (m *mix) trigger(ctx context.Context, d *drill) error {
	var plan string
	err := m.broker.ask(ctx, func(c *api.Client) error {
		p, err := c.Import(ctx, "plan.yaml", []byte(d.plan()), true)
		if err == nil {
			plan = p.Plans[0].UUID
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	err = m.broker.ask(ctx, func(c *api.Client) error {
		_, err := c.Start(ctx, plan, api.StartOptions{RunUUID: d.run})
		if broker.CodeOf(err) == broker.EConflict {
			_, err = c.Run(ctx, d.run)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// story is all that helps to understand a drill that failed.
func (m *mix) story(d *drill, made []ec2sim.MachineInfo) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("seed %d, run %s; faults:", m.seed, d.run)
	for _, f := range d.armed {
		add("  %+v", f)
	}
	for _, info := range made {
		add("  %s %s %s at %s: %s %s, met by %v", info.Launched.Format(time.StampMilli), info.ID, info.Type, info.Zone, info.State, info.Reason, info.Faults)
	}
	add("events:")
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	err := m.broker.ask(ctx, func(c *api.Client) error {
		return c.Events(ctx, d.run, 0, func(e api.Event) error {
			if e.Text != "" {
				add("  %s %s %s", e.At.Format(time.StampMilli), e.State, e.Text)
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		add("  %v", err)
	}
	add("the broker's log:\n%s", m.broker.logged(d.run))
	return strings.Join(lines, "\n")
}

// table says how often each scenario ended in which way.
func (m *mix) table() []string {
	var lines []string
	for what, n := range m.counts {
		lines = append(lines, fmt.Sprintf("%s × %d", what, n))
	}
	slices.Sort(lines)
	return lines
}
