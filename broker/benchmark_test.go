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

func TestWhatGeneratorsSayOfThemselvesIsAnEvent(t *testing.T) {
	plan := strategies.Plan{Steps: []strategies.Step{
		{Name: "web"}, {Name: "load", Benchmark: &strategies.Benchmark{File: "shop.yaml"}},
	}}
	var machines []Machine
	s := metrics.NewSeries()
	for i := range 5 {
		machines = append(machines, Machine{Step: 1, Index: i, ExitCode: new(int)})
		if i > 0 {
			tags := []metrics.Tag{{Name: "reason", Value: "this machine began late"}}
			s.Add("load", i, metrics.Frame{Seq: 1, Time: 1000, Points: []metrics.Point{{Kind: metrics.Counter, Name: "gen.note", Tags: tags, Value: 1}}})
		}
	}
	const want = "Worth knowing of the generator: load/1: this machine began late; load/2: this machine began late; load/3: this machine began late; and 1 more."
	if got := generatorNotes(plan, machines, s); len(got) != 1 || got[0].Text != want || got[0].Step != "load" || got[0].Kind != EventNote {
		t.Errorf("got %+v, want one event that says %s", got, want)
	}
	if got := generatorNotes(plan, machines, metrics.NewSeries()); len(got) != 0 {
		t.Errorf("got %+v of generators that say nothing", got)
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
