package db_test

import (
	"math"
	"slices"
	"testing"

	"github.com/loads/loads/broker"
)

func TestUncondensedAreCompletedRunsThatWaitForNobody(t *testing.T) {
	t.Parallel()
	d, _ := mustOpen(t)
	fill := func(state broker.RunState) broker.Run {
		run, fleet := mustFleet(t, d, 2, 3)
		for second := 1; second <= 5; second++ {
			ok(t, d.AddFrames(t.Context(), fleet.second(t, second, second == 5), nil))
		}
		run.State = state
		if state == broker.Completed {
			run.Verdict = broker.Pass
		}
		ok(t, d.SaveRun(t.Context(), &run))
		return run
	}
	want := func(when string, runs ...broker.Run) {
		t.Helper()
		var uuids []string
		for _, run := range runs {
			uuids = append(uuids, run.UUID)
		}
		if got, err := d.Uncondensed(t.Context()); err != nil || !slices.Equal(got, uuids) {
			t.Errorf("%s: got %v, %v; want %v", when, got, err, uuids)
		}
	}
	first := fill(broker.Completed)
	second := fill(broker.Completed)
	fill(broker.Running)
	want("before", first, second)
	ok(t, d.Condense(t.Context(), first.UUID, math.MaxInt64))
	want("after one", second)
	ok(t, d.BeginExports(t.Context()))
	exported := fill(broker.Completed)
	want("with one that waits for its export", second)
	ok(t, d.SaveExport(t.Context(), broker.Export{Run: exported, Done: true}, nil))
	want("after its export, which condenses", second)
	ok(t, d.Condense(t.Context(), second.UUID, math.MaxInt64))
	want("after all")
}
