package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// Size of a chart's drawing, in its own units; the page stretches it.
const (
	chartWidth  = 1000
	chartHeight = 160
	chartPoints = 250 // columns that a curve is drawn with at most
)

// maxCharts bounds the metrics that are drawn; the tables and the other forms
// of the report have them all.
const maxCharts = 60

// A chart is one figure of a metric over time, as SVG.
type chart struct {
	Title    string
	Top      string // the largest value
	From, To string // times at its ends
	Width    int
	Height   int
	Curves   []curve
	Marks    []mark
}

// A curve is one line of a chart. Path is the d attribute of an SVG path.
type curve struct {
	Name  string
	Class string // gives its colour
	Path  string
}

// A mark is a moment on the time axis: a step's start.
type mark struct {
	X    string
	Name string
}

// A span is the time that all charts of a report show, Unix ms.
type span struct{ from, to int64 }

// charts draws the metrics: rates of counters and timers, percentiles of
// timers, values of gauges. left counts the metrics that are left out.
func charts(d broker.Dossier) (drawn []chart, left int) {
	s := span{from: d.Summary.From, to: d.Summary.To}
	if s.to <= s.from {
		return nil, 0
	}
	marks := marksOf(d.Run, s)
	for i, line := range d.Lines {
		if i >= maxCharts {
			return drawn, len(d.Lines) - i
		}
		for _, c := range chartsOf(line, s) {
			c.Marks = marks
			c.From = time.UnixMilli(s.from).UTC().Format("15:04:05")
			c.To = time.UnixMilli(s.to).UTC().Format("15:04:05")
			drawn = append(drawn, c)
		}
	}
	return drawn, left
}

// A reading takes one figure of a second.
type reading struct {
	name, class string
	of          func(metrics.Bucket) float64
	from        []metrics.Bucket // the seconds; nil for those of the chart's line
}

func chartsOf(line metrics.Line, s span) []chart {
	rate := reading{name: "rate", class: "c1", of: func(b metrics.Bucket) float64 { return b.Rate }}
	switch line.Kind {
	case metrics.Set:
		distinct := reading{name: "distinct", class: "c1", of: func(b metrics.Bucket) float64 { return b.Count }}
		return []chart{draw(line.Name+", distinct values in a second", line, s, mean, distinct)}
	case metrics.Counter:
		return []chart{draw(line.Name+", a second", line, s, mean, rate)}
	case metrics.Gauge:
		value := reading{name: "value", class: "c1", of: func(b metrics.Bucket) float64 { return b.Value }}
		return []chart{draw(line.Name+", value", line, s, hold, value)}
	}
	return []chart{
		draw(line.Name+", percentiles", line, s, peak,
			reading{name: "p50", class: "c1", of: func(b metrics.Bucket) float64 { return b.P50 }},
			reading{name: "p90", class: "c2", of: func(b metrics.Bucket) float64 { return b.P90 }},
			reading{name: "p95", class: "c3", of: func(b metrics.Bucket) float64 { return b.P95 }},
			reading{name: "p99", class: "c4", of: func(b metrics.Bucket) float64 { return b.P99 }}),
		draw(line.Name+", values a second", line, s, mean, rate),
	}
}

// A joining says how the seconds of one column of a chart become one value.
type joining int

const (
	mean joining = iota // over all seconds, those in which nothing came counting as 0
	peak                // the highest of those in which something came
	hold                // the last, kept where nothing came
)

func draw(title string, line metrics.Line, s span, how joining, readings ...reading) chart {
	c := chart{Title: title, Width: chartWidth, Height: chartHeight}
	columns := make([][]float64, len(readings))
	top := 0.0
	for i, r := range readings {
		buckets := line.Buckets
		if r.from != nil {
			buckets = r.from
		}
		columns[i] = s.columns(buckets, how, r.of)
		for _, y := range columns[i] {
			if !math.IsNaN(y) {
				top = math.Max(top, y)
			}
		}
	}
	for i, r := range readings {
		c.Curves = append(c.Curves, curve{Name: r.name, Class: r.class, Path: path(columns[i], top)})
	}
	c.Top = figure(top)
	return c
}

// columns puts the seconds into as many columns as there are seconds, at most
// chartPoints. A column without a value is NaN.
func (s span) columns(buckets []metrics.Bucket, how joining, of func(metrics.Bucket) float64) []float64 {
	seconds := max(1, int((s.to-s.from)/1000))
	n := min(seconds, chartPoints)
	values := make([]float64, n)
	last := make([]int64, n)
	for i := range values {
		values[i] = math.NaN()
	}
	for _, b := range buckets {
		second := int((b.Time - s.from - 1) / 1000) // a bucket's time is its end
		i := second * n / seconds
		if b.Time <= s.from || i >= n {
			continue
		}
		y := of(b)
		switch {
		case math.IsNaN(values[i]):
			values[i] = y
		case how == mean:
			values[i] += y
		case how == peak:
			values[i] = math.Max(values[i], y)
		case b.Time >= last[i]:
			values[i] = y
		}
		last[i] = b.Time
	}
	s.fill(values, how, seconds)
	return values
}

// fill turns sums into means, and says what a column without a value shows.
func (s span) fill(values []float64, how joining, seconds int) {
	n := len(values)
	for i, y := range values {
		switch {
		case how == mean && math.IsNaN(y):
			values[i] = 0
		case how == mean:
			// The seconds k with k*n/seconds == i.
			width := (seconds*(i+1)+n-1)/n - (seconds*i+n-1)/n
			values[i] = y / float64(width)
		case how == hold && math.IsNaN(y) && i > 0:
			values[i] = values[i-1]
		}
	}
}

// path draws values from left to right; it is broken where there is none. A
// value alone is drawn as a short stroke.
func path(values []float64, top float64) string {
	if top <= 0 {
		top = 1
	}
	x := func(i float64) float64 { return i * chartWidth / float64(len(values)) }
	var p strings.Builder
	up := true // the pen
	for i, v := range values {
		if math.IsNaN(v) {
			up = true
			continue
		}
		y := chartHeight - 2 - math.Max(0, v)/top*(chartHeight-4)
		if up {
			fmt.Fprintf(&p, "M%.1f %.1f", x(float64(i)+0.25), y)
			up = false
		}
		fmt.Fprintf(&p, "L%.1f %.1f", x(float64(i)+0.75), y)
	}
	return p.String()
}

// marksOf are the starts of the run's steps within the span.
func marksOf(run broker.Run, s span) []mark {
	var marks []mark
	for _, rec := range run.StepRecords {
		if rec.StartedAt == nil {
			continue
		}
		at := rec.StartedAt.UnixMilli()
		if at < s.from || at > s.to {
			continue
		}
		x := float64(at-s.from) / float64(s.to-s.from) * chartWidth
		marks = append(marks, mark{X: fmt.Sprintf("%.1f", x), Name: stepName(run, rec.Index) + " starts"})
	}
	return marks
}
