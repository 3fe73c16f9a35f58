package metrics

import (
	"cmp"
	"slices"
)

// liveWindowMs is how long a machine that fell silent holds up Live.
const liveWindowMs = 5000

// A Summary is what all metrics did between From and To. Each is merged over
// tags, machines and steps.
type Summary struct {
	From    int64           `json:"from"`    // Unix ms; 0 when nothing arrived
	To      int64           `json:"to"`      // Unix ms
	Seconds float64         `json:"seconds"` // from From to To
	Metrics []MetricSummary `json:"metrics"` // by name, then kind
}

// A MetricSummary is what one metric did. Fields that its kind does not have
// are 0.
type MetricSummary struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Count is, of a counter, the sum of the increments; of a timer the number
	// of values, each counted 1 / sample rate times; of a gauge how often it was
	// set; of a set the number of distinct values, within DistinctError.
	Count float64 `json:"count"`
	Rate  float64 `json:"rate"`  // counters and timers: Count a second over Seconds
	Value float64 `json:"value"` // gauge: last value, summed over machines
	// The rest is for timers, in their own unit, for which statsd has ms.
	Mean float64 `json:"mean"`
	Min  float64 `json:"min"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// Summary sums up all frames so far. Its time goes from the first to the last
// second in which anything arrived at a relay, so that the time in which
// machines are made ready, or stay idle at the end, doesn't lower the rates.
func (s *Series) Summary() Summary {
	s.sumUp()
	gauges := make(map[metricKey]float64)
	for key, t := range s.tracks {
		if key.kind == Gauge && key.machine != wholeStep {
			gauges[key.metricKey] = saturate(gauges[key.metricKey] + t.last().value)
		}
	}
	sum := newSummary(s.from, s.to)
	for key, t := range s.totals {
		sum.add(key, t, gauges[key])
	}
	sum.sort()
	return sum
}

// Live sums up the last complete second: the latest one that all machines have
// told about which were heard of in the five seconds before the latest frame,
// and have not finished.
func (s *Series) Live() Summary {
	second := s.liveSecond()
	totals := make(map[metricKey]*total)
	gauges := make(map[metricKey]float64)
	for key, t := range s.tracks {
		i, found := t.find(second)
		if !found {
			continue
		}
		c := t.cells[i]
		sum := totals[key.metricKey]
		if sum == nil {
			sum = newTotal()
			totals[key.metricKey] = sum
		}
		sum.add(c)
		gauges[key.metricKey] = saturate(gauges[key.metricKey] + c.value)
	}
	live := newSummary(second-secondMs, second)
	if second == 0 {
		live = newSummary(0, 0)
	}
	for key, t := range totals {
		live.add(key, t, gauges[key])
	}
	live.sort()
	return live
}

// liveSecond returns the end of the second for Live, 0 before any frame.
func (s *Series) liveSecond() int64 {
	newest := int64(0)
	for _, m := range s.machines {
		newest = max(newest, m.last)
	}
	second := newest
	for _, m := range s.machines {
		if !m.final && m.last > newest-liveWindowMs {
			second = min(second, m.last)
		}
	}
	return second
}

func newSummary(from, to int64) Summary {
	return Summary{From: from, To: to, Seconds: float64(to-from) / secondMs, Metrics: []MetricSummary{}}
}

func (s *Summary) add(key metricKey, t *total, gauge float64) {
	m := MetricSummary{Name: key.name, Kind: key.kind, Count: t.count}
	switch key.kind {
	case Gauge:
		m.Value = gauge
	case Timer:
		m.Count = t.sketch.Count()
		m.Mean, m.Min, m.Max = t.sketch.Mean(), t.sketch.Min(), t.sketch.Max()
		q := t.sketch.Quantiles(0.5, 0.9, 0.95, 0.99)
		m.P50, m.P90, m.P95, m.P99 = q[0], q[1], q[2], q[3]
	case Set:
		m.Count = t.distinct.Count()
	}
	if (key.kind == Counter || key.kind == Timer) && s.Seconds > 0 {
		m.Rate = m.Count / s.Seconds
	}
	s.Metrics = append(s.Metrics, m)
}

func (s *Summary) sort() {
	slices.SortFunc(s.Metrics, func(a, b MetricSummary) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
}
