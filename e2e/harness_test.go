// Package e2e tests the program as it is shipped: the broker as a process, on
// a real container engine, driven by its REST API.
package e2e_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
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
	for _, build := range [][]string{
		{"CGO_ENABLED=1", "build", "-race", "-o", filepath.Join(dir, "loads"), "../cmd/loads"},
		{"CGO_ENABLED=0", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "loads-node-linux-"+runtime.GOARCH), "../cmd/loads-node"},
	} {
		cmd := exec.Command("go", build[1:]...)
		cmd.Env = append(os.Environ(), build[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
	}
	if _, err := dockertest.BuildProbe(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The tests wait for most of their time.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
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
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
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
			if out, err := os.ReadFile(filepath.Join(d.dir, "broker.log")); err == nil {
				t.Logf("the broker's log:\n%s", out)
			}
		}
	})
	return d
}

var listening = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

func (d *daemon) start() {
	d.t.Helper()
	args := append([]string{
		"broker", "--listen", "127.0.0.1:0", "--db", filepath.Join(d.dir, "loads.db"), "--node-dir", binDir,
	}, d.args...)
	d.cmd = exec.Command(filepath.Join(binDir, "loads"), args...)
	d.cmd.Env = append(os.Environ(), d.env...)
	log, err := os.OpenFile(filepath.Join(d.dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	d.cmd.Stderr = log
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.done = make(chan struct{})
	url := make(chan string, 1)
	go func() {
		defer log.Close()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if u := listening.FindString(lines.Text()); u != "" {
				url <- u
			}
		}
		d.cmd.Wait()
		close(d.done)
	}()
	select {
	case u := <-url:
		d.Client = &api.Client{BaseURL: u, HTTP: &http.Client{}, Token: d.token}
	case <-d.done:
		text, _ := os.ReadFile(log.Name())
		d.t.Fatalf("the broker ended at its start:\n%s", text)
	case <-time.After(time.Minute):
		d.t.Fatal("the broker did not listen within a minute")
	}
}

// kill ends the process as kill -9 does.
func (d *daemon) kill() {
	d.cmd.Process.Kill()
	<-d.done
}

// stop ends the process in order.
func (d *daemon) stop() {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		d.t.Fatal("the broker did not end within a minute of SIGTERM")
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

// await waits for the end of the run, and returns its report.
func (d *daemon) await(run string) api.Report {
	d.t.Helper()
	_, over, err := d.Wait(d.t.Context(), run, 3*time.Minute)
	if err != nil || !over {
		d.t.Fatalf("wait: over %v, %v", over, err)
	}
	r, err := d.Report(d.t.Context(), run)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
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
	until(t, "nothing of run "+run+" is left in the engine", 90*time.Second, func() bool {
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
