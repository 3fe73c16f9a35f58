package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/dockerctl"
)

// sleepers is a plan that sleeps on two machines: long enough to be
// interrupted, or short enough to be waited for.
func sleepers(seconds int) string {
	return fmt.Sprintf(`name: sleepers
max_cpu_percent: 100 # this computer is all of the machines
steps:
  - name: sleeper
    container_name: loads/node
    additional_command_args: sleep %ds --print hello
    instance_count: 2
    run_max_time: %d
    stop_timeout: 2
`, seconds, seconds+50)
}

// A workshop is a database and node programs for runs of their own brokers.
type workshop struct {
	db   string
	node string
}

// nodeBuilt says that TestMain has a folder to remove.
var nodeBuilt atomic.Bool

// buildNode builds the program for machines, once for all tests.
var buildNode = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "loads-test-node-")
	if err != nil {
		return "", err
	}
	nodeBuilt.Store(true)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "loads-node-linux-"+runtime.GOARCH), "../loads-node")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build node program: %w: %s", err, out)
	}
	return dir, nil
})

// seats bounds the tests that have machines at once: each takes two networks of
// the engine, whose addresses are few.
var seats = make(chan struct{}, 3)

// openWorkshop checks at the test's end that nothing of it is left in the
// engine, and no broker of it is left running.
func openWorkshop(t *testing.T) workshop {
	t.Helper()
	node, err := buildNode()
	if err != nil {
		t.Fatal(err)
	}
	w := workshop{db: filepath.Join(t.TempDir(), "loads.db"), node: node}
	seats <- struct{}{}
	t.Cleanup(func() {
		defer func() { <-seats }()
		w.waitForTheBroker(t)
		w.checkEngine(t)
	})
	return w
}

// args are the flags that make run start a broker inside.
func (w workshop) args(args ...string) []string {
	return append(args, "--db", w.db, "--node-dir", w.node)
}

// waitForTheBroker waits until a broker that was left running has ended, and
// stops it when it does not.
func (w workshop) waitForTheBroker(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(w.db + ".lock")
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid == 0 || pid == os.Getpid() {
		return
	}
	deadline := time.Now().Add(5 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil {
		if time.Now().After(deadline) {
			t.Errorf("the broker that was left running (process %d) has not ended by itself", pid)
			_ = syscall.Kill(pid, syscall.SIGTERM)
			return
		}
		<-tick.C
	}
}

// endSleepers tells the containers of the broker's run to end, once both run. They
// do with code 0, as if they had slept to the end.
func endSleepers(t *testing.T, url string) {
	t.Helper()
	var info api.Info
	if err := json.Unmarshal([]byte(ask(t, url, "info", "--json")), &info); err != nil {
		t.Fatal(err)
	}
	engine, err := dockerctl.Open(broker.Endpoint{Host: defaultDocker}, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	var containers []broker.Container
	eventually(t, "both containers run", 5*time.Minute, func() bool {
		var err error
		containers, err = engine.List(t.Context(), map[string]string{broker.LabelBroker: info.BrokerID, broker.LabelRole: broker.RolePlan})
		if err != nil {
			t.Fatal(err)
		}
		return len(containers) == 2 && !slices.ContainsFunc(containers, func(c broker.Container) bool { return c.State != "running" })
	})
	for _, c := range containers {
		if err := engine.Stop(t.Context(), c.ID, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}

// checkEngine fails the test when the engine has something of this database.
func (w workshop) checkEngine(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	// The database is asked without a broker, which would clear away what is left.
	store, err := db.Open(ctx, w.db)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	id, err := store.BrokerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := dockerctl.Open(broker.Endpoint{Host: defaultDocker}, dockerctl.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	labels := map[string]string{broker.LabelBroker: id}
	containers, err := engine.List(ctx, labels)
	if err != nil || len(containers) > 0 {
		t.Errorf("containers left: %v, %v; want none", containers, err)
	}
	networks, err := engine.Networks(ctx, labels)
	if err != nil || len(networks) > 0 {
		t.Errorf("networks left: %v, %v; want none", networks, err)
	}
}

// lastResult decodes the last line of run --json.
func lastResult(t *testing.T, stdout string) result {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var r result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || r.Kind != "result" {
		t.Fatalf("the last line is no result (%v): %s", err, lines[len(lines)-1])
	}
	return r
}

func TestRunWithoutABrokerStartsOneInside(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	plan := writeFile(t, "plan.yaml", sleepers(3))

	t.Run("a pipe gets plain lines and the summary", func(t *testing.T) {
		i := newInvocation(t)
		code := i.run(t, w.args("run", plan, "--set", "steps.sleeper.run_max_time=60")...)
		out := i.stdout.String()
		if code != 0 {
			t.Fatalf("exit code %d, want 0:\n%s%s", code, out, i.stderr.String())
		}
		for _, want := range []string{
			"No broker was there, so this run has one inside", "sleeper/1: ", "sleep.ticks", "of sleepers (steps.sleeper.run_max_time=60)",
			"start skew", "; balanced\n", "\nPASS\nCleanup: done",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("output lacks %q:\n%s", want, out)
			}
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("output has escapes: %q", out)
		}
	})
	t.Run("--json gets lines of JSON and a result", func(t *testing.T) {
		i := newInvocation(t)
		code := i.run(t, w.args("run", plan, "--json", "--owner", "alice")...)
		for line := range strings.Lines(i.stdout.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("not JSON: %s", line)
			}
		}
		r := lastResult(t, i.stdout.String())
		if code != 0 || r.ExitCode != 0 || r.Verdict != broker.Pass || r.Run.Owner != "alice" || !r.Ledger.Balance || r.Ledger.Sent == 0 {
			t.Errorf("exit code %d, result %+v; want PASS by alice with a balanced ledger", code, r)
		}
	})
}

func TestNamesOfChangedPlansHaveNoSecrets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		set  []string
		want string
	}{
		{[]string{"steps.a.run_max_time=4", "description=null"}, "plan (description=null, steps.a.run_max_time=4)"},
		{[]string{"steps.a.environment_data.API_TOKEN=t0psecret", "steps.a.additional_command_args=--key t0psecret"}, "plan (steps.a.additional_command_args=--key ***, steps.a.environment_data.API_TOKEN=***)"},
		{[]string{`steps.a.environment_data={"API_TOKEN": "t0psecret"}`}, "plan (steps.a.environment_data=…)"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			set, err := edits(tt.set)
			if err != nil {
				t.Fatal(err)
			}
			if got := changedName("plan", set); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestARunThatCannotRunIsAnError(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	plan := writeFile(t, "plan.yaml", strings.Replace(sleepers(3), "loads/node", "example.com/none:1\n    container_url: file:///nowhere/image.tar", 1))
	i := newInvocation(t)
	if code := i.run(t, w.args("run", plan)...); code != exitError || !strings.Contains(i.stdout.String(), "\nERROR: ") {
		t.Errorf("exit code %d, want %d and ERROR with its reason:\n%s%s", code, exitError, i.stdout.String(), i.stderr.String())
	}
}

func TestAnInterruptWithoutATerminalStopsTheRun(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	plan := writeFile(t, "plan.yaml", sleepers(300))
	i := newInvocation(t)
	var running sync.WaitGroup
	code := -1
	running.Go(func() { code = i.run(t, w.args("run", plan)...) })
	eventually(t, "both containers were started", 5*time.Minute, func() bool {
		return strings.Count(i.stdout.String(), "The container was started.") == 2
	})
	i.signals <- syscall.SIGTERM
	running.Wait()
	if code != exitAborted || !strings.Contains(i.stdout.String(), "\nABORTED: ") {
		t.Errorf("exit code %d, want %d and ABORTED:\n%s%s", code, exitAborted, i.stdout.String(), i.stderr.String())
	}
}

func TestADetachedRunIsWaitedForLater(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	plan := writeFile(t, "plan.yaml", sleepers(300))
	i := newInvocation(t)
	if code := i.run(t, w.args("run", plan, "--detach")...); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, i.stderr.String())
	}
	id := strings.TrimSpace(i.stdout.String())
	url, err := readURL(w.db)
	if err != nil {
		t.Fatal(err)
	}
	if out := ask(t, url, "status"); !strings.Contains(out, id) {
		t.Errorf("status says %q, want the run", out)
	}
	early := newInvocation(t)
	if code := early.run(t, "wait", "last", "--timeout", "1ms", "--broker", url); code != 1 || !strings.Contains(early.stderr.String(), "is not over after 1ms; it goes on.") {
		t.Errorf("wait with a short timeout: exit code %d, %q; want 1 and why", code, early.stderr.String())
	}
	endSleepers(t, url)
	if out := ask(t, url, "wait", id[:8]); !strings.Contains(out, "\nPASS\n") {
		t.Errorf("wait says %q, want PASS", out)
	}
	if out := ask(t, url, "logs", id, "--step", "sleeper", "--machine", "1"); !strings.HasPrefix(out, "sleeper/1: hello\n") {
		t.Errorf("logs say %q, want hello of machine 1", out)
	}
	if out := ask(t, url, "status", id); !strings.Contains(out, "\nPASS\n") {
		t.Errorf("status says %q, want PASS", out)
	}
}

func TestAbortStopsARunOfTheBroker(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	url, _ := startBroker(t, "--db", w.db, "--node-dir", w.node)
	plan := writeFile(t, "plan.yaml", sleepers(300))
	id := strings.TrimSpace(ask(t, url, "run", plan, "--detach"))
	if out := ask(t, url, "abort", "last"); out != "Run "+id+" is being stopped.\n" {
		t.Errorf("abort says %q", out)
	}
	i := newInvocation(t)
	if code := i.run(t, "wait", id, "--json", "--broker", url); code != exitAborted || lastResult(t, i.stdout.String()).Verdict != broker.Aborted {
		t.Errorf("wait exits with %d, want %d and ABORTED: %s", code, exitAborted, i.stdout.String())
	}
	if out := ask(t, url, "abort", id); out != "Run "+id+" was not running.\n" {
		t.Errorf("a second abort says %q", out)
	}
}
