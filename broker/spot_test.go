package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
)

// TestSpotMachinesThatAreTakenBackAreLost has a machine end its container as one
// does that is told to shut down. Whether the result counts is the quorum's to
// say.
func TestSpotMachinesThatAreTakenBackAreLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, terms string
		verdict     broker.Verdict
		reason      string
	}{
		{"a quorum of those that last", "quorum: 1", broker.Pass, ""},
		{"no quorum", "", broker.Invalid, "only 1 of the 2 machines of step load lasted, 2 are needed"},
		{"all are needed", "prune_running: false", broker.Errored, "its provider has taken it back"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := openDesk(t, nil)
			run, err := d.startPlan(fmt.Sprintf(`name: spot
max_cpu_percent: 100 # this computer is all of the machines
steps:
  - {name: load, container_name: loads/node, additional_command_args: sleep 300s, run_max_time: 360, instance_count: 2, spot: only, %s}
`, tt.terms))
			ok(t, err)
			var taken, other broker.Machine
			waittest.Until(t, "the containers run", 5*time.Minute, func() bool {
				machines, err := d.Machines(t.Context(), run.UUID)
				ok(t, err)
				for _, m := range machines {
					if m.StartedAt == nil {
						return false
					}
					taken, other = m, taken
				}
				return len(machines) == 2
			})
			d.set(func() {
				d.notices = []broker.Notice{{ProviderID: taken.ProviderID, At: time.Now().Add(10 * time.Second)}}
			})
			waittest.Until(t, "the notice is told of", 5*time.Minute, func() bool {
				return strings.Contains(d.story(run), "The provider takes machine "+taken.ProviderID+" back")
			})
			engine, err := d.cfg.Dial(taken.Endpoint)
			ok(t, err)
			defer engine.Close()
			ok(t, engine.Stop(context.Background(), taken.ContainerID, time.Second))
			waittest.Until(t, "it is lost", 5*time.Minute, func() bool {
				machines, err := d.Machines(t.Context(), run.UUID)
				ok(t, err)
				return slices.ContainsFunc(machines, func(m broker.Machine) bool {
					return m.ID == taken.ID && m.State != broker.MachinePrepared
				})
			})
			// The other one ends as planned, if it was not ended for the first.
			if err := engine.Stop(context.Background(), other.ContainerID, time.Minute); broker.CodeOf(err) != broker.ENotFound {
				ok(t, err)
			}
			run = d.await(run)
			if run.Verdict != tt.verdict || !strings.Contains(run.Reason, tt.reason) {
				t.Errorf("verdict %s (%s), want %s (%s)", run.Verdict, run.Reason, tt.verdict, tt.reason)
			}
		})
	}
}
