package stats_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/stats"
	"github.com/loads/loads/metrics"
)

var phases = []string{"warmup", "main"}

const ms = int64(time.Millisecond)

// filled is a report of some requests in phase main, of up to 1 s.
func filled(seed uint64, n int) *stats.Report {
	random := rand.New(rand.NewPCG(seed, 1))
	rec := stats.NewRecorder(phases)
	for range n {
		took := random.Int64N(1000 * ms)
		rec.Cell(rec.Metric(1, []byte("s"))).Add(&stats.Request{Intended: ms, Sent: 2 * ms, End: 2*ms + took, Blocked: ms, Status: 200, BytesIn: 10})
	}
	rec.Users(1).Started = int64(n)
	r := stats.NewReport(0)
	batch, _ := rec.Take()
	r.Add(batch, phases)
	batch.Free()
	r.Sort(phases)
	return r
}

var key = stats.Key{Phase: "main", Metric: "s"}

func TestReportsOfMachinesMerge(t *testing.T) {
	a, b := filled(1, 1000), filled(2, 500)
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var read stats.Report
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	var all metrics.Sketch
	for _, r := range []*stats.Report{a, b} {
		if err := all.Merge(&r.Find(key).Latency); err != nil {
			t.Fatal(err)
		}
	}
	read.Merge(a)
	got := read.Find(key)
	if got.Requests != 1500 || got.Class(2) != 1500 || got.BytesIn != 15_000 || read.Users("main").Started != 1500 {
		t.Errorf("got %+v, %+v", got.Counts, read.Users("main"))
	}
	for _, q := range []float64{0, 0.5, 0.99, 1} {
		if got.Latency.Quantile(q) != all.Quantile(q) {
			t.Errorf("p%g: got %v, want %v", 100*q, got.Latency.Quantile(q), all.Quantile(q))
		}
	}
}

func TestSketchesTravelAsStatsd(t *testing.T) {
	r := filled(3, 5000)
	want := &r.Find(key).Latency
	var lines bytes.Buffer
	if err := stats.NewStatsd(&lines).Report(r); err != nil {
		t.Fatal(err)
	}
	var got metrics.Sketch
	counts := 0
	for line := range strings.Lines(lines.String()) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "req.latency:"); ok {
			fields := strings.Split(rest, "|")
			value, err1 := strconv.ParseFloat(fields[0], 64)
			weight := 1.0
			if rate, sampled := strings.CutPrefix(fields[2], "@"); sampled {
				r, err := strconv.ParseFloat(rate, 64)
				if err != nil {
					t.Fatal(err)
				}
				weight = 1 / r
			}
			if err1 != nil || !strings.HasSuffix(line, "|#metric:s,phase:main") {
				t.Fatalf("can't read %q: %v", line, err1)
			}
			got.Add(value, weight)
		}
		if line == "req.count:5000|c|#metric:s,phase:main,status:200" {
			counts++
		}
	}
	if counts != 1 || got.Count() < want.Count()-0.001 || got.Count() > want.Count()+0.001 || got.Max() != want.Max() || got.Min() != want.Min() {
		t.Errorf("got %v values from %v to %v, want %v from %v to %v", got.Count(), got.Min(), got.Max(), want.Count(), want.Min(), want.Max())
	}
	for _, q := range []float64{0.1, 0.5, 0.9, 0.999} {
		if a, b := got.Quantile(q), want.Quantile(q); a != b {
			t.Errorf("p%g: got %v, want %v", 100*q, a, b)
		}
	}
}

// What the relay gets is the sketch itself, with all that it knows.
func TestSketchesTravelAsPoints(t *testing.T) {
	r := filled(3, 5000)
	want := &r.Find(key).Latency
	var lines bytes.Buffer
	if err := stats.NewPoints(&lines).Report(r); err != nil {
		t.Fatal(err)
	}
	seen := map[string]metrics.Point{}
	for line := range bytes.Lines(lines.Bytes()) {
		line = bytes.TrimSpace(line)
		p, err := metrics.DecodePoint(line)
		if err != nil || !metrics.IsPoint(line) {
			t.Fatalf("%s: %v", line, err)
		}
		if len(p.Tags) == 3 || p.Kind == metrics.Timer {
			seen[p.Name] = p
		}
	}
	got := seen["req.latency"].Sketch
	if got == nil || got.Count() != want.Count() || got.Max() != want.Max() || got.Min() != want.Min() || got.Sum() != want.Sum() {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.999, 1} {
		if a, b := got.Quantile(q), want.Quantile(q); a != b {
			t.Errorf("p%g: got %v, want %v", 100*q, a, b)
		}
	}
	if n := seen["req.count"].Value; n != 5000 {
		t.Errorf("got %v requests, want 5000", n)
	}
}

// By how much a machine began late is told once, with its first second.
func TestLateBeginningsAreToldOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		period int
		late   float64
		want   string
	}{
		"late": {0, 250, "gen.late:250|g\n"}, "in time": {0, 0, ""}, "later": {1, 250, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var lines bytes.Buffer
			r := stats.NewReport(tt.period)
			r.Self.LateMS = tt.late
			if err := stats.NewStatsd(&lines).Report(r); err != nil || lines.String() != tt.want {
				t.Errorf("got %q, %v, want %q", lines.String(), err, tt.want)
			}
			lines.Reset()
			if err := stats.NewPoints(&lines).Report(r); err != nil || (lines.Len() > 0) != (tt.want != "") {
				t.Errorf("got the point %q, %v", lines.String(), err)
			}
		})
	}
}

func TestVerdictsTravelAsTags(t *testing.T) {
	var lines bytes.Buffer
	why := []string{"late: by 5 ms, where 1 may be|\n" + strings.Repeat("ö", 400)}
	for name, reasons := range map[string][3][]string{"gen.invalid": {why}, "gen.failed": {1: why}, "gen.note": {2: why}} {
		lines.Reset()
		if err := stats.NewPoints(&lines).Verdict(reasons[0], reasons[1], reasons[2]); err != nil {
			t.Fatal(err)
		}
		p, err := metrics.DecodePoint(bytes.TrimSpace(lines.Bytes()))
		if err != nil || p.Name != name || p.Value != 1 || len(p.Tags) != 1 {
			t.Fatalf("got %+v, %v, want %s", p, err, name)
		}
		if got := p.Tags[0].Value; !strings.HasPrefix(got, "late: by 5 ms; where 1 may be  ö") || utf8.RuneCountInString(got) != 300 {
			t.Errorf("got the reason %q", got)
		}
	}
	lines.Reset()
	if err := stats.NewPoints(&lines).Verdict(nil, nil, nil); err != nil || lines.Len() > 0 {
		t.Errorf("got %q, %v of a run without reasons", lines.String(), err)
	}
}

func TestDistributionsAreThoseOfHdrHistogram(t *testing.T) {
	r := filled(4, 2000)
	var text bytes.Buffer
	if err := stats.WriteHGRM(&text, &r.Find(key).Latency); err != nil {
		t.Fatal(err)
	}
	if s := text.String(); !strings.Contains(s, "Percentile") || !strings.Contains(s, "Total count    =         2000]") {
		t.Errorf("got %s", s)
	}
	var log bytes.Buffer
	sink, err := stats.NewHDRLog(&log, time.UnixMilli(1000))
	if err != nil {
		t.Fatal(err)
	}
	r.Start, r.End = 1000, 2000
	if err := sink.Report(r); err != nil {
		t.Fatal(err)
	}
	h, err := hdrhistogram.NewHistogramLogReader(&log).NextIntervalHistogram()
	if err != nil {
		t.Fatal(err)
	}
	want := r.Find(key).Latency.Quantile(0.5)
	if got := float64(h.ValueAtQuantile(50)) / float64(ms); h.Tag() != "main.s" || h.TotalCount() != 2000 || got < want*0.99 || got > want*1.01 {
		t.Errorf("got tag %q, %d values, p50 %v ms, want main.s, 2000, %v", h.Tag(), h.TotalCount(), got, want)
	}
}

// At the end of a phase all is handed over, however much the receiver holds.
func TestRecorderGivesAllAtTheEnd(t *testing.T) {
	rec := stats.NewRecorder(phases)
	var taken []*stats.Batch
	for range 20 {
		rec.Cell(rec.Metric(0, []byte("m"))).Add(&stats.Request{})
		taken = append(taken, rec.TakeAll())
	}
	sum := stats.NewReport(0)
	for _, b := range taken {
		sum.Add(b, phases)
		b.Free() // doesn't wait for anybody
	}
	if got := sum.Sum(func(string) bool { return true }).Requests; got != 20 {
		t.Errorf("got %d requests, want 20", got)
	}
}

// Protocols without a status share metrics with those that have one.
func TestCountsByStatusAddUp(t *testing.T) {
	r := stats.NewReport(0)
	for _, one := range []stats.Request{{Status: 200}, {Status: 404, Invalid: true}, {}, {}, {Invalid: true}, {Failure: stats.Timeout, Status: 200}, {Failure: stats.Connection}, {Failure: stats.Cancelled, Status: 200}} {
		r.Cell(key).Add(&one)
	}
	var lines bytes.Buffer
	if err := stats.NewStatsd(&lines).Report(r); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(lines.String()) {
		var n int
		if _, err := fmt.Sscanf(line, "req.count:%d|c", &n); err == nil {
			sum += n
		}
	}
	if sum != 8 {
		t.Errorf("%d requests are told of, want 8:\n%s", sum, lines.String())
	}
}

func TestRecorderGoesOnWhenNobodyTakes(t *testing.T) {
	rec := stats.NewRecorder(phases)
	var taken []*stats.Batch
	for i := range 10 {
		rec.Cell(rec.Metric(0, []byte(fmt.Sprint(i)))).Add(&stats.Request{})
		if b, ok := rec.Take(); ok {
			taken = append(taken, b)
		}
	}
	sum := stats.NewReport(0)
	for _, b := range taken {
		sum.Add(b, phases)
		b.Free()
	}
	b, ok := rec.Take()
	if !ok {
		t.Fatal("there is no batch though all were given back")
	}
	sum.Add(b, phases)
	if got := sum.Sum(func(string) bool { return true }).Requests; got != 10 || len(taken) >= 10 {
		t.Errorf("got %d requests in %d batches, want 10 in fewer", got, len(taken)+1)
	}
}

func TestNamesOfMetricsAreBounded(t *testing.T) {
	rec := stats.NewRecorder(phases)
	for i := range 2000 {
		rec.Cell(rec.Metric(0, []byte(fmt.Sprint(i)))).Add(&stats.Request{})
	}
	b, _ := rec.Take()
	if n := len(b.Keys); n > 600 || b.Keys[n-1].Metric != stats.Others || b.Cells[n-1].Requests != 1500 {
		t.Errorf("got %d metrics, the last %v with %d requests", len(b.Keys), b.Keys[len(b.Keys)-1], b.Cells[len(b.Cells)-1].Requests)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	rec := stats.NewRecorder(phases)
	name, r := []byte("s"), &stats.Request{Intended: 1, Sent: 2, End: 5_000_000, Status: 200}
	add := func() { rec.Cell(rec.Metric(1, name)).Add(r) }
	add()
	if n := testing.AllocsPerRun(1000, add); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

func ratio(v float64) *float64 { return &v }

func TestLimitsAreJudged(t *testing.T) {
	latency := benchmark.Latency(100 * time.Millisecond)
	for _, c := range []struct {
		name string
		sla  benchmark.SLA
		add  []stats.Request
		want string
	}{
		{"no requests", benchmark.SLA{ErrorRatio: ratio(0)}, nil, ""},
		{"errors", benchmark.SLA{ErrorRatio: ratio(0.5)}, []stats.Request{{}, {Failure: stats.Timeout}}, "1 of 2 requests failed"},
		{"few errors", benchmark.SLA{ErrorRatio: ratio(0.5)}, []stats.Request{{}, {}, {Failure: stats.Connection}}, ""},
		{"cancelled are no errors", benchmark.SLA{ErrorRatio: ratio(0)}, []stats.Request{{Failure: stats.Cancelled}}, ""},
		{"no errors of none allowed", benchmark.SLA{ErrorRatio: ratio(0)}, []stats.Request{{}}, ""},
		{"invalid", benchmark.SLA{InvalidRatio: ratio(1)}, []stats.Request{{Invalid: true}}, "1 of 1 answers were invalid"},
		{"blocked", benchmark.SLA{BlockedRatio: ratio(0)}, []stats.Request{{End: ms, Sent: 1, Blocked: 1}}, "waited"},
		{"blocked for a part", benchmark.SLA{BlockedRatio: ratio(0.5)}, []stats.Request{{End: 2 * ms, Sent: 1, Blocked: ms}}, ""},
		{"not blocked", benchmark.SLA{BlockedRatio: ratio(0)}, []stats.Request{{End: ms, Sent: 1}}, ""},
		{"mean", benchmark.SLA{MeanResponseTime: latency}, []stats.Request{{End: 50 * ms}, {End: 160 * ms}}, "the mean latency"},
		{"percentile", benchmark.SLA{Limits: benchmark.Limits{{Percentile: 0.9, Latency: latency}}}, []stats.Request{{End: 150 * ms}, {End: 160 * ms}}, "the latency at 0.9"},
		{"percentile kept", benchmark.SLA{Limits: benchmark.Limits{{Percentile: 0.5, Latency: latency}}}, []stats.Request{{End: ms}, {End: ms}, {End: 160 * ms}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cell stats.Cell
			for _, r := range c.add {
				cell.Add(&r)
			}
			if got := stats.Breaks(&cell, &c.sla); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWindowsSlide(t *testing.T) {
	j := stats.NewJudge(time.Second)
	j.Limit(key, benchmark.SLAs{{Window: benchmark.Duration(2 * time.Second), ErrorRatio: ratio(0.5)}})
	var failed []int
	// An error in one second of three is within two windows, and told once.
	for second, bad := range []bool{false, false, true, false, false, true, true} {
		r := stats.NewReport(second)
		request := stats.Request{}
		if bad {
			request.Failure = stats.Timeout
		}
		r.Cell(key).Add(&request)
		if len(j.Watch(r)) > 0 {
			failed = append(failed, second)
		}
	}
	if fmt.Sprint(failed) != "[2 5]" || len(j.Breaches) != 2 {
		t.Errorf("got failures in seconds %v, %v, want 2 and 5", failed, j.Breaches)
	}
}

func TestTimesAreWritten(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 0.0432: "43.2us", 1.234: "1.23ms", 12.34: "12.3ms", 123.4: "123ms", 1234: "1.23s"} {
		if got := stats.Ms(value); got != want {
			t.Errorf("%v: got %s, want %s", value, got, want)
		}
	}
}

// What scenarios count themselves is merged by name, travels with its name, and
// is bounded.
func TestCountersHaveNames(t *testing.T) {
	rec := stats.NewRecorder([]string{"main"})
	totals := stats.NewTotals([]string{"main"})
	for range 2 {
		cell := rec.Cell(rec.Metric(0, []byte("m")))
		for i := range 150 {
			cell.Count(fmt.Append(nil, "n", i), 2)
		}
		batch, _ := rec.Take()
		totals.AddBatch(batch)
		batch.Free()
	}
	cell := totals.Find(stats.Key{Phase: "main", Metric: "m"})
	if n := len(cell.Named); n != 101 || cell.Named[0] != (stats.NamedCount{Name: "n0", Count: 4}) || cell.Named[100] != (stats.NamedCount{Name: stats.Others, Count: 200}) {
		t.Errorf("got %d names, %+v, want 100 and the others", n, cell.Named)
	}
	var out bytes.Buffer
	if err := stats.NewStatsd(&out).Report(&totals.Report); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 101 || lines[0] != "req.counter:4|c|#metric:m,phase:main,counter:n0" {
		t.Errorf("got %d lines, the first %q", len(lines), lines[0])
	}
}

// Names of metrics may be made of paths: whatever they are, they can be sent.
func TestOddNamesCanBeSent(t *testing.T) {
	for name, want := range map[string]string{
		"/a?b=1,2&c=x|y:z": "/a?b=1_2&c=x_y_z", "a\x00\tb\xff": "a__b_", strings.Repeat("é", 1000): strings.Repeat("é", 500),
	} {
		r := stats.NewReport(0)
		r.Cell(stats.Key{Phase: "main", Metric: name}).Add(&stats.Request{Status: 200})
		var out bytes.Buffer
		if err := stats.NewPoints(&out).Report(r); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if p, err := metrics.DecodePoint(bytes.SplitN(out.Bytes(), []byte("\n"), 2)[0]); err != nil || p.Tags[0].Value != want {
			t.Errorf("%q is sent as %+v, error %v, want %q", name, p, err, want)
		}
	}
}
