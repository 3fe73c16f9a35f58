package e2e_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/loadgen/stats"
	"github.com/loads/loads/metrics"
)

// benchmarkPlan runs a benchmark on so many machines, each of which writes what
// it counted in each second, and its summary, to its output.
const benchmarkPlan = `name: benchmark on %d
criteria: ['count("req.errors") == 0']
steps:
  - {name: web, container_name: loads/node, additional_command_args: serve --delay 2ms --jitter 20ms, dns_name: web.test,
     port_mapping: '8000:8000', ready: {port: 8000, timeout: 20}, run_max_time: 14, stop_timeout: 2}
  - name: load
    container_name: loads/node
    benchmark:
      file: even.yaml
      params: {RATE: 100}
      files: {even.yaml: %q}
    additional_command_args: --max-lag -1s --max-steal -1 --quiet --json --series /dev/stdout
    instance_count: %d
    start_after: web
`

const evenBenchmark = `name: even
http: {host: http://web.test:8000, sharedConnections: 90}
phases:
- first:
    constantRate: {usersPerSec: !param RATE, duration: 2s, variance: false, scenario: &s [{get: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]}
- second:
    constantRate: {usersPerSec: !param RATE, duration: 2s, variance: false, startAfter: first, scenario: *s}
`

// summaryOf is what the generator of one machine says in the end.
type summaryOf struct {
	Start  time.Time `json:"start"`
	Phases []struct {
		Name    string  `json:"name"`
		Status  string  `json:"status"`
		StartMS float64 `json:"start_ms"`
		EndMS   float64 `json:"end_ms"`
	} `json:"phases"`
	Notes []string `json:"notes"`
	Users []struct {
		Phase   string `json:"phase"`
		Started int    `json:"started"`
	} `json:"users"`
}

// TestBenchmarkIsOneOnAnyNumberOfMachines runs a benchmark on one machine and on
// three. Both are the same number of users, and what the broker says of latencies
// is what one sketch of all requests says.
func TestBenchmarkIsOneOnAnyNumberOfMachines(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	for _, machines := range []int{1, 3} {
		t.Run(fmt.Sprint(machines), func(t *testing.T) {
			t.Parallel()
			d := *d
			d.t = t
			run := d.trigger(fmt.Sprintf(benchmarkPlan, machines, evenBenchmark, machines))
			r := d.await(run)
			d.pass(r)
			all, ends := outputs(t, &d, run)
			if len(ends) != machines {
				t.Fatalf("%d machines have told how it ended, want %d", len(ends), machines)
			}
			sums := map[string]int{}
			for _, end := range ends {
				for _, u := range end.Users {
					sums[u.Phase] += u.Started
				}
			}
			if sums["first"] != 200 || sums["second"] != 200 {
				t.Errorf("users started %v, want 200 in each phase", sums)
			}
			seen := figures(r.Summary.Metrics)["req.latency"]
			if seen.Count != 400 || all.Count() != 400 {
				t.Errorf("the broker has %v latencies, the machines %v, want 400", seen.Count, all.Count())
			}
			for q, got := range map[float64]float64{0.5: seen.P50, 0.9: seen.P90, 0.95: seen.P95, 0.99: seen.P99} {
				if want := all.Quantile(q); math.Abs(got-want) > 1e-9*want {
					t.Errorf("quantile %v of all machines is %v, that of all requests %v", q, got, want)
				}
			}
			if seen.Max != all.Max() {
				t.Errorf("the greatest latency of all machines is %v, that of all requests %v", seen.Max, all.Max())
			}
			together(t, ends)
		})
	}
}

// outputs puts together what all machines counted, and how it ended on each.
func outputs(t *testing.T, d *daemon, run string) (*metrics.Sketch, []summaryOf) {
	t.Helper()
	all, texts := new(metrics.Sketch), map[int]*strings.Builder{}
	err := d.Logs(t.Context(), run, broker.LogQuery{Step: "load"}, func(l api.LogLine) error {
		if l.Stream != "stdout" {
			return nil
		}
		if !strings.HasPrefix(l.Text, `{"period":`) {
			if texts[l.Machine] == nil {
				texts[l.Machine] = &strings.Builder{}
			}
			texts[l.Machine].WriteString(l.Text + "\n")
			return nil
		}
		var report stats.Report
		if err := json.Unmarshal([]byte(l.Text), &report); err != nil {
			return err
		}
		for _, m := range report.Metrics {
			if err := all.Merge(&m.Latency); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var ends []summaryOf
	for machine, text := range texts {
		var end summaryOf
		if err := json.Unmarshal([]byte(text.String()), &end); err != nil {
			t.Fatalf("machine %d: %v in %s", machine, err, text)
		}
		ends = append(ends, end)
	}
	return all, ends
}

// together logs how far apart phases began on the machines: within 100 ms where
// the computer has time for them, which it may not have in a test. It fails the
// test when they were not begun together at all.
func together(t *testing.T, ends []summaryOf) {
	t.Helper()
	for _, phase := range []string{"first", "second"} {
		var first, last time.Time
		for _, end := range ends {
			for _, p := range end.Phases {
				at := end.Start.Add(time.Duration(p.StartMS * float64(time.Millisecond)))
				if p.Name == phase && (first.IsZero() || at.Before(first)) {
					first = at
				}
				if p.Name == phase && at.After(last) {
					last = at
				}
			}
		}
		spread := last.Sub(first)
		t.Logf("phase %s began within %s", phase, spread)
		if first.IsZero() || spread > 2*time.Second {
			t.Errorf("phase %s began within %s", phase, spread)
		}
	}
}
