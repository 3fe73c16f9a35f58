package relay

import (
	"bytes"
	"errors"

	"github.com/loads/loads/metrics"
)

// What is wrong with a point, besides what metrics.DecodePoint finds.
var (
	errPointText = errors.New("name or tag has a character that statsd has no place for")
	errPointSet  = errors.New("sets are not taken as points")
)

// point takes in a line that is a point: what a generator has counted in a
// second, in place of a line for each value. In the ledger a timer's counts as
// many values as are in it, others as one.
func (a *aggregate) point(text []byte) {
	if len(text) > maxLine {
		a.malformed(text, errLong)
		return
	}
	p, err := metrics.DecodePoint(text)
	if err != nil {
		a.malformed(text, err)
		return
	}
	l, err := lineOf(p)
	if err != nil {
		a.malformed(text, err)
		return
	}
	values := uint64(1)
	if p.Sketch != nil {
		values = uint64(p.Sketch.Count())
	}
	s := a.findByName(&l)
	if s == nil {
		a.received.Dropped += values
		a.notes.dropped(l.name)
		return
	}
	a.received.Values += values
	if p.Sketch == nil {
		s.take(p.Value, 1, false)
		return
	}
	if err := s.takeSketch(p.Sketch); err != nil {
		a.received.Values -= values
		a.malformed(text, err)
	}
}

// lineOf is the line whose series the point belongs to.
func lineOf(p metrics.Point) (line, error) {
	if p.Kind == metrics.Set {
		return line{}, errPointSet
	}
	if !plainText(p.Name, ":|\n") {
		return line{}, errPointText
	}
	var tags []byte
	for i, tag := range p.Tags {
		if !plainText(tag.Name, ":,|\n") || !plainText(tag.Value, ",|\n") {
			return line{}, errPointText
		}
		if i > 0 {
			tags = append(tags, ',')
		}
		tags = append(append(append(tags, tag.Name...), ':'), tag.Value...)
	}
	if len(p.Name)+len(tags) > longestIdentity {
		return line{}, errLong
	}
	return line{name: []byte(p.Name), kind: p.Kind, rate: 1, tags: tags}, nil
}

func plainText(text, without string) bool {
	return printable([]byte(text)) && !bytes.ContainsAny([]byte(text), without)
}
