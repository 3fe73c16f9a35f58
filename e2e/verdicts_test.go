package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

func TestMachineWhoseTurnNeverComesFailsTheStep(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.await(l.start(`
name: no turn
steps:
  - {name: pair, instance_count: 2, node_delay: 60, run_max_time: 2, stop_timeout: 1, container_name: loads/node, additional_command_args: sleep 60s}
`))
	// An engine that is held up may not start the first one in its 2 s either.
	first := slices.IndexFunc(r.Machines, func(m broker.Machine) bool { return m.StartedAt == nil })
	if want := fmt.Sprintf("machine %d: its container was not started", first); r.Run.Verdict != broker.Errored || !strings.Contains(r.Run.Reason, want) {
		t.Errorf("verdict %s (%s), want ERROR with %q", r.Run.Verdict, r.Run.Reason, want)
	}
	if r.Machines[1].StartedAt != nil {
		t.Errorf("machine 1 was started at %v, want it not started", r.Machines[1].StartedAt)
	}
	if r.Run.Cleanup != broker.CleanupDone {
		t.Errorf("cleanup %s (%s)", r.Run.Cleanup, r.Run.CleanupDetail)
	}
}

func TestContainerThatFailedBeforeTheStopIsNotForgotten(t *testing.T) {
	t.Parallel()
	l := newLabWith(t, func(spec *broker.ContainerSpec) {
		if strings.HasSuffix(spec.Name, "-s0-m1-plan") {
			spec.Command = []string{"sleep", "60s"}
		}
	})
	// The first machine ends at once, before the second is started. Most of the
	// step's time is for an engine that takes long to start the first.
	r := l.await(l.start(`
name: failed early
steps:
  - name: pair
    instance_count: 2
    node_delay: 24
    run_max_time: 25
    stop_timeout: 1
    container_name: loads/node
    additional_command_args: sleep 0s --exit 3
`))
	if r.Run.Verdict != broker.Errored || !strings.Contains(r.Run.Reason, "machine 0: its container ended with code 3") {
		t.Errorf("verdict %s (%s), want ERROR for the code of machine 0", r.Run.Verdict, r.Run.Reason)
	}
}

func TestSlowEngineGetsTheTimeToCreateContainers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.faults.intercept(func(_, call string) error {
		if call == "Create" {
			<-time.After(2500 * time.Millisecond)
		}
		return nil
	})
	r := l.await(l.start(`
name: slow engine
steps:
  - {name: one, container_name: loads/node, additional_command_args: sleep 1s}
`))
	if r.Run.Verdict != broker.Pass {
		t.Errorf("verdict %s (%s), want PASS", r.Run.Verdict, r.Run.Reason)
	}
}
