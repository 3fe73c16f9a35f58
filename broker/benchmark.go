package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// Exit statuses of a container that runs a benchmark, which say something about
// the result, not that it could not be had.
const (
	exitPhaseFailed = 1 // a phase has not kept its limits
	exitBottleneck  = 3 // the generator itself was at fault
)

// Counters by which a generator says why, and what else is worth knowing, in
// their tag reason.
const (
	metricInvalid = "gen.invalid"
	metricFailed  = "gen.failed"
	metricNote    = "gen.note"
	tagReason     = "reason"
)

// endedAsPlanned reports whether the code of a container's end is one that its
// step expects.
func endedAsPlanned(step strategies.Step, code int) bool {
	return code == 0 || step.Benchmark != nil && (code == exitPhaseFailed || code == exitBottleneck)
}

// benchmarkResults says, as of criteria, whether the benchmarks of the plan kept
// their limits on all machines.
func benchmarkResults(plan strategies.Plan, machines []Machine, s *metrics.Series) []CriterionResult {
	var results []CriterionResult
	for i, step := range plan.Steps {
		if step.Benchmark == nil {
			continue
		}
		r := CriterionResult{Name: "benchmark of " + step.Name, Expr: step.Benchmark.File, State: CriterionHeld}
		why := told(machines, i, step.Name, exitPhaseFailed, s.TagValues(metricFailed, tagReason), "it failed; its output says why")
		if len(why) > 0 {
			r.State, r.Detail = CriterionFailed, strings.Join(why, "; ")
		}
		results = append(results, r)
	}
	return results
}

// generatorFaults tells which generators say that they were the bottleneck.
func generatorFaults(plan strategies.Plan, machines []Machine, s *metrics.Series) []string {
	var faults []string
	for i, step := range plan.Steps {
		if step.Benchmark != nil {
			faults = append(faults, told(machines, i, step.Name, exitBottleneck, s.TagValues(metricInvalid, tagReason),
				"the generator was at fault itself; its output says why")...)
		}
	}
	return faults
}

// mostNoted is of how many machines of a step it is told what their generators
// say of themselves.
const mostNoted = 20

// generatorNotes are events of what generators say of themselves beside that:
// one for each machine that says something, and one for those that are too many.
func generatorNotes(plan strategies.Plan, s *metrics.Series) (events []Event) {
	tags := s.TagValues(metricNote, tagReason) // by step and machine
	for _, step := range plan.Steps {
		if step.Benchmark == nil {
			continue
		}
		said := map[int][]string{}
		for _, tag := range tags {
			if tag.Step == step.Name {
				said[tag.Machine] = append(said[tag.Machine], tag.Value)
			}
		}
		for i, machine := range slices.Sorted(maps.Keys(said)) {
			if i == mostNoted {
				text := fmt.Sprintf("The generators of %d more machines of %s say something of themselves; their output has it.", len(said)-i, step.Name)
				events = append(events, Event{Kind: EventNote, Step: step.Name, Text: text})
				break
			}
			text := fmt.Sprintf("The generator of %s/%d says: %s.", step.Name, machine, strings.Join(said[machine], "; "))
			events = append(events, Event{Kind: EventNote, Step: step.Name, Machine: &machine, Text: text})
		}
	}
	return events
}

// mostTold is how many machines of a step are told of.
const mostTold = 3

// told lists what the step's machines say in the tag, and, for those that ended
// with the code and say nothing, what that means.
func told(machines []Machine, i int, step string, code int, tags []metrics.TagValue, meaning string) []string {
	var all []string
	for _, m := range machines {
		if m.Step != i {
			continue
		}
		before := len(all)
		for _, tag := range tags {
			if tag.Step == step && tag.Machine == m.Index {
				all = append(all, fmt.Sprintf("%s/%d: %s", step, m.Index, tag.Value))
			}
		}
		if len(all) == before && m.ExitCode != nil && *m.ExitCode == code {
			all = append(all, fmt.Sprintf("%s/%d: %s", step, m.Index, meaning))
		}
	}
	if more := len(all) - mostTold; more > 0 {
		all = append(slices.Clip(all[:mostTold]), fmt.Sprintf("and %d more", more))
	}
	return all
}
