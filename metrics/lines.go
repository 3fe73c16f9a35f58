package metrics

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// A Query selects and groups the series of a run.
type Query struct {
	Metric string // name; empty selects all
	By     string // "" for one line a metric, or "step", or "machine"
	From   int64  // Unix ms; seconds that end after it; 0 is the start
	To     int64  // Unix ms; seconds that end at it or before; 0 is the end
	Tags   []Tag  // a metric must carry all of them
}

// A Line is a metric over time, merged over all that its query does not tell
// apart. Seconds without anything have no bucket. By machine, what has been
// condensed is there by the minute.
type Line struct {
	Name    string   `json:"name"`
	Kind    Kind     `json:"kind"`
	Step    string   `json:"step,omitempty"`    // when by step or by machine
	Machine *int     `json:"machine,omitempty"` // index in the step, when by machine
	Buckets []Bucket `json:"buckets"`           // in order of time
}

// A Bucket is a second, or a minute, of a line; its fields are as in
// MetricSummary.
type Bucket struct {
	Time    int64   `json:"time"`    // Unix ms of its end
	Seconds float64 `json:"seconds"` // its length; of a minute only what lies in the run
	Count   float64 `json:"count"`
	Rate    float64 `json:"rate"`
	Value   float64 `json:"value"`
	Mean    float64 `json:"mean"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P95     float64 `json:"p95"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
}

// lineKey names a line; machine is -1 when the line is not of one machine.
type lineKey struct {
	metricKey
	machineKey
}

// Lines returns the lines that the query asks for, by name, kind, step and
// machine.
func (s *Series) Lines(q Query) []Line {
	groups := make(map[lineKey][]*track)
	for key, t := range s.tracks {
		if q.selects(key, t) {
			line := q.line(key)
			groups[line] = append(groups[line], t)
		}
	}
	keys := slices.SortedFunc(maps.Keys(groups), compareLines)
	lines := make([]Line, 0, len(keys))
	for _, key := range keys {
		buckets := q.minutes(s, key.kind, groups[key])
		buckets = append(buckets, q.buckets(key.kind, groups[key])...)
		if len(buckets) > 0 {
			slices.SortStableFunc(buckets, func(a, b Bucket) int { return cmp.Compare(a.Time, b.Time) })
			line := Line{Name: key.name, Kind: key.kind, Step: key.step, Buckets: buckets}
			if key.machine >= 0 {
				machine := key.machine
				line.Machine = &machine
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func (q Query) selects(key trackKey, t *track) bool {
	if q.Metric != "" && q.Metric != key.name {
		return false
	}
	if q.By == "machine" && key.machine == wholeStep {
		return false // its machines are there by the minute
	}
	for _, tag := range q.Tags {
		if !slices.Contains(t.tags, tag) {
			return false
		}
	}
	return true
}

// line returns the line that a track belongs to.
func (q Query) line(key trackKey) lineKey {
	switch q.By {
	case "machine":
		return lineKey{key.metricKey, key.machineKey}
	case "step":
		return lineKey{key.metricKey, machineKey{key.step, -1}}
	default:
		return lineKey{key.metricKey, machineKey{"", -1}}
	}
}

// buckets merges tracks second by second.
func (q Query) buckets(kind Kind, tracks []*track) []Bucket {
	seconds := make(map[int64]*cell)
	for _, t := range tracks {
		for _, c := range q.within(t.cells) {
			sum := seconds[c.time]
			if sum == nil {
				sum = &cell{time: c.time, sketch: NewSketch(), set: &Distinct{}}
				seconds[c.time] = sum
			}
			sum.count = saturate(sum.count + c.count)
			sum.value = saturate(sum.value + c.value)
			mergeInto(sum.sketch, c.sketch)
			sum.set.Merge(c.set)
		}
	}
	buckets := make([]Bucket, 0, len(seconds))
	for _, time := range slices.Sorted(maps.Keys(seconds)) {
		buckets = append(buckets, seconds[time].bucket(kind))
	}
	return buckets
}

// minutes returns the minutes of one machine, none for other lines.
func (q Query) minutes(s *Series, kind Kind, tracks []*track) []Bucket {
	if q.By != "machine" {
		return nil
	}
	var sum track                 // over tags
	fresh := int64(math.MaxInt64) // first second that is not condensed
	for _, t := range tracks {
		for _, c := range q.within(t.minutes) {
			c.time = minuteOf(c.time)
			sum.mergeSecond(c)
		}
		if len(t.cells) > 0 {
			fresh = min(fresh, t.cells[0].time)
		}
	}
	buckets := make([]Bucket, 0, len(sum.cells))
	for i := range sum.cells {
		b := sum.cells[i].bucket(kind)
		from, to := max(b.Time-minuteMs, s.from), min(b.Time, s.to)
		if fresh > from {
			to = min(to, fresh-secondMs)
		}
		if from < to { // else it is of a gauge that was only carried over
			b.Time, b.Seconds = to, float64(to-from)/secondMs
		}
		b.Rate /= b.Seconds
		buckets = append(buckets, b)
	}
	return buckets
}

// within returns the cells in the query's time.
func (q Query) within(cells []cell) []cell {
	first, _ := slices.BinarySearchFunc(cells, q.From+1, compareTime)
	last := len(cells)
	if q.To > 0 {
		last, _ = slices.BinarySearchFunc(cells, q.To+1, compareTime)
	}
	return cells[first:max(first, last)]
}

func compareTime(c cell, time int64) int { return cmp.Compare(c.time, time) }

func (c *cell) bucket(kind Kind) Bucket {
	b := Bucket{Time: c.time, Seconds: 1, Count: c.count, Value: c.value}
	if kind == Timer {
		q := c.sketch.Quantiles(0.5, 0.9, 0.95, 0.99)
		b.Count, b.Mean, b.Max = c.sketch.Count(), c.sketch.Mean(), c.sketch.Max()
		b.P50, b.P90, b.P95, b.P99 = q[0], q[1], q[2], q[3]
	}
	if kind == Set {
		b.Count = c.set.Count()
	}
	if kind == Counter || kind == Timer {
		b.Rate = b.Count // a cell is one second long; minutes see to theirs
	}
	return b
}

func compareLines(a, b lineKey) int {
	return cmp.Or(
		cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind),
		cmp.Compare(a.step, b.step), cmp.Compare(a.machine, b.machine))
}
