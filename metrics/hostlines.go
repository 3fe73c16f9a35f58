package metrics

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// A HostQuery selects what is told of a run's machines.
type HostQuery struct {
	Measurement string // for example "cpu"; empty selects all
	Field       string // for example "usage_user"; empty selects all
	From        int64  // Unix ms; seconds that end after it; 0 is the start
	To          int64  // Unix ms; seconds that end at it or before; 0 is the end
}

// A HostLine is one field of one measurement of one machine over time.
type HostLine struct {
	Measurement string      `json:"measurement"`
	Field       string      `json:"field"`
	Tags        []Tag       `json:"tags"`
	Step        string      `json:"step"`
	Machine     int         `json:"machine"` // index in the step
	Values      []HostValue `json:"values"`  // in order of time
}

// A HostValue is what a machine told in one second; see HostPoint.
type HostValue struct {
	Time  int64   `json:"time"` // Unix ms of the second's end
	Value float64 `json:"value"`
}

// hostKey names a measurement of one machine.
type hostKey struct {
	machineKey
	name string
	tags string // as tagKey gives them
}

// hostTrack is one measurement of one machine: a column of values for each
// field, with a row for each second. NaN stands for a value that did not come.
type hostTrack struct {
	tags    []Tag
	times   []int64 // Unix ms of the seconds' ends, ascending
	columns map[string][]float64
}

func (s *Series) addHost(machine machineKey, second int64, p *HostPoint) {
	key := hostKey{machine, p.Name, tagKey(p.Tags)}
	t := s.hosts[key]
	if t == nil {
		t = &hostTrack{tags: slices.Clone(p.Tags), columns: make(map[string][]float64)}
		s.hosts[key] = t
	}
	t.add(second, p.Fields)
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
	for _, key := range slices.SortedFunc(maps.Keys(s.hosts), compareHosts) {
		if q.Measurement != "" && q.Measurement != key.name {
			continue
		}
		t := s.hosts[key]
		for field, column := range t.columns {
			if q.Field != "" && q.Field != field {
				continue
			}
			if values := q.values(t.times, column); len(values) > 0 {
				lines = append(lines, HostLine{key.name, field, slices.Clone(t.tags), key.step, key.machine, values})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b HostLine) int {
		return cmp.Or(cmp.Compare(a.Measurement, b.Measurement), cmp.Compare(a.Field, b.Field))
	})
	return lines
}

func compareHosts(a, b hostKey) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.step, b.step), cmp.Compare(a.machine, b.machine),
		cmp.Compare(a.tags, b.tags))
}

// values returns those of the column that are in the query's time.
func (q HostQuery) values(times []int64, column []float64) (values []HostValue) {
	for i, time := range times {
		if time > q.From && (q.To == 0 || time <= q.To) && !math.IsNaN(column[i]) {
			values = append(values, HostValue{time, column[i]})
		}
	}
	return values
}
