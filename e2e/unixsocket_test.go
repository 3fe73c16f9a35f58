package e2e_test

import (
	"testing"

	"github.com/loads/loads/api"
	"github.com/loads/loads/hosts/hoststest"
)

// A container without rights sends over the Unix socket. On one engine two
// machines have two sockets.
func TestMetricsOverTheUnixSocketAreAllCounted(t *testing.T) {
	t.Parallel()
	const packets = 20_000
	check := func(t *testing.T, r api.Report, machines uint64) {
		t.Helper()
		if l := r.Ledger; l.Datagrams != packets*machines || l.Values != packets*machines || l.KernelDropped != 0 {
			t.Errorf("ledger %+v, want %d packets of each machine", l, packets)
		}
	}
	t.Run("on the local engine", func(t *testing.T) {
		t.Parallel()
		d := startBroker(t)
		r := d.await(d.trigger(countPlan(t, 2, "unixgram", packets, 50)))
		d.pass(r)
		check(t, r, 2)
	})
	t.Run("on a listed host", func(t *testing.T) {
		t.Parallel()
		engines := hoststest.StartEngines(t, 1)
		d := startBroker(t, "--hosts", hostsFile(t, engines))
		r := d.await(d.trigger(countPlan(t, 1, "unixgram", packets, 50)))
		d.pass(r)
		check(t, r, 1)
		empty(t, engines[0])
	})
}
