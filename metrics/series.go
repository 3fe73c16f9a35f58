package metrics

import (
	"maps"
	"slices"
	"strings"
)

// secondMs is the length of a bucket.
const secondMs = 1000

// A Series accumulates the frames of a run: totals by metric, and values by
// second for each metric of each machine, or what Condense makes of them. It
// keeps no frame. It is not safe for concurrent use.
type Series struct {
	machines map[machineKey]*machineState
	tracks   map[trackKey]*track
	hosts    map[hostKey]*hostTrack
	// totals are the tracks of machines summed up; nil until they are asked for,
	// since most series that are made from what is stored are never summed up.
	totals map[metricKey]*total

	// Ends of the time in which anything arrived, Unix ms; 0 before that.
	from, to int64
}

type machineKey struct {
	step    string
	machine int
}

// machineState is what is known of a machine's frames.
type machineState struct {
	seen  seen
	last  int64 // latest second heard of, Unix ms of its end
	final bool
}

// trackKey names a metric of one machine.
type trackKey struct {
	machineKey
	metricKey
	tags string // as tagKey gives them
}

type metricKey struct {
	name string
	kind Kind
}

// total is one metric over the whole run and all machines.
type total struct {
	count    float64   // counter: sum; gauge: settings
	sketch   *Sketch   // timer
	distinct *Distinct // set
}

// track is one metric of one machine, or of a whole step, in order of time.
type track struct {
	tags    []Tag
	cells   []cell // seconds; of a step, those condensed, of a machine the others
	minutes []cell // of a machine; each bears the time of the latest second in it
}

// cell is one second of a track.
type cell struct {
	time   int64 // Unix ms of the second's end
	count  float64
	value  float64   // gauge
	sketch *Sketch   // timer; packed
	set    *Distinct // set; packed, and without a count
}

// NewSeries returns an empty series.
func NewSeries() *Series {
	return &Series{
		machines: make(map[machineKey]*machineState),
		tracks:   make(map[trackKey]*track),
		hosts:    make(map[hostKey]*hostTrack),
	}
}

// Add takes a frame of the machine with that index in the step. A frame that
// came before is ignored; the order of frames does not matter, except that of
// two settings of a gauge in one second the later added wins. The frame stays
// the caller's.
func (s *Series) Add(step string, machine int, f Frame) {
	key := machineKey{step, machine}
	m := s.machine(key)
	if !m.seen.add(f.Seq) {
		return
	}
	second := secondOf(f.Time)
	m.last = max(m.last, second)
	m.final = m.final || f.Final
	for i := range f.Points {
		s.addPoint(key, second, &f.Points[i])
	}
	for i := range f.Host {
		s.addHost(key, second, &f.Host[i])
	}
}

func (s *Series) addPoint(machine machineKey, second int64, p *Point) {
	metric := metricKey{p.Name, p.Kind}
	c := cellOf(second, p)
	if p.Kind != Gauge || p.Count > 0 {
		s.widen(second)
	}
	if s.totals != nil {
		s.total(metric).add(c)
	}
	s.track(trackKey{machine, metric, tagKey(p.Tags)}, p.Tags).add(c)
}

func (s *Series) machine(key machineKey) *machineState {
	m := s.machines[key]
	if m == nil {
		m = &machineState{}
		s.machines[key] = m
	}
	return m
}

// Forget has the numbers of the machine's frames begin again, as another has taken
// its place. What came before stays.
func (s *Series) Forget(step string, machine int) {
	delete(s.machines, machineKey{step, machine})
}

func (s *Series) total(metric metricKey) *total {
	t := s.totals[metric]
	if t == nil {
		t = newTotal()
		s.totals[metric] = t
	}
	return t
}

func newTotal() *total { return &total{sketch: NewSketch(), distinct: &Distinct{}} }

// sumUp makes the totals, unless they are there.
func (s *Series) sumUp() {
	if s.totals != nil {
		return
	}
	s.totals = make(map[metricKey]*total)
	for _, key := range slices.SortedFunc(maps.Keys(s.tracks), compareTracks) { // sorted, as sums of fractions depend on it
		if key.machine == wholeStep {
			continue
		}
		t, sum := s.tracks[key], s.total(key.metricKey)
		for _, c := range t.minutes {
			sum.add(c)
		}
		for _, c := range t.cells {
			sum.add(c)
		}
	}
}

func (t *total) add(c cell) {
	t.count = saturate(t.count + c.count)
	mergeInto(t.sketch, c.sketch)
	t.distinct.Merge(c.set)
}

// widen stretches the time of the run over the second.
func (s *Series) widen(second int64) {
	if s.to == 0 || second-secondMs < s.from {
		s.from = second - secondMs
	}
	s.to = max(s.to, second)
}

func (s *Series) track(key trackKey, tags []Tag) *track {
	t := s.tracks[key]
	if t == nil {
		t = &track{tags: slices.Clone(tags)}
		s.tracks[key] = t
	}
	return t
}

// add puts a cell where it belongs, mostly at the end.
func (t *track) add(c cell) {
	i, found := t.find(c.time)
	if !found {
		if c.sketch != nil {
			c.sketch = c.sketch.Clone()
			c.sketch.freeze()
		}
		if c.set != nil {
			c.set = c.set.Clone()
		}
		t.cells = slices.Insert(t.cells, i, c)
		return
	}
	have := &t.cells[i]
	have.count = saturate(have.count + c.count)
	have.value = c.value
	if c.sketch != nil {
		mergeInto(have.sketch, c.sketch)
		have.sketch.freeze()
	}
	if c.set != nil {
		have.set.Merge(c.set)
		have.set = have.set.Clone()
	}
}

// find returns the place of a second, looking at the last one first.
func (t *track) find(second int64) (int, bool) {
	if n := len(t.cells); n == 0 || t.cells[n-1].time < second {
		return n, false
	}
	return slices.BinarySearchFunc(t.cells, second, compareTime)
}

// last returns the latest cell, be it a second or a minute.
func (t *track) last() cell {
	if len(t.cells) == 0 {
		return t.minutes[len(t.minutes)-1]
	}
	c := t.cells[len(t.cells)-1]
	if n := len(t.minutes); n > 0 && t.minutes[n-1].time > c.time {
		return t.minutes[n-1]
	}
	return c
}

// mergeInto merges a sketch that was checked when it was decoded, so that it
// can't fail. Nil adds nothing.
func mergeInto(into, from *Sketch) {
	_ = into.Merge(from)
}

// secondOf returns the end of the second that a time belongs to. A frame's
// time is the end of its second, so a full second belongs to the one before.
func secondOf(ms int64) int64 {
	return (ms + secondMs - 1) / secondMs * secondMs
}

// tagKey returns the tags as one string.
func tagKey(tags []Tag) string {
	var b strings.Builder
	for _, t := range tags {
		b.WriteString(t.Name)
		b.WriteByte(0)
		b.WriteString(t.Value)
		b.WriteByte(0)
	}
	return b.String()
}
