package db_test

import (
	"context"
	"testing"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// Words outlive the frames that brought them, and a decision is made once.
func TestAgreement(t *testing.T) {
	ctx := context.Background()
	d, path := mustOpen(t)
	run := mustRun(t, d)
	first, second, elsewhere := mustMachine(t, d, &run, 0, 0), mustMachine(t, d, &run, 0, 1), mustMachine(t, d, &run, 1, 0)
	ended, failed := metrics.Word{Phase: "a", Is: metrics.WordTerminated}, metrics.Word{Phase: "a", Is: metrics.WordFailed}
	with := func(m broker.Machine, seq uint64, words ...metrics.Word) broker.StoredFrame {
		f := frame(m.ID, seq, false)
		f.Words = words
		return f
	}
	frames := []broker.StoredFrame{with(first, 1, failed, ended), with(second, 1, ended), with(first, 2, ended), with(elsewhere, 1, ended)}
	ok(t, d.AddFrames(ctx, frames, nil))
	ok(t, d.AddFrames(ctx, append(frames, frame(first.ID, 3, false)), nil))
	ok(t, d.Condense(ctx, run.UUID, frames[2].At+60_000))

	decided := []agreement.Decision{{Word: failed, At: 100, Machine: 0}, {Word: ended, At: 400, Machine: -1}}
	ok(t, d.AddDecisions(ctx, &run, 0, decided, broker.Event{Kind: broker.EventNote, Text: "It holds."}))
	again := d.AddDecisions(ctx, &run, 0, decided[1:], broker.Event{Kind: broker.EventNote, Text: "It holds twice."})
	if code := broker.CodeOf(again); code != broker.EConflict {
		t.Errorf("deciding the same again gives %v, want a conflict", again)
	}
	ok(t, d.AddDecisions(ctx, &run, 1, decided[1:]))

	words, got, err := d.Agreement(ctx, run.UUID, 0)
	ok(t, err)
	same(t, "words", words, []broker.MachineWord{{Machine: 0, Word: failed}, {Machine: 0, Word: ended}, {Machine: 1, Word: ended}})
	same(t, "decisions", got, decided)
	events, err := d.Events(ctx, run.UUID, 0)
	ok(t, err)
	if n := len(events); n != 1 || events[0].Text != "It holds." {
		t.Errorf("got %+v, want one event", events)
	}
	_, _, err = d.Agreement(ctx, "nope", 0)
	wantCode(t, err, broker.ENotFound)
	wantCode(t, d.AddDecisions(ctx, &broker.Run{ID: 99, UUID: "nope"}, 0, nil), broker.ENotFound)

	run.State = broker.Completed
	ok(t, d.SaveRun(ctx, &run))
	ok(t, d.DeleteRun(ctx, run.UUID))
	x := mustOpenRaw(t, path)
	if n := count(t, x, "word") + count(t, x, "decision"); n != 0 {
		t.Errorf("%d words and decisions are left of a run that was deleted", n)
	}
}
