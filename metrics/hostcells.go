package metrics

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// countingFields names, by measurement, the fields that count: totals since
// the machine or the container started. A name alone stands for all fields of
// the measurement but those set to false.
var countingFields = map[string]map[string]bool{
	"diskio":         {"": true, "iops_in_progress": false},
	"net":            {"": true},
	ContainerNetwork: {"": true},
	ContainerMemory:  {"oom_kill": true},
}

// Counts reports whether the field of a host's measurement is a total, which
// only grows, rather than a level.
func Counts(measurement, field string) bool {
	fields := countingFields[measurement]
	if counts, ok := fields[field]; ok {
		return counts
	}
	return fields[""]
}

// A HostSpan is what a machine told of itself in a minute.
type HostSpan struct {
	Machine int        `json:"m"`  // index in the step
	Time    int64      `json:"at"` // end of the latest second in it, Unix ms
	Points  []HostCell `json:"p"`
}

// A HostCell is a HostPoint over several seconds.
type HostCell struct {
	Name   string               `json:"n"`
	Tags   []Tag                `json:"g,omitempty"` // sorted by name
	Fields map[string]HostStats `json:"f"`
}

// HostStats are the values of one field over several seconds. Stats of
// different seconds add up in any order.
type HostStats struct {
	Count    int // of the seconds with a value
	Min, Max float64
	Mean     float64 // 0 for a field that counts, whose first and last values are Min and Max
}

// MarshalJSON writes the stats as an array, without what says nothing.
func (h HostStats) MarshalJSON() ([]byte, error) {
	text := strconv.AppendInt([]byte{'['}, int64(h.Count), 10)
	text = appendNumber(text, h.Max)
	if h.Min != h.Max || h.Mean != h.Max && h.Mean != 0 {
		text = appendNumber(text, h.Min)
		if h.Mean != 0 {
			text = appendNumber(text, significant(h.Mean))
		}
	}
	return append(text, ']'), nil
}

// appendNumber writes a finite number behind a comma.
func appendNumber(text []byte, v float64) []byte {
	format := byte('f')
	if magnitude := math.Abs(v); magnitude >= 1e21 || magnitude < 1e-6 && v != 0 {
		format = 'e'
	}
	return strconv.AppendFloat(append(text, ','), v, format, -1, 64)
}

// UnmarshalJSON reads what MarshalJSON has written. A constant level gets its
// mean from AddBlock, which knows what counts.
func (h *HostStats) UnmarshalJSON(text []byte) error {
	errForm := errors.New("stats of a host are not a count and one to three values")
	if len(text) < 2 || text[0] != '[' {
		return errForm
	}
	var values [4]float64
	n := 0
	for number := range bytes.SplitSeq(text[1:len(text)-1], []byte{','}) { // text is JSON, so it ends with a bracket
		if n == len(values) {
			return errForm
		}
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(number)), 64)
		if err != nil {
			return errForm
		}
		values[n] = v
		n++
	}
	if n < 2 || values[0] < 1 || values[0] > math.MaxInt32 {
		return errForm
	}
	*h = HostStats{Count: int(values[0]), Max: values[1], Min: values[1]}
	if n > 2 {
		h.Min = values[2]
	}
	if n > 3 {
		h.Mean = values[3]
	}
	if h.Min > h.Max {
		return errors.New("stats of a host have a minimum over their maximum")
	}
	return nil
}

// significant cuts a mean to six digits, which is more than its values have.
func significant(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 5-math.Floor(math.Log10(math.Abs(v))))
	if cut := math.Round(v*scale) / scale; finite(cut) {
		return cut
	}
	return v
}

// statsOf returns the stats of one second.
func statsOf(v float64, counts bool) HostStats {
	if counts {
		return HostStats{Count: 1, Min: v, Max: v}
	}
	return HostStats{Count: 1, Min: v, Max: v, Mean: v}
}

func (h HostStats) plus(o HostStats) HostStats {
	if h.Count == 0 {
		return o
	}
	n, m := float64(h.Count), float64(o.Count)
	return HostStats{
		Count: h.Count + o.Count, Min: min(h.Min, o.Min), Max: max(h.Max, o.Max),
		Mean: h.Mean*(n/(n+m)) + o.Mean*(m/(n+m)),
	}
}

// hostMinute is a minute of a hostTrack.
type hostMinute struct {
	time   int64 // Unix ms of the end of the latest second in it
	fields map[string]HostStats
}

// merge adds stats to the minute that the time is in.
func (t *hostTrack) merge(time int64, fields map[string]HostStats) {
	i, found := slices.BinarySearchFunc(t.minutes, minuteOf(time), func(m hostMinute, minute int64) int {
		return cmp.Compare(minuteOf(m.time), minute)
	})
	if !found {
		t.minutes = slices.Insert(t.minutes, i, hostMinute{time, make(map[string]HostStats, len(fields))})
	}
	m := &t.minutes[i]
	m.time = max(m.time, time)
	for field, stats := range fields {
		m.fields[field] = m.fields[field].plus(stats)
	}
}

// condense makes minutes of the seconds up to until.
func (t *hostTrack) condense(name string, until int64) {
	n, _ := slices.BinarySearch(t.times, until+1)
	for row := range n {
		t.merge(t.times[row], t.row(name, row))
	}
	t.times = slices.Clone(t.times[n:])
	for field, column := range t.columns {
		t.columns[field] = slices.Clone(column[n:])
	}
}

// row returns the stats of one second.
func (t *hostTrack) row(name string, row int) map[string]HostStats {
	fields := make(map[string]HostStats, len(t.columns))
	for field, column := range t.columns {
		if !math.IsNaN(column[row]) {
			fields[field] = statsOf(column[row], Counts(name, field))
		}
	}
	return fields
}

// whole returns all minutes and seconds of the track as one, with the time of
// the latest.
func (t *hostTrack) whole(name string) hostMinute {
	all := hostMinute{fields: make(map[string]HostStats)}
	add := func(time int64, fields map[string]HostStats) {
		all.time = max(all.time, time)
		for field, stats := range fields {
			all.fields[field] = all.fields[field].plus(stats)
		}
	}
	for _, m := range t.minutes {
		add(m.time, m.fields)
	}
	for row, time := range t.times {
		add(time, t.row(name, row))
	}
	return all
}

// addHostSpan takes in a part of a block.
func (s *Series) addHostSpan(step string, span HostSpan) {
	machine := machineKey{step, span.Machine}
	for _, cell := range span.Points {
		fields := make(map[string]HostStats, len(cell.Fields))
		for field, stats := range cell.Fields {
			if stats.Min == stats.Max && !Counts(cell.Name, field) {
				stats.Mean = stats.Max
			}
			fields[field] = stats
		}
		s.hostTrack(machine, cell.Name, cell.Tags).merge(span.Time, fields)
	}
}

// check returns what is wrong with the cell.
func (c *HostCell) check() error {
	if c.Name == "" || len(c.Fields) == 0 {
		return errors.New("name or fields are missing")
	}
	for field, stats := range c.Fields {
		if field == "" || stats.Count < 1 {
			return fmt.Errorf("field %q has no value", field)
		}
	}
	return checkTags(c.Tags)
}
