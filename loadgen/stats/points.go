package stats

import (
	"fmt"
	"io"
	"strings"
	"unicode"

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
	eachSelfPoint(r, s.add)
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

// Verdict sends, once the run is over, why its numbers must not be trusted, why
// it failed, and what else is worth knowing. The broker tells people.
func (s *Points) Verdict(invalid, failed, notes []string) error {
	s.lines, s.err = s.lines[:0], nil
	for name, reasons := range map[string][]string{nameWhyInvalid: invalid, nameWhyFailed: failed, nameNote: notes} {
		for _, reason := range reasons {
			tags := []metrics.Tag{{Name: "reason", Value: reasonText(reason)}}
			s.add(metrics.Point{Kind: metrics.Counter, Name: name, Tags: tags, Value: 1})
		}
	}
	if s.err != nil || len(s.lines) == 0 {
		return s.err
	}
	if _, err := s.w.Write(s.lines); err != nil {
		return fmt.Errorf("send the verdict: %w", err)
	}
	return nil
}

// longestReason is what a tag may be long, in characters.
const longestReason = 300

// reasonText makes a tag's value of a sentence.
func reasonText(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == ',':
			return ';'
		case r == '|' || !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > longestReason {
		text = string(runes[:longestReason-1]) + "…"
	}
	return strings.TrimSpace(text)
}

func (s *Points) add(p metrics.Point) {
	line, err := metrics.EncodePoint(p)
	if err != nil {
		s.err = fmt.Errorf("send statistics: %w", err)
		return
	}
	s.lines = append(append(s.lines, line...), '\n')
}
