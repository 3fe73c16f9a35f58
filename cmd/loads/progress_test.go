package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// shopRun is a run of two steps on three machines that began at zero.
func shopRun(zero time.Time) api.Run {
	return api.Run{
		UUID: "1f0c", CreatedAt: api.Time{Time: zero},
		Plan: &strategies.Plan{Name: "shop", Steps: []strategies.Step{
			{Name: "web", InstanceCount: 1, RunMaxTime: 30},
			{Name: "generator", InstanceCount: 2, RunMaxTime: 60},
		}},
	}
}

func machineEvent(at time.Time, step string, index int, state broker.MachineState) api.Event {
	return api.Event{At: api.Time{Time: at}, Kind: broker.EventMachine, Step: step, Machine: &index, State: string(state)}
}

func stepEvent(at time.Time, step string, state broker.StepState) api.Event {
	return api.Event{At: api.Time{Time: at}, Kind: broker.EventStep, Step: step, State: string(state), Text: "Step " + step + " is " + string(state) + "."}
}

func liveEvent(at time.Time, list ...metrics.MetricSummary) api.Event {
	return api.Event{At: api.Time{Time: at}, Kind: api.EventMetrics, Metrics: &metrics.Summary{Metrics: list}}
}

func TestProgressFoldsEvents(t *testing.T) {
	synctest.Test(t, foldEvents) // where the clock stands still
}

func foldEvents(t *testing.T) {
	zero := time.Now().Add(-10 * time.Second)
	p := newProgress(shopRun(zero))
	for _, e := range []api.Event{
		machineEvent(zero, "web", 0, broker.MachineReady),
		machineEvent(zero, "web", 0, broker.MachinePrepared),
		machineEvent(zero, "generator", 0, broker.MachineReady),
		machineEvent(zero, "generator", 1, broker.MachineLost),
		{Kind: broker.EventRun, State: "RUNNING"},
		stepEvent(zero.Add(time.Second), "web", broker.StepStarted),
		stepEvent(zero.Add(4*time.Second), "web", broker.StepEnded),
		stepEvent(zero.Add(5*time.Second), "generator", broker.StepReady),
	} {
		p.add(e)
	}
	if got, want := p.stage(), "RUNNING       10s   machines ready 2/3, images 1/3, lost 1   steps over 1/2"; got != want {
		t.Errorf("stage\n got %q\nwant %q", got, want)
	}
	web, elapsed := p.step(0)
	if web.state != broker.StepEnded || elapsed != 3*time.Second {
		t.Errorf("web is %s after %v, want ended after 3s", web.state, elapsed)
	}
	if _, elapsed := p.step(1); elapsed != 5*time.Second {
		t.Errorf("generator has run %v, want 5s", elapsed)
	}
}

func TestProgressGoesByTheBrokersClock(t *testing.T) {
	synctest.Test(t, goByTheBrokersClock)
}

func goByTheBrokersClock(t *testing.T) {
	ahead := time.Now().Add(time.Hour)
	p := newProgress(shopRun(ahead.Add(-time.Minute)))
	p.add(stepEvent(ahead.Add(-20*time.Second), "web", broker.StepReady))
	p.add(liveEvent(ahead))
	if _, elapsed := p.step(0); elapsed != 20*time.Second {
		t.Errorf("web has run %v, want 20s, although the broker's clock is an hour ahead", elapsed)
	}
}

func TestTheBusiestMetricsComeFirst(t *testing.T) {
	p := newProgress(shopRun(time.Now()))
	p.add(liveEvent(time.Now(),
		metrics.MetricSummary{Name: "visitors", Kind: metrics.Set, Count: 3},
		metrics.MetricSummary{Name: "users", Kind: metrics.Gauge, Value: 7},
		metrics.MetricSummary{Name: "hits", Kind: metrics.Counter, Rate: 399.5},
		metrics.MetricSummary{Name: "slow", Kind: metrics.Timer, Rate: 1, P50: 12.5, P95: 1500.4, P99: 0.125, Max: 3},
		metrics.MetricSummary{Name: "latency", Kind: metrics.Timer, Rate: 200, P50: 2, P95: 4, P99: 7, Max: 9},
	))
	want := []string{
		"latency 200/s  p50 2  p95 4  p99 7  max 9",
		"slow 1/s  p50 12.50  p95 1500  p99 0.1250  max 3",
		"hits 399.5/s",
	}
	if diff := cmp.Diff(want, p.busiest(3)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if got := p.busiest(9)[3]; got != "users 7" {
		t.Errorf("the line after counters is %q, want the gauge", got)
	}
	if got := p.busiest(9)[4]; got != "visitors 3 distinct" {
		t.Errorf("the last line is %q, want the set", got)
	}
}

func TestPlainLines(t *testing.T) {
	zero := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	var out bytes.Buffer
	d := &lineDisplay{w: &out, state: newProgress(shopRun(zero))}
	hits := metrics.MetricSummary{Name: "hits", Kind: metrics.Counter, Rate: 5}
	lost := machineEvent(zero, "generator", 1, broker.MachineLost)
	lost.Text = "The machine is lost."
	d.event(lost)
	d.event(stepEvent(zero.Add(time.Second), "web", broker.StepStarted))
	for s := range 8 {
		d.event(liveEvent(zero.Add(time.Duration(s)*time.Second), hits))
	}
	d.event(api.Event{Kind: api.EventEnd})
	want := "12:00:00 generator/1: The machine is lost.\n12:00:01 Step web is started.\n12:00:00 hits 5/s\n12:00:05 hits 5/s\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTheLiveDisplayKeepsWhatWentWrong(t *testing.T) {
	pty := openPTY(t, 100, 10)
	d := newLiveDisplay(pty.tty, newProgress(shopRun(time.Now())))
	for _, e := range []api.Event{
		{Kind: broker.EventCriterion, State: string(broker.CriterionHeld), Text: "slow: held"},
		{Kind: broker.EventCriterion, State: string(broker.CriterionFailed), Text: "fast: failed"},
		{Kind: broker.EventNote, Text: "The instrument was at fault: it was asleep."},
		{Kind: broker.EventCriterion, State: string(broker.CriterionFailed), Text: "fast: failed"}, // with the verdict
	} {
		d.event(e)
	}
	d.close()
	for _, text := range []string{"fast: failed", "it was asleep"} {
		eventually(t, text+" is shown", 5*time.Minute, func() bool { return strings.Contains(pty.output.String(), text) })
	}
	if n := strings.Count(pty.output.String(), "fast: failed"); n != 1 {
		t.Errorf("the failed criterion is told %d times, want once", n)
	}
	if strings.Contains(pty.output.String(), "slow: held") {
		t.Error("a criterion that held is shown, which the summary has")
	}
}

func TestTheLiveDisplayFitsItsTerminal(t *testing.T) {
	const width = 40
	pty := openPTY(t, width, 10)
	zero := time.Now()
	run := shopRun(zero)
	for range 30 { // more steps than rows
		run.Plan.Steps = append(run.Plan.Steps, strategies.Step{Name: "a-step-with-a-long-name", InstanceCount: 1, RunMaxTime: 30})
	}
	for i := range run.Plan.Steps {
		run.Plan.Steps[i].Name += strings.Repeat("x", i)
	}
	d := newLiveDisplay(pty.tty, newProgress(run))
	for _, s := range run.Plan.Steps {
		d.event(stepEvent(zero, s.Name, broker.StepReady))
	}
	d.event(liveEvent(zero, metrics.MetricSummary{Name: strings.Repeat("long", 20), Kind: metrics.Counter, Rate: 5}))
	d.ask(question)
	eventually(t, "the question is shown", 5*time.Minute, func() bool { return strings.Contains(pty.output.String(), "Leave it") })
	for _, s := range run.Plan.Steps {
		d.event(stepEvent(zero, s.Name, broker.StepEnded))
	}
	d.close()
	d.note("after the end")
	for line := range strings.SplitSeq(withoutEscapes(pty.output.String()), "\n") {
		if n := len([]rune(strings.TrimRight(line, "\r"))); n > width {
			t.Errorf("line of %d characters, want at most %d: %q", n, width, line)
		}
	}
	if _, err := pty.tty.WriteString("the end\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is written", 5*time.Minute, func() bool { return strings.Contains(pty.output.String(), "the end") })
	if !strings.HasSuffix(withoutEscapes(pty.output.String()), "\nthe end\r\n") {
		t.Errorf("the last words don't begin a line of their own: %q", pty.output.String()[max(0, len(pty.output.String())-200):])
	}
}

func TestOutputToAFileIsPlain(t *testing.T) {
	f, err := os.Create(writeFile(t, "out", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &program{Main: Main{Stdin: f, Stdout: f, Getenv: func(string) string { return "" }}}
	if _, ok := p.newDisplay(shopRun(time.Now())).(*lineDisplay); !ok {
		t.Error("the display is not of plain lines")
	}
	if p.terminal() != nil {
		t.Error("a file counts as a terminal")
	}
}
