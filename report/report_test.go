package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

var update = flag.Bool("update", false, "write the golden files anew")

// begin is when the runs of these tests were asked for.
var begin = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)

func at(seconds float64) *time.Time {
	return new(begin.Add(time.Duration(seconds * float64(time.Second))))
}

// A load is what the measured run is like.
type load struct {
	seed    uint64
	seconds int
	latency float64 // median, ms
	rate    int     // requests a second
}

// measure makes real frames of two machines and reads them as the broker does.
func measure(l load) *metrics.Series {
	source := rand.New(rand.NewPCG(l.seed, 1))
	series := metrics.NewSeries()
	for second := 1; second <= l.seconds; second++ {
		for machine := range 2 {
			sketch := metrics.NewSketch()
			for range l.rate / 2 {
				sketch.Add(l.latency*math.Exp(0.4*source.NormFloat64()), 1)
			}
			users := &metrics.Distinct{}
			users.Add([]byte(fmt.Sprint("user", second%5)))
			f := metrics.Frame{
				Version: metrics.Version, Seq: uint64(second), Time: at(float64(10 + second)).UnixMilli(), Final: second == l.seconds,
				Points: []metrics.Point{
					{Kind: metrics.Timer, Name: "req.latency", Sketch: sketch},
					{Kind: metrics.Counter, Name: "requests", Value: float64(l.rate / 2)},
					{Kind: metrics.Gauge, Name: "=open|conns", Value: float64(20 + second%7), Count: 1},
					{Kind: metrics.Set, Name: "users", Distinct: users},
				},
			}
			series.Add("load", machine, f)
		}
	}
	return series
}

// dossierOf is a run of two steps that failed a criterion; names and outputs
// hold what HTML, Markdown and spreadsheets would read.
func dossierOf(l load) broker.Dossier {
	series := measure(l)
	end := float64(12 + l.seconds)
	value, limit := 63.25, 50.0
	run := broker.Run{
		UUID: fmt.Sprintf("3f2b7c1e-0000-4000-8000-%012d", l.seed), State: broker.Completed, Verdict: broker.Fail,
		ProjectName: "shop", PlanName: `checkout <b>&"fast"`, Owner: "ci",
		Reason:      "Criterion fast failed: 63.25, limit < 50.",
		Environment: strategies.Environment{{Name: "RATE", Value: "200"}, {Name: "API_TOKEN", Value: "hunter2hunter2"}},
		CreatedAt:   begin, StartedAt: at(8), CompletedAt: at(end + 2), Cleanup: broker.CleanupDone,
		Versions: map[string]string{"loads": "v1.2.3", "engine local": "28.0.1"},
		Plan: strategies.Plan{
			Name: `checkout <b>&"fast"`, Description: "Checks out as fast as it can.",
			Criteria: []strategies.Criterion{{Expr: `p95("req.latency") < 50`, Name: "fast"}, {Expr: `count("requests") > 0`}},
			Steps: []strategies.Step{
				{Name: "service", InstanceCount: 1, ContainerName: "shop/service:1", RunMaxTime: 600, Ready: &strategies.Ready{Port: 8000, Timeout: 60}},
				{
					Name: "load", InstanceCount: 2, ContainerName: "shop/load:1", RunDelay: 2, RunMaxTime: l.seconds,
					EnvironmentData: strategies.Environment{{Name: "AUTH_TOKEN", Value: "hunter2hunter2"}, {Name: "RATE", Value: "$RATE"}},
				},
			},
		},
		Judgement: broker.Judgement{
			Done: true,
			Criteria: []broker.CriterionResult{
				{Name: "fast", Expr: `p95("req.latency") < 50`, State: broker.CriterionFailed, Value: &value, Limit: &limit, Bound: "< 50"},
				{Name: `count("requests") > 0`, Expr: `count("requests") > 0`, State: broker.CriterionHeld, Value: new(36000.0), Limit: new(0.0), Bound: "> 0"},
			},
			Instrument: []string{"the containers of step load started 12.5 ms apart, 10 ms are the limit"},
		},
		StepRecords: []broker.StepRecord{
			{Index: 0, State: broker.StepEnded, StartAt: at(8), StartedAt: at(8.1), ReadyAt: at(9.6), CompletedAt: at(end), ImageDigest: "sha256:" + strings.Repeat("a1", 32)},
			{Index: 1, State: broker.StepEnded, StartAt: at(10), StartedAt: at(10.1), ReadyAt: at(10.1), CompletedAt: at(end), SkewMS: new(12.5), ImageDigest: "sha256:" + strings.Repeat("b2", 32)},
		},
	}
	frames := uint64(l.seconds)
	return broker.Dossier{
		Report: broker.Report{
			Run: run, Summary: series.Summary(),
			Machines: []broker.Machine{
				{Step: 0, Index: 0, State: broker.MachineReleased, Pool: "local", ProviderID: "net-0", Address: "172.20.0.1", StartedAt: at(8.1), FinishedAt: at(end), ExitCode: new(0), FrameSeq: frames, FramesFinal: true},
				{Step: 1, Index: 0, State: broker.MachineReleased, Pool: "local", ProviderID: "net-1", Address: "172.21.0.1", ClockOffset: 1500 * time.Microsecond, StartedAt: at(10.1), FinishedAt: at(end), ExitCode: new(0), FrameSeq: frames, FramesFinal: true},
				{Step: 1, Index: 1, State: broker.MachineLost, Reason: "It stopped answering.", Pool: "local", ProviderID: "net-2", Address: "172.22.0.1", StartedAt: at(10.1125), FrameSeq: frames - 3},
			},
			Ledger: metrics.Ledger{
				Received: metrics.Received{Datagrams: 36000, Values: 36360, Malformed: 2, KernelDropped: 7, LogLines: 120, LogValues: 60, LogMalformed: 3, LogLost: 4096, LogGaps: 1, Notes: &metrics.Notes{Malformed: []string{"<i>:x|c: not a number"}, Dropped: []string{"user.4711"}}},
				Sent:     3 * frames, Stored: 3*frames - 3, Open: 1,
			},
		},
		Lines: series.Lines(metrics.Query{}),
		Events: []broker.Event{
			{Seq: 1, At: begin, Kind: broker.EventRun, State: "INITIALIZING", Text: "The run was asked for."},
			{Seq: 2, At: *at(9.6), Kind: broker.EventStep, Step: "service", State: "ready", Text: "Step service is ready."},
			{Seq: 3, At: *at(30), Kind: broker.EventMachine, Step: "load", Machine: new(1), State: "lost", Text: "Machine load/1 is lost."},
		},
		Tails: []broker.LogTail{
			{Step: "service", Lines: []broker.LogLine{{At: *at(9), Stream: "stdout", Text: "listening </pre><script>alert(1)</script>"}}},
			{Step: "load", Lines: []broker.LogLine{{At: *at(11), Stream: "stderr", Text: "\x1b[31mred\x1b[0m & slow"}}},
			{Step: "load", Machine: 1, Fault: "The engine can't be reached."},
		},
	}
}

// golden compares what is written with the file kept.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (go test -update writes it anew), -want +got:\n%s", path, diff)
	}
}

func mustWrite(t *testing.T, write Writer, d broker.Dossier) []byte {
	t.Helper()
	var got bytes.Buffer
	if err := write(&got, d); err != nil {
		t.Fatal(err)
	}
	return got.Bytes()
}

func TestReportsAreAsKept(t *testing.T) {
	d := dossierOf(load{seed: 1, seconds: 30, latency: 30, rate: 40})
	for name, write := range map[string]Writer{"report.html": HTML, "report.json": JSON, "report.csv": CSV, "report.md": Markdown} {
		t.Run(name, func(t *testing.T) { golden(t, name, mustWrite(t, write, d)) })
	}
}

func TestReportsOfARunThatHasNotBegun(t *testing.T) {
	d := broker.Dossier{Report: broker.Report{Run: broker.Run{UUID: "u", PlanName: "p", CreatedAt: begin}}}
	for name, write := range map[string]Writer{"html": HTML, "json": JSON, "csv": CSV, "md": Markdown} {
		t.Run(name, func(t *testing.T) {
			text := string(mustWrite(t, write, d))
			if text == "" || strings.Contains(text, "%!") || strings.Contains(text, "0001-01-01") {
				t.Errorf("got %s", text)
			}
		})
	}
}

func TestReportsHideSecretsAndEscapeWhatIsForeign(t *testing.T) {
	d := dossierOf(load{seed: 1, seconds: 30, latency: 30, rate: 40})
	for name, write := range map[string]Writer{"html": HTML, "json": JSON, "csv": CSV, "md": Markdown} {
		if strings.Contains(string(mustWrite(t, write, d)), "hunter2") {
			t.Errorf("%s has a secret", name)
		}
	}
	for _, tag := range []string{"<script", "<b>&", "http://", "https://", "src=", "url("} {
		if strings.Contains(string(mustWrite(t, HTML, d)), tag) {
			t.Errorf("the page has %q", tag)
		}
	}
	if d.Run.Plan.Steps[1].EnvironmentData[0].Value != "hunter2hunter2" {
		t.Error("the dossier was changed")
	}
	rows, err := csv.NewReader(bytes.NewReader(mustWrite(t, CSV, d))).ReadAll()
	if err != nil || len(rows) != 1+4*31 {
		t.Fatalf("got %d rows, %v; want the head, and 31 for each of four metrics", len(rows), err)
	}
	for _, row := range rows[1:] {
		if strings.HasPrefix(row[1], "=") {
			t.Errorf("a spreadsheet would carry out %q", row[1])
		}
	}
	if !json.Valid(mustWrite(t, JSON, d)) {
		t.Error("the JSON is none")
	}
}

func TestWritersSayWhenTheyCannotWrite(t *testing.T) {
	d := dossierOf(load{seed: 1, seconds: 30, latency: 30, rate: 40})
	r, w := io.Pipe()
	_ = r.Close()
	for name, write := range map[string]Writer{"html": HTML, "json": JSON, "csv": CSV, "md": Markdown} {
		if write(w, d) == nil {
			t.Errorf("%s: got no error of a writer that is closed", name)
		}
	}
}

func TestColumnsKeepPeaksAndMeans(t *testing.T) {
	var buckets []metrics.Bucket
	for i := range int64(1000) {
		if i == 500 {
			continue // a second in which nothing came
		}
		b := metrics.Bucket{Time: (i + 1) * 1000, Rate: 10}
		if i == 333 {
			b.P99 = 900
		}
		buckets = append(buckets, b)
	}
	s := span{from: 0, to: 1000_000}
	peaks := s.columns(buckets, peak, func(b metrics.Bucket) float64 { return b.P99 })
	if len(peaks) != chartPoints || peaks[83] != 900 {
		t.Errorf("got %d columns, the 84th %v; want %d and the peak", len(peaks), peaks[83], chartPoints)
	}
	rates := s.columns(buckets, mean, func(b metrics.Bucket) float64 { return b.Rate })
	if rates[0] != 10 || rates[125] != 7.5 {
		t.Errorf("got rates %v and %v, want 10, and 7.5 where a second in four is missing", rates[0], rates[125])
	}
	short := span{from: 0, to: 3000}.columns([]metrics.Bucket{{Time: 1000, Value: 5}, {Time: 99_000, Value: 7}}, hold, func(b metrics.Bucket) float64 { return b.Value })
	if diff := cmp.Diff([]float64{5, 5, 5}, short); diff != "" {
		t.Errorf("a held gauge, -want +got:\n%s", diff)
	}
}
