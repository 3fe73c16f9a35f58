package db_test

import (
	"context"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

// mustFrames stores frames 1 to n of the machine, one a second.
func mustFrames(tb testing.TB, d *db.DB, m broker.Machine, from, to uint64) {
	tb.Helper()
	var list []broker.StoredFrame
	for seq := from; seq <= to; seq++ {
		list = append(list, broker.StoredFrame{MachineID: m.ID, Seq: seq, At: int64(seq) * 1000, Body: []byte("{}")})
	}
	ok(tb, d.AddFrames(context.Background(), list, nil))
}

func numbers(list []broker.StoredFrame) (seqs []uint64) {
	for _, f := range list {
		seqs = append(seqs, f.Seq)
	}
	return seqs
}

func TestExportsBeginWithTheRunsUnderWay(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	over := mustRun(t, d)
	complete(t, d, &over)
	under := mustRun(t, d)
	if list, err := d.Exports(ctx); err != nil || len(list) != 0 {
		t.Fatalf("before it is asked for: got %d, %v", len(list), err)
	}
	ok(t, d.BeginExports(ctx))
	later := mustRun(t, d)
	complete(t, d, &under)
	ok(t, d.BeginExports(ctx)) // says nothing new
	list, err := d.Exports(ctx)
	ok(t, err)
	var got []string
	for _, e := range list {
		got = append(got, e.Run.UUID)
	}
	same(t, "runs to export", got, []string{under.UUID, later.UUID})
	if e, err := d.Export(ctx, over.UUID); err != nil || e != nil {
		t.Errorf("a run that was over before: got %+v, %v, want none", e, err)
	}
	_, err = d.Export(ctx, "none")
	wantCode(t, err, broker.ENotFound)
}

func TestExportsBeginWithTheFirstRunOfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	d, _ := mustOpen(t)
	ok(t, d.BeginExports(context.Background()))
	run := mustRun(t, d)
	if list, err := d.Exports(context.Background()); err != nil || len(list) != 1 || list[0].Run.UUID != run.UUID {
		t.Errorf("got %+v, %v, want the run", list, err)
	}
}

func TestAnExportGoesOnFromItsCursors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	ok(t, d.BeginExports(ctx))
	run := mustRun(t, d)
	a, b := mustMachine(t, d, &run, 0, 0), mustMachine(t, d, &run, 1, 0)
	mustFrames(t, d, a, 1, 4)
	mustFrames(t, d, b, 1, 3)
	list, err := d.FramesToExport(ctx, run.UUID, 2)
	ok(t, err)
	same(t, "the first two of each", numbers(list), []uint64{1, 2, 1, 2})

	note := broker.Event{Kind: broker.EventNote, Text: "A note."}
	e := broker.Export{Run: run, Newest: 2000, Written: 10, Refused: 1, Trouble: broker.TroubleRefused, Detail: "no"}
	ok(t, d.SaveExport(ctx, e, map[int64]uint64{a.ID: 2, b.ID: 1}, note))
	list, err = d.FramesToExport(ctx, run.UUID, 10)
	ok(t, err)
	same(t, "those after the cursors", numbers(list), []uint64{3, 4, 2, 3})
	list, err = d.ExportedFrames(ctx, run.UUID, 0, 1000)
	ok(t, err)
	same(t, "those written, in the first second", numbers(list), []uint64{1, 1})
	got, err := d.Export(ctx, run.UUID)
	ok(t, err)
	if got.Waiting != 4 || got.Written != 10 || got.Refused != 1 || got.Trouble != e.Trouble || got.Detail != "no" || got.Newest != 2000 {
		t.Errorf("got %+v, want what was saved and 4 frames waiting", got)
	}
	events, err := d.Events(ctx, run.UUID, 0)
	ok(t, err)
	if last := events[len(events)-1]; last.Text != "A note." {
		t.Errorf("got the event %+v, want the note", last)
	}
	ok(t, d.SaveExport(ctx, e, map[int64]uint64{a.ID: 1}))
	list, err = d.FramesToExport(ctx, run.UUID, 10)
	ok(t, err)
	same(t, "a cursor does not go back", numbers(list), []uint64{3, 4, 2, 3})
}

func TestADeletedRunTakesItsExportAlong(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	ok(t, d.BeginExports(ctx))
	ok(t, d.BeginDashboards(ctx))
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	ok(t, d.SaveExport(ctx, broker.Export{Run: run}, map[int64]uint64{m.ID: 1}))
	ok(t, d.SaveDashboard(ctx, broker.DashboardRecord{Run: run, URL: "http://h/d/x"}))
	complete(t, d, &run)
	ok(t, d.DeleteRun(ctx, run.UUID))
	if list, err := d.Exports(ctx); err != nil || len(list) != 0 {
		t.Errorf("got %d exports, %v, want none", len(list), err)
	}
	wantCode(t, d.SaveExport(ctx, broker.Export{Run: run}, nil), broker.ENotFound)
	wantCode(t, d.SaveDashboard(ctx, broker.DashboardRecord{Run: run}), broker.ENotFound)
}

func TestADashboardIsThereUntilItIsFinal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	ok(t, d.BeginDashboards(ctx))
	run := mustRun(t, d)
	rec := broker.DashboardRecord{Run: run, URL: "http://h/d/x", Trouble: "no"}
	ok(t, d.SaveDashboard(ctx, rec))
	list, err := d.Dashboards(ctx)
	ok(t, err)
	if len(list) != 1 || list[0].URL != rec.URL || list[0].Trouble != "no" || list[0].Run.UUID != run.UUID {
		t.Errorf("got %+v, want the run's", list)
	}
	rec.Final, rec.Trouble = true, ""
	ok(t, d.SaveDashboard(ctx, rec))
	if list, err = d.Dashboards(ctx); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v, want none left", list, err)
	}
	got, err := d.Dashboard(ctx, run.UUID)
	if ok(t, err); got.URL != rec.URL || !got.Final || got.Trouble != "" {
		t.Errorf("got %+v, want it final", got)
	}
}
