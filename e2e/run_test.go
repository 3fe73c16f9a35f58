package e2e_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

const servicePlan = `
name: service by name
max_skew_ms: 60000
steps:
  - name: web
    container_name: loads/node
    additional_command_args: serve --listen :8000
    dns_name: web.loads.test
    port_mapping: 8000:8100
    ready: {port: 8100, timeout: 60}
    run_max_time: 600
    stop_timeout: 3
  - name: users
    instance_count: 2
    container_name: loads/node
    additional_command_args: gen --url http://web.loads.test:8100/ --rate 100 --duration 3s --timeout 60s
    start_after: web
    docker_series: generator
    _capture_output: users.log
`

func TestServiceAndGeneratorsOnThreeMachines(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	run := d.trigger(servicePlan)
	d.closeService(t, run)
	r := d.await(run)
	d.pass(r)

	if len(r.Machines) != 3 {
		t.Errorf("%d machines, want 3", len(r.Machines))
	}
	got := map[string]float64{}
	for _, m := range r.Summary.Metrics {
		got[m.Name] = m.Count
		if m.Name == "req.latency" && (m.P50 <= 0 || m.P50 > m.P90 || m.P90 > m.P99 || m.P99 > m.Max) {
			t.Errorf("percentiles of req.latency are not in order: %+v", m)
		}
	}
	for _, name := range []string{"req.count", "req.latency"} {
		if got[name] != 300 {
			t.Errorf("%s: counted %v, want 300 (100/s of 2 machines, 3 s); all: %v", name, got[name], got)
		}
	}
	users := r.Run.StepRecords[1]
	if users.SkewMS == nil || *users.SkewMS < 0 || *users.SkewMS > 60000 {
		t.Errorf("start skew %v, want a measured one", users.SkewMS)
	}
	if web := r.Run.StepRecords[0]; web.ReadyAt == nil || users.StartedAt.Before(web.ReadyAt.Time) {
		t.Errorf("users started at %v, before web was ready at %v", users.StartedAt, web.ReadyAt)
	}
	if users.ImageDigest == "" || r.Run.Versions["loads"] == "" {
		t.Errorf("the run does not say what ran: image %q, versions %v", users.ImageDigest, r.Run.Versions)
	}

	captured, err := os.ReadFile(filepath.Join(d.dir, "loads.db.d", "runs", run, "output", "users.log"))
	if err != nil || len(captured) == 0 {
		t.Errorf("captured output: %d bytes, %v", len(captured), err)
	}
	var lines []string
	err = d.Logs(t.Context(), run, broker.LogQuery{Step: "web"}, func(l api.LogLine) error {
		lines = append(lines, l.Text)
		return nil
	})
	if err != nil || !strings.Contains(strings.Join(lines, "\n"), "listening") {
		t.Errorf("log of web after the run: %q, %v", lines, err)
	}
}

// twoPorts is a plan whose two machines publish the same port.
const twoPorts = `
name: same port twice
max_skew_ms: 60000
steps:
  - name: web
    instance_count: 2
    container_name: loads/node
    additional_command_args: serve --listen :8000
    dns_name: both.loads.test
    port_mapping: 8000:8000
    ready: {log: listening, timeout: 60}
    run_max_time: 600
    stop_timeout: 3
  - name: users
    container_name: loads/node
    additional_command_args: gen --url http://both.loads.test:8000/ --rate 40 --duration 3s --timeout 60s
    start_after: web
`

func TestTwoRunsAtOnceOfMachinesThatPublishOnePort(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	runs := []string{d.trigger(twoPorts), d.trigger(twoPorts)}
	until(t, "both runs are under way", 3*time.Minute, func() bool {
		return !slices.ContainsFunc(runs, func(run string) bool { return d.mustRun(run).State < broker.Running })
	})
	for _, run := range runs {
		d.closeService(t, run)
		r := d.await(run)
		d.pass(r)
		for _, m := range r.Summary.Metrics {
			if m.Name == "req.errors" && m.Count > 0 {
				t.Errorf("%v requests failed", m.Count)
			}
		}
	}
	a, b := d.mustRun(runs[0]), d.mustRun(runs[1])
	if a.CompletedAt.Before(b.StartedAt.Time) || b.CompletedAt.Before(a.StartedAt.Time) {
		t.Error("the runs were not at once")
	}
}

func (d *daemon) mustRun(uuid string) api.Run {
	d.t.Helper()
	run, err := d.Run(d.t.Context(), uuid)
	if err != nil {
		d.t.Fatal(err)
	}
	return run
}

const longPlan = `
name: long
steps:
  - name: sleeper
    instance_count: 2
    container_name: loads/node
    additional_command_args: sleep 600s
    stop_timeout: 2
`

func TestAbortEndsARunAtAnyMoment(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	for _, at := range []struct {
		name string
		when func(api.Run) bool
	}{
		{"at once", func(api.Run) bool { return true }},
		{"while a step arms", func(r api.Run) bool { return r.StepRecords[0].State != broker.StepPending }},
		{"while it runs", func(r api.Run) bool { return r.StepRecords[0].StartedAt != nil }},
	} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			d := *d
			d.t = t
			run := d.trigger(longPlan)
			until(t, at.name, 2*time.Minute, func() bool { return at.when(d.mustRun(run)) })
			if was, err := d.Abort(t.Context(), run); err != nil || !was {
				t.Fatalf("abort: was running %v, %v", was, err)
			}
			r := d.await(run)
			if r.Run.Verdict != broker.Aborted || !r.Run.Aborted {
				t.Errorf("verdict %s, aborted %v; want ABORTED", r.Run.Verdict, r.Run.Aborted)
			}
			d.clean(r)
			if was, err := d.Abort(t.Context(), run); err != nil || was {
				t.Errorf("second abort: was running %v, %v; want false", was, err)
			}
		})
	}
}

func TestRunThatCannotBeRunAsPlannedIsAnError(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	for _, tt := range []struct{ name, step, reason string }{
		{
			"exit code", "{name: bad, container_name: loads/node, additional_command_args: sleep 0s --exit 3}",
			"ended with code 3",
		},
		{
			"no image", "{name: bad, container_name: 'no.such.host.invalid/image:1'}",
			"no.such.host.invalid/image:1",
		},
		{
			"never ready", "{name: bad, container_name: loads/node, additional_command_args: sleep 60s, stop_timeout: 1, ready: {log: never, timeout: 2}}",
			"not ready within 2 s",
		},
		{
			"ended before ready", "{name: bad, container_name: loads/node, additional_command_args: sleep 0s, ready: {log: never, timeout: 60}}",
			"ended before it was ready",
		},
		{
			"out of memory, or can't start", "{name: bad, container_name: loads/node, additional_command_args: nonsense}",
			"ended with code",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := *d
			d.t = t
			r := d.await(d.trigger("name: " + tt.name + "\nsteps:\n  - " + tt.step + "\n"))
			if r.Run.Verdict != broker.Errored || !strings.Contains(r.Run.Reason, tt.reason) {
				t.Errorf("verdict %s, reason %q; want ERROR with %q", r.Run.Verdict, r.Run.Reason, tt.reason)
			}
			d.clean(r)
		})
	}
}

func TestStepsEndInTimeAndStartInTheirOrder(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	r := d.await(d.trigger(`
name: timing
max_skew_ms: 60000
steps:
  - {name: first, container_name: loads/node, additional_command_args: sleep 600s, run_max_time: 25, stop_timeout: 1}
  - {name: late, container_name: loads/node, additional_command_args: sleep 1s, run_delay: 2}
  - {name: last, container_name: loads/node, additional_command_args: sleep 1s, start_after: {step: first, event: end}}
  - {name: spread, instance_count: 2, node_delay: 2, container_name: loads/node, additional_command_args: sleep 1s}
`))
	d.pass(r)
	rec := map[string]api.StepRecord{}
	for _, s := range r.Run.StepRecords {
		rec[s.Name] = s
	}
	t0 := r.Run.StartedAt.Time
	if ran := rec["first"].CompletedAt.Sub(rec["first"].StartedAt.Time); ran < 25*time.Second || ran > 500*time.Second {
		t.Errorf("first ran %s, want its run_max_time of 25 s", ran)
	}
	if at := rec["late"].StartedAt.Sub(t0); at < 2*time.Second-50*time.Millisecond {
		t.Errorf("late started after %s, want 2 s or more", at)
	}
	if rec["last"].StartedAt.Before(rec["first"].CompletedAt.Time) {
		t.Error("last started before first had ended")
	}
	var starts []time.Time
	for _, m := range r.Machines {
		if m.Step == "spread" {
			starts = append(starts, m.StartedAt.Time)
		}
	}
	// Not against the first one's start, which a busy machine may hold up.
	planned := rec["spread"].StartAt.Time
	if len(starts) != 2 || starts[0].Before(planned) || starts[1].Before(planned.Add(2*time.Second)) {
		t.Errorf("starts of spread: %v, want them from %v on, and 2 s later", starts, planned)
	}
}
