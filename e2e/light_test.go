package e2e_test

import (
	"testing"

	"github.com/loads/loads/broker"
)

// lightPlan has machines that end by themselves, and machines that are stopped.
const lightPlan = `name: light
max_skew_ms: 60000 # this computer is all of the machines
steps:
  - {name: sleepers, instance_type: m5.large, instance_count: 8, container_name: loads/node, additional_command_args: "sleep 4s", run_max_time: 90}
  - {name: servers, instance_type: m5.large, instance_count: 2, container_name: loads/node, additional_command_args: "serve", run_max_time: 25}
`

// launches is how often RunInstances was called.
func (c *ec2) launches() int {
	c.t.Helper()
	n := 0
	for _, call := range c.state().Calls {
		if call.Action == "RunInstances" {
			n += call.N
		}
	}
	return n
}

// TestEC2_RunsAPlanOnLightMachines goes the whole way of a run on machines that
// only answer for themselves.
func TestEC2_RunsAPlanOnLightMachines(t *testing.T) {
	t.Parallel()
	c := startCloud(t, "light")
	d := c.broker()
	r := d.await(d.trigger(lightPlan))
	d.pass(r)
	c.nothing(10)
	if n := c.launches(); n != 2 {
		t.Errorf("RunInstances was called %d times for the machines of two steps, want twice", n)
	}
	for _, m := range r.Machines {
		if m.State != broker.MachineReleased || m.StartedAt == nil || m.FinishedAt == nil {
			t.Errorf("machine %d of step %s is %s, started %v, finished %v", m.Index, m.Step, m.State, m.StartedAt, m.FinishedAt)
		}
	}
	if r.Ledger.Sent < 10*5 || r.Ledger.Received.Values == 0 {
		t.Errorf("ledger %+v, want five frames of each machine or more", r.Ledger)
	}
	if len(r.Summary.Metrics) == 0 {
		t.Error("the run has no metrics")
	}
}
