package db_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/metrics"
)

// frame returns an encoded frame; its ledger grows with its number.
func frame(machineID int64, seq uint64, final bool) broker.StoredFrame {
	f := metrics.Frame{
		Version: metrics.Version, Seq: seq, Time: 1_700_000_000_000 + int64(seq)*1000, Final: final,
		Points: []metrics.Point{{Kind: metrics.Counter, Name: "hits", Value: float64(seq)}},
		Ledger: metrics.Received{Datagrams: seq, Values: 2 * seq, Malformed: 3 * seq, Dropped: 4 * seq, KernelDropped: 5 * seq, Refused: 6 * seq, LogLines: 7 * seq, LogValues: 8 * seq, LogMalformed: 9 * seq, LogLost: 10 * seq, LogGaps: 11 * seq},
	}
	body, err := metrics.Encode(f)
	if err != nil {
		panic(err)
	}
	return broker.StoredFrame{MachineID: machineID, Seq: seq, At: f.Time, Final: final, Body: body}
}

func count(tb testing.TB, x *sql.DB, table string) (n int) {
	tb.Helper()
	ok(tb, x.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
	return n
}

func collect(tb testing.TB, d *db.DB, runUUID string) (list []broker.StoredFrame) {
	tb.Helper()
	ok(tb, d.Frames(context.Background(), runUUID, func(f broker.StoredFrame) error {
		list = append(list, f)
		return nil
	}))
	return list
}

func TestAddFrames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	setup := func(t *testing.T) (*db.DB, broker.Run, broker.Machine) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		return d, run, mustMachine(t, d, &run, 0, 0)
	}
	machine := func(t *testing.T, d *db.DB, run broker.Run) broker.Machine {
		list, err := d.Machines(ctx, run.UUID)
		ok(t, err)
		return list[0]
	}

	t.Run("the same again changes nothing", func(t *testing.T) {
		d, run, m := setup(t)
		frames := []broker.StoredFrame{frame(m.ID, 1, false), frame(m.ID, 2, false)}
		ok(t, d.AddFrames(ctx, frames, nil))
		again := frame(m.ID, 2, false)
		again.Body = []byte("other")
		ok(t, d.AddFrames(ctx, []broker.StoredFrame{again}, nil))
		ok(t, d.AddFrames(ctx, nil, nil))
		same(t, "frames", collect(t, d, run.UUID), frames)
		if got := machine(t, d, run); got.FrameSeq != 2 || got.FrameTime != frames[1].At || got.FramesFinal {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("late frames are kept, and take nothing back", func(t *testing.T) {
		d, run, m := setup(t)
		ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, 3, true)}, map[int64]uint64{m.ID: 1}))
		ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, 2, false), frame(m.ID, 1, false)}, map[int64]uint64{m.ID: 2}))
		want := []broker.StoredFrame{frame(m.ID, 1, false), frame(m.ID, 2, false), frame(m.ID, 3, true)}
		same(t, "frames", collect(t, d, run.UUID), want)
		if got := machine(t, d, run); got.FrameSeq != 3 || got.FrameTime != want[2].At || !got.FramesFinal || got.FramesBroken != 3 {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("broken lines alone count too", func(t *testing.T) {
		d, run, m := setup(t)
		ok(t, d.AddFrames(ctx, nil, map[int64]uint64{m.ID: 5}))
		if got := machine(t, d, run); got.FramesBroken != 5 || got.FrameSeq != 0 {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("a machine that is gone takes the whole batch with it", func(t *testing.T) {
		d, run, m := setup(t)
		wantCode(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, 1, false), frame(m.ID+9, 1, false)}, nil), broker.ENotFound)
		wantCode(t, d.AddFrames(ctx, []broker.StoredFrame{frame(m.ID, 1, false)}, map[int64]uint64{m.ID + 9: 1}), broker.ENotFound)
		same(t, "frames", collect(t, d, run.UUID), []broker.StoredFrame{})
	})

	t.Run("a frame without a body or a number is an error, not left out", func(t *testing.T) {
		d, _, m := setup(t)
		for _, f := range []broker.StoredFrame{{MachineID: m.ID, Seq: 1}, {MachineID: m.ID, Body: []byte("{}")}} {
			if err := d.AddFrames(ctx, []broker.StoredFrame{f}, nil); broker.CodeOf(err) != broker.EInternal {
				t.Errorf("got %v, want an internal error", err)
			}
		}
	})
}

func TestFrames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, path := mustOpen(t)
	run, other := mustRun(t, d), mustRun(t, d)
	late, early := mustMachine(t, d, &run, 1, 0), mustMachine(t, d, &run, 0, 0)
	foreign := mustMachine(t, d, &other, 0, 0)
	ok(t, d.AddFrames(ctx, []broker.StoredFrame{
		frame(late.ID, 2, false), frame(foreign.ID, 1, false), frame(early.ID, 1, false), frame(late.ID, 1, false),
	}, nil))

	t.Run("come by step, machine and number, those of the run only", func(t *testing.T) {
		want := []broker.StoredFrame{frame(early.ID, 1, false), frame(late.ID, 1, false), frame(late.ID, 2, false)}
		same(t, "frames", collect(t, d, run.UUID), want)
	})

	t.Run("an error of yield ends it and comes back as it is", func(t *testing.T) {
		stop, calls := errors.New("enough"), 0
		err := d.Frames(ctx, run.UUID, func(broker.StoredFrame) error { calls++; return stop })
		if err != stop || calls != 1 { //nolint:errorlint // the very error is promised
			t.Errorf("got %v after %d calls, want the error after 1", err, calls)
		}
	})

	t.Run("writes go on meanwhile, and don't show", func(t *testing.T) {
		seen := 0
		ok(t, d.Frames(ctx, run.UUID, func(broker.StoredFrame) error {
			seen++
			return d.AddFrames(ctx, []broker.StoredFrame{frame(late.ID, uint64(10+seen), false)}, nil)
		}))
		if seen != 3 || len(collect(t, d, run.UUID)) != 6 {
			t.Errorf("got %d frames then and %d now, want 3 and 6", seen, len(collect(t, d, run.UUID)))
		}
	})

	t.Run("of an unknown run are not found", func(t *testing.T) {
		wantCode(t, d.Frames(ctx, "nope", nil), broker.ENotFound)
	})

	t.Run("are not sorted, but read in order", func(t *testing.T) {
		rows, err := mustOpenRaw(t, path).Query("EXPLAIN QUERY PLAN "+db.FramesOfRun, run.ID)
		ok(t, err)
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			ok(t, rows.Scan(&id, &parent, &unused, &detail))
			if strings.Contains(detail, "TEMP B-TREE") || strings.Contains(detail, "SCAN") {
				t.Errorf("got %q in the query's plan", detail)
			}
		}
		ok(t, rows.Err())
	})
}

func TestLedger(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	type relay struct {
		frames []uint64 // numbers
		final  bool     // of the last of them
		broken uint64
		none   bool // no relay was started
	}
	for _, row := range []struct {
		desc   string
		relays []relay
		want   metrics.Ledger
	}{
		{"nothing was sent, so nothing is missing", nil, metrics.Ledger{Balance: true}},
		{"a machine without a relay is left out", []relay{{none: true}}, metrics.Ledger{Balance: true}},
		{"a relay that was not heard of keeps it open", []relay{{}}, metrics.Ledger{Open: 1}},
		{
			"all came from two machines, and the last frames' counts are added up",
			[]relay{{frames: []uint64{1, 2}, final: true}, {frames: []uint64{1, 2, 3}, final: true}},
			metrics.Ledger{Received: metrics.Received{Datagrams: 5, Values: 10, Malformed: 15, Dropped: 20, KernelDropped: 25, Refused: 30, LogLines: 35, LogValues: 40, LogMalformed: 45, LogLost: 50, LogGaps: 55}, Sent: 5, Stored: 5, Balance: true},
		},
		{
			"a frame in the middle is missing",
			[]relay{{frames: []uint64{1, 3}, final: true}},
			metrics.Ledger{Received: metrics.Received{Datagrams: 3, Values: 6, Malformed: 9, Dropped: 12, KernelDropped: 15, Refused: 18, LogLines: 21, LogValues: 24, LogMalformed: 27, LogLost: 30, LogGaps: 33}, Sent: 3, Stored: 2},
		},
		{
			"the final frame has not come",
			[]relay{{frames: []uint64{1}}},
			metrics.Ledger{Received: metrics.Received{Datagrams: 1, Values: 2, Malformed: 3, Dropped: 4, KernelDropped: 5, Refused: 6, LogLines: 7, LogValues: 8, LogMalformed: 9, LogLost: 10, LogGaps: 11}, Sent: 1, Stored: 1, Open: 1},
		},
		{
			"a line was no frame",
			[]relay{{frames: []uint64{1}, final: true, broken: 1}},
			metrics.Ledger{Received: metrics.Received{Datagrams: 1, Values: 2, Malformed: 3, Dropped: 4, KernelDropped: 5, Refused: 6, LogLines: 7, LogValues: 8, LogMalformed: 9, LogLost: 10, LogGaps: 11}, Sent: 1, Stored: 1, Broken: 1},
		},
	} {
		t.Run(row.desc, func(t *testing.T) {
			d, _ := mustOpen(t)
			run, other := mustRun(t, d), mustRun(t, d)
			foreign := mustMachine(t, d, &other, 0, 0)
			ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(foreign.ID, 9, false)}, nil))
			for i, r := range row.relays {
				m := mustMachine(t, d, &run, 0, i)
				if !r.none {
					m.RelayID = "relay"
				}
				ok(t, d.SaveMachine(ctx, &run, &m))
				var frames []broker.StoredFrame
				for j, seq := range r.frames {
					frames = append(frames, frame(m.ID, seq, r.final && j == len(r.frames)-1))
				}
				ok(t, d.AddFrames(ctx, frames, map[int64]uint64{m.ID: r.broken}))
			}
			got, err := d.Ledger(ctx, run.UUID)
			ok(t, err)
			same(t, "ledger", got, row.want)
		})
	}
	d, _ := mustOpen(t)
	_, err := d.Ledger(ctx, "nope")
	wantCode(t, err, broker.ENotFound)
}
