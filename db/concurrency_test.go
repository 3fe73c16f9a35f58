package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
)

const (
	writersPerRun  = 5
	roundsPerWrite = 25
)

// TestManyAtOnce lets 20 goroutines write events, frames, steps and machines of
// four runs, while others read all of it.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	d, path := mustOpen(t)
	var writers, readers errgroup.Group
	var runs []broker.Run
	var news []chan struct{} // of runs; readers wait for it, or there would be no time to write
	machines := make(map[string][]broker.Machine)
	for range 4 {
		wrote := make(chan struct{}, 1)
		news = append(news, wrote)
		run := mustRun(t, d)
		runs = append(runs, run)
		for w := range writersPerRun {
			m := mustMachine(t, d, &run, 1, w)
			machines[run.UUID] = append(machines[run.UUID], m)
			writers.Go(func() error { return writeRounds(d, run, m, wrote) })
		}
		for range 2 {
			readers.Go(func() error { return readNews(d, run.UUID, wrote) })
		}
	}
	ok(t, writers.Wait())
	for _, wrote := range news {
		close(wrote)
	}
	ok(t, readers.Wait())
	for _, run := range runs {
		list, err := d.Events(context.Background(), run.UUID, 0)
		ok(t, err)
		checkEvents(t, list, machines[run.UUID])
		var want []broker.StoredFrame
		for _, m := range machines[run.UUID] {
			for seq := uint64(1); seq <= 2*roundsPerWrite; seq++ {
				want = append(want, frame(m.ID, seq, false))
			}
		}
		same(t, "frames", collect(t, d, run.UUID), want)
	}
	checkIntegrity(t, path)
}

// writeRounds writes all kinds of records. The run and its step record are the
// goroutine's own copies.
func writeRounds(d *db.DB, run broker.Run, m broker.Machine, wrote chan<- struct{}) error {
	ctx := context.Background()
	step := run.StepRecords[1]
	for i := range roundsPerWrite {
		note := func() broker.Event {
			return broker.Event{Kind: broker.EventMachine, Machine: &m.Index, Text: fmt.Sprint(i)}
		}
		m.Reason, step.Reason = fmt.Sprint(i), fmt.Sprint(i)
		if err := d.SaveMachine(ctx, &run, &m, note(), note()); err != nil {
			return err
		}
		if err := d.SaveStep(ctx, &run, &step, note()); err != nil {
			return err
		}
		if err := d.SaveRun(ctx, &run, note()); err != nil {
			return err
		}
		frames := []broker.StoredFrame{frame(m.ID, uint64(2*i+1), false), frame(m.ID, uint64(2*i+2), false)}
		if err := d.AddFrames(ctx, frames, nil); err != nil {
			return err
		}
		select {
		case wrote <- struct{}{}:
		default: // there is something to read already
		}
	}
	return nil
}

// readNews reads whenever something was written, and checks that each read sees
// one state.
func readNews(d *db.DB, uuid string, wrote <-chan struct{}) error {
	for range wrote {
		if err := readOnce(context.Background(), d, uuid); err != nil {
			return err
		}
	}
	return nil
}

func readOnce(ctx context.Context, d *db.DB, uuid string) error {
	if _, err := d.Run(ctx, uuid); err != nil {
		return err
	}
	list, err := d.Events(ctx, uuid, 0)
	if err != nil {
		return err
	}
	for i, e := range list {
		if e.Seq != int64(i)+1 {
			return fmt.Errorf("event %d has Seq %d", i, e.Seq)
		}
	}
	l, err := d.Ledger(ctx, uuid)
	if err != nil {
		return err
	}
	if l.Sent != l.Stored || l.Sent%2 != 0 {
		return fmt.Errorf("half a batch shows: sent %d, stored %d", l.Sent, l.Stored)
	}
	return d.Frames(ctx, uuid, func(broker.StoredFrame) error { return nil })
}

// checkEvents wants every writer's events, in the writer's order, without gaps.
func checkEvents(t *testing.T, list []broker.Event, machines []broker.Machine) {
	t.Helper()
	perMachine := make(map[int][]string)
	for i, e := range list {
		if e.Seq != int64(i)+1 {
			t.Fatalf("event %d: got Seq %d", i, e.Seq)
		}
		perMachine[*e.Machine] = append(perMachine[*e.Machine], e.Text)
	}
	var want []string
	for i := range roundsPerWrite {
		for range 4 {
			want = append(want, fmt.Sprint(i))
		}
	}
	for _, m := range machines {
		same(t, fmt.Sprint("events of machine ", m.Index), perMachine[m.Index], want)
	}
}

func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	x := mustOpenRaw(t, path)
	var result string
	ok(t, x.QueryRow("PRAGMA integrity_check").Scan(&result))
	same(t, "integrity_check", result, "ok")
	var broken int
	ok(t, x.QueryRow("SELECT count(*) FROM pragma_foreign_key_check").Scan(&broken))
	same(t, "broken references", broken, 0)
}

// TestChangesAtOnce_StandOrFallAlone makes many changes at once, while somebody
// else keeps the database busy, so that they come to share transactions. Some
// are refused, some given up before; the others must not notice.
func TestChangesAtOnce_StandOrFallAlone(t *testing.T) {
	t.Parallel()
	d, path := mustOpen(t)
	run := mustRun(t, d)
	taken := broker.Machine{RunID: run.ID, State: broker.MachineRequested, Token: "taken"}
	ok(t, d.SaveMachine(t.Context(), &run, &taken))
	given, giveUp := context.WithCancel(context.Background())
	giveUp()
	other, err := mustOpenRaw(t, path).Conn(t.Context())
	ok(t, err)
	_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	ok(t, err)

	const n = 60
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			ctx := context.Background()
			m := broker.Machine{RunID: run.ID, Step: 1, Index: i, State: broker.MachineRequested, Token: fmt.Sprint("token ", i)}
			switch i % 3 {
			case 1:
				m.Token = taken.Token
			case 2:
				ctx = given
			}
			errs[i] = d.SaveMachine(ctx, &run, &m, broker.Event{Kind: broker.EventNote, Text: m.Token})
		})
	}
	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	ok(t, err)
	wg.Wait()
	for i, err := range errs {
		switch i % 3 {
		case 0:
			ok(t, err)
		case 1:
			wantCode(t, err, broker.EConflict)
		case 2:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a change that was given up has the error %v", err)
			}
		}
	}
	machines, err := d.Machines(t.Context(), run.UUID)
	ok(t, err)
	events, err := d.Events(t.Context(), run.UUID, 0)
	ok(t, err)
	if len(machines) != 1+n/3 {
		t.Errorf("got %d machines, want the first one and %d", len(machines), n/3)
	}
	noted := 0
	for i, e := range events {
		if e.Seq != int64(i)+1 {
			t.Errorf("event %d has the number %d", i+1, e.Seq)
		}
		if e.Kind == broker.EventNote {
			noted++
		}
	}
	if noted != n/3 {
		t.Errorf("got %d events, want one for each machine that was stored, %d", noted, n/3)
	}
	checkIntegrity(t, path)
}
