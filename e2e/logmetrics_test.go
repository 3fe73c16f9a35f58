package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/dockerctl/dockertest"
	"github.com/loads/loads/metrics"
)

// printing is a plan of two machines whose containers print as many lines each.
// The terms are lines of the plan beside its steps.
func printing(lines int, terms string) string {
	return fmt.Sprintf(`
name: printing
max_skew_ms: 60000
%s
steps:
  - name: load
    instance_count: 2
    container_name: loads/node
    docker_series: printer
    additional_command_args: sleep 5s --repeat %d --print '{"metric":"latency","data":{"ms":{n},"status":200},"text":"a \"quote\", <b> and $$"}'
    log_metrics:
      - {name: lines, type: counter, match: '^\{.*\$"\}$'}
      - {name: latency, type: timer, json: data.ms, where: {metric: latency}, tags: {status: data.status}}
      - {name: seconds, type: gauge, json: data.ms, scale: 0.001, stream: stdout}
      - {name: first.digit, type: counter, match: '"ms":(?P<value>\d)'}
      - {name: broken, type: gauge, json: metric}
      - {name: other, type: counter, match: line, stream: stderr}
`, terms, lines)
}

func figures(all []metrics.MetricSummary) map[string]metrics.MetricSummary {
	by := map[string]metrics.MetricSummary{}
	for _, m := range all {
		by[m.Name] = m
	}
	return by
}

func TestLogMetricsCountEveryLineThoughTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	const lines = 3000
	d := startBroker(t)
	run := d.trigger(printing(lines, `criteria:
  - count("lines") == 6000
  - count("latency", "status:200", "type:printer") == 6000
  - p50("latency") > 1450 and p50("latency") < 1550
  - value("seconds") == 6`))
	for range 2 {
		d.runFor(run, 2500*time.Millisecond)
		d.kill()
		d.start()
	}
	r := d.await(run)
	d.pass(r)
	got := figures(r.Summary.Metrics)
	if n := got["lines"].Count; n != 2*lines {
		t.Errorf("got %v lines counted, want %d", n, 2*lines)
	}
	latency := got["latency"]
	if latency.Count != 2*lines || math.Abs(latency.P99-0.99*lines) > 0.02*lines || latency.Max != lines {
		t.Errorf("got latency %+v, want %d values from 1 to %d", latency, 2*lines, lines)
	}
	if _, ok := got["other"]; ok {
		t.Error("got a metric of standard error, where nothing was")
	}
	l := r.Ledger
	if l.LogLines != 2*lines || l.LogValues != 2*4*lines || l.LogMalformed != 2*lines || l.LogLost+l.LogGaps != 0 {
		t.Errorf("got ledger %+v; want %d lines read, of 4 values and one malformed each, and none lost", l.Received, 2*lines)
	}
	if l.Notes == nil || !strings.Contains(strings.Join(l.Notes.Malformed, " "), "no finite number") {
		t.Errorf("got notes %+v, want an example of a line without a number", l.Notes)
	}
}

func TestCriterionOfALogMetricFailsTheRun(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	result, exit := d.runPlan(t, printing(100, `criteria: ['max("latency") < 100', 'count("lines") == 200']`))
	if result.Verdict != broker.Fail || exit != 2 {
		t.Fatalf("got verdict %s and exit code %d, want FAIL and 2: %s", result.Verdict, exit, result.Run.Reason)
	}
	if c := result.Criteria; c[0].State != broker.CriterionFailed || c[0].Value == nil || *c[0].Value != 100 || c[1].State != broker.CriterionHeld {
		t.Errorf("got criteria %+v, want the first failed at 100, and the second held", c)
	}
}

// TestOutputThrownAwayUnreadMakesTheRunInvalid lets an engine keep very little,
// and stops a relay while its container prints more than that.
func TestOutputThrownAwayUnreadMakesTheRunInvalid(t *testing.T) {
	t.Parallel()
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if spec.Labels[broker.LabelRole] == broker.RolePlan {
			spec.Log = broker.LogLimit{Size: 16 << 10, Files: 2}
		}
	})
	run := l.start(`
name: thrown away
steps:
  - name: load
    container_name: loads/node
    additional_command_args: sleep 600s --repeat 3000000 --print 'line {n}'
    log_metrics:
      - {name: lines, type: counter, match: '^line '}
`)
	l.untilStarted(run)
	eng := localEngine(t)
	docker := dockertest.Client(t, dockertest.Endpoint())
	id := func(role string) string {
		found, err := eng.List(t.Context(), map[string]string{broker.LabelRun: run, broker.LabelRole: role})
		if err != nil || len(found) != 1 {
			t.Fatalf("got %d containers of role %s, %v", len(found), role, err)
		}
		return found[0].ID
	}
	relay, plan := id(broker.RoleRelay), id(broker.RolePlan)
	if _, err := docker.ContainerPause(t.Context(), relay, client.ContainerPauseOptions{}); err != nil {
		t.Fatal(err)
	}
	// So much comes to more than ten times what the engine keeps.
	printed := lastLine(t, eng, plan)
	until(t, "more is printed than is kept", 3*time.Minute, func() bool { return lastLine(t, eng, plan) > printed+5000 })
	if _, err := docker.ContainerUnpause(t.Context(), relay, client.ContainerUnpauseOptions{}); err != nil {
		t.Fatal(err)
	}
	endLoad(t, nil, run)
	r := l.await(run)
	lines := uint64(0)
	err := l.broker.Logs(t.Context(), run, broker.LogQuery{Step: "load"}, func(line broker.LogLine) error {
		_, err := fmt.Sscanf(line.Text, "line %d", &lines)
		return err
	})
	if err != nil || lines == 0 {
		t.Fatalf("the last line that is kept has number %d, %v", lines, err)
	}
	if r.Run.Verdict != broker.Invalid || !strings.Contains(r.Run.Reason, "output of unknown length was lost") {
		t.Errorf("got verdict %s (%s), want INVALID, as output was lost", r.Run.Verdict, r.Run.Reason)
	}
	got := r.Ledger
	if got.LogGaps == 0 || got.LogLines == 0 || got.LogLines >= lines || got.LogValues != got.LogLines {
		t.Errorf("got ledger %+v, want a gap, and some of %d lines", got.Received, lines)
	}
	if n := figures(r.Summary.Metrics)["lines"].Count; n != float64(got.LogLines) {
		t.Errorf("counted %v lines, the ledger has %d", n, got.LogLines)
	}
}

// lastLine is the number of the line that the container has printed last; 0 before
// there is one.
func lastLine(t *testing.T, eng *dockerctl.Engine, id string) (n int) {
	t.Helper()
	var out bytes.Buffer
	if err := eng.Logs(t.Context(), id, broker.LogOptions{Tail: 1}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(out.String(), "line %d", &n); err != nil {
		return 0
	}
	return n
}

// TestOutputIsReadThroughTheEnginesRotation lets an engine begin another file
// every few thousand lines, but keep all of them, and prints lines that the
// engine has to take to pieces.
func TestOutputIsReadThroughTheEnginesRotation(t *testing.T) {
	t.Parallel()
	const lines, long = 20_000, 50
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if spec.Labels[broker.LabelRole] == broker.RolePlan {
			spec.Log = broker.LogLimit{Size: 512 << 10, Files: 5}
		}
	})
	r := l.await(l.start(fmt.Sprintf(`
name: rotated
criteria: ['count("lines") == %d', 'count("long") == %d', 'min("long") == 1', 'max("long") == %d']
steps:
  - name: short
    container_name: loads/node
    additional_command_args: sleep 3s --repeat %d --print 'line {n}'
    log_metrics:
      - {name: lines, type: counter, match: '^line '}
  - name: long
    container_name: loads/node
    additional_command_args: sleep 3s --repeat %d --print '{"pad":"%s","ms":{n}}'
    log_metrics:
      - {name: long, type: timer, json: ms}
`, lines, long, long, lines, long, strings.Repeat("x", 40<<10))))
	if r.Run.Verdict != broker.Pass {
		t.Errorf("got verdict %s (%s), want PASS", r.Run.Verdict, r.Run.Reason)
	}
	if got := r.Ledger; got.LogLines != lines+long || got.LogMalformed+got.LogLost+got.LogGaps != 0 {
		t.Errorf("got ledger %+v, want %d lines and none lost", got.Received, lines+long)
	}
}
