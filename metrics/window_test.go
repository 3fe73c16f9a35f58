package metrics_test

import (
	"testing"

	"github.com/loads/loads/metrics"
)

// secondsOf makes a series of one machine a number: in second i (from 1) a
// counter of i, a timer value of 10i with the tag half:a or half:b, and a gauge
// of i.
func secondsOf(machines, n int) *metrics.Series {
	s := metrics.NewSeries()
	for m := range machines {
		for i := 1; i <= n; i++ {
			half := "a"
			if i > n/2 {
				half = "b"
			}
			sketch := metrics.NewSketch()
			sketch.Add(float64(10*i), 1)
			s.Add("step", m, metrics.Frame{
				Version: metrics.Version, Seq: uint64(i), Time: int64(i) * 1000,
				Points: []metrics.Point{
					{Kind: metrics.Counter, Name: "c", Value: float64(i)},
					{Kind: metrics.Timer, Name: "t", Tags: []metrics.Tag{{Name: "half", Value: half}}, Sketch: sketch},
					{Kind: metrics.Gauge, Name: "g", Value: float64(i), Count: 1},
				},
			})
		}
	}
	return s
}

func TestWindowTellsWhatCameInItsTime(t *testing.T) {
	s := secondsOf(2, 10)
	c := s.Window(metrics.Query{Metric: "c", From: 2000, To: 4000})
	if !c.Has(metrics.Counter) || c.Has(metrics.Timer) || c.Counted() != 14 {
		t.Errorf("counter in seconds 3 and 4 of two machines is %v, want 14", c.Counted())
	}
	all := s.Window(metrics.Query{Metric: "t"})
	if n := all.Timed().Count(); n != 20 {
		t.Errorf("%v values in the whole time, want 20", n)
	}
	b := s.Window(metrics.Query{Metric: "t", Tags: []metrics.Tag{{Name: "half", Value: "b"}}})
	if b.Timed().Count() != 10 || b.Timed().Min() != 60 {
		t.Errorf("with the tag: %v values from %v, want 10 from 60", b.Timed().Count(), b.Timed().Min())
	}
	g := s.Window(metrics.Query{Metric: "g", To: 7000})
	if g.Gauged() != 14 {
		t.Errorf("gauge at second 7 of two machines is %v, want 14", g.Gauged())
	}
	if none := s.Window(metrics.Query{Metric: "nope"}); none.Has(metrics.Counter) || none.Has(metrics.Timer) || none.Has(metrics.Gauge) {
		t.Error("a metric that never came is there")
	}
	if from, to := s.Span(); from != 0 || to != 10000 {
		t.Errorf("span %d to %d, want 0 to 10000", from, to)
	}
}

func TestWindowsThatFollowEachOtherAddUp(t *testing.T) {
	s := secondsOf(3, 9)
	for _, name := range []string{"c", "t", "g"} {
		whole := s.Window(metrics.Query{Metric: name})
		var sum metrics.Window
		for i := range int64(9) {
			sum.Extend(s.Window(metrics.Query{Metric: name, From: i * 1000, To: (i + 1) * 1000}))
		}
		if sum.Counted() != whole.Counted() || sum.Gauged() != whole.Gauged() ||
			sum.Timed().Count() != whole.Timed().Count() || sum.Timed().Quantile(0.9) != whole.Timed().Quantile(0.9) {
			t.Errorf("%s: the parts differ from the whole", name)
		}
	}
}

func TestSecondsAreTheWindowsOfSeconds(t *testing.T) {
	s := secondsOf(2, 6)
	for _, name := range []string{"c", "t", "g"} {
		seconds := s.Seconds(metrics.Query{Metric: name, From: 1000, To: 5000})
		if len(seconds) != 4 {
			t.Errorf("%s: %d seconds, want 4", name, len(seconds))
		}
		for at, got := range seconds {
			want := s.Window(metrics.Query{Metric: name, From: at - 1000, To: at})
			if got.Counted() != want.Counted() || got.Gauged() != want.Gauged() || got.Timed().Sum() != want.Timed().Sum() {
				t.Errorf("%s: second %d differs from its window", name, at)
			}
		}
	}
	if k := s.Kinds("t", "half"); len(k) != 1 || k[0] != metrics.Timer {
		t.Errorf("kinds of t with a half: %v, want a timer", k)
	}
	if k := s.Kinds("t", "halb"); len(k) != 0 {
		t.Errorf("kinds of t with a tag that never came: %v, want none", k)
	}
}
