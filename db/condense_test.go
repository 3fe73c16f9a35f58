package db_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/metrics"
)

// seriesOf returns the run's series, having checked that its totals say the
// same.
func seriesOf(tb testing.TB, d *db.DB, runUUID string) *metrics.Series {
	tb.Helper()
	s, err := d.ReadSeries(context.Background(), runUUID)
	ok(tb, err)
	totals, err := d.ReadTotals(context.Background(), runUUID)
	ok(tb, err)
	sameSummary(tb, "summary of totals", totals.Summary(), s.Summary())
	return s
}

// sameSummary allows for the last digits of sums, which depend on their order.
func sameSummary(tb testing.TB, what string, got, want metrics.Summary) {
	tb.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 1e-9)); diff != "" {
		tb.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func mustLedger(tb testing.TB, d *db.DB, runUUID string) metrics.Ledger {
	tb.Helper()
	l, err := d.Ledger(context.Background(), runUUID)
	ok(tb, err)
	return l
}

// TestCondense stores minutes of machines that send 50 metrics.
func TestCondense(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, path := mustOpen(t)
	whole := t
	run, fleet := mustFleet(t, d, 3, 20)
	const seconds = 190
	var all []broker.StoredFrame
	for second := 1; second <= seconds; second++ {
		all = append(all, fleet.second(t, second, second == seconds)...)
	}
	ok(t, d.AddFrames(ctx, all, nil))
	before, ledger := seriesOf(t, d, run.UUID), mustLedger(t, d, run.UUID)
	if !ledger.Balance || ledger.Stored != 3*seconds {
		t.Fatalf("got ledger %+v", ledger)
	}
	check := func(t *testing.T, wantFrames int) {
		t.Helper()
		if got := count(t, mustOpenRaw(t, path), "frame"); got != wantFrames {
			t.Errorf("got %d frames that are not condensed, want %d", got, wantFrames)
		}
		same(t, "ledger", mustLedger(t, d, run.UUID), ledger)
		s := seriesOf(t, d, run.UUID)
		sameSummary(t, "summary", s.Summary(), before.Summary())
		q := metrics.Query{}
		if diff := cmp.Diff(before.Lines(q), s.Lines(q), cmpopts.EquateApprox(1e-12, 1e-9)); diff != "" {
			t.Errorf("lines: -want +got:\n%.1000s", diff)
		}
		// Means are kept with six digits.
		if diff := cmp.Diff(before.Hosts(), s.Hosts(), cmpopts.EquateApprox(1e-5, 0)); diff != "" || len(before.Hosts()) != 3 {
			t.Errorf("hosts: -want +got:\n%s", diff)
		}
		if got := d.Pragma(t, "secure_delete"); got != "1 0" {
			t.Errorf("secure_delete is %s for writing and reading, want 1 0", got)
		}
	}

	t.Run("leaves what is later, and the summary as it is", func(t *testing.T) {
		ok(t, d.Condense(ctx, run.UUID, fleet.start+60_000))
		check(t, 3*(seconds-60))
	})

	t.Run("leaves each machine's newest frame at the end", func(t *testing.T) {
		ok(t, d.Condense(ctx, run.UUID, math.MaxInt64))
		check(t, 3)
	})

	t.Run("has nothing left to do the next time", func(t *testing.T) {
		ok(t, d.Condense(ctx, run.UUID, math.MaxInt64))
		check(t, 3)
		if got := count(t, mustOpenRaw(t, path), "series_block"); got != 4 {
			t.Errorf("got %d blocks, want one for each minute begun, 4", got)
		}
		if got := count(t, mustOpenRaw(t, path), "frame_range"); got != 3 {
			t.Errorf("got %d ranges, want one for each machine, 3", got)
		}
	})

	t.Run("knows its frames when they come again", func(t *testing.T) {
		ok(t, d.AddFrames(ctx, all, nil))
		check(t, 3)
	})

	t.Run("survives opening anew", func(t *testing.T) {
		ok(t, d.Close())
		d = mustOpenFile(whole, path)
		check(t, 3)
		s := seriesOf(t, d, run.UUID)
		again, err := metrics.Decode(all[0].Body)
		ok(t, err)
		s.Add("generator", 0, again)
		sameSummary(t, "after a frame that is condensed came again", s.Summary(), before.Summary())
	})

	t.Run("goes with its run", func(t *testing.T) {
		complete(t, d, &run)
		ok(t, d.DeleteRun(ctx, run.UUID))
		for _, table := range []string{"frame", "series_block", "series_total", "frame_range"} {
			if got := count(t, mustOpenRaw(t, path), table); got != 0 {
				t.Errorf("got %d rows in %s", got, table)
			}
		}
		wantCode(t, d.Condense(ctx, run.UUID, math.MaxInt64), broker.ENotFound)
	})
}

// TestCondenseTakesLateFrames has a machine fall behind the others, and lose a
// frame for good.
// TestCondenseOfManyMachines has more frames in a pass than are held in memory
// at once.
func TestCondenseOfManyMachines(t *testing.T) {
	d, _ := mustOpen(t)
	run, fleet := mustFleet(t, d, 60, 1)
	const seconds = 25
	for second := 1; second <= seconds; second++ {
		ok(t, d.AddFrames(t.Context(), fleet.second(t, second, second == seconds), nil))
	}
	before, ledger := seriesOf(t, d, run.UUID), mustLedger(t, d, run.UUID)
	ok(t, d.Condense(t.Context(), run.UUID, math.MaxInt64))
	s := seriesOf(t, d, run.UUID)
	sameSummary(t, "summary", s.Summary(), before.Summary())
	if diff := cmp.Diff(before.Lines(metrics.Query{}), s.Lines(metrics.Query{}), cmpopts.EquateApprox(1e-12, 1e-9)); diff != "" {
		t.Errorf("lines: -want +got:\n%.1000s", diff)
	}
	if diff := cmp.Diff(before.Hosts(), s.Hosts(), cmpopts.EquateApprox(1e-5, 0)); diff != "" || len(before.Hosts()) != 60 {
		t.Errorf("hosts: -want +got:\n%.1000s", diff)
	}
	same(t, "ledger", mustLedger(t, d, run.UUID), ledger)
}

func TestCondenseTakesLateFrames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	add := func(numbers ...uint64) {
		var frames []broker.StoredFrame
		for _, n := range numbers {
			frames = append(frames, frame(m.ID, n, n == 300))
		}
		ok(t, d.AddFrames(ctx, frames, nil))
		ok(t, d.Condense(ctx, run.UUID, math.MaxInt64))
	}
	add(1, 2, 5)
	add(3, 2, 1)
	add(6, 7, 300)
	ledger := mustLedger(t, d, run.UUID)
	if ledger.Sent != 300 || ledger.Stored != 7 || ledger.Balance || ledger.Values != 600 {
		t.Errorf("got %+v, want 7 of 300 frames", ledger)
	}
	if got := seriesOf(t, d, run.UUID).Summary().Metrics[0].Count; got != 1+2+3+5+6+7+300 {
		t.Errorf("got %v hits, want those of 7 frames", got)
	}
}

// TestCondenseWhileFramesCome has a writer, a reader and two condensers at once.
func TestCondenseWhileFramesCome(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	const batches = 40
	var work sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		work.Go(func() {
			for {
				if err := d.Condense(ctx, run.UUID, math.MaxInt64); err != nil {
					t.Errorf("condense: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range uint64(batches) {
		var frames []broker.StoredFrame
		for n := range uint64(10) {
			frames = append(frames, frame(m.ID, 10*i+n+1, false))
		}
		ok(t, d.AddFrames(ctx, frames, nil))
		n := float64(10 * (i + 1))
		if got := seriesOf(t, d, run.UUID).Summary().Metrics[0].Count; got != n*(n+1)/2 {
			t.Errorf("got %v hits of %v frames, want %v", got, n, n*(n+1)/2)
		}
	}
	close(done)
	work.Wait()
	if l := mustLedger(t, d, run.UUID); l.Stored != 10*batches || l.Sent != l.Stored {
		t.Errorf("got %+v, want %d frames", l, 10*batches)
	}
}

// condenseForever adds minutes of frames to the first machine of the database,
// acknowledges each on standard output, and condenses it then.
func condenseForever(path string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, path)
	if err != nil {
		return err
	}
	list, err := d.Runs(ctx, broker.RunFilter{})
	if err != nil {
		return err
	}
	machines, err := d.Machines(ctx, list[0].UUID)
	if err != nil {
		return err
	}
	for seq := machines[0].FrameSeq; ; seq += 120 {
		var frames []broker.StoredFrame
		for n := range uint64(120) {
			frames = append(frames, frame(machines[0].ID, seq+n+1, false))
		}
		if err := d.AddFrames(ctx, frames, nil); err != nil {
			return err
		}
		fmt.Println(0, seq+120)
		if err := d.Condense(ctx, list[0].UUID, frames[0].At+100_000); err != nil {
			return err
		}
	}
}

// TestKillWhileCondensing kills a process that condenses, again and again: each
// frame is counted once, be it condensed or not.
func TestKillWhileCondensing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "loads.db")
	d := mustOpenFile(t, path)
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	ok(t, d.Close())
	for round := range 10 {
		_, acknowledged := killedWriter(t, condenseFile, path, 1+rand.IntN(10))
		checkIntegrity(t, path)
		d := mustOpenFile(t, path)
		l := mustLedger(t, d, run.UUID)
		if l.Stored < acknowledged || l.Sent != l.Stored {
			t.Errorf("got %+v, want at least %d frames", l, acknowledged)
		}
		n := float64(l.Stored)
		if got := seriesOf(t, d, run.UUID).Summary().Metrics[0].Count; got != n*(n+1)/2 {
			t.Errorf("got %v hits of %v frames, want %v", got, n, n*(n+1)/2)
		}
		ok(t, d.AddFrames(context.Background(), []broker.StoredFrame{frame(m.ID, 1, false), frame(m.ID, l.Sent, false)}, nil))
		same(t, "ledger after frames that came again", mustLedger(t, d, run.UUID), l)
		ok(t, d.Close())
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
}

// TestCondenseWaitsForAnExport keeps the frames until all of them are exported.
func TestCondenseWaitsForAnExport(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, path := mustOpen(t)
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	var frames []broker.StoredFrame
	for seq := range uint64(90) {
		frames = append(frames, frame(m.ID, seq+1, false))
	}
	ok(t, d.AddFrames(ctx, frames, nil))
	ok(t, d.BeginExports(ctx))
	ok(t, d.Condense(ctx, run.UUID, math.MaxInt64))
	list, err := d.FramesToExport(ctx, run.UUID, 1000)
	ok(t, err)
	if len(list) != 90 {
		t.Fatalf("got %d frames to export, want 90", len(list))
	}
	if _, err := metrics.Decode(list[0].Body); err != nil {
		t.Errorf("a frame to export: %v", err)
	}
	ok(t, d.SaveExport(ctx, broker.Export{Run: run}, map[int64]uint64{m.ID: 40}))
	if got := count(t, mustOpenRaw(t, path), "frame"); got != 90 {
		t.Errorf("got %d frames while the export goes on, want 90", got)
	}
	complete(t, d, &run)
	ok(t, d.SaveExport(ctx, broker.Export{Run: run, Done: true}, map[int64]uint64{m.ID: 90}))
	if got := count(t, mustOpenRaw(t, path), "frame"); got != 1 {
		t.Errorf("got %d frames after the export, want the newest", got)
	}
	if l := mustLedger(t, d, run.UUID); l.Stored != 90 {
		t.Errorf("got %+v, want 90 frames", l)
	}
}
