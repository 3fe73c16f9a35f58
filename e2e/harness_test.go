// Package e2e tests the program as it is shipped: the broker as a process, on
// a real container engine, driven by its REST API.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/internal/brokertest"
	"github.com/loads/loads/internal/waittest"
)

// binDir is where TestMain builds the programs.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loads-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	if err := brokertest.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := dockertest.BuildProbe(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The tests wait for most of their time: for seconds to pass, and for what
	// comes once a second.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(6, 2*runtime.GOMAXPROCS(0)))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A daemon is a broker process with a database of its own.
type daemon struct {
	t     *testing.T
	dir   string
	args  []string
	env   []string // besides that of the test
	token string   // that calls bring, if any
	life  *brokertest.Process
	*api.Client
}

// startBroker starts a broker on a free port of the loopback interface. What
// it made in the engine must be gone when the test ends.
func startBroker(t *testing.T, args ...string) *daemon {
	t.Helper()
	return startGuarded(t, "", args...)
}

// startGuarded is startBroker for a broker that wants a token.
func startGuarded(t *testing.T, token string, args ...string) *daemon {
	t.Helper()
	return startDaemon(&daemon{t: t, dir: t.TempDir(), args: args, token: token})
}

// startBrokerWith is startBroker with more in its environment.
func startBrokerWith(t *testing.T, env []string, args ...string) *daemon {
	t.Helper()
	return startDaemon(&daemon{t: t, dir: t.TempDir(), args: args, env: env})
}

func startDaemon(d *daemon) *daemon {
	t := d.t
	t.Helper()
	d.start()
	info, err := d.Info(t.Context(), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		sweep(t, info.BrokerID)
		if t.Failed() {
			if out, err := os.ReadFile(brokertest.Log(d.dir)); err == nil {
				t.Logf("the broker's log:\n%s", out)
			}
		}
	})
	settle(t, info.BrokerID)
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	p, err := brokertest.Start(binDir, d.dir, d.env, append([]string{"--node-dir", binDir}, d.args...)...)
	if err != nil {
		text, _ := os.ReadFile(brokertest.Log(d.dir))
		d.t.Fatalf("%v:\n%s", err, text)
	}
	d.t.Cleanup(p.Kill) // also when d is a copy of another test's
	d.life, d.Client = p, &api.Client{BaseURL: p.URL, HTTP: &http.Client{}, Token: d.token}
}

// kill ends the process as kill -9 does.
func (d *daemon) kill() { d.life.Kill() }

// stop ends the process in order.
func (d *daemon) stop() {
	d.t.Helper()
	if err := d.life.Stop(); err != nil {
		d.t.Fatal(err)
	}
}

// trigger imports the plan and starts a run of it.
func (d *daemon) trigger(plan string) string {
	d.t.Helper()
	p, err := d.Import(d.t.Context(), "plan.yaml", []byte(plan), true)
	if err != nil {
		d.t.Fatalf("import: %v", err)
	}
	run, err := d.Start(d.t.Context(), p.Plans[0].UUID, api.StartOptions{})
	if err != nil {
		d.t.Fatalf("start: %v", err)
	}
	return run
}

// untilTold waits until an event of the run has the text.
func (d *daemon) untilTold(run, text string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Minute)
	defer cancel()
	errTold := errors.New("it was told")
	err := d.Events(ctx, run, 0, func(e api.Event) error {
		if strings.Contains(e.Text, text) {
			return errTold
		}
		return nil
	})
	if !errors.Is(err, errTold) {
		d.t.Fatalf("the run told no event %q: %v", text, err)
	}
}

// await waits for the end of the run, and returns its report.
func (d *daemon) await(run string) api.Report {
	d.t.Helper()
	_, over, err := d.Wait(d.t.Context(), run, 5*time.Minute)
	if err != nil || !over {
		d.t.Fatalf("wait: over %v, %v", over, err)
	}
	r, err := d.Report(d.t.Context(), run)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// closeService ends a run's first step, a service, in order once all others are
// over, on the local engine or those given. So a plan can give the service the
// time that others may take on a busy computer, and the run does not take as long.
func (d *daemon) closeService(t *testing.T, run string, engines ...*dockerctl.Engine) {
	t.Helper()
	until(t, "all steps but the service are over", 5*time.Minute, func() bool {
		r, err := d.Run(t.Context(), run)
		return err == nil && !slices.ContainsFunc(r.StepRecords[1:], func(s api.StepRecord) bool { return !s.State.Over() })
	})
	err := stopContainers(t, run, 0, engines...)
	if r, runErr := d.Run(t.Context(), run); err != nil && (runErr != nil || r.State < broker.Terminating) {
		t.Errorf("end the service: %v, %v", err, runErr)
	}
}

// endStep ends a step of the run in order once all its containers have been
// started, on the local engine or those given. So it is the test, and not a time
// in the plan, that decides how long it takes.
func (d *daemon) endStep(t *testing.T, run string, step int, engines ...*dockerctl.Engine) {
	t.Helper()
	until(t, "the step has started", 5*time.Minute, func() bool {
		r, ms := d.look(run)
		if r.StepRecords[step].State.Over() {
			t.Fatalf("the step is over: %s (%s)", r.Verdict, r.Reason)
		}
		return r.StepRecords[step].StartedAt != nil &&
			!slices.ContainsFunc(ms, func(m api.Machine) bool { return m.Step == r.Plan.Steps[step].Name && m.StartedAt == nil })
	})
	if err := stopContainers(t, run, step, engines...); err != nil {
		t.Errorf("end the step: %v", err)
	}
}

// stopContainers ends the containers of a step of a run in order, on the local
// engine or those given.
func stopContainers(t *testing.T, run string, step int, engines ...*dockerctl.Engine) (err error) {
	t.Helper()
	if len(engines) == 0 {
		engines = append(engines, localEngine(t))
	}
	for _, eng := range engines {
		found, listErr := eng.List(t.Context(), map[string]string{
			broker.LabelRun: run, broker.LabelRole: broker.RolePlan, broker.LabelStep: strconv.Itoa(step),
		})
		err = errors.Join(err, listErr)
		for _, c := range found {
			err = errors.Join(err, eng.Stop(t.Context(), c.ID, time.Minute))
		}
	}
	return err
}

// pass fails the test unless the run passed, is clean, and lost no frame.
func (d *daemon) pass(r api.Report) {
	d.t.Helper()
	if r.Run.Verdict != broker.Pass {
		d.t.Errorf("verdict %s (%s), want PASS", r.Run.Verdict, r.Run.Reason)
	}
	d.clean(r)
}

// clean fails the test unless nothing is left and the frames balance.
func (d *daemon) clean(r api.Report) {
	d.t.Helper()
	if r.Run.Cleanup != broker.CleanupDone {
		d.t.Errorf("cleanup %s (%s), want done", r.Run.Cleanup, r.Run.CleanupDetail)
	}
	if l := r.Ledger; l.Sent != l.Stored || l.Open != 0 || l.Broken != 0 {
		d.t.Errorf("ledger %+v does not balance", l)
	}
	nothingLeft(d.t, r.Run.UUID)
}

// nothingLeft fails the test unless nothing of the run is left in the local
// engine. What an engine under load was still making when a broker was killed
// may come up after the run's end: then the broker's next look must find it.
func nothingLeft(t *testing.T, run string) {
	t.Helper()
	until(t, "nothing of run "+run+" is left in the engine", 3*time.Minute, func() bool {
		return len(leftovers(t, map[string]string{broker.LabelRun: run})) == 0
	})
}

// leftovers lists the containers, networks and volumes of the local engine that carry
// the labels.
func leftovers(t *testing.T, labels map[string]string) []string {
	t.Helper()
	eng := localEngine(t)
	ctx := context.Background()
	containers, err := eng.List(ctx, labels)
	if err != nil {
		t.Fatal(err)
	}
	networks, err := eng.Networks(ctx, labels)
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := eng.Volumes(ctx, labels)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, c := range containers {
		left = append(left, "container "+c.Name)
	}
	for _, v := range volumes {
		left = append(left, "volume "+v.Name)
	}
	for _, n := range networks {
		left = append(left, "network "+n.Name)
	}
	return left
}

// settle gives a broker that is there, when its test ends, the time to find what
// it has left: that may have come up later than a look of its, on a busy engine.
func settle(t *testing.T, brokerID string) {
	t.Cleanup(func() {
		if !t.Failed() {
			waittest.Holds(3*time.Minute, func() bool {
				return len(leftovers(t, map[string]string{broker.LabelBroker: brokerID})) == 0
			})
		}
	})
}

// sweep removes what a failed test has left of a broker.
func sweep(t *testing.T, brokerID string) {
	eng := localEngine(t)
	ctx := context.Background()
	labels := map[string]string{broker.LabelBroker: brokerID}
	containers, err := eng.List(ctx, labels)
	if err != nil {
		t.Error(err)
	}
	for _, c := range containers {
		t.Errorf("left behind: container %s", c.Name)
		eng.Remove(ctx, c.ID)
	}
	volumes, err := eng.Volumes(ctx, labels)
	if err != nil {
		t.Error(err)
	}
	for _, v := range volumes {
		t.Errorf("left behind: volume %s", v.Name)
		eng.RemoveVolume(ctx, v.Name)
	}
	networks, err := eng.Networks(ctx, labels)
	if err != nil {
		t.Error(err)
	}
	for _, n := range networks {
		t.Errorf("left behind: network %s", n.Name)
		eng.RemoveNetwork(ctx, n.ID)
	}
}

func localEngine(t *testing.T) *dockerctl.Engine {
	t.Helper()
	eng, err := dockerctl.Open(broker.Endpoint{Host: "unix:///var/run/docker.sock"}, dockerctl.Options{NodeDir: binDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eng.Close() })
	return eng
}

// events returns the texts of the run's events.
func (d *daemon) events(run string) string {
	d.t.Helper()
	var texts []string
	err := d.Events(d.t.Context(), run, 0, func(e api.Event) error {
		if e.Text != "" {
			texts = append(texts, e.Text)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Join(texts, "\n")
}

// until waits for the condition.
func until(t *testing.T, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	waittest.Until(t, what, limit, cond)
}
