package metrics

import "slices"

// A Window is what the metrics of one name did in some time, merged over all
// machines, and over the tags that its query does not fix. The zero value is
// of a time in which nothing came.
type Window struct {
	kinds   []Kind
	counter float64
	timer   Sketch
	gauge   float64
}

// Window returns what the query's metric did in its time. By is not looked at.
// The cost grows with the metric's machines, tags, and seconds in that time.
func (s *Series) Window(q Query) Window {
	var w Window
	gauges := make(map[trackKey]*gaugeSum)
	for key, t := range s.tracks {
		if !q.selects(key, t) {
			continue
		}
		if key.kind == Gauge {
			q.addGauge(gauges, key, t)
			continue
		}
		cells := q.within(t.cells)
		if len(cells) == 0 {
			continue
		}
		w.note(key.kind)
		for _, c := range cells {
			if key.kind == Counter {
				w.counter = saturate(w.counter + c.count)
			}
			mergeInto(&w.timer, c.sketch)
		}
	}
	for _, g := range gauges {
		w.note(Gauge)
		w.gauge = saturate(w.gauge + g.value())
	}
	return w
}

// A gaugeSum is a gauge of a step at the end of a window.
type gaugeSum struct {
	fresh    bool    // machines has seconds that are not condensed
	machines float64 // sum of the machines' last values
	step     float64 // sum over machines in the last condensed second
}

// value goes by the machines unless all the window is condensed, which may end
// within a machine's minute.
func (g *gaugeSum) value() float64 {
	if g.fresh {
		return g.machines
	}
	return g.step
}

// addGauge adds a track of a machine or a step to the gauge's sum.
func (q Query) addGauge(gauges map[trackKey]*gaugeSum, key trackKey, t *track) {
	cells, minutes := q.within(t.cells), q.within(t.minutes)
	if len(cells) == 0 && len(minutes) == 0 {
		return
	}
	machine := key.machine
	key.machine = wholeStep
	g := gauges[key]
	if g == nil {
		g = &gaugeSum{}
		gauges[key] = g
	}
	switch {
	case machine == wholeStep:
		g.step = cells[len(cells)-1].value
	case len(cells) > 0:
		g.fresh = true
		g.machines = saturate(g.machines + cells[len(cells)-1].value)
	default:
		g.machines = saturate(g.machines + minutes[len(minutes)-1].value)
	}
}

// Extend adds what came in the time right after w's.
func (w *Window) Extend(next Window) {
	for _, k := range next.kinds {
		w.note(k)
	}
	w.counter = saturate(w.counter + next.counter)
	mergeInto(&w.timer, &next.timer)
	if next.Has(Gauge) {
		w.gauge = next.gauge
	}
}

func (w *Window) note(k Kind) {
	if !w.Has(k) {
		w.kinds = append(w.kinds, k)
	}
}

// Has reports whether anything of that kind came.
func (w *Window) Has(k Kind) bool { return slices.Contains(w.kinds, k) }

// Counted returns the sum of a counter's increments.
func (w *Window) Counted() float64 { return w.counter }

// Timed returns the values of a timer, for reading only.
func (w *Window) Timed() *Sketch { return &w.timer }

// Gauged returns a gauge's last value, summed over machines and tags.
func (w *Window) Gauged() float64 { return w.gauge }

// Span returns the time in which anything arrived at a relay, Unix ms; zeros
// before that.
func (s *Series) Span() (from, to int64) { return s.from, s.to }

// LiveSecond returns the end, Unix ms, of the last complete second: the one
// that Live tells about. It is 0 before any frame.
func (s *Series) LiveSecond() int64 { return s.liveSecond() }

// Seconds returns the query's Window second by second, by the seconds' ends in
// Unix ms; seconds in which nothing came are left out.
func (s *Series) Seconds(q Query) map[int64]*Window {
	seconds := map[int64]*Window{}
	for key, t := range s.tracks {
		if !q.selects(key, t) {
			continue
		}
		for _, c := range q.within(t.cells) {
			w := seconds[c.time]
			if w == nil {
				w = &Window{}
				seconds[c.time] = w
			}
			w.addCell(key.kind, c)
		}
	}
	return seconds
}

// addCell adds a second of one machine and one set of tags.
func (w *Window) addCell(kind Kind, c cell) {
	w.note(kind)
	switch kind {
	case Counter:
		w.counter = saturate(w.counter + c.count)
	case Gauge:
		w.gauge = saturate(w.gauge + c.value)
	case Timer:
		mergeInto(&w.timer, c.sketch)
	}
}

// Kinds returns the kinds in which the metric has come so far with tags of all
// these names, whatever their values.
func (s *Series) Kinds(metric string, tagNames ...string) []Kind {
	var w Window
	for key, t := range s.tracks {
		if key.name == metric && t.hasTags(tagNames) {
			w.note(key.kind)
		}
	}
	return w.kinds
}

// HasTimers reports whether a timer has come from the step so far.
func (s *Series) HasTimers(step string) bool {
	for key := range s.tracks {
		if key.step == step && key.kind == Timer {
			return true
		}
	}
	return false
}

func (t *track) hasTags(names []string) bool {
	for _, name := range names {
		if !slices.ContainsFunc(t.tags, func(tag Tag) bool { return tag.Name == name }) {
			return false
		}
	}
	return true
}
