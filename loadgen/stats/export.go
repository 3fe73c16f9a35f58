package stats

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/loads/loads/metrics"
)

// Histograms of HdrHistogram keep ns with three digits, up to an hour.
const (
	hdrMost   = int64(time.Hour)
	hdrDigits = 3
)

// toHDR turns a sketch of ms into a histogram of ns. Its values are those that
// the sketch tells apart.
func toHDR(s *metrics.Sketch) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, hdrMost, hdrDigits)
	s.Each(func(value, weight float64) {
		ns := min(max(int64(value*float64(time.Millisecond)), 0), hdrMost)
		_ = h.RecordValues(ns, int64(weight+0.5)) // it is within the range
	})
	return h
}

// WriteHGRM writes the distribution of a sketch of ms as HdrHistogram's
// tools print and plot it, in ms.
func WriteHGRM(w io.Writer, s *metrics.Sketch) error {
	const ticks = 5
	if _, err := toHDR(s).PercentilesPrint(w, ticks, float64(time.Millisecond)); err != nil {
		return fmt.Errorf("write a distribution: %w", err)
	}
	return nil
}

// HDRLog is a Sink that writes the latencies from the intended start as a log
// of HdrHistogram: a histogram for each metric and period, tagged phase.metric.
type HDRLog struct {
	log *hdrhistogram.HistogramLogWriter
}

// NewHDRLog begins a log with its header.
func NewHDRLog(w io.Writer, start time.Time) (*HDRLog, error) {
	l := &HDRLog{hdrhistogram.NewHistogramLogWriter(w)}
	steps := []func() error{
		func() error { return l.log.OutputComment("[Logged by loads, in ns]") },
		l.log.OutputLogFormatVersion,
		func() error { return l.log.OutputStartTime(start.UnixMilli()) },
		l.log.OutputLegend,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("begin a log of histograms: %w", err)
		}
	}
	return l, nil
}

// Report implements Sink.
func (l *HDRLog) Report(r *Report) error {
	for _, m := range r.Metrics {
		if m.Latency.Count() == 0 {
			continue
		}
		h := toHDR(&m.Latency)
		h.SetTag(tagName(m.Key.String()))
		h.SetStartTimeMs(r.Start)
		h.SetEndTimeMs(r.End)
		if err := l.log.OutputIntervalHistogram(h); err != nil {
			return fmt.Errorf("write a log of histograms: %w", err)
		}
	}
	return nil
}

// tagName replaces what separates fields in a log.
func tagName(s string) string {
	return strings.NewReplacer(",", "_", " ", "_", "\n", "_", "\r", "_").Replace(s)
}

// JSONLines is a Sink that writes each report as a line of JSON.
type JSONLines struct{ enc *json.Encoder }

// NewJSONLines returns a sink that writes to w.
func NewJSONLines(w io.Writer) *JSONLines { return &JSONLines{json.NewEncoder(w)} }

// Report implements Sink.
func (l *JSONLines) Report(r *Report) error {
	if err := l.enc.Encode(r); err != nil {
		return fmt.Errorf("write statistics: %w", err)
	}
	return nil
}

// Times are figures of a sketch of ms.
type Times struct {
	Count float64 `json:"count"`
	Mean  float64 `json:"mean"`
	Dev   float64 `json:"stddev"`
	Min   float64 `json:"min"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	P9999 float64 `json:"p99_99"`
	Max   float64 `json:"max"`
}

// TimesOf returns the figures of a sketch.
func TimesOf(s *metrics.Sketch) Times {
	q := s.Quantiles(0.5, 0.9, 0.99, 0.999, 0.9999)
	return Times{s.Count(), s.Mean(), s.Stddev(), s.Min(), q[0], q[1], q[2], q[3], q[4], s.Max()}
}
