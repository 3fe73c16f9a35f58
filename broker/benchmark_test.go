package broker

import (
	"slices"
	"testing"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

func TestGeneratorsSayWhatTheVerdictIs(t *testing.T) {
	plan := strategies.Plan{Steps: []strategies.Step{
		{Name: "web"}, {Name: "load", Benchmark: &strategies.Benchmark{File: "shop.yaml"}},
	}}
	why := func(metric, reason string) metrics.Frame {
		tags := []metrics.Tag{{Name: "reason", Value: reason}}
		return metrics.Frame{Seq: 1, Time: 1000, Points: []metrics.Point{{Kind: metrics.Counter, Name: metric, Tags: tags, Value: 1}}}
	}
	ended := func(codes ...int) (machines []Machine) {
		for i, code := range codes {
			machines = append(machines, Machine{Step: 1, Index: i, ExitCode: &code})
		}
		return machines
	}
	for _, tt := range []struct {
		name     string
		machines []Machine
		told     map[int]metrics.Frame
		state    CriterionState
		detail   string
		faults   []string
	}{
		{"all is well", ended(0, 0), nil, CriterionHeld, "", nil},
		{"a phase failed and says why", ended(0, 1), map[int]metrics.Frame{1: why("gen.failed", "slow")}, CriterionFailed, "load/1: slow", nil},
		{"a phase failed and nothing came", ended(1), nil, CriterionFailed, "load/0: it failed; its output says why", nil},
		{"the generator was late", ended(3, 0), map[int]metrics.Frame{0: why("gen.invalid", "late")}, CriterionHeld, "", []string{"load/0: late"}},
		{"it was, and nothing came", ended(0, 3), nil, CriterionHeld, "", []string{"load/1: the generator was at fault itself; its output says why"}},
		{
			"both", ended(3),
			map[int]metrics.Frame{0: why("gen.failed", "slow")},
			CriterionFailed, "load/0: slow",
			[]string{"load/0: the generator was at fault itself; its output says why"},
		},
		{"many", ended(1, 1, 1, 1, 1), nil, CriterionFailed, "load/0: it failed; its output says why; load/1: it failed; its output says why; " +
			"load/2: it failed; its output says why; and 2 more", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := metrics.NewSeries()
			for machine, frame := range tt.told {
				s.Add("load", machine, frame)
			}
			got := benchmarkResults(plan, tt.machines, s)
			if len(got) != 1 || got[0].Name != "benchmark of load" || got[0].State != tt.state || got[0].Detail != tt.detail {
				t.Errorf("got %+v, want %s, %q", got, tt.state, tt.detail)
			}
			if faults := generatorFaults(plan, tt.machines, s); !slices.Equal(faults, tt.faults) {
				t.Errorf("got faults %q, want %q", faults, tt.faults)
			}
		})
	}
}

func TestWhatGeneratorsSayOfThemselvesIsToldOfEachMachine(t *testing.T) {
	plan := strategies.Plan{Steps: []strategies.Step{
		{Name: "web"}, {Name: "load", Benchmark: &strategies.Benchmark{File: "shop.yaml"}},
	}}
	said := func(machines int, notes ...string) *metrics.Series {
		s := metrics.NewSeries()
		for i := range machines {
			f := metrics.Frame{Seq: 1, Time: 1000}
			for _, note := range notes {
				f.Points = append(f.Points, metrics.Point{Kind: metrics.Counter, Name: "gen.note", Tags: []metrics.Tag{{Name: "reason", Value: note}}, Value: 1})
			}
			s.Add("load", i, f)
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		series *metrics.Series
		events int
		last   string
	}{
		{"nothing", said(3), 0, ""},
		{"one machine", said(1, "it began late"), 1, "The generator of load/0 says: it began late."},
		{"two things each", said(2, "it began late", "a loop was busy"), 2, "The generator of load/1 says: a loop was busy; it began late."},
		{"as many as are told of", said(20, "it began late"), 20, "The generator of load/19 says: it began late."},
		{"many", said(1000, "it began late"), 21, "The generators of 980 more machines of load say something of themselves; their output has it."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := generatorNotes(plan, tt.series)
			if len(got) != tt.events || tt.events > 0 && got[tt.events-1].Text != tt.last {
				t.Fatalf("got %d events, %+v, want %d, the last %q", len(got), got, tt.events, tt.last)
			}
			for i, e := range got {
				if e.Kind != EventNote || e.Step != "load" || i < 20 && *e.Machine != i {
					t.Errorf("event %d is %+v", i, e)
				}
			}
		})
	}
}

func TestOnlyBenchmarksMayEndWithAResult(t *testing.T) {
	for code, want := range map[int]bool{0: true, 1: true, 2: false, 3: true, 137: false} {
		if got := endedAsPlanned(strategies.Step{Benchmark: &strategies.Benchmark{}}, code); got != want {
			t.Errorf("code %d of a benchmark: got %v, want %v", code, got, want)
		}
		if got := endedAsPlanned(strategies.Step{}, code); got != (code == 0) {
			t.Errorf("code %d: got %v, want %v", code, got, code == 0)
		}
	}
}
