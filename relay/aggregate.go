package relay

import (
	"bytes"
	"math"
	"strings"
	"sync"

	"github.com/loads/loads/metrics"
)

// aggregate collects what arrives within a second. One goroutine reads packets
// into it and another takes the seconds out.
type aggregate struct {
	maxSeries int
	tagType   string // see Config.Series

	mu       sync.Mutex
	received metrics.Received
	// bySpelling finds a series by its name, type and tags as written, which
	// is quick; byName by its canonical name. The former is emptied when the same
	// series come in too many spellings.
	bySpelling map[string]*series
	byName     map[string]*series
	order      []*series // of their coming, in which points are written
	scratch    []byte    // for the key that is looked up
	badLine    string    // the last malformed line, and what is wrong with it
	badWhy     error
}

// series is one metric of this machine.
type series struct {
	kind metrics.Kind
	name string
	tags []metrics.Tag

	set    bool    // something arrived in this second
	count  float64 // gauge: how often it was set in this second
	value  float64 // counter: sum of this second; gauge: last value
	sketch *metrics.Sketch
}

func newAggregate(maxSeries int, tagType string) *aggregate {
	return &aggregate{
		maxSeries:  maxSeries,
		tagType:    tagType,
		bySpelling: make(map[string]*series),
		byName:     make(map[string]*series),
	}
}

// packets takes datagrams in.
func (a *aggregate) packets(datagrams [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range datagrams {
		a.received.Datagrams++
		a.packet(d)
	}
}

func (a *aggregate) packet(datagram []byte) {
	for more := true; more; {
		var text []byte
		text, datagram, more = bytes.Cut(datagram, []byte{'\n'})
		text = bytes.TrimSuffix(text, []byte{'\r'})
		if len(text) == 0 {
			continue
		}
		l, err := parseLine(text)
		if err != nil {
			a.received.Malformed++
			a.badLine, a.badWhy = shortened(text), err
			continue
		}
		a.line(&l)
	}
}

func (a *aggregate) line(l *line) {
	s := a.find(l)
	l.each(func(value float64, delta bool) {
		if s == nil {
			a.received.Dropped++
			return
		}
		a.received.Values++
		s.take(value, 1/l.rate, delta)
	})
}

func (s *series) take(value, weight float64, delta bool) {
	s.set = true
	switch s.kind {
	case metrics.Counter:
		s.value = bounded(s.value + bounded(value*weight))
	case metrics.Gauge:
		s.count++
		if delta {
			value += s.value
		}
		s.value = bounded(value)
	case metrics.Timer:
		if s.sketch == nil {
			s.sketch = metrics.NewSketch()
		}
		s.sketch.Add(value, weight)
	}
}

// find returns the line's series, nil when the limit forbids a new one.
func (a *aggregate) find(l *line) *series {
	key := append(a.scratch[:0], l.kind...)
	key = append(key, '|')
	key = append(key, l.name...)
	key = append(key, '|')
	key = append(key, l.tags...)
	a.scratch = key
	if s := a.bySpelling[string(key)]; s != nil {
		return s
	}
	s := a.findByName(l)
	if s == nil {
		return nil
	}
	if len(a.bySpelling) >= 4*a.maxSeries {
		clear(a.bySpelling)
	}
	a.bySpelling[string(key)] = s
	return s
}

func (a *aggregate) findByName(l *line) *series {
	tags := withType(sortedTags(l.tags), a.tagType)
	key := canonicalKey(l, tags)
	if s := a.byName[key]; s != nil {
		return s
	}
	if len(a.byName) >= a.maxSeries {
		return nil
	}
	s := &series{kind: l.kind, name: string(l.name), tags: tags}
	a.byName[key] = s
	a.order = append(a.order, s)
	return s
}

func canonicalKey(l *line, tags []metrics.Tag) string {
	var key strings.Builder
	key.WriteString(string(l.kind))
	key.WriteByte('|')
	key.Write(l.name)
	for _, t := range tags {
		key.WriteByte('|')
		key.WriteString(t.Name)
		key.WriteByte(':')
		key.WriteString(t.Value)
	}
	return key.String()
}

// take returns what arrived since it was last called, and begins anew. A gauge
// that was ever set is always in it, with its last value.
func (a *aggregate) take() ([]metrics.Point, metrics.Received) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var points []metrics.Point
	for _, s := range a.order {
		if !s.set && s.kind != metrics.Gauge {
			continue
		}
		points = append(points, metrics.Point{
			Kind: s.kind, Name: s.name, Tags: s.tags, Value: s.value, Count: s.count, Sketch: s.sketch,
		})
		s.set, s.count, s.sketch = false, 0, nil
		if s.kind == metrics.Counter {
			s.value = 0
		}
	}
	return points, a.received
}

// lastMalformed returns the last malformed line, and what is wrong with it.
func (a *aggregate) lastMalformed() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.badLine, a.badWhy
}

// shortened returns the beginning of a text that may be long.
func shortened(text []byte) string {
	const most = 100
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

// bounded keeps sums that are too large for a number writable.
func bounded(v float64) float64 {
	return min(max(v, -math.MaxFloat64), math.MaxFloat64)
}
