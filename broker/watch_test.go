package broker

import (
	"context"
	"testing"

	"github.com/loads/loads/strategies"
)

// oneRun is a store that has one run.
type oneRun struct {
	Store
	run Run
}

func (s oneRun) Run(context.Context, string) (Run, error) { return s.run, nil }

// What a benchmark says is judged beside the plan's criteria, and is told with
// them: a run that failed by it would otherwise show nothing that failed.
func TestCriteria_TellOfBenchmarks(t *testing.T) {
	t.Parallel()
	run := Run{}
	run.Plan.Criteria = []strategies.Criterion{{Name: "fast", Expr: `p95("a") < 1`}}
	run.Judgement = Judgement{Done: true, Criteria: []CriterionResult{
		{Name: "fast", State: CriterionHeld}, {Name: "benchmark of load", State: CriterionFailed},
	}}
	b := &Broker{cfg: Config{Store: oneRun{run: run}}}
	got, err := b.Criteria(t.Context(), "a run")
	if err != nil || len(got) != 2 || got[0].State != CriterionHeld || got[1].Name != "benchmark of load" || got[1].State != CriterionFailed {
		t.Errorf("got %+v, %v, want the criterion and the benchmark", got, err)
	}
	run.Judgement = Judgement{}
	b.cfg.Store = oneRun{run: run}
	if got, err := b.Criteria(t.Context(), "a run"); err != nil || len(got) != 1 || got[0].State != CriterionPending {
		t.Errorf("got %+v, %v before the end, want one that is pending", got, err)
	}
}
