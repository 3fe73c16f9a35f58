package stats

import (
	"fmt"
	"io"

	"github.com/loads/loads/metrics"
)

// Points is a Sink that writes reports for the relay of the machine: a line for
// each metric, with its sketch as it is. What the broker merges of all machines
// and seconds is what one sketch of all requests would be. Names and tags are
// those of Statsd.
type Points struct {
	w     io.Writer // gets whole lines, each ending in a newline
	lines []byte
	err   error
}

// NewPoints returns a sink that writes to w, which may be any number of lines
// at once.
func NewPoints(w io.Writer) *Points { return &Points{w: w} }

// Report implements Sink.
func (s *Points) Report(r *Report) error {
	s.lines, s.err = s.lines[:0], nil
	for i := range r.Metrics {
		eachPoint(&r.Metrics[i], s.add)
	}
	for i := range r.Phases {
		eachUserPoint(&r.Phases[i], s.add)
	}
	if s.err != nil {
		return s.err
	}
	if len(s.lines) == 0 {
		return nil
	}
	if _, err := s.w.Write(s.lines); err != nil {
		return fmt.Errorf("send statistics: %w", err)
	}
	return nil
}

func (s *Points) add(p metrics.Point) {
	line, err := metrics.EncodePoint(p)
	if err != nil {
		s.err = fmt.Errorf("send statistics: %w", err)
		return
	}
	s.lines = append(append(s.lines, line...), '\n')
}
