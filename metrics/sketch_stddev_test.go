package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestStddevIsNearThatOfTheValues(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	whole, a, b := NewSketch(), NewSketch(), NewSketch()
	sum, squares, n := 0.0, 0.0, 20000
	for i := range n {
		v := 100 + 30*random.NormFloat64()
		if i%50 == 0 {
			v = 0
		}
		sum, squares = sum+v, squares+v*v
		whole.Add(v, 1)
		[]*Sketch{a, b}[i%2].Add(v, 1)
	}
	mean := sum / float64(n)
	want := math.Sqrt(squares/float64(n) - mean*mean)
	if got := whole.Stddev(); math.Abs(got-want) > 0.02*want {
		t.Errorf("got %v, want %v within 2 %%", got, want)
	}
	mergeInto(a, b)
	a.freeze()
	if got := a.Stddev(); math.Abs(got-whole.Stddev()) > 1e-6 {
		t.Errorf("merged and packed: got %v, want %v", got, whole.Stddev())
	}
}

func TestStddevOfFewValues(t *testing.T) {
	one := NewSketch()
	one.Add(-5, 3)
	if empty, same := NewSketch().Stddev(), one.Stddev(); empty != 0 || same != 0 {
		t.Errorf("got %v for none and %v for equal ones, want 0", empty, same)
	}
	zeros := NewSketch()
	zeros.Add(0, 4)
	zeros.Add(10, 4)
	if got := zeros.Stddev(); math.Abs(got-5) > 0.1 {
		t.Errorf("got %v, want 5", got)
	}
}
