package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// crashPlan is short, and passes through every state of runs, steps and
// machines: it sends a number of metrics that is known beforehand.
const crashPlan = `
name: crash
steps:
  - name: first
    container_name: loads/node
    additional_command_args: sleep 4s --print awake
    run_max_time: 60
    ready: {log: awake, timeout: 60}
  - name: second
    instance_count: 2
    container_name: loads/node
    additional_command_args: sleep 3s --print awake
    run_max_time: 60
  - name: third
    container_name: loads/node
    additional_command_args: sleep 600s
    start_after: first
    run_max_time: 2
    stop_timeout: 1
`

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

// minKills is how often the broker must have been killed under a run.
const minKills = 50

// TestKilledBrokerGoesOn kills the broker in every state and at random
// moments. Every run must end as if nothing had been: PASS, every frame stored
// once, nothing left in the engine.
func TestKilledBrokerGoesOn(t *testing.T) {
	t.Parallel()
	var kills atomic.Int64
	t.Run("killed", func(t *testing.T) {
		for _, moment := range crashMoments {
			t.Run(moment.name, func(t *testing.T) {
				t.Parallel()
				d := startBroker(t)
				run := d.trigger(crashPlan)
				var r api.Run
				until(t, "the run is "+moment.name+", or over", 3*time.Minute, func() bool {
					var ms []api.Machine
					r, ms = d.look(run)
					return moment.is(r, ms) || r.State == broker.Completed
				})
				// One that is too short to be seen is hit by the random kills as well.
				if r.State != broker.Completed {
					d.kill()
					kills.Add(1)
					d.start()
				}
				d.survived(run)
			})
		}
		for worker := range 9 {
			t.Run(fmt.Sprintf("at random %d", worker), func(t *testing.T) {
				t.Parallel()
				d := startBroker(t)
				run := d.trigger(crashPlan)
				for range 7 {
					d.runFor(run, time.Duration(20+rand.IntN(1000))*time.Millisecond)
					if d.mustRun(run).State == broker.Completed {
						break
					}
					d.kill()
					kills.Add(1)
					d.start()
				}
				d.survived(run)
			})
		}
	})
	if n := kills.Load(); n < minKills {
		t.Errorf("the broker was killed %d times, want %d or more", n, minKills)
	}
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

// survived checks that the run ends as if the broker had not been killed.
func (d *daemon) survived(run string) {
	d.t.Helper()
	r := d.await(run)
	d.pass(r)
	ticks := 0.0
	for _, m := range r.Summary.Metrics {
		if m.Name == "sleep.ticks" {
			ticks = m.Count
		}
	}
	// first sends 4, each of second's two machines 3; third is stopped some
	// time within or after its 2 s.
	if ticks < 10 || ticks > 14 {
		t := d.t
		t.Errorf("sleep.ticks counted %v, want 10 and those of the third step, 0 to 4", ticks)
	}
	if d.t.Failed() {
		d.t.Logf("events:\n%s", d.events(run))
	}
}
