package metrics_test

import (
	"testing"

	"github.com/loads/loads/metrics"
)

func TestSketchIsFilledAgainWithoutAllocating(t *testing.T) {
	s := metrics.NewSketch()
	fill := func() {
		s.Reset()
		for i := range 100 {
			s.Add(float64(i), 1)
		}
	}
	fill()
	if n := testing.AllocsPerRun(100, fill); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
	if s.Count() != 100 || s.Min() != 0 || s.Max() != 99 {
		t.Errorf("got %v values from %v to %v, want 100 from 0 to 99", s.Count(), s.Min(), s.Max())
	}
	if s.Reset(); s.Count() != 0 || s.Quantile(0.5) != 0 {
		t.Errorf("got %v values, p50 %v, want none", s.Count(), s.Quantile(0.5))
	}
}

func TestEachValueOfASketchMakesItAgain(t *testing.T) {
	s, again := metrics.NewSketch(), metrics.NewSketch()
	for _, v := range []float64{-5, -0.25, 0, 0, 3, 3.001, 700} {
		s.Add(v, 2)
	}
	last := s.Min()
	s.Each(func(value, weight float64) {
		if value < last {
			t.Errorf("%v comes after %v", value, last)
		}
		last = value
		again.Add(value, weight)
	})
	if again.Count() != s.Count() || again.Min() != s.Min() || again.Max() != s.Max() || again.Quantile(0.5) != s.Quantile(0.5) {
		t.Errorf("got %v values from %v to %v, want %v from %v to %v", again.Count(), again.Min(), again.Max(), s.Count(), s.Min(), s.Max())
	}
}
