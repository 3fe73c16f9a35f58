package metrics

import (
	"cmp"
	"maps"
	"slices"
)

// minuteMs is the length of a machine's bucket once it is condensed.
const minuteMs = 60 * secondMs

// wholeStep stands for the index of a machine where a track is that of all
// machines of a step.
const wholeStep = -1

// A Block is a part of a series in the form in which it is kept: minutes of
// machines and seconds of steps. Blocks add up in any order.
type Block struct {
	From  int64  `json:"from"` // as in Summary
	To    int64  `json:"to"`
	Spans []Span `json:"spans"`
	// Hosts is what the machines told of themselves.
	Hosts []HostSpan `json:"hosts,omitempty"`
}

// Minute returns the end of the minute, Unix ms, that all of the block is in;
// false when it is of several minutes, or empty.
func (b Block) Minute() (end int64, ok bool) {
	for _, span := range b.Spans {
		if minute := minuteOf(span.Time); end == 0 {
			end = minute
		} else if minute != end {
			return 0, false
		}
	}
	for _, span := range b.Hosts {
		if minute := minuteOf(span.Time); end == 0 {
			end = minute
		} else if minute != end {
			return 0, false
		}
	}
	return end, end != 0
}

// A Span is what a machine did in a minute, or what all machines of a step
// together did in a second.
type Span struct {
	Machine int     `json:"m"`  // index in the step; -1 for all machines
	Time    int64   `json:"at"` // end of the latest second in it, Unix ms
	Points  []Point `json:"p"`
}

// Condense makes the seconds that end at or before until (Unix ms) small: each
// metric is merged over a minute for each machine, and second by second over
// the machines of each step. Sums, settings and sketches stay those of all
// values, so a summary stays what it is; what is given up is the single second
// of a single machine. Of what machines tell of themselves, means and ends of
// each minute stay.
func (s *Series) Condense(until int64) {
	for key, t := range s.hosts {
		if len(t.times) > 0 && t.times[0] <= until {
			t.condense(key.name, until)
		}
	}
	var touched []*Sketch
	for key, t := range s.tracks {
		if key.machine == wholeStep || len(t.cells) == 0 || t.cells[0].time > until {
			continue
		}
		n, _ := slices.BinarySearchFunc(t.cells, until+1, compareTime)
		all := key
		all.machine = wholeStep
		step := s.track(all, t.tags)
		var opened Sketch // once for the minute and the second
		for _, c := range t.cells[:n] {
			if c.sketch != nil {
				opened.set(c.sketch)
				c.sketch = &opened
			}
			touched = append(touched, t.mergeMinute(c), step.mergeSecond(c))
		}
		t.cells = slices.Clone(t.cells[n:])
	}
	for _, sketch := range touched {
		if sketch != nil && sketch.packed == nil {
			sketch.freeze()
		}
	}
}

// mergeMinute adds a second, or a minute, to its minute, and returns the
// minute's sketch, which is left open for more.
func (t *track) mergeMinute(c cell) *Sketch {
	i, found := slices.BinarySearchFunc(t.minutes, minuteOf(c.time), func(m cell, minute int64) int {
		return cmp.Compare(minuteOf(m.time), minute)
	})
	if !found {
		t.minutes = slices.Insert(t.minutes, i, c.clone())
		return t.minutes[i].sketch
	}
	have := &t.minutes[i]
	have.merge(c)
	if c.time >= have.time {
		have.time, have.value = c.time, c.value
	}
	return have.sketch
}

// mergeSecond adds a second of one machine to the same second of its step.
func (t *track) mergeSecond(c cell) *Sketch {
	i, found := t.find(c.time)
	if !found {
		t.cells = slices.Insert(t.cells, i, c.clone())
		return t.cells[i].sketch
	}
	have := &t.cells[i]
	have.merge(c)
	have.value = saturate(have.value + c.value)
	return have.sketch
}

// merge adds what adds up; a gauge's value is the caller's matter.
func (c *cell) merge(o cell) {
	c.count = saturate(c.count + o.count)
	if o.sketch != nil {
		mergeInto(c.sketch, o.sketch)
	}
	if o.set != nil {
		c.set.Merge(o.set)
		c.set = c.set.Clone() // packed
	}
}

func (c cell) clone() cell {
	if c.sketch != nil {
		c.sketch = c.sketch.Clone()
	}
	if c.set != nil {
		c.set = c.set.Clone()
	}
	return c
}

// Blocks returns what has been condensed, by step. The blocks share sketches
// with the series, and are for reading.
func (s *Series) Blocks() map[string]Block {
	blocks := s.blocks(func(key trackKey, t *track) []cell {
		if key.machine == wholeStep {
			return t.cells
		}
		return t.minutes
	})
	s.addHosts(blocks, func(_ hostKey, t *hostTrack) []hostMinute { return t.minutes })
	return blocks
}

// Totals returns the series by step, with a single point for each metric and
// each measurement of each machine, in a span of the time when it came last. A
// series made from totals has the right Summary and Hosts, and nothing else.
func (s *Series) Totals() map[string]Block {
	blocks := s.blocks(func(key trackKey, t *track) []cell {
		if key.machine == wholeStep {
			return nil
		}
		last := t.last()
		sum := cell{time: last.time, value: last.value}
		if key.kind == Timer {
			sum.sketch = NewSketch()
		}
		if key.kind == Set {
			sum.set = &Distinct{}
		}
		for _, c := range slices.Concat(t.minutes, t.cells) {
			sum.merge(c)
		}
		return []cell{sum}
	})
	s.addHosts(blocks, func(key hostKey, t *hostTrack) []hostMinute { return []hostMinute{t.whole(key.name)} })
	return blocks
}

// addHosts adds what minutes gives of what machines told of themselves.
func (s *Series) addHosts(blocks map[string]Block, minutes func(hostKey, *hostTrack) []hostMinute) {
	spans := make(map[spanKey][]HostCell)
	for _, key := range slices.SortedFunc(maps.Keys(s.hosts), compareHosts) {
		t := s.hosts[key]
		for _, m := range minutes(key, t) {
			span := spanKey{key.machineKey, m.time}
			spans[span] = append(spans[span], HostCell{Name: key.name, Tags: t.tags, Fields: m.fields})
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(spans), compareSpans) {
		b := blocks[key.step]
		b.From, b.To = s.from, s.to
		b.Hosts = append(b.Hosts, HostSpan{Machine: key.machine, Time: key.time, Points: spans[key]})
		blocks[key.step] = b
	}
}

// spanKey names a span within a series.
type spanKey struct {
	machineKey
	time int64
}

func (s *Series) blocks(cells func(trackKey, *track) []cell) map[string]Block {
	spans := make(map[spanKey][]Point)
	for _, key := range slices.SortedFunc(maps.Keys(s.tracks), compareTracks) {
		t := s.tracks[key]
		for _, c := range cells(key, t) {
			span := spanKey{key.machineKey, c.time}
			spans[span] = append(spans[span], c.point(key.metricKey, t.tags))
		}
	}
	blocks := make(map[string]Block)
	for _, key := range slices.SortedFunc(maps.Keys(spans), compareSpans) {
		b := blocks[key.step]
		b.From, b.To = s.from, s.to
		b.Spans = append(b.Spans, Span{Machine: key.machine, Time: key.time, Points: spans[key]})
		blocks[key.step] = b
	}
	return blocks
}

// AddBlock takes in a block of the step. The block stays the caller's, but
// shares its sketches with the series, so none may change afterwards.
func (s *Series) AddBlock(step string, b Block) {
	if b.To > 0 {
		if s.to == 0 || b.From < s.from {
			s.from = b.From
		}
		s.to = max(s.to, b.To)
	}
	for _, span := range b.Spans {
		machine := machineKey{step, span.Machine}
		for i := range span.Points {
			s.addSpanPoint(machine, span.Time, &span.Points[i])
		}
	}
	for _, span := range b.Hosts {
		s.addHostSpan(step, span)
	}
}

func (s *Series) addSpanPoint(machine machineKey, time int64, p *Point) {
	metric := metricKey{p.Name, p.Kind}
	c := cellOf(time, p)
	t := s.track(trackKey{machine, metric, tagKey(p.Tags)}, p.Tags)
	var sketch *Sketch
	if machine.machine == wholeStep {
		sketch = t.mergeSecond(c)
	} else {
		if s.totals != nil {
			s.total(metric).add(c)
		}
		sketch = t.mergeMinute(c)
	}
	if sketch != nil && sketch.packed == nil {
		sketch.freeze()
	}
}

// Skip tells the series that the frames of a machine with the numbers from
// first to last are in it already, in blocks.
func (s *Series) Skip(step string, machine int, first, last uint64) {
	m := s.machine(machineKey{step, machine})
	for n := first; n <= last; n++ {
		m.seen.add(n)
	}
}

// Newest returns the latest second heard of from any machine, Unix ms of its
// end; 0 before any frame.
func (s *Series) Newest() int64 {
	newest := int64(0)
	for _, m := range s.machines {
		newest = max(newest, m.last)
	}
	return newest
}

// cellOf returns what a point says of the second.
func cellOf(second int64, p *Point) cell {
	switch p.Kind {
	case Gauge:
		return cell{time: second, count: p.Count, value: p.Value}
	case Timer:
		return cell{time: second, count: p.Sketch.Count(), sketch: p.Sketch}
	case Set:
		return cell{time: second, set: p.Distinct}
	default:
		return cell{time: second, count: p.Value}
	}
}

// point is the reverse of cellOf.
func (c cell) point(metric metricKey, tags []Tag) Point {
	p := Point{Kind: metric.kind, Name: metric.name, Tags: tags}
	switch metric.kind {
	case Gauge:
		p.Count, p.Value = c.count, c.value
	case Timer:
		p.Sketch = c.sketch
	case Set:
		p.Distinct = c.set
	default:
		p.Value = c.count
	}
	return p
}

// minuteOf returns the end of the minute that a second belongs to.
func minuteOf(second int64) int64 { return (second + minuteMs - 1) / minuteMs * minuteMs }

func compareTracks(a, b trackKey) int {
	return cmp.Or(
		cmp.Compare(a.step, b.step), cmp.Compare(a.machine, b.machine),
		cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind), cmp.Compare(a.tags, b.tags))
}

func compareSpans(a, b spanKey) int {
	return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.machine, b.machine), cmp.Compare(a.time, b.time))
}
