package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/brokertest"
)

// An ec2 is a simulated EC2 as a process.
type ec2 struct {
	t   *testing.T
	env []string // for whoever uses it
	url string
	key string // of the admin calls
}

// startEC2 starts a simulated EC2 with real machines that ends with the test. The
// drill says how it behaves, if it is not to be as usual.
func startEC2(t *testing.T, drill ...string) *ec2 { return startCloud(t, "real", drill...) }

// startCloud starts a simulated EC2 with machines of the kind.
func startCloud(t *testing.T, machines string, drill ...string) *ec2 {
	t.Helper()
	dir := t.TempDir()
	settings := filepath.Join(dir, "env")
	args := []string{"ec2sim", "--machines", machines, "--env", settings}
	if len(drill) > 0 {
		file := filepath.Join(dir, "drill.yaml")
		if err := os.WriteFile(file, []byte(strings.Join(drill, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--faults", file)
	}
	cmd := exec.Command(filepath.Join(binDir, "loads"), args...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer log.Close()
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the simulator's log:\n%s", text)
		}
	})
	until(t, "the simulator says where it is", 5*time.Minute, func() bool {
		text, err := os.ReadFile(settings)
		return err == nil && strings.Contains(string(text), "LOADS_EC2SIM_TOKEN=")
	})
	text, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	c := &ec2{t: t}
	for line := range strings.Lines(string(text)) {
		setting, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !ok {
			continue
		}
		c.env = append(c.env, setting)
		if v, ok := strings.CutPrefix(setting, "AWS_ENDPOINT_URL="); ok {
			c.url = v
		}
		if v, ok := strings.CutPrefix(setting, "LOADS_EC2SIM_TOKEN="); ok {
			c.key = v
		}
	}
	return c
}

// ec2State is what the simulator says of itself.
type ec2State struct {
	Launched int
	Alive    int
	ByState  map[string]int `json:"by_state"`
	Receipt  map[string]struct{ Made, Left int }
	Calls    []struct {
		Action string
		N      int
	}
}

func (c *ec2) state() ec2State {
	c.t.Helper()
	var s ec2State
	c.admin(http.MethodGet, "state", "", &s)
	return s
}

// admin tells or asks the simulator itself something.
func (c *ec2) admin(method, what, body string, answer any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+"/_sim/"+what, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: %s", method, what, res.Status)
	}
	if answer == nil {
		return
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		c.t.Fatal(err)
	}
}

// broker starts a broker that rents from the simulator, and keeps no machine
// unless it is told to.
func (c *ec2) broker(args ...string) *daemon {
	c.t.Helper()
	d := &daemon{t: c.t, dir: c.t.TempDir(), args: append([]string{"--ec2", "--ec2-private", "--ec2-idle", "0"}, args...), env: c.env}
	d.start()
	c.t.Cleanup(func() {
		d.kill()
		if out, err := os.ReadFile(brokertest.Log(d.dir)); c.t.Failed() && err == nil {
			c.t.Logf("the broker's log:\n%s", out)
		}
	})
	return d
}

// shortLease is one that a test waits for the end of, and within which a busy
// computer boots a machine.
const shortLease = time.Minute

// nothing fails the test unless so many machines were launched, and nothing of
// them is left.
func (c *ec2) nothing(launched int) {
	c.t.Helper()
	s := c.state()
	if s.Launched != launched {
		c.t.Errorf("EC2 launched %d machines, want %d", s.Launched, launched)
	}
	for kind, tally := range s.Receipt {
		if tally.Left != 0 {
			c.t.Errorf("%d %s are left at EC2", tally.Left, kind)
		}
	}
}

// onBusyComputer is one of the examples, for a computer that is more than the
// machines, all of which is what they see, and that may be busy: it has all the
// time that may take, also for answers, and the service goes on until it is closed.
func onBusyComputer(plan string) string {
	plan = regexp.MustCompile(`(run_max_time: |timeout: )(\d+)`).ReplaceAllString(plan, "${1}${2}0")
	plan = regexp.MustCompile(`(p95\(.*\) < )(\d+)`).ReplaceAllString(plan, "${1}${2}00")
	return strings.NewReplacer(
		"    criteria:\n", "    max_cpu_percent: 100\n    max_skew_ms: 300000\n    criteria:\n",
		"--duration 8s", "--duration 8s --timeout 100s",
	).Replace(plan)
}

// untilRunning waits until the run's machines are up.
func (d *daemon) untilRunning(run string) {
	d.t.Helper()
	until(d.t, "the run is under way", 5*time.Minute, func() bool { return d.mustRun(run).State >= broker.Running })
}

// TestEC2_RunsThePlanOfTheLaptop runs the first example on machines
// that boot for it, and on each of which a Docker engine of its own runs. The
// generators find the service by name, on another machine.
func TestEC2_RunsThePlanOfTheLaptop(t *testing.T) {
	t.Parallel()
	plan, err := os.ReadFile("../examples/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	benchmark, err := os.ReadFile("../examples/quickstart/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The command line puts it in.
	const file = "file: quickstart/shop.yaml\n"
	plan = []byte(strings.Replace(string(plan), file, fmt.Sprintf("%s          files: {quickstart/shop.yaml: %q}\n", file, benchmark), 1))
	c := startEC2(t)
	d := c.broker()
	run := d.trigger(onBusyComputer(string(plan)))
	d.untilRunning(run)
	d.closeService(t, run, d.engines()...)
	r := d.await(run)
	d.pass(r)
	c.nothing(3)
	if r.Summary.Metrics == nil {
		t.Error("the run has no metrics")
	}
	const receipt = "ec2 says: 3 machines launched, 3 terminated; nothing else is left."
	if events := d.events(r.Run.UUID); !strings.Contains(events, receipt) {
		t.Errorf("events %s, want %q among them", events, receipt)
	}
}

// TestEC2_RunsAcrossRegions runs one file on the local engine and on machines in
// two regions, whose private addresses don't reach each other. The generators find
// the service by the same name from both.
func TestEC2_RunsAcrossRegions(t *testing.T) {
	t.Parallel()
	plan, err := os.ReadFile("../examples/two-regions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := onBusyComputer(string(plan))
	c := startEC2(t)
	for where, d := range map[string]*daemon{"here": startBroker(t), "on EC2": c.broker()} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			d.t = t
			run := d.trigger(text)
			d.untilRunning(run)
			d.closeService(t, run, d.engines()...)
			r := d.await(run)
			d.pass(r)
			if r.Summary.Metrics == nil {
				t.Error("the run has no metrics")
			}
			if where == "here" {
				return
			}
			c.nothing(3)
			regions := map[string]int{}
			for _, m := range r.Machines {
				regions[m.Region]++
			}
			if regions["eu-central-1"] != 2 || regions["us-east-1"] != 1 {
				t.Errorf("machines by region %v, want 2 in eu-central-1 and 1 in us-east-1", regions)
			}
			if len(r.Run.Receipts) != 1 || r.Run.Receipts[0].Launched != 3 || r.Run.Receipts[0].Terminated != 3 || len(r.Run.Receipts[0].Left) != 0 {
				t.Errorf("receipts %+v, want one of 3 machines, all ended", r.Run.Receipts)
			}
		})
	}
}

// TestEC2_SpotMachineIsTaken takes one of two spot machines in the midst of a run:
// it shuts down, and its container ends in the order of things.
func TestEC2_SpotMachineIsTaken(t *testing.T) {
	t.Parallel()
	c := startEC2(t, "delays: {notice: 30s}")
	d := c.broker()
	run := d.trigger(`name: spot
max_cpu_percent: 100
max_skew_ms: 300000
steps:
  - {name: load, container_name: loads/node, additional_command_args: sleep 600s, run_max_time: 900, instance_count: 2, spot: only, quorum: 1}
`)
	taken, kept := "", ""
	until(t, "the containers run", 5*time.Minute, func() bool {
		r, err := d.Report(t.Context(), run)
		if err != nil || len(r.Machines) != 2 || r.Machines[0].StartedAt == nil || r.Machines[1].StartedAt == nil {
			return false
		}
		taken, kept = r.Machines[1].ProviderID, r.Machines[0].Address
		return true
	})
	c.admin(http.MethodPost, "machines/"+path.Base(taken)+"/faults", `{"fault": "spot-taken"}`, nil)
	d.untilTold(run, "Machine "+taken+" is lost")
	d.endStep(t, run, 0, d.engines(kept)...)
	r := d.await(run)
	if r.Run.Verdict != broker.Pass || r.Run.Cleanup != broker.CleanupDone {
		t.Errorf("verdict %s (%s), cleanup %s (%s); want PASS and done", r.Run.Verdict, r.Run.Reason, r.Run.Cleanup, r.Run.CleanupDetail)
	}
	if l := r.Ledger; l.Sent != l.Stored || l.Broken != 0 {
		t.Errorf("ledger %+v, want all that was sent", l)
	}
	events := d.events(run)
	for _, want := range []string{
		"The provider takes machine " + taken + " back, which is a spot machine: in ",
		"Machine " + taken + " is lost: its provider has taken it back",
	} {
		if !strings.Contains(events, want) {
			t.Errorf("events %s, want %q among them", events, want)
		}
	}
	c.nothing(2)
}

// TestEC2_MachinesEndWithoutTheBroker kills the broker for good in the midst of
// a run.
func TestEC2_MachinesEndWithoutTheBroker(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker("--ec2-lease", shortLease.String())
	run := d.trigger(servicePlan)
	d.untilRunning(run)
	d.kill()
	began := time.Now()
	// Lease and a minute are what may pass, and two minutes more what a busy
	// computer adds.
	until(t, "all machines have ended themselves", shortLease+3*time.Minute, func() bool { return c.state().Alive == 0 })
	t.Logf("the last machine was gone %v after the broker", time.Since(began).Round(time.Second))
}
