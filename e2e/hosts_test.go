package e2e_test

import (
	"strings"
	"testing"

	"github.com/loads/loads/metrics"
)

// TestMachinesTellOfThemselves looks at a run's machines and containers as the
// relay in its container sees them: it must be the host that it measures, and
// the containers that the run's requests go between.
func TestMachinesTellOfThemselves(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	// Long enough for relays to see the users' containers, though the computer stands still for a while.
	run := d.trigger(strings.NewReplacer("8100", "8170", "--duration 3s", "--duration 25s").Replace(servicePlan))
	d.closeService(t, run)
	r := d.await(run)
	d.pass(r)
	if len(r.Summary.Metrics) == 0 {
		t.Error("the run has no metrics")
	}
	for _, m := range r.Summary.Metrics {
		if m.Name == "cpu" || m.Name == "mem" {
			t.Errorf("the summary has %s, which is not the plan's", m.Name)
		}
	}
	lines, err := d.HostSeries(t.Context(), run, metrics.HostQuery{})
	if err != nil {
		t.Fatal(err)
	}
	machines := map[string]bool{} // those that tell of their processors
	most := map[string]float64{}  // by field: the highest rise, or value
	for _, l := range lines {
		first, last := l.Values[0], l.Values[len(l.Values)-1]
		switch l.Measurement {
		case "net":
			if last.Value < first.Value {
				t.Errorf("net %s fell from %v to %v", l.Field, first.Value, last.Value)
			}
		case metrics.ContainerCPU, metrics.ContainerMemory, metrics.ContainerNetwork:
			for _, v := range l.Values {
				most[l.Measurement+" "+l.Field] = max(most[l.Measurement+" "+l.Field], v.Highest())
			}
		case "cpu":
			if l.Field == "usage_active" {
				machines[l.Step+string(rune('0'+l.Machine))] = true
			}
			for _, v := range l.Values {
				if v.Value < 0 || v.Value > 100 {
					t.Errorf("%s is %v percent", l.Field, v.Value)
				}
				most[l.Field] = max(most[l.Field], v.Highest())
			}
		default:
			most[l.Field] = max(most[l.Field], last.Value)
		}
	}
	if len(machines) != 3 {
		t.Errorf("%v tell of their processors, want three machines", machines)
	}
	// A request and its answer are more than 100 bytes and a packet each way.
	const requests = 300
	for field, least := range map[string]float64{
		metrics.ContainerNetwork + " rx_bytes": 100 * requests, metrics.ContainerNetwork + " tx_bytes": 100 * requests,
		metrics.ContainerNetwork + " rx_packets": requests, metrics.ContainerNetwork + " tx_packets": requests,
		metrics.ContainerCPU + " usage_percent": 0.1, metrics.ContainerMemory + " usage": 1 << 20,
		"usage_active": 0.1, "usage_user": 0.1, "total": 1 << 28, "used_percent": 0.1, "load1": 0.01, "n_cpus": 1,
		"tcp_listen": 1,
	} {
		if most[field] < least {
			t.Errorf("%s: got %v, want %v at least", field, most[field], least)
		}
	}
	if testing.Verbose() {
		t.Logf("%v", most)
	}
	if len(r.Hosts) != 3 {
		t.Errorf("the summary has %+v, want three machines", r.Hosts)
	}
	for _, h := range r.Hosts {
		if h.CPU == nil || h.Memory == nil || len(h.Containers) != 1 || h.Containers[0].Memory == nil || h.Containers[0].Received == nil {
			t.Errorf("%s/%d told %+v, want processors, memory and a container with memory and network", h.Step, h.Machine, h)
		}
	}
	narrow, err := d.HostSeries(t.Context(), run, metrics.HostQuery{Measurement: "cpu", Field: "usage_idle"})
	if err != nil || len(narrow) != 3 {
		t.Errorf("usage_idle alone: got %d lines, %v, want one a machine", len(narrow), err)
	}
}
