package stats

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/loads/loads/metrics"
)

// Statsd is a Sink that writes reports as lines of statsd, one for each value
// that a sketch tells apart, with the number of its requests as sample rate: what
// the receiver sums up has the same percentiles, and no request needs a line of
// its own. The tags are phase, metric and, of counters, status: the status of
// HTTP, timeout, error, cancelled, or unsent for users who could not start.
type Statsd struct {
	w     io.Writer // gets whole lines, each ending in a newline
	lines []byte
}

// Names of the metrics that a Statsd writes.
const (
	statsdLatency = "req.latency" // timer from the intended start
	statsdService = "req.service" // timer from when the request left
	statsdBlocked = "req.blocked" // timer of waiting for a connection, where there was any
	statsdCount   = "req.count"   // counter of requests
	statsdErrors  = "req.errors"  // counter of those without a status below 400, or invalid
	statsdBytesIn = "req.bytes.in"
	statsdUsers   = "gen.users" // gauge of busy users
	statsdDelayed = "gen.delayed"
	statsdLag     = "gen.lag" // timer of how late the generator started users itself
)

// NewStatsd returns a sink that writes to w, which may be any number of lines
// at once.
func NewStatsd(w io.Writer) *Statsd { return &Statsd{w: w} }

// Report implements Sink.
func (s *Statsd) Report(r *Report) error {
	s.lines = s.lines[:0]
	for i := range r.Metrics {
		s.metric(&r.Metrics[i])
	}
	for i := range r.Phases {
		p := &r.Phases[i]
		tags := "|#phase:" + statsdText(p.Phase)
		s.number(statsdUsers, float64(p.Busy), "|g", tags)
		if p.Delayed > 0 {
			s.number(statsdDelayed, float64(p.Delayed), "|c", tags)
		}
		if p.Unstarted > 0 {
			s.number(statsdCount, float64(p.Unstarted), "|c", tags+",status:unsent")
			s.number(statsdErrors, float64(p.Unstarted), "|c", tags+",status:unsent")
		}
		s.sketch(statsdLag, &p.Lag, tags)
	}
	if len(s.lines) == 0 {
		return nil
	}
	if _, err := s.w.Write(s.lines); err != nil {
		return fmt.Errorf("send statistics: %w", err)
	}
	return nil
}

func (s *Statsd) metric(m *MetricCell) {
	tags := "|#metric:" + statsdText(m.Metric) + ",phase:" + statsdText(m.Phase)
	count := func(status string, n int64, bad bool) {
		if n <= 0 {
			return
		}
		s.number(statsdCount, float64(n), "|c", tags+",status:"+status)
		if bad {
			s.number(statsdErrors, float64(n), "|c", tags+",status:"+status)
		}
	}
	for _, status := range m.Statuses {
		const bad = 400
		count(strconv.Itoa(status.Status), status.Count, status.Status >= bad)
	}
	if len(m.Statuses) == 0 { // of a protocol that has none
		count("ok", m.Responses-m.Invalid, false)
		count("invalid", m.Invalid, true)
	}
	count("timeout", m.Timeouts, true)
	count("error", m.Connections+m.Internal, true)
	count("cancelled", m.Cancelled, false)
	// So that the metric is there when no request fails: no errors, or no
	// measuring of them, would look the same.
	s.number(statsdErrors, 0, "|c", tags)
	s.number(statsdBytesIn, float64(m.BytesIn), "|c", tags)
	s.sketch(statsdLatency, &m.Latency, tags)
	s.sketch(statsdService, &m.Service, tags)
	if m.Blocked.Max() > 0 {
		s.sketch(statsdBlocked, &m.Blocked, tags)
	}
}

func (s *Statsd) number(name string, n float64, kind, tags string) {
	s.lines = append(append(s.lines, name...), ':')
	s.lines = strconv.AppendFloat(s.lines, n, 'f', -1, 64)
	s.lines = append(append(append(s.lines, kind...), tags...), '\n')
}

// mostOfLine is the largest number of values that one line stands for: the
// smallest sample rate that receivers take is a millionth.
const mostOfLine = 1e6

func (s *Statsd) sketch(name string, sketch *metrics.Sketch, tags string) {
	sketch.Each(func(value, weight float64) {
		for weight > 0 {
			part := min(weight, mostOfLine)
			weight -= part
			s.lines = append(append(s.lines, name...), ':')
			s.lines = strconv.AppendFloat(s.lines, value, 'f', -1, 64)
			s.lines = append(s.lines, "|ms"...)
			if part != 1 {
				s.lines = append(s.lines, "|@"...)
				s.lines = strconv.AppendFloat(s.lines, 1/part, 'f', -1, 64)
			}
			s.lines = append(append(s.lines, tags...), '\n')
		}
	})
}

// statsdText replaces what separates fields in a line.
func statsdText(s string) string {
	return strings.NewReplacer(",", "_", ":", "_", "|", "_", "#", "_", "\n", "_", "\r", "_", "@", "_").Replace(s)
}
