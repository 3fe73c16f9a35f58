package influx

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// ours are the tags that say where a point comes from. A metric's own tags of
// these names are left out.
var ours = []string{"run", "plan", "project", "step", "type", "host", "metric_type"}

// A sample is one series in one second.
type sample struct {
	name   string
	tags   []metrics.Tag // sorted by name
	kind   metrics.Kind  // empty for the ledger
	value  float64       // counter: sum; gauge: last value
	sketch *metrics.Sketch
	ledger metrics.Received
	seq    uint64 // ledger: number of the frame
}

// samples are the series of one second, by name and tags.
type samples map[string]*sample

// pointsOf returns the points of all seconds that fresh has frames of, made
// from these frames and those of before, which are written already: the points
// that are new, and those that were written and now say more.
func pointsOf(run broker.Run, before, fresh map[int64][]frame) (added, again []*write.Point) {
	for _, second := range slices.Sorted(maps.Keys(fresh)) {
		all := samplesOf(run, inOrder(before[second], fresh[second]))
		old := samplesOf(run, before[second])
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if p := all[key].point(second); old[key] == nil {
				added = append(added, p)
			} else {
				again = append(again, p)
			}
		}
	}
	return added, again
}

// inOrder puts frames into the order of machines and numbers, so that of two
// settings of a gauge the later wins.
func inOrder(before, fresh []frame) []frame {
	all := slices.Concat(before, fresh)
	slices.SortStableFunc(all, func(a, b frame) int {
		return cmp.Or(cmp.Compare(a.machine.Step, b.machine.Step), cmp.Compare(a.machine.Index, b.machine.Index), cmp.Compare(a.seq, b.seq))
	})
	return all
}

// samplesOf returns the series of frames of one second: those of each machine,
// and those merged over all.
func samplesOf(run broker.Run, frames []frame) samples {
	each, merged := samples{}, samples{}
	for _, f := range frames {
		place := placeTags(run, f.machine)
		for i := range f.frame.Points {
			each.add(sampleOf(&f.frame.Points[i], place))
		}
		each.add(sample{name: metrics.LedgerMeasurement, tags: place, ledger: f.frame.Ledger, seq: f.seq})
	}
	for _, key := range slices.Sorted(maps.Keys(each)) {
		if s := each[key]; s.kind != "" {
			merged.merge(s)
		}
	}
	maps.Copy(each, merged)
	return each
}

// placeTags say which machine of which run a point is of.
func placeTags(run broker.Run, m broker.Machine) []metrics.Tag {
	tags := []metrics.Tag{
		{Name: "host", Value: cmp.Or(m.Address, m.ProviderID, m.Token)},
		{Name: "plan", Value: run.PlanName},
		{Name: "project", Value: run.ProjectName},
		{Name: "run", Value: run.UUID},
	}
	if m.Step < len(run.Plan.Steps) {
		step := run.Plan.Steps[m.Step]
		tags = append(tags, metrics.Tag{Name: "step", Value: step.Name}, metrics.Tag{Name: "type", Value: step.DockerSeries})
	}
	return tidy(tags)
}

func sampleOf(p *metrics.Point, place []metrics.Tag) sample {
	tags := slices.Clone(place)
	for _, t := range p.Tags {
		if !slices.Contains(ours, t.Name) {
			tags = append(tags, t)
		}
	}
	tags = append(tags, metrics.Tag{Name: "metric_type", Value: metricTypes[p.Kind]})
	s := sample{name: metrics.Measurement(p.Name), tags: tidy(tags), kind: p.Kind, value: p.Value, sketch: p.Sketch}
	if p.Kind == metrics.Set {
		s.value = p.Distinct.Count()
	}
	return s
}

// metricTypes are the values of Telegraf's tag metric_type.
var metricTypes = map[metrics.Kind]string{
	metrics.Counter: "counter", metrics.Gauge: "gauge", metrics.Timer: "timing",
	metrics.Set: "set",
}

// tidy makes tags that InfluxDB takes: sorted, distinct, none empty.
func tidy(tags []metrics.Tag) []metrics.Tag {
	kept := make([]metrics.Tag, 0, len(tags))
	for _, t := range tags {
		t = metrics.Tag{Name: tagName(t.Name), Value: metrics.Printable(t.Value)}
		if t.Value != "" {
			kept = append(kept, t)
		}
	}
	slices.SortStableFunc(kept, func(a, b metrics.Tag) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(kept, func(a, b metrics.Tag) bool { return a.Name == b.Name })
}

// tagName keeps off the names that InfluxDB has for itself.
func tagName(name string) string {
	if name == "time" || strings.HasPrefix(name, "_") {
		name = "tag_" + strings.TrimLeft(name, "_")
	}
	return metrics.Printable(name)
}

func (s *sample) key() string {
	var b strings.Builder
	b.WriteString(s.name)
	for _, t := range s.tags {
		b.WriteString("\x00" + t.Name + "\x00" + t.Value)
	}
	return b.String()
}

// add takes in what came later on the same machine.
func (all samples) add(s sample) {
	have := all.find(s)
	switch s.kind {
	case metrics.Counter:
		have.value = finite(have.value + s.value)
	case metrics.Timer:
		_ = have.sketch.Merge(s.sketch) // it was checked when it was decoded
	default:
		have.value, have.ledger, have.seq = s.value, s.ledger, s.seq
	}
}

// merge takes in what came from one of the machines: the values of gauges add
// up, as in a run's summary; distinct values of machines can't be added up.
func (all samples) merge(s *sample) {
	if s.kind == metrics.Set {
		return
	}
	whole := sample{name: s.name + metrics.MergedSuffix, kind: s.kind}
	for _, t := range s.tags {
		if t.Name != "host" && t.Name != "step" && t.Name != "type" {
			whole.tags = append(whole.tags, t)
		}
	}
	have := all.find(whole)
	have.value = finite(have.value + s.value)
	if s.sketch != nil {
		_ = have.sketch.Merge(s.sketch)
	}
}

// find returns the sample of the same series, an empty one if it is new.
func (all samples) find(s sample) *sample {
	key := s.key()
	have := all[key]
	if have == nil {
		have = &sample{name: s.name, tags: s.tags, kind: s.kind}
		if s.kind == metrics.Timer {
			have.sketch = metrics.NewSketch()
		}
		all[key] = have
	}
	return have
}

// point returns the sample as a point at the second's end.
func (s *sample) point(second int64) *write.Point {
	p := influxdb2.NewPointWithMeasurement(s.name).SetTime(time.UnixMilli(second))
	for _, t := range s.tags {
		p.AddTag(t.Name, t.Value)
	}
	switch s.kind {
	case metrics.Timer:
		return s.timing(p)
	case metrics.Counter, metrics.Gauge, metrics.Set:
		return p.AddField("value", s.value)
	}
	return p.AddField("frames", count(s.seq)).AddField("datagrams", count(s.ledger.Datagrams)).
		AddField("values", count(s.ledger.Values)).AddField("malformed", count(s.ledger.Malformed)).
		AddField("dropped", count(s.ledger.Dropped)).AddField("merged", count(s.ledger.Merged)).
		AddField("log_lines", count(s.ledger.LogLines)).AddField("log_lost", count(s.ledger.LogLost)).
		AddField("log_gaps", count(s.ledger.LogGaps))
}

// timing adds the fields that Telegraf's statsd input gives a timing.
func (s *sample) timing(p *write.Point) *write.Point {
	q := s.sketch.Quantiles(0.5, 0.9, 0.95, 0.99)
	return p.AddField("count", s.sketch.Count()).AddField("sum", s.sketch.Sum()).
		AddField("mean", s.sketch.Mean()).AddField("stddev", s.sketch.Stddev()).
		AddField("lower", s.sketch.Min()).AddField("upper", s.sketch.Max()).AddField("median", q[0]).
		AddField("50_percentile", q[0]).AddField("90_percentile", q[1]).
		AddField("95_percentile", q[2]).AddField("99_percentile", q[3])
}

// count is an integer that InfluxDB 1.8 takes.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func finite(v float64) float64 { return max(-math.MaxFloat64, min(v, math.MaxFloat64)) }
