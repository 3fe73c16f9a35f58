package db_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

func TestSaveMachine(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("inserts once, then stores what changes", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		m := broker.Machine{Step: 1, Index: 0, State: broker.MachineRequested, Token: "t-1"}
		ok(t, d.SaveMachine(ctx, &run, &m, broker.Event{Kind: broker.EventMachine, Text: "Asked for."}))
		if m.ID == 0 || m.RunID != run.ID || m.RunUUID != run.UUID {
			t.Fatalf("got %+v", m)
		}
		start, end, code := time.UnixMicro(1).UTC(), time.UnixMicro(2).UTC(), 137
		m.State, m.Reason, m.Pool, m.ProviderID = broker.MachinePrepared, "why", "local", "net-1"
		m.Address, m.PublicIP, m.Network = "10.0.0.1", "1.2.3.4", "loads-1"
		m.Endpoint = broker.Endpoint{Host: "tcp://x:2376", CA: "ca.pem", Cert: "cert.pem", Key: "key.pem"}
		m.ClockOffset, m.ClockError = -3*time.Millisecond, time.Microsecond
		m.RelayID, m.ContainerID = "relay", "container"
		m.StartedAt, m.FinishedAt, m.ExitCode = &start, &end, &code
		m.RequestedAt, m.LaunchedAt, m.PreparedAt = &start, &start, &end
		ok(t, d.SaveMachine(ctx, &run, &m))
		list, err := d.Machines(ctx, run.UUID)
		ok(t, err)
		same(t, "machines", list, []broker.Machine{m})
	})

	t.Run("leaves the columns of frames alone", func(t *testing.T) {
		d, _ := mustOpen(t)
		run := mustRun(t, d)
		m := mustMachine(t, d, &run, 0, 0)
		last := frame(m.ID, 7, true)
		ok(t, d.AddFrames(ctx, []broker.StoredFrame{last}, map[int64]uint64{m.ID: 2}))
		m.State = broker.MachineReleased // with the frame columns of before
		ok(t, d.SaveMachine(ctx, &run, &m))
		list, err := d.Machines(ctx, run.UUID)
		ok(t, err)
		m.FrameSeq, m.FrameTime, m.FramesFinal, m.FramesBroken = 7, last.At, true, 2
		same(t, "machines", list, []broker.Machine{m})
	})

	t.Run("refuses a second machine of the place, a token of another machine, another run's machine", func(t *testing.T) {
		d, _ := mustOpen(t)
		run, other := mustRun(t, d), mustRun(t, d)
		m := broker.Machine{Step: 1, Index: 1, Token: "t-1"}
		ok(t, d.SaveMachine(ctx, &run, &m))
		second := broker.Machine{Step: 1, Index: 1, Token: "t-2"}
		events := []broker.Event{{Kind: broker.EventMachine}}
		wantCode(t, d.SaveMachine(ctx, &run, &second, events...), broker.EConflict)
		if second.ID != 0 || events[0].Seq != 0 {
			t.Errorf("got id %d and Seq %d of a machine that was refused", second.ID, events[0].Seq)
		}
		wantCode(t, d.SaveMachine(ctx, &other, &broker.Machine{Token: "t-1"}), broker.EConflict)
		wantCode(t, d.SaveMachine(ctx, &other, &m), broker.ENotFound)
		same(t, "run of the machine", m.RunUUID, run.UUID)
	})
}

func TestReplaceMachine(t *testing.T) {
	ctx := context.Background()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	other := mustMachine(t, d, &run, 1, 0)
	launched := time.UnixMicro(5).UTC()
	first := broker.Machine{
		Step: 1, Index: 1, State: broker.MachinePrepared, Token: "t-1", ProviderID: "i-1", RelayID: "relay", Reused: true, LaunchedAt: &launched,
	}
	ok(t, d.SaveMachine(ctx, &run, &first))
	ok(t, d.AddFrames(ctx, []broker.StoredFrame{frame(first.ID, 1, false), frame(other.ID, 1, true)}, map[int64]uint64{first.ID: 1}))

	first.Reason = "its disk is full"
	second := broker.Machine{State: broker.MachineRequested, Token: "t-2"}
	ok(t, d.ReplaceMachine(ctx, &run, &first, &second, broker.Event{Kind: broker.EventMachine, Text: "Another is taken."}))
	list, err := d.Machines(ctx, run.UUID)
	ok(t, err)
	if len(list) != 2 || second.ID == 0 || second.Index != 1 || second.Step != 1 {
		t.Fatalf("got %+v, and %+v for the second", list, second)
	}
	same(t, "the second has the place", list[1], second)
	gone, err := d.Replaced(ctx, run.UUID)
	ok(t, err)
	same(t, "the first is kept", gone, []broker.Machine{first})
	if first.State != broker.MachineReleasing || !first.Replaced || first.Index != 1 || first.FrameSeq != 0 {
		t.Errorf("got %+v, want it as it was, but releasing and without frames", first)
	}
	l, err := d.Ledger(ctx, run.UUID)
	ok(t, err)
	if !l.Balance || l.Stored != 1 {
		t.Errorf("ledger %+v, want the other machine's frame alone, and a balance", l)
	}
	list, err = d.MachinesIn(ctx, broker.MachineReleasing)
	ok(t, err)
	same(t, "what is to be released", list, gone)
	list, err = d.ProjectMachines(ctx, run.ProjectUUID, launched)
	ok(t, err)
	same(t, "what costs", list, gone)

	again := broker.Machine{State: broker.MachineRequested, Token: "t-3"}
	wantCode(t, d.ReplaceMachine(ctx, &run, &first, &again), broker.EConflict)
	taken := broker.Machine{State: broker.MachineRequested, Token: "t-2"}
	wantCode(t, d.ReplaceMachine(ctx, &run, &other, &taken), broker.EConflict)
	third := broker.Machine{State: broker.MachineRequested, Token: "t-3"}
	ok(t, d.ReplaceMachine(ctx, &run, &second, &third))
	released := time.UnixMicro(9).UTC()
	first.State, first.ReleasedAt = broker.MachineReleased, &released
	ok(t, d.SaveMachine(ctx, &run, &first))
	gone, err = d.Replaced(ctx, run.UUID)
	ok(t, err)
	same(t, "both are kept", gone, []broker.Machine{first, second})
}

func TestWhatDeletedRunsHaveCostGoesOnCounting(t *testing.T) {
	ctx := context.Background()
	d, _ := mustOpen(t)
	run, other := mustRun(t, d), mustRun(t, d)
	end := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	begin, early := end.Add(-2*time.Hour), end.Add(-time.Hour)
	for i, released := range []*time.Time{&end, &early, nil} {
		m := broker.Machine{Index: i, Token: strconv.Itoa(i), State: broker.MachineReleased, HourUSD: 1.5, LaunchedAt: &begin, ReleasedAt: released}
		if released == nil {
			m.LaunchedAt = nil // it was never there
		}
		ok(t, d.SaveMachine(ctx, &run, &m))
	}
	complete(t, d, &run)
	complete(t, d, &other)
	ok(t, d.DeleteRun(ctx, run.UUID))
	ok(t, d.DeleteRun(ctx, other.UUID))
	for _, row := range []struct {
		desc    string
		project string
		since   time.Time
		want    float64
	}{
		{"as long as its last machine counts, all of it", run.ProjectUUID, end.Add(-time.Second), 4.5},
		{"no longer than that", run.ProjectUUID, end, 0},
		{"for no other project", other.ProjectUUID, begin, 0},
	} {
		t.Run(row.desc, func(t *testing.T) {
			got, err := d.SpentOnDeleted(ctx, row.project, row.since)
			ok(t, err)
			if got != row.want {
				t.Errorf("got %v USD, want %v", got, row.want)
			}
		})
	}
	ok(t, d.DeleteProject(ctx, run.ProjectUUID))
}

func TestMachines(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	one, two := mustRun(t, d), mustRun(t, d)
	for _, place := range [][2]int{{1, 1}, {0, 0}, {1, 0}} {
		mustMachine(t, d, &one, place[0], place[1])
	}
	ready := broker.Machine{State: broker.MachineReady, Endpoint: broker.Endpoint{Host: "tcp://a:2376"}}
	ok(t, d.SaveMachine(ctx, &two, &ready))
	list, err := d.Machines(ctx, one.UUID)
	ok(t, err)
	var got [][2]int
	for _, m := range list {
		got = append(got, [2]int{m.Step, m.Index})
	}
	same(t, "by step and index", got, [][2]int{{0, 0}, {1, 0}, {1, 1}})
	_, err = d.Machines(ctx, "nope")
	wantCode(t, err, broker.ENotFound)

	for _, row := range []struct {
		desc   string
		states []broker.MachineState
		want   int
	}{
		{"in one state, with what a pool needs", []broker.MachineState{broker.MachineReady}, 1},
		{"in one of two states, of all runs", []broker.MachineState{broker.MachineReady, broker.MachineRequested}, 4},
		{"in a state that none is in", []broker.MachineState{broker.MachineLost}, 0},
		{"in no state", nil, 0},
	} {
		t.Run(row.desc, func(t *testing.T) {
			list, err := d.MachinesIn(ctx, row.states...)
			ok(t, err)
			if len(list) != row.want {
				t.Fatalf("got %d machines, want %d", len(list), row.want)
			}
			if row.want == 1 {
				same(t, "machine", list[0], ready)
			}
		})
	}
}

func TestPreparedIn_IsTheSlowestOfTheLastMachines(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	run := mustRun(t, d)
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := 0
	const reused = 2 * time.Second
	add := func(kind string, launched, prepared time.Duration) {
		n++
		l, p := began.Add(launched), began.Add(prepared)
		m := broker.Machine{
			Index: n, Token: strconv.Itoa(n), State: broker.MachinePrepared, Region: "r", Type: kind, Reused: launched == reused,
			RequestedAt: &began, LaunchedAt: &l, PreparedAt: &p,
		}
		ok(t, d.SaveMachine(ctx, &run, &m))
	}
	want := func(kind string, took time.Duration) {
		t.Helper()
		got, err := d.PreparedIn(ctx, "r", kind)
		ok(t, err)
		if got != took {
			t.Errorf("machines of type %s took %v, want %v", kind, got, took)
		}
	}
	want("a", 0)
	add("a", time.Second, 9*time.Minute) // too long ago to count, in the end
	want("a", 9*time.Minute)
	for i := range 20 {
		add("a", time.Second, time.Duration(40+i)*time.Second)
	}
	add("a", -time.Hour, 5*time.Minute) // was there already
	add("b", time.Second, 3*time.Minute)
	add("b", reused, 4*time.Minute) // had waited for a run
	want("a", 59*time.Second)
	want("b", 3*time.Minute)
}

func TestProjectMachines_AreThoseThatCostSomethingSince(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	run, other := mustRun(t, d), mustRun(t, d)
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	before, after := since.Add(-time.Hour), since.Add(time.Hour)
	for i, m := range []broker.Machine{
		{Pool: "runs", LaunchedAt: &before},
		{Pool: "ended after", LaunchedAt: &before, ReleasedAt: &after},
		{Pool: "ended before", LaunchedAt: &before, ReleasedAt: &before},
		{Pool: "not rented"},
	} {
		m.Index, m.Token, m.State = i, strconv.Itoa(i), broker.MachineReady
		ok(t, d.SaveMachine(ctx, &run, &m))
	}
	ok(t, d.SaveMachine(ctx, &other, &broker.Machine{Token: "other", State: broker.MachineReady, LaunchedAt: &before}))
	list, err := d.ProjectMachines(ctx, run.ProjectUUID, since)
	ok(t, err)
	var got []string
	for _, m := range list {
		got = append(got, m.Pool)
	}
	same(t, "machines", got, []string{"runs", "ended after"})
}

func TestSetMaxCost(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := mustOpen(t)
	p := mustProject(t, d, "shop")
	ok(t, d.SetMaxCost(ctx, p.Project.UUID, 12.5))
	got, err := d.Project(ctx, p.Project.UUID)
	ok(t, err)
	if got.Project.MaxCost != 12.5 {
		t.Errorf("the project may cost %v, want 12.5", got.Project.MaxCost)
	}
	wantCode(t, d.SetMaxCost(ctx, "nobody", 1), broker.ENotFound)
}
