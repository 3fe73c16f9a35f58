package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// turnsPlan runs phases that follow each other once all users have ended, who
// think for longer on each further machine.
const turnsPlan = `name: turns
max_skew_ms: 300000 # it is not the containers that have to be in step
steps:
  - name: load
    container_name: loads/node
    benchmark:
      file: turns.yaml
      params: {THINK: '${LOADS_MACHINE}500ms'}
      files: {turns.yaml: %q}
    additional_command_args: --max-lag -1s --max-steal -1 --quiet --json
    instance_count: 3
    run_max_time: 300
`

const turnsBenchmark = `name: turns
phases:
- first: {atOnce: {users: 3, scenario: &think [{think: [{thinkTime: !param THINK}]}]}}
- second: {atOnce: {users: 3, startAfterStrict: first, scenario: *think}}
- third: {atOnce: {users: 3, startAfterStrict: second, scenario: [{think: [{thinkTime: 10ms}]}]}}
`

// TestMachinesBeginPhasesOnceAllHaveEnded runs a benchmark whose users end at
// other times on each of three machines: none begins a phase before the last
// has ended the one before, also when the broker is killed and started again
// while the first words are under way, and once more when it has just decided.
func TestMachinesBeginPhasesOnceAllHaveEnded(t *testing.T) {
	t.Parallel()
	for _, killed := range []bool{false, true} {
		name := map[bool]string{false: "undisturbed", true: "the broker is killed"}[killed]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startBroker(t)
			run := d.trigger(fmt.Sprintf(turnsPlan, turnsBenchmark))
			if killed {
				until(t, "the machines run", 5*time.Minute, func() bool {
					r, ms := d.look(run)
					return r.StepRecords[0].State == broker.StepReady && !slices.ContainsFunc(ms, func(m api.Machine) bool { return m.StartedAt == nil })
				})
				d.kill()
				d.start()
				d.untilTold(run, "phase first have ended on all machines")
				d.kill()
				d.start()
			}
			r := d.await(run)
			d.pass(r)
			_, ends := outputs(t, d, run)
			if len(ends) != 3 {
				t.Fatalf("%d machines have told how it ended, want 3", len(ends))
			}
			inTurn(t, ends, "first", "second", "third")
			events := d.events(run)
			for _, phase := range []string{"first", "second"} {
				if n := strings.Count(events, "the users of phase "+phase+" have ended on all machines"); n != 1 {
					t.Errorf("the end of phase %s was agreed on %d times in\n%s", phase, n, events)
				}
			}
		})
	}
}

const brokenBenchmark = `name: broken
phases:
- first:
    always:
      users: 3
      duration: 10m
      scenario: [{work: [{thinkTime: 300ms}, {setInt: {var: m, value: !param MACHINE}},
        {conditional: {intCondition: {fromVar: m, equalTo: 1}, actions: [{fail: {message: no more goods}}]}}]}]
- second: {atOnce: {users: 3, startAfterStrict: first, scenario: [{think: [{thinkTime: 10ms}]}]}}
`

// TestPhaseThatFailsOnOneMachineEndsOnAll runs a phase of ten minutes, whose users
// can't go on on one of three machines: it ends on all, and the next is left out.
func TestPhaseThatFailsOnOneMachineEndsOnAll(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	plan := strings.NewReplacer("THINK: '${LOADS_MACHINE}500ms'", "MACHINE: $LOADS_MACHINE", "turns", "broken").Replace(turnsPlan)
	run := d.trigger(fmt.Sprintf(plan, brokenBenchmark))
	r := d.await(run)
	d.clean(r)
	if c := r.Run.Criteria; r.Run.Verdict != broker.Fail || len(c) != 1 || c[0].Detail != "load/1: phase first: sequence work: no more goods" {
		t.Errorf("got %s, %q, %+v; want that the benchmark failed on machine 1", r.Run.Verdict, r.Run.Reason, r.Run.Criteria)
	}
	_, ends := outputs(t, d, run)
	for _, end := range ends {
		// One that comes so late that the phase has failed by then does not begin it.
		if first := end.Phases[0].Status; first != "terminated" && first != "cancelled" || end.Phases[1].Status != "cancelled" {
			t.Errorf("a machine has ended with %+v; notes %q", end.Phases, end.Notes)
		}
	}
	if len(ends) != 3 {
		t.Errorf("%d machines have told how it ended, want 3", len(ends))
	}
}

// inTurn fails the test when a machine has begun a phase before all had ended
// the one before, and logs how far apart machines began it, and how long after
// the last had ended.
func inTurn(t *testing.T, ends []summaryOf, phases ...string) {
	t.Helper()
	var before time.Time
	for i, phase := range phases {
		var began, ended []time.Time
		for _, end := range ends {
			p := end.Phases[i]
			if p.Name != phase || p.EndMS == 0 {
				t.Fatalf("phase %s has ended as %+v; notes %q", phase, p, end.Notes)
			}
			began = append(began, end.Start.Add(time.Duration(p.StartMS*float64(time.Millisecond))))
			ended = append(ended, end.Start.Add(time.Duration(p.EndMS*float64(time.Millisecond))))
		}
		first, last := slices.MinFunc(began, time.Time.Compare), slices.MaxFunc(began, time.Time.Compare)
		t.Logf("phase %s began within %s", phase, last.Sub(first))
		if i > 0 {
			t.Logf("the last machine began it %s after the last had ended the one before", last.Sub(before))
			if first.Before(before) {
				t.Errorf("phase %s began %s before all machines had ended the one before", phase, before.Sub(first))
			}
		}
		before = slices.MaxFunc(ended, time.Time.Compare)
	}
	for _, end := range ends {
		if len(end.Notes) > 0 {
			t.Logf("notes: %q", end.Notes)
		}
	}
}
