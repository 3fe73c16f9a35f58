package stats

import (
	"fmt"
	"io"
	"strconv"

	"github.com/loads/loads/metrics"
)

// Statsd is a Sink that writes reports for any receiver of statsd: lines for
// each value that a sketch tells apart, with the number of its requests as sample
// rate. What the receiver sums up has the same percentiles, and no request needs
// a line of its own.
type Statsd struct {
	w     io.Writer // gets whole lines, each ending in a newline
	lines []byte
}

// NewStatsd returns a sink that writes to w, which may be any number of lines
// at once.
func NewStatsd(w io.Writer) *Statsd { return &Statsd{w: w} }

// Report implements Sink.
func (s *Statsd) Report(r *Report) error {
	s.lines = s.lines[:0]
	for i := range r.Metrics {
		eachPoint(&r.Metrics[i], s.add)
	}
	for i := range r.Phases {
		eachUserPoint(&r.Phases[i], s.add)
	}
	eachSelfPoint(r, s.add)
	if len(s.lines) == 0 {
		return nil
	}
	if _, err := s.w.Write(s.lines); err != nil {
		return fmt.Errorf("send statistics: %w", err)
	}
	return nil
}

// mostOfLine is the largest number of values that one line stands for: the
// smallest sample rate that receivers take is a millionth.
const mostOfLine = 1e6

func (s *Statsd) add(p metrics.Point) {
	if p.Kind != metrics.Timer {
		s.line(p, p.Value, 1)
		return
	}
	p.Sketch.Each(func(value, weight float64) {
		for weight > 0 {
			part := min(weight, mostOfLine)
			weight -= part
			s.line(p, value, part)
		}
	})
}

// line writes a line with a value that stands for so many.
func (s *Statsd) line(p metrics.Point, value, times float64) {
	s.lines = append(append(s.lines, p.Name...), ':')
	s.lines = strconv.AppendFloat(s.lines, value, 'f', -1, 64)
	s.lines = append(append(s.lines, '|'), p.Kind...)
	if times != 1 {
		s.lines = append(s.lines, "|@"...)
		s.lines = strconv.AppendFloat(s.lines, 1/times, 'f', -1, 64)
	}
	for i, tag := range p.Tags {
		mark := ","
		if i == 0 {
			mark = "|#"
		}
		s.lines = append(append(append(append(s.lines, mark...), tag.Name...), ':'), tag.Value...)
	}
	s.lines = append(s.lines, '\n')
}
