package db_test

import (
	"context"
	"math"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

func TestAMonitorsSecretsEndWithItsRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	_, err := d.Monitor(ctx, run.UUID)
	wantCode(t, err, broker.ENotFound)
	m := broker.Monitor{
		User: "loads", Secret: "secret", Cert: "cert", Key: "key",
		InfluxURL: "https://i", GrafanaURL: "https://g", SourceURL: "https://s", DashboardURL: "https://g/d",
	}
	ok(t, d.SaveMonitor(ctx, &run, broker.Monitor{Secret: "first"}))
	ok(t, d.SaveMonitor(ctx, &run, m))
	got, err := d.Monitor(ctx, run.UUID)
	ok(t, err)
	same(t, "monitor", got, m)
	complete(t, d, &run)
	got, err = d.Monitor(ctx, run.UUID)
	ok(t, err)
	m.Secret, m.Key = "", ""
	same(t, "monitor of a run that is over", got, m)
}

// A run goes to its own InfluxDB and to that of all runs, each in its time; its
// frames are condensed when both have them.
func TestAMonitorHasAnExportOfItsOwn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	ok(t, d.BeginExports(ctx))
	run := mustRun(t, d)
	m := mustMachine(t, d, &run, 0, 0)
	for seq := range uint64(3) {
		ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, seq+1, false)}, nil))
	}
	ok(t, d.SaveMonitor(ctx, &run, broker.Monitor{}))
	ending := make(chan struct{})
	own := d.MonitorExport(run.UUID, ending)
	list, err := own.Exports(ctx)
	ok(t, err)
	if len(list) != 1 || list[0].Run.State == broker.Completed || list[0].Waiting != 3 {
		t.Fatalf("got %+v, want the run under way with 3 frames that wait", list)
	}
	ok(t, own.SaveExport(ctx, list[0], map[int64]uint64{m.ID: 2}))
	written, err := own.ExportedFrames(ctx, run.UUID, 0, math.MaxInt64)
	ok(t, err)
	left, err := own.FramesToExport(ctx, run.UUID, 10)
	ok(t, err)
	ofAll, err := d.FramesToExport(ctx, run.UUID, 10)
	ok(t, err)
	if len(written) != 2 || len(left) != 1 || len(ofAll) != 3 {
		t.Errorf("%d written, %d to be written, %d for the InfluxDB of all runs; want 2, 1, 3", len(written), len(left), len(ofAll))
	}
	close(ending)
	if list, err = own.Exports(ctx); err != nil || len(list) != 1 || list[0].Run.State != broker.Completed {
		t.Errorf("once no frame is to come: got %+v, %v; want the run as completed", list, err)
	}
	stored := func() int {
		n := 0
		ok(t, d.Frames(ctx, run.UUID, func(broker.StoredFrame) error { n++; return nil }))
		return n
	}
	complete(t, d, &run)
	ok(t, d.SaveExport(ctx, broker.Export{Run: run, Done: true}, nil))
	if n := stored(); n != 3 {
		t.Errorf("%d frames while the monitor waits, want 3", n)
	}
	ok(t, d.EndMonitor(ctx, &run))
	if list, err = own.Exports(ctx); err != nil || len(list) != 0 {
		t.Errorf("once it is ended: got %+v, %v; want nothing", list, err)
	}
	ok(t, d.Condense(ctx, run.UUID, math.MaxInt64))
	if n := stored(); n != 1 {
		t.Errorf("%d frames after both have them, want the last one", n)
	}
}

func TestArchivesAreKeptUntilTheyAreDone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, path := mustOpen(t)
	run := mustRun(t, d)
	a := broker.Archive{RunUUID: run.UUID, URL: "s3://b/k"}
	ok(t, d.SaveArchive(ctx, &run, a))
	a.Upload, a.Size, a.SHA256, a.Trouble = "u1", 7, "c0ffee", "no"
	ok(t, d.SaveArchive(ctx, &run, a, broker.Event{Kind: broker.EventNote, Text: "Why."}))
	complete(t, d, &run)
	ok(t, d.DeleteRun(ctx, run.UUID)) // its upload is still to be ended
	ok(t, d.Close())
	d = mustOpenFile(t, path)
	list, err := d.Archives(ctx)
	ok(t, err)
	same(t, "archives to be made", list, []broker.Archive{a})
	a.Done = true
	ok(t, d.SaveArchive(ctx, &run, a))
	if list, err = d.Archives(ctx); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v; want none that is not done", list, err)
	}
	got, err := d.Archive(ctx, run.UUID)
	ok(t, err)
	same(t, "archive", got, a)
	ok(t, d.DeleteArchive(ctx, run.UUID))
	_, err = d.Archive(ctx, run.UUID)
	wantCode(t, err, broker.ENotFound)
}

var _ broker.MonitorStore = (*db.DB)(nil)
