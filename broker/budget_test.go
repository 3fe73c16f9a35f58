package broker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/strategies"
)

// projectPlan is a project of one plan, a run of which can cost 1.70 USD at most:
// 2 machines for 45 minutes, the plan's 61 s and 5 minutes.
const projectPlan = `name: shop
max_cost: 2
plans:
  - name: rented
    steps:
      - {name: load, container_name: loads/node, additional_command_args: sleep 60s, run_max_time: 60, stop_timeout: 1, instance_count: 2}
`

func TestRunsOfAProjectCostNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	first, err := d.startPlan(projectPlan)
	ok(t, err)
	_, err = d.startPlan(projectPlan)
	if broker.CodeOf(err) != broker.EInvalid || !strings.Contains(err.Error(), "of the 2.00 USD that the project may cost in 30 days") {
		t.Errorf("the second run: %v, want it refused for the first, which may yet cost 1.70 USD", err)
	}
	budget, err := d.ProjectBudget(t.Context(), first.ProjectUUID)
	ok(t, err)
	if budget == nil || budget.MaxUSD != 2 || budget.ReservedUSD < 1.6 || budget.Left() > 0.4 {
		t.Errorf("budget %+v, want 1.70 of 2 USD reserved", budget)
	}
	_, err = d.Abort(t.Context(), first.UUID)
	ok(t, err)
	d.await(first)
	second, err := d.startPlan(projectPlan)
	ok(t, err)
	waittest.Until(t, "the second run has machines", 5*time.Minute, func() bool { return d.renewed() > 0 })

	// A lower limit ends the run in time, and another keeps the next from starting.
	_, err = d.SetMaxCost(t.Context(), first.ProjectUUID, 0.03)
	ok(t, err)
	second = d.await(second)
	if second.Verdict != broker.Errored || !strings.Contains(second.Reason, "the project's machines of 30 days would cost more than the 0.0300 USD") {
		t.Errorf("verdict %s (%s), want ERROR for want of money", second.Verdict, second.Reason)
	}
	cost, err := d.EstimatePlan(t.Context(), second.PlanUUID)
	ok(t, err)
	if cost.Project == nil || cost.Project.SpentUSD <= 0 || cost.Project.ReservedUSD != 0 || len(cost.Faults) != 1 {
		t.Errorf("cost %+v, want what the project has spent, and a fault", cost)
	}

	// What was spent stays so when the runs are deleted.
	before, err := d.ProjectBudget(t.Context(), first.ProjectUUID)
	ok(t, err)
	ok(t, d.DeleteRun(t.Context(), first.UUID))
	ok(t, d.DeleteRun(t.Context(), second.UUID))
	after, err := d.ProjectBudget(t.Context(), first.ProjectUUID)
	ok(t, err)
	if math.Abs(after.SpentUSD-before.SpentUSD) > 1e-9 {
		t.Errorf("the project has spent %v USD, and %v before its runs were deleted", after.SpentUSD, before.SpentUSD)
	}
	if _, err := d.SetMaxCost(t.Context(), first.ProjectUUID, -1); broker.CodeOf(err) != broker.EInvalid {
		t.Errorf("a limit below 0: %v, want EInvalid", err)
	}
}

// TestARunThatALowLimitHasShortenedEndsInTime raises the limit again, which gives
// machines back nothing of their lives: so the run has to end before they do.
func TestARunThatALowLimitHasShortenedEndsInTime(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	run, err := d.startPlan(projectPlan)
	ok(t, err)
	waittest.Until(t, "the run has machines", 5*time.Minute, func() bool { return d.renewed() > 0 })
	_, err = d.SetMaxCost(t.Context(), run.ProjectUUID, 0.115) // some seconds, and what is kept for an end in order
	ok(t, err)
	waittest.Until(t, "the machines may live less long", 5*time.Minute, func() (shorter bool) {
		d.set(func() {
			for _, lives := range d.renewals {
				shorter = shorter || lives[len(lives)-1] < 5*time.Minute
			}
		})
		return shorter
	})
	_, err = d.SetMaxCost(t.Context(), run.ProjectUUID, 2)
	ok(t, err)
	if run = d.await(run); run.Verdict != broker.Errored || !strings.Contains(run.Reason, "would cost more than the 0.1150 USD") {
		t.Errorf("verdict %s (%s), want ERROR for want of money", run.Verdict, run.Reason)
	}
}

// TestLateMachinesComeInTheTimeThatEarlierOnesTook has a plan of one step at
// once, from which the broker learns, and one much later.
func TestLateMachinesComeInTheTimeThatEarlierOnesTook(t *testing.T) {
	t.Parallel()
	d := openDesk(t, nil)
	const plan = `name: late
steps:
  - {name: at once, container_name: loads/node, additional_command_args: sleep 100ms, run_max_time: 10}
  - {name: later, container_name: loads/node, additional_command_args: sleep 1s, run_max_time: 10, run_delay: 600}
`
	p, err := strategies.ParseFile("late.yaml", []byte(plan))
	ok(t, err)
	project, err := d.Import(t.Context(), p, true)
	ok(t, err)
	uuid := project.Plans[0].Plan.UUID
	before, err := d.EstimatePlan(t.Context(), uuid)
	ok(t, err)
	d.await(d.run("100ms"))
	after, err := d.EstimatePlan(t.Context(), uuid)
	ok(t, err)
	took := after.Lines[1].PreparedSeconds
	if before.Lines[1].PreparedSeconds != 0 || took <= 0 {
		t.Errorf("machines took %v s before there was any, and %v s after", before.Lines[1].PreparedSeconds, took)
	}
	// Before, a late machine came 3 minutes ahead; now by half more than that took, which costs less.
	was, is := before.Lines[1].LifeSeconds, after.Lines[1].LifeSeconds
	if want := was - 180 + max(30, 1.5*took); math.Abs(is-want) > 0.01 {
		t.Errorf("a late machine that took %v s can live %v s, and %v s before that was known, want %v", took, is, was, want)
	}
}
