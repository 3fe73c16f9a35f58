package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/dockerctl"
	"github.com/loads/loads/hosts/hoststest"
)

// overHosts is servicePlan's kind of plan for two machines: a service on one
// host, called by its name from the other.
const overHosts = `
name: over hosts
max_cpu_percent: 100 # this computer is more than the hosts
steps:
  - name: web
    container_name: loads/node
    additional_command_args: serve --listen :8000
    dns_name: web.hosts.test
    port_mapping: 8000:8000
    ready: {port: 8000, timeout: 60}
    run_max_time: 600
    stop_timeout: 3
    log_metrics: [{name: web.starts, type: counter, match: ^listening}]
  - name: users
    container_name: loads/node
    additional_command_args: gen --url http://web.hosts.test:8000/ --rate 40 --duration 3s --timeout 60s
    start_after: web
`

func TestRunOverAListOfHostsWithMutualTLS(t *testing.T) {
	t.Parallel()
	engines := hoststest.StartEngines(t, 2)
	d := startBroker(t, "--hosts", hostsFile(t, engines))
	run := d.trigger(overHosts)
	until(t, "the run has both hosts", 3*time.Minute, func() bool {
		ms, err := d.Machines(t.Context(), run)
		return err == nil && len(ms) == 2 && ms[0].ProviderID != "" && ms[1].ProviderID != ""
	})
	refused := d.await(d.trigger(overHosts))
	if refused.Run.Verdict != broker.Errored || !strings.Contains(refused.Run.Reason, "taken by run "+run) {
		t.Errorf("second run: %s (%s), want ERROR: the hosts were taken by the first", refused.Run.Verdict, refused.Run.Reason)
	}

	r := d.overHosts(t, run, engines)
	where := map[string]bool{}
	for _, m := range r.Machines {
		where[m.ProviderID] = true
		if m.ClockErrorMS <= 0 {
			t.Errorf("machine %s: its clock was not measured", m.ProviderID)
		}
	}
	if len(where) != 2 {
		t.Errorf("the run was on %v, want both hosts", where)
	}
	if starts := figures(r.Summary.Metrics)["web.starts"].Count; starts != 1 {
		t.Errorf("counted %v lines of the service's start, want 1", starts)
	}
	for _, m := range r.Summary.Metrics {
		if m.Name == "req.latency" && m.Count != 120 || m.Name == "req.errors" && m.Count > 0 {
			t.Errorf("%s counted %v, want 120 requests and no errors", m.Name, m.Count)
		}
	}

	d.overHosts(t, d.trigger(overHosts), engines) // they are free again
	for _, h := range engines {
		empty(t, h)
	}
}

// overHosts waits until the run has passed.
func (d *daemon) overHosts(t *testing.T, run string, hosts []hoststest.Host) api.Report {
	t.Helper()
	var engines []*dockerctl.Engine
	for _, h := range hosts {
		engines = append(engines, engineOf(t, h))
	}
	d.closeService(t, run, engines...)
	r := d.await(run)
	d.pass(r)
	return r
}

func engineOf(t *testing.T, h hoststest.Host) *dockerctl.Engine {
	t.Helper()
	eng, err := dockerctl.Open(h.Endpoint, dockerctl.Options{NodeDir: binDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eng.Close() })
	return eng
}

// hostsFile writes the list of the hosts.
func hostsFile(t *testing.T, engines []hoststest.Host) string {
	t.Helper()
	text := "hosts:\n"
	for _, h := range engines {
		text += fmt.Sprintf("  - name: %s\n    endpoint: %s\n    address: %s\n    tls: {ca: %s, cert: %s, key: %s}\n",
			h.Name, h.Endpoint.Host, h.Address, h.Endpoint.CA, h.Endpoint.Cert, h.Endpoint.Key)
	}
	file := filepath.Join(t.TempDir(), "hosts.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// empty fails the test if anything of any run is on the host.
func empty(t *testing.T, h hoststest.Host) {
	t.Helper()
	eng := engineOf(t, h)
	left, err := eng.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range left {
		t.Errorf("left on %s: container %s", h.Name, c.Name)
	}
	volumes, err := eng.Volumes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		t.Errorf("left on %s: volume %s", h.Name, v.Name)
	}
}
