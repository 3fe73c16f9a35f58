package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

// asksBenchmark has turns as turnsBenchmark has, then a phase in which the users of
// one machine ask a server that isn't there, and a last one.
const asksBenchmark = turnsBenchmark + `- asks:
    always:
      users: 3
      duration: 1s
      startAfterStrict: third
      scenario:
        initialSequences:
        - work: [{thinkTime: 100ms}, {setInt: {var: m, value: !param MACHINE}},
            {conditional: {intCondition: {fromVar: m, equalTo: 1}, actions: [{newSequence: ask}]}}]
        sequences:
        - ask: [{httpRequest: {GET: /, sla: {errorRatio: 0, blockedRatio: 1}}}]
- last: {atOnce: {users: 3, startAfterStrict: asks, scenario: [{think: [{thinkTime: 10ms}]}]}}
http: {host: http://127.0.0.1:9}
`

// TestEC2_MachinesAgreeOnPhases runs a benchmark on three machines that boot for
// it, each with an engine of its own, and kills the broker once. No machine begins
// a phase before all have ended the one before; a limit that is not kept on one
// has all leave out the last.
func TestEC2_MachinesAgreeOnPhases(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker()
	plan := strings.NewReplacer("ms'}", "ms', MACHINE: $LOADS_MACHINE}", "--quiet", "--quiet --patient", "name: turns\n", "name: turns\nmax_cpu_percent: 100\n").Replace(turnsPlan)
	run := d.trigger(fmt.Sprintf(plan, asksBenchmark))
	d.untilTold(run, "phase first have ended on all machines")
	d.kill()
	d.start()
	r := d.await(run)
	d.clean(r)
	c.nothing(3)
	const want = "load/1: phase asks: ask: "
	if list := r.Run.Criteria; r.Run.Verdict != broker.Fail || len(list) != 1 || !strings.Contains(list[0].Detail, want) || strings.Contains(list[0].Detail, "load/0") {
		t.Errorf("got %s, %q, %+v; want FAIL for %q alone", r.Run.Verdict, r.Run.Reason, list, want)
	}
	_, ends := outputs(t, d, run)
	if len(ends) != 3 {
		t.Fatalf("%d machines have told how it ended, want 3", len(ends))
	}
	inTurn(t, ends, "first", "second", "third", "asks")
	for _, end := range ends {
		if last := end.Phases[4]; last.Name != "last" || last.Status != "cancelled" {
			t.Errorf("machine %d: %+v, want that it left out the last phase; notes %q", end.machine, last, end.Notes)
		}
	}
	events := d.events(run)
	for _, decision := range []string{
		"users of phase first have ended on all", "users of phase second have ended on all", "users of phase third have ended on all",
		"phase asks has failed on machine 1", "users of phase asks have ended on all",
	} {
		if n := strings.Count(events, decision); n != 1 {
			t.Errorf("%q was agreed on %d times in\n%s", decision, n, events)
		}
	}
}
