package metrics_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/metrics"
)

func hostFrame(seq uint64, time int64, fields map[string]float64) metrics.Frame {
	return metrics.Frame{Seq: seq, Time: time, Host: []metrics.HostPoint{
		{Name: "net", Tags: []metrics.Tag{{Name: "interface", Value: "eth0"}}, Fields: fields},
	}}
}

func TestHostPointsComeBackBySecond(t *testing.T) {
	s := metrics.NewSeries()
	in := func(v float64) map[string]float64 { return map[string]float64{"in": v} }
	s.Add("web", 1, hostFrame(1, 1000, in(10)))
	s.Add("web", 1, hostFrame(3, 3000, map[string]float64{"in": 30, "out": 3}))
	s.Add("web", 1, hostFrame(2, 2000, in(20)))
	s.Add("web", 1, hostFrame(2, 2000, in(99))) // came before
	s.Add("web", 0, overTheWire(t, hostFrame(1, 1000, in(1))))
	line := func(field string, machine int, values ...metrics.HostValue) metrics.HostLine {
		return metrics.HostLine{
			Measurement: "net", Field: field, Tags: []metrics.Tag{{Name: "interface", Value: "eth0"}},
			Step: "web", Machine: machine, Values: values,
		}
	}
	one := metrics.HostValue{Time: 1000, Value: 10}
	two := metrics.HostValue{Time: 2000, Value: 20}
	three := metrics.HostValue{Time: 3000, Value: 30}
	zero := line("in", 0, metrics.HostValue{Time: 1000, Value: 1})
	out := line("out", 1, metrics.HostValue{Time: 3000, Value: 3})
	for _, c := range []struct {
		what string
		q    metrics.HostQuery
		want []metrics.HostLine
	}{
		{"all", metrics.HostQuery{}, []metrics.HostLine{zero, line("in", 1, one, two, three), out}},
		{"a field", metrics.HostQuery{Measurement: "net", Field: "out"}, []metrics.HostLine{out}},
		{"a time", metrics.HostQuery{Field: "in", From: 1000, To: 2000}, []metrics.HostLine{line("in", 1, two)}},
		{"another measurement", metrics.HostQuery{Measurement: "cpu"}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			if diff := cmp.Diff(c.want, s.HostLines(c.q)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHostPointsAreNoMetricsOfThePlan(t *testing.T) {
	s := metrics.NewSeries()
	s.Add("web", 0, hostFrame(1, 1000, map[string]float64{"in": 10}))
	if sum := s.Summary(); sum.Seconds != 0 || len(sum.Metrics) != 0 {
		t.Errorf("summary: got %+v, want nothing in no time", sum)
	}
	if lines := s.Lines(metrics.Query{}); len(lines) != 0 {
		t.Errorf("lines: got %+v, want none", lines)
	}
}

func TestBadHostPointsAreRefused(t *testing.T) {
	tags := []metrics.Tag{{Name: "b", Value: "1"}, {Name: "a", Value: "1"}}
	for what, p := range map[string]metrics.HostPoint{
		"no name":         {Fields: map[string]float64{"a": 1}},
		"no field":        {Name: "cpu"},
		"a nameless one":  {Name: "cpu", Fields: map[string]float64{"": 1}},
		"no number":       {Name: "cpu", Fields: map[string]float64{"a": math.NaN()}},
		"tags in any way": {Name: "cpu", Tags: tags, Fields: map[string]float64{"a": 1}},
	} {
		if _, err := metrics.Encode(metrics.Frame{Seq: 1, Time: 1, Host: []metrics.HostPoint{p}}); err == nil {
			t.Errorf("%s: encoded %+v, want an error", what, p)
		}
	}
}
