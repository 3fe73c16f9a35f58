package relay

import (
	"bytes"
	"sync"

	"github.com/loads/loads/metrics"
)

// Bounds of what a relay keeps, whatever arrives.
const (
	// longestIdentity is the most bytes that a line's name and tags may have.
	longestIdentity = 4 << 10
	// maxNameBytes is the most bytes that the names and tags of all series may
	// have. It is beyond what DefaultMaxSeries usual ones need, and a series
	// beyond it is refused like one beyond the limit.
	maxNameBytes = 16 << 20
)

// aggregate collects what arrives within a second. The readers of all sockets
// put lines into it and the clock takes the seconds out.
type aggregate struct {
	maxSeries int
	tagType   rawTag // see Config.Series

	mu        sync.Mutex
	received  metrics.Received
	notes     notes
	spellings *spellings
	byName    map[string]*series // by canonical name; see findByName
	nameBytes int                // in byName
	order     []*series          // of their coming, in which points are written
	tags      tagList            // scratch of findByName
	key       []byte             // likewise

	words []metrics.Word // that nobody has taken yet
	said  int            // words, taken or not
	spoke chan struct{}  // there are words
}

func newAggregate(maxSeries int, tagType string) *aggregate {
	return &aggregate{
		maxSeries: maxSeries,
		tagType:   rawTag{name: []byte("type"), value: []byte(tagType)},
		spellings: newSpellings(2 * maxSeries),
		byName:    make(map[string]*series),
		spoke:     make(chan struct{}, 1),
	}
}

// packets takes datagrams in, and keeps nothing of them.
func (a *aggregate) packets(datagrams [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received.Datagrams += uint64(len(datagrams))
	for _, d := range datagrams {
		a.lines(d)
	}
}

// text takes whole lines in that came otherwise than in datagrams.
func (a *aggregate) text(lines []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines(lines)
}

// bad counts a line that can't be taken in.
func (a *aggregate) bad(line []byte, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.malformed(line, why)
}

// refuse counts a connection that was closed at once.
func (a *aggregate) refuse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received.Refused++
}

// output counts a line of a container's output, and takes the values in that it
// gave.
func (a *aggregate) output(text []byte, values []logValue) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received.LogLines++
	for i := range values {
		v := &values[i]
		if v.err != nil {
			a.received.LogMalformed++
			a.notes.malformed(text, v.err)
			continue
		}
		a.received.LogValues++
		s := a.find(&v.line)
		if s == nil {
			a.received.Dropped++
			a.notes.dropped(v.line.name)
			continue
		}
		a.received.Values++
		s.take(v.value, 1, false)
	}
}

// badOutput counts a line of output that can't be read.
func (a *aggregate) badOutput(text []byte, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received.LogMalformed++
	a.notes.malformed(text, why)
}

// lostOutput counts output that is gone unread: so many bytes that are known,
// and as many stretches of unknown length.
func (a *aggregate) lostOutput(bytes, gaps uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received.LogLost += bytes
	a.received.LogGaps += gaps
}

func (a *aggregate) lines(text []byte) {
	for len(text) > 0 {
		l := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			l, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		if !a.known(l) {
			a.unknown(bytes.TrimSuffix(l, []byte{'\r'}))
		}
	}
}

// known takes in a line with one plain number whose spelling came before,
// which is how nearly all lines are, and reports whether it did.
func (a *aggregate) known(text []byte) bool {
	colon := bytes.IndexByte(text, ':')
	if colon < 0 {
		return false
	}
	value, n := plainNumber(text[colon+1:])
	bar := colon + 1 + n
	if n == 0 || bar == len(text) || text[bar] != '|' {
		return false
	}
	s := a.spellings.find(text[:colon], text[bar:])
	if s == nil {
		return false
	}
	a.received.Values++
	s.series.take(value, s.weight, false)
	return true
}

// unknown takes in any line.
func (a *aggregate) unknown(text []byte) {
	if len(text) == 0 {
		return
	}
	if metrics.IsPoint(text) {
		a.point(text)
		return
	}
	if metrics.IsWord(text) {
		a.word(text)
		return
	}
	l, err := parseLine(text)
	if err == nil {
		a.line(l)
		return
	}
	if eachPart(text, nil) {
		eachPart(text, a.line)
		return
	}
	a.malformed(text, err)
}

func (a *aggregate) malformed(text []byte, why error) {
	a.received.Malformed++
	a.notes.malformed(text, why)
}

func (a *aggregate) line(l line) {
	s := a.find(&l)
	if s == nil {
		a.received.Dropped += uint64(l.count())
		a.notes.dropped(l.name)
		return
	}
	a.received.Values += uint64(l.count())
	if l.kind == metrics.Set {
		s.takeMember(l.values)
		return
	}
	l.each(func(value float64, delta bool) { s.take(value, 1/l.rate, delta) })
}

// find returns the line's series, nil when the limit forbids a new one.
func (a *aggregate) find(l *line) *series {
	if s := a.spellings.find(l.name, l.suffix); s != nil {
		return s.series
	}
	s := a.findByName(l)
	if s != nil && !l.passing {
		weight := 1 / l.rate
		if l.kind == metrics.Set {
			return s // its values are no numbers, as known expects
		}
		a.spellings.add(l.name, l.suffix, s, weight)
	}
	return s
}

// findByName finds or makes a series by its kind, name and sorted tags, with
// lengths between them: no text can look like another series' parts.
func (a *aggregate) findByName(l *line) *series {
	a.tags.read(l.tags)
	a.tags.add(a.tagType)
	a.key = a.tags.appendKey(appendText(append(a.key[:0], l.kind...), l.name))
	if s := a.byName[string(a.key)]; s != nil {
		return s
	}
	if len(a.byName) >= a.maxSeries || a.nameBytes+len(a.key) > maxNameBytes {
		return nil
	}
	s := &series{kind: l.kind, name: string(l.name), tags: a.tags.strings()}
	a.byName[string(a.key)] = s
	a.nameBytes += len(a.key)
	a.order = append(a.order, s)
	return s
}

// take returns what arrived since it was last called, and begins anew. A gauge
// that was ever set is always in it, with its last value.
func (a *aggregate) take() ([]metrics.Point, metrics.Received) {
	a.mu.Lock()
	defer a.mu.Unlock()
	filled := 0
	for _, s := range a.order {
		if s.set || s.kind == metrics.Gauge {
			filled++
		}
	}
	var points []metrics.Point
	if filled > 0 {
		points = make([]metrics.Point, 0, filled)
	}
	for _, s := range a.order {
		if s.set || s.kind == metrics.Gauge {
			points = append(points, s.point())
		}
	}
	received := a.received
	received.Notes = a.notes.given
	return points, received
}
