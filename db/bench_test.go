package db_test

import (
	"context"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

// benchFrames returns n frames of 20 machines with bodies of a usual size.
func benchFrames(machines []broker.Machine, from, n int) []broker.StoredFrame {
	body := []byte(strings.Repeat("x", 1500))
	frames := make([]broker.StoredFrame, n)
	for i := range frames {
		seq := uint64(from + i/len(machines) + 1)
		frames[i] = broker.StoredFrame{MachineID: machines[i%len(machines)].ID, Seq: seq, At: int64(seq) * 1000, Body: body}
	}
	return frames
}

// BenchmarkAddFrames stores batches of 1,000 frames of 20 machines.
func BenchmarkAddFrames(b *testing.B) {
	d, _ := mustOpen(b)
	run := mustRun(b, d)
	var machines []broker.Machine
	for i := range 20 {
		machines = append(machines, mustMachine(b, d, &run, 0, i))
	}
	ctx := context.Background()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		frames := benchFrames(machines, i*50, 1000)
		b.StartTimer()
		ok(b, d.AddFrames(ctx, frames, nil))
	}
}

// BenchmarkSaveStep is one small commit, synced.
func BenchmarkSaveStep(b *testing.B) {
	d, _ := mustOpen(b)
	run := mustRun(b, d)
	ctx := context.Background()
	for b.Loop() {
		ok(b, d.SaveStep(ctx, &run, &run.StepRecords[0], broker.Event{Kind: broker.EventNote}))
	}
}

// BenchmarkFrames reads the frames of an hour of 20 machines.
func BenchmarkFrames(b *testing.B) {
	d, _ := mustOpen(b)
	run := hourOfFrames(b, d)
	ctx := context.Background()
	for b.Loop() {
		ok(b, d.Frames(ctx, run.UUID, func(broker.StoredFrame) error { return nil }))
	}
}

// BenchmarkLedger counts the frames of an hour of 20 machines.
func BenchmarkLedger(b *testing.B) {
	d, _ := mustOpen(b)
	run := hourOfFrames(b, d)
	ctx := context.Background()
	for b.Loop() {
		_, err := d.Ledger(ctx, run.UUID)
		ok(b, err)
	}
}

// BenchmarkDeleteRun deletes a run with the frames of an hour of 20 machines.
func BenchmarkDeleteRun(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		d, _ := mustOpen(b)
		run := hourOfFrames(b, d)
		complete(b, d, &run)
		b.StartTimer()
		ok(b, d.DeleteRun(context.Background(), run.UUID))
		b.StopTimer()
		ok(b, d.Close())
		b.StartTimer()
	}
}

// BenchmarkRuns lists a hundred runs with their plans and step records.
func BenchmarkRuns(b *testing.B) {
	d, _ := mustOpen(b)
	run := mustRun(b, d)
	ctx := context.Background()
	for range 99 {
		_, err := d.CreateRun(ctx, broker.Run{PlanUUID: run.PlanUUID})
		ok(b, err)
	}
	for b.Loop() {
		list, err := d.Runs(ctx, broker.RunFilter{Limit: 100})
		ok(b, err)
		if len(list) != 100 {
			b.Fatalf("got %d runs", len(list))
		}
	}
}

func hourOfFrames(b *testing.B, d broker.Store) broker.Run {
	b.Helper()
	ctx := context.Background()
	p, err := d.CreateProject(ctx, sampleProject())
	ok(b, err)
	run, err := d.CreateRun(ctx, broker.Run{PlanUUID: p.Plans[0].Plan.UUID})
	ok(b, err)
	var machines []broker.Machine
	for i := range 20 {
		m := broker.Machine{Step: 0, Index: i, RelayID: "relay"}
		ok(b, d.SaveMachine(ctx, &run, &m))
		machines = append(machines, m)
	}
	for from := 0; from < 3600; from += 100 {
		frames := benchFrames(machines, from, 2000)
		for i := range 20 { // the last frames are decoded
			frames[1980+i] = frame(machines[i].ID, uint64(from+100), false)
		}
		ok(b, d.AddFrames(ctx, frames, nil))
	}
	return run
}
