package metrics_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
			Step: "web", Machine: machine, Counts: true, Values: values,
		}
	}
	one := metrics.HostValue{Time: 1000, Value: 10, Seconds: 1}
	two := metrics.HostValue{Time: 2000, Value: 20, Seconds: 1}
	three := metrics.HostValue{Time: 3000, Value: 30, Seconds: 1}
	zero := line("in", 0, metrics.HostValue{Time: 1000, Value: 1, Seconds: 1})
	out := line("out", 1, metrics.HostValue{Time: 3000, Value: 3, Seconds: 1})
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

// hostSecond is a frame with a level that is seq, and a total that is 10 seq.
func hostSecond(seq int) metrics.Frame {
	v := float64(seq)
	return metrics.Frame{Seq: uint64(seq), Time: int64(seq) * 1000, Host: []metrics.HostPoint{
		{Name: "cpu", Fields: map[string]float64{"usage_active": v}},
		{Name: "net", Fields: map[string]float64{"bytes_recv": 10 * v}},
	}}
}

// TestHostPointsAreCondensedByTheMinute condenses in parts, with one frame that
// comes late, and sends the parts through their encoding.
func TestHostPointsAreCondensedByTheMinute(t *testing.T) {
	live, kept := metrics.NewSeries(), metrics.NewSeries()
	keep := func(until int64, seqs ...int) {
		t.Helper()
		part := metrics.NewSeries()
		for _, seq := range seqs {
			live.Add("web", 0, hostSecond(seq))
			part.Add("web", 0, hostSecond(seq))
		}
		part.Condense(math.MaxInt64 / 2)
		live.Condense(until)
		keepBlocks(t, kept, part.Blocks())
	}
	keep(60_000, sequence(1, 30)...)
	keep(60_000, sequence(32, 60)...)
	keep(0, 31) // late
	keep(90_000, sequence(61, 90)...)

	level := []metrics.HostValue{
		{Time: 60_000, Value: 30.5, Max: new(60.0), Seconds: 60},
		{Time: 90_000, Value: 75.5, Max: new(90.0), Seconds: 30},
	}
	total := []metrics.HostValue{{Time: 60_000, Value: 600, First: new(10.0), Seconds: 60}, {Time: 90_000, Value: 900, First: new(610.0), Seconds: 30}}
	want := []metrics.HostLine{
		{Measurement: "cpu", Field: "usage_active", Step: "web", Values: level},
		{Measurement: "net", Field: "bytes_recv", Step: "web", Counts: true, Values: total},
	}
	live.Condense(math.MaxInt64 / 2)
	for what, s := range map[string]*metrics.Series{"as it goes": live, "from blocks": kept} {
		if diff := cmp.Diff(want, s.HostLines(metrics.HostQuery{}), cmpopts.EquateApprox(1e-9, 0), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
}

func TestHostsAreTheSameFromTotals(t *testing.T) {
	s, totals := metrics.NewSeries(), metrics.NewSeries()
	for seq := 1; seq <= 150; seq++ {
		s.Add("web", 0, hostSecond(seq))
		s.Add("web", 1, metrics.Frame{Seq: uint64(seq), Time: int64(seq) * 1000, Host: []metrics.HostPoint{{
			Name: metrics.ContainerMemory, Tags: []metrics.Tag{{Name: metrics.ContainerTag, Value: "load"}},
			Fields: map[string]float64{"usage": 5, "oom_kill": float64(seq / 100)},
		}}})
	}
	s.Condense(70_000)
	keepBlocks(t, totals, s.Totals())
	want := []metrics.HostSummary{
		{Step: "web", CPU: &metrics.Level{Mean: 75.5, Max: 150}, Received: new(1490.0)},
		{Step: "web", Machine: 1, Containers: []metrics.ContainerSummary{{
			Name: "load", Memory: &metrics.Level{Mean: 5, Max: 5}, OOMKills: new(1.0),
		}}},
	}
	for what, got := range map[string][]metrics.HostSummary{"of the series": s.Hosts(), "of totals": totals.Hosts()} {
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
}

// keepBlocks adds the blocks as they come back from their encoding.
func keepBlocks(t *testing.T, into *metrics.Series, blocks map[string]metrics.Block) {
	t.Helper()
	for step, block := range blocks {
		encoded, err := metrics.EncodeBlock(block)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := metrics.DecodeBlock(encoded)
		if err != nil {
			t.Fatal(err)
		}
		into.AddBlock(step, decoded)
	}
}

func sequence(first, last int) (all []int) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
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
