package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// crashPlan is short, and passes through almost every state of runs, steps and
// machines: it sends a number of metrics that is known beforehand.
const crashPlan = `
name: crash
max_skew_ms: 300000 # a broker that is killed may have started one of two
steps:
  - name: first
    container_name: loads/node
    additional_command_args: sleep 4s --print awake
    run_max_time: 300
    ready: {log: awake, timeout: 120}
  - name: second
    instance_count: 2
    container_name: loads/node
    additional_command_args: sleep 3s --print awake
    run_max_time: 300
  - name: third
    container_name: loads/node
    additional_command_args: sleep 2s
    start_after: first
    run_max_time: 300
`

// stoppedPlan is crashPlan with a third step that is stopped, after so long that
// a busy engine has started it by then.
var stoppedPlan = strings.NewReplacer("sleep 2s", "sleep 600s", "start_after: first\n    run_max_time: 300", "start_after: first\n    run_max_time: 25").Replace(crashPlan)

// crashTicks are what the steps of crashPlan count.
var crashTicks = map[string]float64{"first": 4, "second": 2 * 3, "third": 2}

// crashMoments are the moments at which the broker is killed, one a run. Each
// is given by what a look at the run shows.
var crashMoments = []struct {
	name string
	is   func(api.Run, []api.Machine) bool
}{
	{"initializing", func(r api.Run, _ []api.Machine) bool { return true }},
	{"machines requested", func(_ api.Run, ms []api.Machine) bool { return len(ms) > 0 }},
	{"machine ready", machineIs(broker.MachineReady)},
	{"machine prepared", machineIs(broker.MachinePrepared)},
	{"running", func(r api.Run, _ []api.Machine) bool { return r.State == broker.Running }},
	{"arming", stepIs(broker.StepArming)},
	{"starting", stepIs(broker.StepStarting)},
	{"started", stepIs(broker.StepStarted)},
	{"ready", stepIs(broker.StepReady)},
	{"stopping", stepIs(broker.StepStopping)},
	{"ended", stepIs(broker.StepEnded)},
	{"terminating", func(r api.Run, _ []api.Machine) bool { return r.State == broker.Terminating }},
	{"releasing", machineIs(broker.MachineReleasing)},
	{"released", machineIs(broker.MachineReleased)},
}

func machineIs(s broker.MachineState) func(api.Run, []api.Machine) bool {
	return func(_ api.Run, ms []api.Machine) bool {
		for _, m := range ms {
			if m.State == s {
				return true
			}
		}
		return false
	}
}

func stepIs(s broker.StepState) func(api.Run, []api.Machine) bool {
	return func(r api.Run, _ []api.Machine) bool {
		for _, rec := range r.StepRecords {
			if rec.State == s {
				return true
			}
		}
		return false
	}
}

// How often the broker is killed at random moments, of one run or more, by each
// of so many.
const (
	killers   = 9
	killsEach = 7
)

// TestKilledBrokerGoesOn kills the broker in every state and at random
// moments. Every run must end as if nothing had been: PASS, every frame stored
// once, nothing left in the engine.
func TestKilledBrokerGoesOn(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) {
		for _, moment := range crashMoments {
			t.Run(moment.name, func(t *testing.T) {
				t.Parallel()
				d := startBroker(t)
				stopped := moment.name == "stopping"
				plan := crashPlan
				if stopped {
					plan = stoppedPlan
				}
				run := d.trigger(plan)
				var r api.Run
				until(t, "the run is "+moment.name+", or over", 5*time.Minute, func() bool {
					var ms []api.Machine
					r, ms = d.look(run)
					return moment.is(r, ms) || r.State == broker.Completed
				})
				// One that is too short to be seen is hit by the random kills as well.
				if r.State != broker.Completed {
					d.kill()
					d.start()
				}
				if stopped { // which the random kills don't come to
					d.runFor(run, time.Duration(rand.IntN(1000))*time.Millisecond)
					d.kill()
					d.start()
				}
				d.survived(run)
			})
		}
		for worker := range killers {
			t.Run(fmt.Sprintf("at random %d", worker), func(t *testing.T) {
				t.Parallel()
				d := startBroker(t)
				for kills := 0; kills < killsEach; {
					run := d.trigger(crashPlan)
					for ; kills < killsEach; kills++ {
						d.runFor(run, time.Duration(20+rand.IntN(1000))*time.Millisecond)
						if d.mustRun(run).State == broker.Completed {
							break
						}
						d.kill()
						d.start()
					}
					d.survived(run)
				}
			})
		}
	})
}

// look reads the run and its machines.
func (d *daemon) look(run string) (api.Run, []api.Machine) {
	d.t.Helper()
	ms, err := d.Machines(d.t.Context(), run)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.mustRun(run), ms
}

// runFor lets the run go on for a time, or to its end.
func (d *daemon) runFor(run string, limit time.Duration) {
	d.t.Helper()
	if _, _, err := d.Wait(d.t.Context(), run, limit); err != nil {
		d.t.Fatal(err)
	}
}

// survived checks that the run, of a plan like crashPlan, ends as if the broker
// had not been killed.
func (d *daemon) survived(run string) {
	d.t.Helper()
	r := d.await(run)
	d.pass(r)
	lines, err := d.Series(d.t.Context(), run, metrics.Query{Metric: "sleep.ticks", By: "step"})
	if err != nil {
		d.t.Fatal(err)
	}
	ticks := map[string]float64{}
	for _, l := range lines {
		for _, b := range l.Buckets {
			ticks[l.Step] += b.Count
		}
	}
	for step, want := range crashTicks {
		if ticks[step] != want && !(step == "third" && r.Run.Plan.Steps[2].RunMaxTime < 300) { // which is stopped, sooner or later
			d.t.Errorf("sleep.ticks counted %v in step %s, want %v", ticks[step], step, want)
		}
	}
	if d.t.Failed() {
		d.t.Logf("events:\n%s", d.events(run))
	}
}
