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
// the weight of each: the middles of its bins, but the least value for the first
// bin and the greatest for the last.
func (s *Sketch) Each(f func(value, weight float64)) {
	if s.count == 0 {
		return
	}
	opened := s.opened()
	value, weight := 0.0, 0.0 // of the bin before
	step := func(v, w float64) {
		if weight > 0 {
			f(value, weight)
			value, weight = min(max(v, s.min), s.max), w
		} else {
			value, weight = s.min, w
		}
	}
	if opened.neg != nil {
		first, end := opened.neg.used()
		for bin := end - 1; bin >= first; bin-- {
			if w := opened.neg.weights[bin-opened.neg.first]; w != 0 {
				step(-bins.Value(bin), w)
			}
		}
	}
	if opened.zero > 0 {
		step(0, opened.zero)
	}
	if opened.pos != nil {
		opened.pos.each(func(bin int, w float64) { step(bins.Value(bin), w) })
	}
	f(s.max, weight)
}
