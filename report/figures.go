package report

import (
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// A metricFigure is one figure of a metric that runs are compared by.
type metricFigure struct {
	name   string
	time   bool                                // it is in ms
	whole  func(metrics.MetricSummary) float64 // nil is the mean of the seconds
	bucket func(metrics.Bucket) float64
}

// figuresOf lists what metrics of a kind are compared by.
func figuresOf(k metrics.Kind) []metricFigure {
	rate := metricFigure{
		"rate", false,
		func(m metrics.MetricSummary) float64 { return m.Rate }, func(b metrics.Bucket) float64 { return b.Rate },
	}
	switch k {
	case metrics.Set:
		return []metricFigure{{
			"distinct", false,
			func(m metrics.MetricSummary) float64 { return m.Count }, func(b metrics.Bucket) float64 { return b.Count },
		}}
	case metrics.Counter:
		return []metricFigure{rate}
	case metrics.Gauge:
		return []metricFigure{{"mean", false, nil, func(b metrics.Bucket) float64 { return b.Value }}}
	}
	return []metricFigure{
		rate,
		{"mean", true, func(m metrics.MetricSummary) float64 { return m.Mean }, func(b metrics.Bucket) float64 { return b.Mean }},
		{"p50", true, func(m metrics.MetricSummary) float64 { return m.P50 }, func(b metrics.Bucket) float64 { return b.P50 }},
		{"p95", true, func(m metrics.MetricSummary) float64 { return m.P95 }, func(b metrics.Bucket) float64 { return b.P95 }},
		{"p99", true, func(m metrics.MetricSummary) float64 { return m.P99 }, func(b metrics.Bucket) float64 { return b.P99 }},
	}
}

// over is the figure over the whole run. That of a gauge is the mean of its
// seconds: the last value alone would compare two moments.
func (f metricFigure) over(m metrics.MetricSummary, seconds []float64) float64 {
	if f.whole != nil {
		return f.whole(m)
	}
	sum := 0.0
	for _, v := range seconds {
		sum += v
	}
	return sum / float64(max(1, len(seconds)))
}

// maxSeconds bounds what a wrong clock of a machine can make of a run's length.
const maxSeconds = 1 << 20

// seconds are the figure's values second by second. In a rate, the seconds of
// the run in which nothing came count as 0.
func (f metricFigure) seconds(d broker.Dossier, key metricKey) []float64 {
	var values []float64
	if f.name == "rate" {
		values = make([]float64, int(max(0, min(d.Summary.Seconds, maxSeconds))))
	}
	for _, line := range d.Lines {
		if line.Name != key.name || line.Kind != key.kind {
			continue
		}
		for _, b := range line.Buckets {
			if f.name != "rate" {
				values = append(values, f.bucket(b))
				continue
			}
			// A bucket's time is the end of its second.
			if i := (b.Time - d.Summary.From - 1) / 1000; b.Time > d.Summary.From && i < int64(len(values)) {
				values[i] += f.bucket(b)
			}
		}
	}
	return values
}
