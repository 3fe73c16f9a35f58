package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
)

// onIdle is a short plan for machines that are kept. This computer is more than
// the machines, and all of it is what they see.
const onIdle = `
name: short
max_cpu_percent: 100
max_skew_ms: 300000
steps:
  - {name: work, instance_count: 2, container_name: loads/node, additional_command_args: "sleep 4s", run_max_time: 900}
`

// engines opens the Docker of all machines that the broker has on record, or of
// those at the addresses.
func (d *daemon) engines(at ...string) []*dockerctl.Engine {
	d.t.Helper()
	dir := filepath.Join(d.dir, "loads.db.d", "ec2")
	files, err := filepath.Glob(filepath.Join(dir, "machines", "*.json"))
	if err != nil {
		d.t.Fatal(err)
	}
	var out []*dockerctl.Engine
	for _, file := range files {
		var rec struct{ Private, Name, Authority string }
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &rec)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		if len(at) > 0 && !slices.Contains(at, rec.Private) {
			continue
		}
		trust := filepath.Join(dir, "trust", rec.Authority)
		e, err := dockerctl.Open(broker.Endpoint{
			Host: "tcp://" + rec.Private + ":2376", ServerName: rec.Name + ".loads.internal",
			CA: filepath.Join(trust, "ca.pem"), Cert: filepath.Join(trust, "client.pem"), Key: filepath.Join(trust, "client-key.pem"),
		}, dockerctl.Options{NodeDir: binDir})
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(func() { _ = e.Close() })
		out = append(out, e)
	}
	return out
}

// litter leaves on a machine what the broker does not know of.
func litter(t *testing.T, e *dockerctl.Engine) {
	t.Helper()
	network, err := e.CreateNetwork(t.Context(), "theirs", nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.Create(t.Context(), broker.ContainerSpec{
		Name: "stranger", Image: broker.NodeImage, Command: []string{"sleep", "1h"}, Network: network.Name,
		Shared: []broker.SharedVolume{{Name: "data", Container: "/data"}},
	})
	if err == nil {
		err = e.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tidy checks that nothing of runs is on a machine, but the image.
func tidy(t *testing.T, e *dockerctl.Engine) {
	t.Helper()
	containers, err := e.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if c.Started() {
			t.Errorf("container %s is left", c.Name)
		}
	}
	volumes, err := e.Volumes(t.Context(), nil)
	if err != nil || len(volumes) > 0 {
		t.Errorf("volumes %v are left; %v", volumes, err)
	}
	networks, err := e.Networks(t.Context(), map[string]string{})
	if err != nil || slices.ContainsFunc(networks, func(n broker.Network) bool { return n.Name == "theirs" }) {
		t.Errorf("networks %v are left; %v", networks, err)
	}
}

// untilSteps is how long it took from the run's creation until its steps began.
func untilSteps(r api.Report) time.Duration {
	return r.Run.StartedAt.Sub(r.Run.CreatedAt.Time).Round(10 * time.Millisecond)
}

func TestEC2_TheNextRunHasTheMachinesOfTheLast(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker("--ec2-idle", "1h")
	run := d.trigger(strings.NewReplacer("short", "long", "sleep 4s", "sleep 600s").Replace(onIdle))
	until(t, "the machines are at work", 5*time.Minute, func() bool {
		got, err := d.Run(t.Context(), run)
		return err == nil && got.State == broker.Running
	})
	engines := d.engines()
	for _, e := range engines {
		litter(t, e)
	}
	d.endStep(t, run, 0, engines...)
	first := d.await(run)
	d.pass(first)
	for _, e := range engines {
		tidy(t, e)
	}
	second := d.await(d.trigger(onIdle))
	d.pass(second)
	if l := first.Run.Receipts; len(l) != 1 || l[0].Launched != 2 || l[0].Kept != 2 || len(l[0].Left) > 0 {
		t.Errorf("first receipt %+v, want two machines launched, and kept", l)
	}
	if l := second.Run.Receipts; len(l) != 1 || l[0].Launched != 0 || l[0].Reused != 2 || len(l[0].Left) > 0 {
		t.Errorf("second receipt %+v, want two machines used again, and none launched", l)
	}
	if n := c.state().Launched; n != 2 {
		t.Errorf("EC2 launched %d machines, want 2", n)
	}
	t.Logf("from a run's creation until its steps began: %v with new machines, %v with idle ones", untilSteps(first), untilSteps(second))
	d.stop()
	if n := c.state().Alive; n != 2 {
		t.Errorf("%d machines are alive when the broker has stopped, want 2", n)
	}
	d.start()
	until(t, "the next broker has ended them", 5*time.Minute, func() bool { return c.state().Alive == 0 })
}

func TestEC2_IdleMachinesEndInTime(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker("--ec2-idle", "10s")
	r := d.await(d.trigger(strings.Replace(onIdle, "instance_count: 2", "instance_count: 1", 1)))
	d.pass(r)
	if l := r.Run.Receipts; len(l) != 1 || l[0].Kept+l[0].Terminated != 1 {
		t.Errorf("receipt %+v, want the machine kept, or ended by now", l)
	}
	until(t, "the machine is ended", 5*time.Minute, func() bool { return c.state().Alive == 0 })
}

func TestEC2_IdleMachinesEndWithoutTheBroker(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker("--ec2-lease", shortLease.String(), "--ec2-idle", "1h")
	d.pass(d.await(d.trigger(onIdle)))
	if n := c.state().Alive; n != 2 {
		t.Fatalf("%d machines are kept, want 2", n)
	}
	d.kill()
	until(t, "the machines have ended themselves", shortLease+3*time.Minute, func() bool { return c.state().Alive == 0 })
}
