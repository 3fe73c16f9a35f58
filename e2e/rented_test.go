package e2e_test

import (
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

// TestEC2_ARunOutlivesItsBrokerAndItsLeases kills the broker while a run waits
// for a machine that comes late. The run is longer than a lease, so the next
// broker has to renew those of machines that it did not launch. The first step
// waits for the one that is late, which then has the time to answer it.
func TestEC2_ARunOutlivesItsBrokerAndItsLeases(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker("--ec2-lease", "60s")
	run := d.trigger(`name: late
max_cpu_percent: 100 # this computer is more than the machines
criteria:
  - count("req.count", "status:200") > 0
steps:
  - {name: load, container_name: loads/node, additional_command_args: "gen --url http://late:8000/ --rate 20 --duration 3s --timeout 60s", start_after: web}
  - {name: web, container_name: loads/node, additional_command_args: "serve --listen :8000", run_delay: 45, lead: 20, run_max_time: 35,
     port_mapping: "8000:8000", dns_name: late, ready: {log: listening, timeout: 60}}
`)
	until(t, "the steps have begun", 2*time.Minute, func() bool {
		got, err := d.Run(t.Context(), run)
		return err == nil && got.State == broker.Running
	})
	if n := c.state().Launched; n != 1 {
		t.Errorf("%d machines were launched when the steps began, want only that of the first step", n)
	}
	d.kill()
	d.start()
	r := d.await(run)
	d.pass(r)
	c.nothing(2)
	if l := r.Run.Receipts; len(l) != 1 || l[0].Launched != 2 || l[0].Terminated != 2 || len(l[0].Left) > 0 {
		t.Errorf("receipts %+v, want 2 machines launched and terminated", l)
	}
}
