package e2e_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

// Who follows from the very start, before there is a machine, sees every line.
func TestLogsFollowedFromTheStartAreWhole(t *testing.T) {
	t.Parallel()
	d := startBroker(t)
	run := d.trigger(`
name: talk
max_skew_ms: 300000
steps:
  - name: one
    container_name: loads/node
    additional_command_args: sleep 1s --print first
  - name: two
    container_name: loads/node
    additional_command_args: sleep 1s --print second
    instance_count: 2
    run_delay: 3
`)
	lines := func(follow, relay bool) (got []string) {
		err := d.Logs(t.Context(), run, broker.LogQuery{Follow: follow, Relay: relay}, func(l api.LogLine) error {
			got = append(got, fmt.Sprintf("%s/%d %s", l.Step, l.Machine, l.Text))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		slices.Sort(got)
		return got
	}
	relays := make(chan []string, 1)
	go func() { relays <- lines(true, true) }()
	followed := lines(true, false)
	d.pass(d.await(run))
	if diff := cmp.Diff([]string{"one/0 first", "two/0 second", "two/1 second"}, followed); diff != "" {
		t.Errorf("followed from the start, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(lines(false, false), followed); diff != "" {
		t.Errorf("followed, against what was kept, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(lines(false, true), <-relays); diff != "" {
		t.Errorf("followed relays, against what was kept, -want +got:\n%s", diff)
	}
}
