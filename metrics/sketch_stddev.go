package metrics

import "math"

// Stddev returns the standard deviation of the values, 0 for fewer than two.
// It is that of the middles of their bins, which lie within RelativeError of
// the values.
func (s *Sketch) Stddev() float64 {
	opened := s.opened()
	// Two passes: the difference of two large sums of squares is mostly error.
	weight, mean := opened.zero, 0.0
	opened.each(func(value, w float64) {
		weight += w
		mean += (value - mean) * w / weight
	})
	if weight == 0 {
		return 0
	}
	squares := opened.zero * mean * mean
	opened.each(func(value, w float64) { squares += (value - mean) * (value - mean) * w })
	return saturate(math.Sqrt(squares / weight))
}

// each calls f with the middle and the weight of every bin but that of zero.
func (s *Sketch) each(f func(value, weight float64)) {
	if s.pos != nil {
		s.pos.each(func(bin int, w float64) { f(bins.Value(bin), w) })
	}
	if s.neg != nil {
		s.neg.each(func(bin int, w float64) { f(-bins.Value(bin), w) })
	}
}
