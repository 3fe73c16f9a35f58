package metrics

// Reset empties the sketch and keeps its memory, for one that is filled again
// and again.
func (s *Sketch) Reset() {
	pos, neg := s.pos, s.neg
	for _, h := range []*histogram{pos, neg} {
		if h != nil {
			clear(h.weights)
		}
	}
	*s = Sketch{pos: pos, neg: neg}
}

// Each calls f with the values that the sketch tells apart, in their order, and
// the weight of each. The first and the last are the least and the greatest
// value that were added; the others are the middles of their bins.
func (s *Sketch) Each(f func(value, weight float64)) {
	if s.count == 0 {
		return
	}
	opened := s.opened()
	within := func(value, weight float64) { f(min(max(value, s.min), s.max), weight) }
	if opened.neg != nil {
		first, end := opened.neg.used()
		for bin := end - 1; bin >= first; bin-- {
			if w := opened.neg.weights[bin-opened.neg.first]; w != 0 {
				within(-bins.Value(bin), w)
			}
		}
	}
	if opened.zero > 0 {
		within(0, opened.zero)
	}
	if opened.pos != nil {
		opened.pos.each(func(bin int, w float64) { within(bins.Value(bin), w) })
	}
}
