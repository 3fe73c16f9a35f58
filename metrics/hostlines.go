package metrics

import (
	"cmp"
	"math"
	"slices"
)

// A HostQuery selects what is told of a run's machines.
type HostQuery struct {
	Measurement string // for example "cpu"; empty selects all
	Field       string // for example "usage_user"; empty selects all
	From        int64  // Unix ms; values of seconds that end after it; 0 is the start
	To          int64  // Unix ms; values of seconds that end at it or before; 0 is the end
}

// A HostLine is one field of one measurement of one machine over time.
type HostLine struct {
	Measurement string      `json:"measurement"`
	Field       string      `json:"field"`
	Tags        []Tag       `json:"tags"`
	Step        string      `json:"step"`
	Machine     int         `json:"machine"` // index in the step
	Counts      bool        `json:"counts"`  // values are totals, see HostPoint
	Values      []HostValue `json:"values"`  // in order of time
}

// A HostValue is what a machine told in one second; or, once that is
// condensed, in the seconds of a minute.
type HostValue struct {
	Time int64 `json:"time"` // Unix ms of the (latest) second's end
	// Value is a total as it was last, or a level; of a minute, its mean.
	Value float64 `json:"value"`
	// First is a total as it was in the minute's first second; nil for a level,
	// and for a single second.
	First *float64 `json:"first,omitempty"`
	// Max is the highest level of a minute's seconds; nil for a total, and for
	// a single second.
	Max *float64 `json:"max,omitempty"`
	// Seconds is how many seconds it stands for.
	Seconds int `json:"seconds"`
}

// Highest returns the highest level that the value stands for.
func (v HostValue) Highest() float64 {
	if v.Max != nil {
		return *v.Max
	}
	return v.Value
}

// hostKey names a measurement of one machine.
type hostKey struct {
	machineKey
	name string
	tags string // as tagKey gives them
}

// hostTrack is one measurement of one machine: a column of values for each
// field, with a row for each second; and minutes for what is condensed. NaN
// stands for a value that did not come.
type hostTrack struct {
	tags    []Tag
	times   []int64 // Unix ms of the seconds' ends, ascending
	columns map[string][]float64
	minutes []hostMinute
}

func (s *Series) addHost(machine machineKey, second int64, p *HostPoint) {
	s.hostTrack(machine, p.Name, p.Tags).add(second, p.Fields)
}

func (s *Series) hostTrack(machine machineKey, name string, tags []Tag) *hostTrack {
	key := hostKey{machine, name, tagKey(tags)}
	t := s.hosts[key]
	if t == nil {
		t = &hostTrack{tags: slices.Clone(tags), columns: make(map[string][]float64)}
		s.hosts[key] = t
	}
	return t
}

// add puts a row where it belongs, mostly at the end. Of two values of one
// second the later added counts.
func (t *hostTrack) add(second int64, fields map[string]float64) {
	row, found := len(t.times), false
	if row > 0 && t.times[row-1] >= second {
		row, found = slices.BinarySearch(t.times, second)
	}
	if !found {
		t.times = slices.Insert(t.times, row, second)
		for field, column := range t.columns {
			t.columns[field] = slices.Insert(column, row, math.NaN())
		}
	}
	for field, value := range fields {
		column, known := t.columns[field]
		if !known {
			column = slices.Repeat([]float64{math.NaN()}, len(t.times))
			t.columns[field] = column
		}
		column[row] = value
	}
}

// HostLines returns what the run's machines told of themselves, by
// measurement, field, step, machine and tags. There is none of fields without
// a value in the query's time.
func (s *Series) HostLines(q HostQuery) []HostLine {
	var lines []HostLine
	var keys []hostKey
	for key := range s.hosts {
		if q.Measurement == "" || q.Measurement == key.name {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compareHosts)
	for _, key := range keys {
		t := s.hosts[key]
		fields := map[string]bool{q.Field: true}
		if q.Field == "" {
			fields = t.fields()
		}
		for field := range fields {
			counts := Counts(key.name, field)
			if values := q.values(t, field, counts); len(values) > 0 {
				lines = append(lines, HostLine{key.name, field, slices.Clone(t.tags), key.step, key.machine, counts, values})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b HostLine) int {
		return cmp.Or(cmp.Compare(a.Measurement, b.Measurement), cmp.Compare(a.Field, b.Field))
	})
	return lines
}

// HostValues returns one field of the measurement with these tags, in order of
// time.
func (s *Series) HostValues(step string, machine int, measurement, field string, tags ...Tag) []HostValue {
	t := s.hosts[hostKey{machineKey{step, machine}, measurement, tagKey(tags)}]
	if t == nil {
		return nil
	}
	return HostQuery{}.values(t, field, Counts(measurement, field))
}

func compareHosts(a, b hostKey) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.step, b.step), cmp.Compare(a.machine, b.machine),
		cmp.Compare(a.tags, b.tags))
}

// fields returns the names of all fields that ever had a value.
func (t *hostTrack) fields() map[string]bool {
	names := make(map[string]bool, len(t.columns))
	for field := range t.columns {
		names[field] = true
	}
	for _, m := range t.minutes {
		for field := range m.fields {
			names[field] = true
		}
	}
	return names
}

// values returns those of the field that are in the query's time.
func (q HostQuery) values(t *hostTrack, field string, counts bool) (values []HostValue) {
	within := func(time int64) bool { return time > q.From && (q.To == 0 || time <= q.To) }
	for _, m := range t.minutes {
		stats, ok := m.fields[field]
		switch {
		case !ok || !within(m.time):
		case counts:
			values = append(values, HostValue{Time: m.time, Value: stats.Max, First: new(stats.Min), Seconds: stats.Count})
		default:
			values = append(values, HostValue{Time: m.time, Value: stats.Mean, Max: new(stats.Max), Seconds: stats.Count})
		}
	}
	if column, ok := t.columns[field]; ok {
		for i, time := range t.times {
			if within(time) && !math.IsNaN(column[i]) {
				values = append(values, HostValue{Time: time, Value: column[i], Seconds: 1})
			}
		}
	}
	slices.SortStableFunc(values, func(a, b HostValue) int { return cmp.Compare(a.Time, b.Time) })
	return values
}
