package relay

import (
	"math"

	"github.com/loads/loads/metrics"
)

// series is one metric of this machine.
type series struct {
	kind metrics.Kind
	name string
	tags []metrics.Tag

	set      bool    // something arrived in this second
	count    float64 // gauge: how often it was set in this second
	value    float64 // counter: sum of this second; gauge: last value
	sketch   *metrics.Sketch
	distinct *metrics.Distinct
}

// take takes a number in, which stands for weight values. A delta changes a
// gauge instead of setting it.
func (s *series) take(value, weight float64, delta bool) {
	s.set = true
	switch s.kind {
	case metrics.Timer:
		if s.sketch == nil {
			s.sketch = metrics.NewSketch()
		}
		s.sketch.Add(value, weight)
	case metrics.Counter:
		s.value = bounded(s.value + bounded(value*weight))
	case metrics.Gauge:
		s.count++
		if delta {
			value += s.value
		}
		s.value = bounded(value)
	}
}

// takeSketch takes all values of a sketch in.
func (s *series) takeSketch(sketch *metrics.Sketch) error {
	s.set = true
	if s.sketch == nil {
		s.sketch = metrics.NewSketch()
	}
	return s.sketch.Merge(sketch)
}

// takeMember takes a value of a set in.
func (s *series) takeMember(member []byte) {
	s.set = true
	if s.distinct == nil {
		s.distinct = &metrics.Distinct{}
	}
	s.distinct.Add(member)
}

// point returns what arrived in the second that ends, and begins the next. The
// caller gets the sketch and the distinct count.
func (s *series) point() metrics.Point {
	p := metrics.Point{
		Kind: s.kind, Name: s.name, Tags: s.tags, Value: s.value, Count: s.count,
		Sketch: s.sketch, Distinct: s.distinct,
	}
	s.set, s.count, s.sketch, s.distinct = false, 0, nil, nil
	if s.kind == metrics.Counter {
		s.value = 0
	}
	return p
}

// bounded keeps sums that are too large for a number writable.
func bounded(v float64) float64 {
	return min(max(v, -math.MaxFloat64), math.MaxFloat64)
}
