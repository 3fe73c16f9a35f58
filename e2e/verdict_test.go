package e2e_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// exitCodes are what loads run and loads wait end with.
var exitCodes = map[broker.Verdict]int{
	broker.Pass: 0, broker.Fail: 2, broker.Invalid: 3, broker.Errored: 4, broker.Aborted: 5,
}

// junitCounts is what a CI reads of a JUnit file.
type junitCounts struct {
	Suites []struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	} `xml:"testsuite"`
}

// outcome waits for the end of the run as a CI does, by loads wait, and
// returns its report, having checked that exit code and JUnit say the same.
func (d *daemon) outcome(t *testing.T, run string) api.Report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "junit.xml")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binDir, "loads"), "wait", run, "--broker", d.BaseURL, "--junit", file)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("loads wait: %v", err)
	}
	r, err := d.Report(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cmd.ProcessState.ExitCode(), exitCodes[r.Run.Verdict]; got != want || r.Run.Verdict == "" {
		t.Errorf("exit code %d of verdict %q, want %d:\n%s", got, r.Run.Verdict, want, out)
	}
	if !bytes.Contains(out, []byte(r.Run.Verdict)) {
		t.Errorf("loads wait does not say %s:\n%s", r.Run.Verdict, out)
	}
	text, err := os.ReadFile(file)
	var counts junitCounts
	if err == nil {
		err = xml.Unmarshal(text, &counts)
	}
	if err != nil || len(counts.Suites) != 1 {
		t.Fatalf("JUnit: %v\n%s", err, text)
	}
	s := counts.Suites[0]
	if red := s.Failures+s.Errors > 0; red == (r.Run.Verdict == broker.Pass) || s.Tests != 1+len(r.Run.Criteria) {
		t.Errorf("JUnit of a run that is %s:\n%s", r.Run.Verdict, text)
	}
	return r
}

// A breakage is a way to break a run that would pass.
type breakage struct {
	name string
	// terms are lines of the plan beside its steps, step its one step, or
	// several when it begins with a dash.
	terms, step string
	env         map[string]string
	act         func(t *testing.T, d *daemon, run string) // once all steps have started
	verdict     broker.Verdict
	reason      string // a part of it
}

// ticking is a step that counts sleep.ticks. Brief is for what is broken from the
// beginning, lasting for what is broken on the way, before its end.
const (
	brief   = "{name: load, container_name: loads/node, additional_command_args: sleep 2s, stop_timeout: 1}"
	ticking = "{name: load, container_name: loads/node, additional_command_args: sleep 6s, stop_timeout: 1}"
	lasting = "{name: load, container_name: loads/node, additional_command_args: sleep 600s, stop_timeout: 1}"
	ticks   = `criteria: ['count("sleep.ticks") == 6']`
)

// What a breakage keeps from ticking any more ticks for so long, in which it has to
// be broken, and then has failed a criterion.
const (
	longer    = "{name: load, container_name: loads/node, additional_command_args: sleep 25s, run_max_time: 30, stop_timeout: 1}"
	moreTicks = `criteria: ['count("sleep.ticks") == 25']`
)

// benchmarking is a step whose benchmark asks a server that is not there.
func benchmarking(flags string) string {
	const file = `name: nobody
http: {host: http://127.0.0.1:9}
usersPerSec: 20
duration: 1s
scenario: [{get: [{httpRequest: {GET: /, sla: {errorRatio: 0.5, blockedRatio: 1}}}]}]
`
	return fmt.Sprintf("{name: load, container_name: loads/node, additional_command_args: --patient %s, benchmark: {file: a.yaml, files: {a.yaml: %q}}}", flags, file)
}

func breakages(t *testing.T) []breakage {
	service := func(more string) string {
		return "\n  - {name: web, container_name: loads/node, additional_command_args: serve" + more + ", dns_name: web.test, port_mapping: '8000:8000', " +
			"ready: {port: 8000, timeout: 60}, run_max_time: 600, stop_timeout: 2}\n"
	}
	return []breakage{
		{name: "service never starts", step: "- {name: web, container_name: loads/node, additional_command_args: sleep 60s, stop_timeout: 1, ready: {log: listening, timeout: 2}}", verdict: broker.Errored, reason: "not ready within 2 s"},
		{name: "generator ends with 1", step: "{name: load, container_name: loads/node, additional_command_args: sleep 1s --exit 1}", verdict: broker.Errored, reason: "code 1"},
		{name: "generator crashes at once", step: "{name: load, container_name: loads/node, additional_command_args: nonsense}", verdict: broker.Errored, reason: "code 1"},
		{name: "image is missing", step: "{name: load, container_name: 'no.such.host.invalid/image:1'}", verdict: broker.Errored, reason: "no.such.host.invalid"},
		{name: "wait that cannot be fulfilled", step: "- {name: web, container_name: loads/node, additional_command_args: sleep 1s, ready: {log: never, timeout: 60}}\n  - {name: load, start_after: web, container_name: loads/node, additional_command_args: sleep 1s}", verdict: broker.Errored, reason: "before it was ready"},
		{name: "service is not there", step: "{name: load, container_name: loads/node, additional_command_args: 'gen --url http://127.0.0.1:9/ --rate 20 --duration 2s'}", verdict: broker.Errored, reason: "code 1"},
		{name: "metric is never sent", terms: `criteria: ['count("web.requests") >= 0']`, step: "-" + service("")[4:] + "  - {name: load, start_after: web, container_name: loads/node, additional_command_args: sleep 1s}", verdict: broker.Fail, reason: "no such metric"},
		{name: "metric's name is misspelt", terms: `criteria: ['count("sleep.tick") < 100']`, step: brief, verdict: broker.Fail, reason: "no such metric"},
		{name: "misspelt name behind an or", terms: `criteria: ['count("sleep.ticks") > 0 or count("sleep.tick") < 100']`, step: brief, verdict: broker.Fail, reason: "no such metric"},
		{name: "tag's name is misspelt", terms: `criteria: ['count("web.requests", "staus:500") < 1']`, step: "-" + service("")[4:] + "  - {name: load, start_after: web, container_name: loads/node, additional_command_args: 'gen --url http://web.test:8000/ --rate 20 --duration 2s --timeout 60s'}", verdict: broker.Fail, reason: "no such metric"},
		{name: "metric is of another kind", terms: `criteria: ['p95("sleep.ticks") < 100']`, step: brief, verdict: broker.Fail, reason: "no such figure"},
		{name: "division by zero", terms: `criteria: ['count("sleep.ticks") / (count("sleep.ticks") - count("sleep.ticks")) > 1']`, step: brief, verdict: broker.Fail, reason: "division by zero"},
		{name: "no number", terms: `criteria: ['not (0 * count("sleep.ticks") / (0 * count("sleep.ticks")) > 1)']`, step: brief, verdict: broker.Fail, reason: "division by zero"},
		{name: "zero requests", terms: `criteria: ['rate("req.count") >= 0']`, step: "{name: load, container_name: loads/node, additional_command_args: sleep 2s}", verdict: broker.Fail, reason: "no such metric"},
		{name: "statsd address is wrong", terms: ticks, step: brief, env: map[string]string{"STATSD_HOST": "127.0.0.1"}, verdict: broker.Fail, reason: "no such metric"},
		{name: "during a time without values", terms: `criteria: [{expr: 'p95("sleep.ticks") < 1', during: load}]`, step: brief, verdict: broker.Fail, reason: "no such figure"},
		{name: "for longer than the run", terms: `criteria: [{expr: 'count("sleep.ticks") > 100', for: 1h}]`, step: brief, verdict: broker.Fail, reason: "held in no second"},
		{name: "start skew above its limit", terms: "max_skew_ms: 1", step: "{name: load, instance_count: 6, container_name: loads/node, additional_command_args: sleep 2s}", verdict: broker.Invalid, reason: "ms apart"},
		{name: "out of memory", step: "-" + service(" --delay 1s")[4:] + "  - {name: load, memory: 8m, start_after: web, container_name: loads/node, additional_command_args: 'gen --url http://web.test:8000/ --rate 4000 --connections 4000 --duration 4s'}", verdict: broker.Errored, reason: "load"},
		{name: "all calls are refused, and the generator is content", terms: `criteria: ['count("req.count") == 50', 'count("req.errors") / count("req.count") < 0.01']`, step: probing(t, "refused 127.0.0.1:9 $STATSD_HOST:$STATSD_PORT 50"), verdict: broker.Fail, reason: "limit < 0.01"},
		{name: "service answers with errors only", terms: `criteria: ['count("req.errors") == 0']`, step: "-" + service(" --error-rate 0.5")[4:] + "  - {name: load, start_after: web, container_name: loads/node, additional_command_args: 'gen --url http://web.test:8000/ --rate 50 --duration 2s --timeout 60s'}", verdict: broker.Fail, reason: "limit == 0"},
		{name: "generator emits nothing", terms: ticks, step: "{name: load, container_name: loads/node, additional_command_args: version}", verdict: broker.Fail, reason: "no such metric"},
		{name: "generator ends early and well", terms: ticks, step: "{name: load, container_name: loads/node, additional_command_args: sleep 3s, run_max_time: 60}", verdict: broker.Fail, reason: "limit == 6"},
		{name: "one of two generators emits nothing", terms: `criteria: ['count("sleep.ticks") == 4']`, step: "- " + brief + "\n  - {name: other, container_name: loads/node, additional_command_args: version}", verdict: broker.Fail, reason: "limit == 4"},
		{name: "metrics can't be read", terms: `criteria: ['count("hits") == 1']`, step: probing(t, "send $STATSD_HOST:$STATSD_PORT hits=1"), verdict: broker.Fail, reason: "no such metric"},
		{name: "no socket at the path", step: probing(t, "count unixgram /run/loads/other.sock 10 10"), verdict: broker.Errored, reason: "code 1"},
		{name: "socket can't be removed, which would silence the rest", step: probing(t, "unlink $STATSD_SOCKET"), verdict: broker.Errored, reason: "code 1"},
		{name: "program for another processor", step: foreign(t), verdict: broker.Errored, reason: "code 1"},
		{name: "step is skipped, as a criterion ends the run", terms: `criteria: [{expr: 'count("sleep.ticks") < 2', stop: true}]`, step: "- " + ticking + "\n  - {name: late, run_delay: 30, container_name: loads/node, additional_command_args: sleep 1s}", verdict: broker.Fail, reason: "limit < 2"},
		{name: "benchmark fails", step: benchmarking("--max-lag -1s --max-steal -1"), verdict: broker.Fail, reason: "phase main: "},
		{name: "generator of a benchmark is late", step: benchmarking("--max-lag 1ns --max-steal -1 --max-late -1s --max-core -1"), verdict: broker.Invalid, reason: "load/0: the generator started users late"},
		{name: "aborted", step: lasting, act: abort, verdict: broker.Aborted, reason: "aborted"},
		{name: "relay is killed", step: lasting, act: afterTick(signal(broker.RoleRelay, "KILL"), endLoad), verdict: broker.Invalid, reason: "relay of load/0 ended before"},
		{name: "relay is stopped to the end", step: lasting, act: afterTick(signal(broker.RoleRelay, "STOP"), endLoad), verdict: broker.Invalid, reason: "relay of load/0 ended before"},
		{name: "relay is removed", step: lasting, act: afterTick(remove(broker.RoleRelay), endLoad), verdict: broker.Invalid, reason: "relay of load/0 ended before"},
		{name: "container is removed by hand", step: lasting, act: remove(broker.RolePlan), verdict: broker.Errored, reason: "load"},
		{name: "container is killed by hand", step: lasting, act: signal(broker.RolePlan, "KILL"), verdict: broker.Errored, reason: "code 137"},
		{name: "container is stopped to its end", terms: moreTicks, step: longer, act: afterTick(signal(broker.RolePlan, "STOP")), verdict: broker.Fail, reason: "limit == 25"},
		{name: "container loses its network", terms: moreTicks, step: longer, act: afterTick(disconnect), verdict: broker.Fail, reason: "limit == 25"},
	}
}

// TestNoBrokenRunPasses breaks runs in many ways; a pass of any of them would
// be a false green.
func TestNoBrokenRunPasses(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	room := make(chan struct{}, 8)
	t.Run("all", func(t *testing.T) {
		for _, b := range breakages(t) {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				room <- struct{}{}
				defer func() { <-room }()
				r := d.broken(t, b)
				if r.Run.Verdict != b.verdict || !strings.Contains(r.Run.Reason, b.reason) {
					t.Errorf("verdict %s (%s), want %s with %q", r.Run.Verdict, r.Run.Reason, b.verdict, b.reason)
				}
			})
		}
	})
}

// broken runs the breakage to its end.
func (d *daemon) broken(t *testing.T, b breakage) api.Report {
	t.Helper()
	step := b.step
	if !strings.HasPrefix(step, "-") {
		step = "- " + step
	}
	text := fmt.Sprintf("name: %q\n%s\nsteps:\n  %s\n", b.name, b.terms, step)
	p, err := d.Import(t.Context(), "plan.yaml", []byte(text), true)
	if err != nil {
		t.Fatalf("import: %v\n%s", err, text)
	}
	run, err := d.Start(t.Context(), p.Plans[0].UUID, api.StartOptions{Environment: b.env})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	if b.act != nil {
		until(t, "all steps have started", 2*time.Minute, func() bool {
			r, err := d.Run(t.Context(), run)
			return err == nil && r.StepRecords[len(r.StepRecords)-1].StartedAt != nil
		})
		b.act(t, d, run)
	}
	if strings.Contains(step, "start_after: web") {
		d.closeService(t, run)
	}
	return d.outcome(t, run)
}

// afterTick waits until a tick has come home before it breaks the run, by one act
// after the other.
func afterTick(acts ...func(*testing.T, *daemon, string)) func(*testing.T, *daemon, string) {
	return func(t *testing.T, d *daemon, run string) {
		t.Helper()
		d.untilTick(t, run)
		for _, act := range acts {
			act(t, d, run)
		}
	}
}

// untilTick waits until a tick has come home. By then the program in the container
// has come so far as to heed signals.
func (d *daemon) untilTick(t *testing.T, run string) {
	t.Helper()
	until(t, "a tick is counted", 2*time.Minute, func() bool {
		r, err := d.Report(t.Context(), run)
		return err == nil && len(r.Summary.Metrics) > 0
	})
}

// endLoad ends the containers of the first step in order, as if they ended by
// themselves.
func endLoad(t *testing.T, _ *daemon, run string) {
	t.Helper()
	if err := stopContainers(t, run, 0); err != nil {
		t.Fatal(err)
	}
}

func abort(t *testing.T, d *daemon, run string) {
	if _, err := d.Abort(t.Context(), run); err != nil {
		t.Error(err)
	}
}

// container returns the id of the run's first container of that role.
func container(t *testing.T, run, role string) string {
	t.Helper()
	found, err := localEngine(t).List(t.Context(), map[string]string{broker.LabelRun: run, broker.LabelRole: role})
	if err != nil || len(found) == 0 {
		t.Fatalf("containers of role %s: %v, %v", role, found, err)
	}
	return found[0].ID
}

func signal(role, name string) func(*testing.T, *daemon, string) {
	return func(t *testing.T, _ *daemon, run string) {
		askEngine(t, "/containers/"+container(t, run, role)+"/kill?signal="+name, "")
	}
}

func remove(role string) func(*testing.T, *daemon, string) {
	return func(t *testing.T, _ *daemon, run string) {
		if err := localEngine(t).Remove(t.Context(), container(t, run, role)); err != nil {
			t.Error(err)
		}
	}
}

func disconnect(t *testing.T, _ *daemon, run string) {
	networks, err := localEngine(t).Networks(t.Context(), map[string]string{broker.LabelRun: run})
	if err != nil || len(networks) != 1 {
		t.Fatalf("networks of the run: %v, %v", networks, err)
	}
	askEngine(t, "/networks/"+networks[0].ID+"/disconnect", fmt.Sprintf(`{"Container": %q, "Force": true}`, container(t, run, broker.RolePlan)))
}

// askEngine makes a call of the engine's API that the broker has no use for.
func askEngine(t *testing.T, path, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", "/var/run/docker.sock")
		},
	}}
	resp, err := client.Post("http://engine"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		t.Fatalf("%s: %s", path, resp.Status)
	}
}
