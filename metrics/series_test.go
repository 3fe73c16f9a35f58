package metrics_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/metrics"
)

// at is the end of the nth second of a run.
func at(n int) int64 { return 1_700_000_000_000 + int64(n)*1000 }

func timer(name string, values ...float64) metrics.Point {
	s := metrics.NewSketch()
	for _, v := range values {
		s.Add(v, 1)
	}
	return metrics.Point{Kind: metrics.Timer, Name: name, Sketch: s}
}

func counter(name string, n float64, tags ...metrics.Tag) metrics.Point {
	return metrics.Point{Kind: metrics.Counter, Name: name, Value: n, Tags: tags}
}

func gauge(name string, v, settings float64) metrics.Point {
	return metrics.Point{Kind: metrics.Gauge, Name: name, Value: v, Count: settings}
}

func frame(seq uint64, second int, points ...metrics.Point) metrics.Frame {
	return metrics.Frame{Version: metrics.Version, Seq: seq, Time: at(second), Points: points}
}

func TestSummaryMergesMachinesStepsAndTags(t *testing.T) {
	s := metrics.NewSeries()
	ok, bad := metrics.Tag{Name: "status", Value: "200"}, metrics.Tag{Name: "status", Value: "500"}
	s.Add("web", 0, frame(1, 1)) // idle: doesn't lower the rates
	s.Add("web", 0, frame(2, 5, counter("req", 10, ok), counter("req", 1, bad), timer("lat", 10, 20), gauge("users", 5, 1)))
	s.Add("web", 1, frame(1, 5, counter("req", 4, ok), timer("lat", 30), gauge("users", 7, 1)))
	s.Add("gen", 0, frame(1, 6, counter("req", 5, ok), timer("lat", 40), gauge("users", 1, 2)))
	s.Add("web", 0, frame(3, 6, gauge("users", 6, 1)))
	s.Add("web", 0, frame(4, 9, gauge("users", 6, 0)))
	got := s.Summary()
	if got.From != at(4) || got.To != at(6) || got.Seconds != 2 {
		t.Errorf("time: got %d to %d (%v s), want %d to %d (2 s)", got.From, got.To, got.Seconds, at(4), at(6))
	}
	want := []string{
		"lat ms count=4 rate=2 value=0 max=40",
		"req c count=20 rate=10 value=0 max=0",
		"users g count=5 rate=0 value=14 max=0",
	}
	if diff := cmp.Diff(want, brief(got)); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if lat := got.Metrics[0]; math.Abs(lat.P50-20) > 0.2 || lat.Mean != 25 || lat.Min != 10 {
		t.Errorf("latency: got p50 %v, mean %v, min %v, want 20, 25, 10", lat.P50, lat.Mean, lat.Min)
	}
}

func brief(s metrics.Summary) []string {
	lines := []string{}
	for _, m := range s.Metrics {
		lines = append(lines, fmt.Sprintf("%s %s count=%v rate=%v value=%v max=%v", m.Name, m.Kind, m.Count, m.Rate, m.Value, m.Max))
	}
	return lines
}

func TestSeriesIgnoresRepeatedFrames(t *testing.T) {
	s := metrics.NewSeries()
	for _, seq := range []uint64{1, 2, 5, 3, 2, 5, 4, 1, 3, 4, 7, 6, 7} {
		s.Add("a", 0, frame(seq, int(seq), counter("n", 1)))
		s.Add("a", 1, frame(seq, int(seq), counter("n", 1)))
	}
	if got := s.Summary().Metrics[0].Count; got != 14 {
		t.Errorf("count: got %v, want 14", got)
	}
}

func TestSummaryOfNothingIsEmpty(t *testing.T) {
	s := metrics.NewSeries()
	for _, got := range []metrics.Summary{s.Summary(), s.Live()} {
		if got.From != 0 || got.To != 0 || got.Seconds != 0 || got.Metrics == nil || len(got.Metrics) != 0 {
			t.Errorf("got %+v, want an empty summary", got)
		}
	}
	if lines := s.Lines(metrics.Query{}); lines == nil || len(lines) != 0 {
		t.Errorf("got %+v, want no lines", lines)
	}
}

func TestLiveIsTheLatestSecondOfAllThatAreHeardOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames map[int][]int // seconds by machine
		final  int           // machine whose last frame is final, -1 for none
		second int
		count  float64
	}{
		{"one machine", map[int][]int{0: {1, 2, 3}}, -1, 3, 1},
		{"waits for the slower one", map[int][]int{0: {1, 2, 3}, 1: {1, 2}}, -1, 2, 2},
		{"not for one silent for five seconds", map[int][]int{0: {1, 2, 7}, 1: {1, 2}}, -1, 7, 1},
		{"nor for one that has finished", map[int][]int{0: {1, 2, 3}, 1: {1, 2}}, 1, 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := metrics.NewSeries()
			for machine, seconds := range c.frames {
				for i, second := range seconds {
					f := frame(uint64(i+1), second, counter("n", 1))
					f.Final = machine == c.final && i == len(seconds)-1
					s.Add("a", machine, f)
				}
			}
			got := s.Live()
			if got.To != at(c.second) || got.Seconds != 1 {
				t.Errorf("time: got %d (%v s), want %d (1 s)", got.To, got.Seconds, at(c.second))
			}
			if len(got.Metrics) != 1 || got.Metrics[0].Count != c.count || got.Metrics[0].Rate != c.count {
				t.Errorf("metrics: got %+v, want count and rate %v", got.Metrics, c.count)
			}
		})
	}
}

func TestLinesGroupAsAsked(t *testing.T) {
	s := metrics.NewSeries()
	ok := metrics.Tag{Name: "status", Value: "200"}
	for machine := range 2 {
		for second := 1; second <= 3; second++ {
			n := float64(second)
			s.Add("gen", machine, frame(uint64(second), second, counter("req", n, ok), counter("req", 100), timer("lat", n), gauge("users", n, 1)))
		}
	}
	s.Add("web", 0, frame(1, 2, counter("req", 1000)))
	for _, c := range []struct {
		name  string
		query metrics.Query
		want  []string
	}{
		{
			"one line a metric",
			metrics.Query{From: at(1), To: at(2)},
			[]string{"lat - [2 2]", "req - [2 1204]", "users - [2 4]"},
		},
		{"by step", metrics.Query{Metric: "req", By: "step"}, []string{"req gen - [1 202] [2 204] [3 206]", "req web - [2 1000]"}},
		{
			"by machine",
			metrics.Query{Metric: "req", By: "machine", To: at(2)},
			[]string{"req gen 0 [1 101] [2 102]", "req gen 1 [1 101] [2 102]", "req web 0 [2 1000]"},
		},
		{"by tag", metrics.Query{Tags: []metrics.Tag{ok}}, []string{"req - [1 2] [2 4] [3 6]"}},
		{"gauges add up over machines", metrics.Query{Metric: "users", From: at(2)}, []string{"users - [3 6]"}},
		{"unknown metric", metrics.Query{Metric: "nope"}, []string{}},
		{"time before the run", metrics.Query{To: 1}, []string{}},
		{"time turned round", metrics.Query{From: at(3), To: at(1)}, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, briefLines(s.Lines(c.query))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func briefLines(lines []metrics.Line) []string {
	out := []string{}
	for _, l := range lines {
		text := l.Name
		if l.Step != "" {
			text += " " + l.Step
		}
		if l.Machine != nil {
			text += fmt.Sprintf(" %d", *l.Machine)
		} else {
			text += " -"
		}
		for _, b := range l.Buckets {
			v := b.Count
			if l.Kind == metrics.Gauge {
				v = b.Value
			}
			text += fmt.Sprintf(" [%d %v]", (b.Time-at(0))/1000, v)
		}
		out = append(out, text)
	}
	return out
}

func TestLinesMergeFramesOfOneSecond(t *testing.T) {
	s := metrics.NewSeries()
	late := frame(3, 2, timer("lat", 9))
	late.Time -= 300 // the final frame of a relay that ends within the second
	s.Add("a", 0, frame(2, 2, timer("lat", 5, 6)))
	s.Add("a", 0, late)
	s.Add("a", 0, frame(1, 1, timer("lat", 1))) // out of order
	lines := s.Lines(metrics.Query{})
	if diff := cmp.Diff([]string{"lat - [1 1] [2 3]"}, briefLines(lines)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if b := lines[0].Buckets[1]; b.Max != 9 || math.Abs(b.P50-6) > 0.06 {
		t.Errorf("second 2: got p50 %v, max %v, want 6, 9", b.P50, b.Max)
	}
}

// TestSummaryDoesNotDependOnTheSplit is the property that all percentiles of
// Loads stand on: values split any way over machines, seconds and frames, in
// any order, sum up to the same as one frame with all of them.
func TestSummaryDoesNotDependOnTheSplit(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 9))
		d := distributions[r.IntN(len(distributions))]
		machines, seconds := 1+r.IntN(5), 1+r.IntN(6)
		parts := make([]*metrics.Sketch, machines*seconds)
		counts := make([]float64, len(parts))
		for i := range parts {
			parts[i] = metrics.NewSketch()
		}
		whole, total := metrics.NewSketch(), 0.0
		for range 1 + r.IntN(3000) {
			v, weight, i := d.next(r), float64(1+r.IntN(10)), r.IntN(len(parts))
			whole.Add(v, weight)
			parts[i].Add(v, weight)
			counts[i] += weight
			total += weight
		}
		one, split := metrics.NewSeries(), metrics.NewSeries()
		one.Add("a", 0, frame(1, 1, sketched(whole), counter("n", total)))
		for _, i := range r.Perm(len(parts)) {
			f := overTheWire(t, frame(uint64(i/machines+1), i/machines, sketched(parts[i]), counter("n", counts[i])))
			split.Add(fmt.Sprint("step", i%2), i%machines, f)
		}
		checkSameMetrics(t, fmt.Sprintf("seed %d, %s", seed, d.name), split.Summary(), one.Summary())
	}
}

func sketched(s *metrics.Sketch) metrics.Point {
	return metrics.Point{Kind: metrics.Timer, Name: "lat", Sketch: s}
}

func overTheWire(t *testing.T, f metrics.Frame) metrics.Frame {
	t.Helper()
	line, err := metrics.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	back, err := metrics.Decode(line)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func checkSameMetrics(t *testing.T, name string, got, want metrics.Summary) {
	t.Helper()
	for i := range want.Metrics {
		g, w := got.Metrics[i], want.Metrics[i]
		if math.Abs(g.Mean-w.Mean) > 1e-9*(math.Abs(w.Max)+math.Abs(w.Min)) {
			t.Errorf("%s: mean: got %v, want %v", name, g.Mean, w.Mean)
		}
		g.Mean, w.Mean, g.Rate, w.Rate = 0, 0, 0, 0 // sums differ in their last bit; rates by the time
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
