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
	add := func(kind string, launched, prepared time.Duration) {
		n++
		l, p := began.Add(launched), began.Add(prepared)
		m := broker.Machine{
			Index: n, Token: strconv.Itoa(n), State: broker.MachinePrepared, Region: "r", Type: kind, ProviderID: kind + strconv.Itoa(min(n, 23)),
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
	add("b", time.Second, 4*time.Minute) // again, by another run
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
