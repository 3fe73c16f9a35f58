package influx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/influx"
	"github.com/loads/loads/internal/influxtest"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// t0 is when the runs of these tests begin, Unix ms.
const t0 = 1_790_000_000_000

// A bench is a run in a real store, whose machines' frames the test makes.
type bench struct {
	testing.TB
	store    *db.DB
	run      broker.Run
	machines []broker.Machine
	frames   []uint64 // number of the last frame of each machine
	log      waittest.Buffer
}

// mustBench has one run under way, of a step on that many machines.
func mustBench(t testing.TB, machines int) *bench {
	t.Helper()
	store, err := db.Open(t.Context(), filepath.Join(t.TempDir(), "loads.db"))
	ok(t, err)
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{TB: t, store: store, frames: make([]uint64, machines)}
	b.run = b.newRun()
	for i := range machines {
		m := broker.Machine{Index: i, State: broker.MachinePrepared, Token: fmt.Sprint("token-", i), Address: fmt.Sprint("10.0.0.", i+1), RelayID: "relay"}
		ok(t, store.SaveMachine(t.Context(), &b.run, &m))
		b.machines = append(b.machines, m)
	}
	return b
}

func (b *bench) newRun() broker.Run {
	b.Helper()
	project, err := b.store.CreateProject(b.Context(), strategies.Project{Name: "shop", Plans: []strategies.Plan{{
		Name: "smoke, all", Enabled: true,
		Steps: []strategies.Step{{Name: "gen=1", InstanceCount: 3, RunMaxTime: 60, ContainerName: "x:1", DockerSeries: "load"}},
	}}})
	ok(b, err)
	run, err := b.store.CreateRun(b.Context(), broker.Run{PlanUUID: project.Plans[0].Plan.UUID})
	ok(b, err)
	run.State = broker.Running
	ok(b, b.store.SaveRun(b.Context(), &run))
	return run
}

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// points are what a machine measures in a second of these tests.
func points(machine, second int) []metrics.Point {
	timings := metrics.NewSketch()
	for i := range 10 {
		timings.Add(float64(10*(machine+1)+i), 1)
	}
	return []metrics.Point{
		{Kind: metrics.Counter, Name: "req.count", Value: float64(second + 1), Tags: []metrics.Tag{{Name: "code", Value: "200 OK"}}},
		{Kind: metrics.Gauge, Name: "queue", Value: float64(machine), Count: 1},
		{Kind: metrics.Timer, Name: "req.latency", Sketch: timings},
	}
}

// add stores the machine's next frame, for the second from the start.
func (b *bench) add(machine, second int, points ...metrics.Point) {
	b.Helper()
	b.frames[machine]++
	f := metrics.Frame{
		Seq: b.frames[machine], Time: t0 + int64(second+1)*1000, Points: points,
		Ledger: metrics.Received{Datagrams: b.frames[machine], Values: 12 * b.frames[machine]},
	}
	body, err := metrics.Encode(f)
	ok(b, err)
	ok(b, b.store.AddFrames(b.Context(), []broker.StoredFrame{{MachineID: b.machines[machine].ID, Seq: f.Seq, At: f.Time, Body: body}}, nil))
}

// seconds stores the frames of all machines for the seconds from <= s < to.
func (b *bench) seconds(from, to int) {
	b.Helper()
	for s := from; s < to; s++ {
		for m := range b.machines {
			b.add(m, s, points(m, s)...)
		}
	}
}

// complete ends the run.
func (b *bench) complete() {
	b.Helper()
	b.run.State, b.run.Verdict = broker.Completed, broker.Pass
	ok(b, b.store.SaveRun(b.Context(), &b.run))
}

// send runs a sender until stop is called, at the latest at the test's end. It waits
// for answers longer than a busy computer makes it wait.
func (b *bench) send(url, token, bucket string) (stop func()) {
	b.Helper()
	return b.sendWithin(5*time.Minute, url, token, bucket)
}

// sendWithin is send that waits for an answer no longer than the timeout.
func (b *bench) sendWithin(timeout time.Duration, url, token, bucket string) (stop func()) {
	b.Helper()
	s, err := influx.New(influx.Config{
		URL: url, Token: token, Org: "loads", Bucket: bucket, Store: b.store,
		Log:   slog.New(slog.NewTextHandler(&b.log, nil)),
		Every: 10 * time.Millisecond, Timeout: timeout,
		RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond, RefusedEvery: 100 * time.Millisecond,
	})
	ok(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	b.Cleanup(stop)
	// The sender does so too, but a run of these tests may be over by then.
	ok(b, b.store.BeginExports(b.Context()))
	return stop
}

func (b *bench) export() broker.Export {
	b.Helper()
	e, err := b.store.Export(b.Context(), b.run.UUID)
	ok(b, err)
	if e == nil {
		return broker.Export{}
	}
	return *e
}

// notes are the texts of the run's events that say notes.
func (b *bench) notes() (texts []string) {
	b.Helper()
	events, err := b.store.Events(b.Context(), b.run.UUID, 0)
	ok(b, err)
	for _, e := range events {
		if e.Kind == broker.EventNote {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// until polls until the condition holds.
func (b *bench) until(what string, holds func() bool) {
	b.Helper()
	if !waittest.Holds(5*time.Minute, holds) {
		b.Fatalf("it did not come about: %s; export %+v; log:\n%s", what, b.export(), b.log.String())
	}
}

// stored is what a bucket holds.
type stored struct {
	points uint64 // of all measurements
	count  float64
	merged float64
	timed  float64
	rows   map[string][]influxtest.Row
}

// read reads everything back.
func (b *bench) read(server *influxtest.Server, database string) stored {
	b.Helper()
	s := stored{rows: map[string][]influxtest.Row{}}
	for _, row := range server.Query(b, database, `SELECT * FROM /.*/ GROUP BY *`) {
		s.points += uint64(len(row.Values))
		// Asked for all at once, every series has the tags of all.
		maps.DeleteFunc(row.Tags, func(_, value string) bool { return value == "" })
		s.rows[row.Name] = append(s.rows[row.Name], row)
	}
	s.count = sum(b, server, database, `SELECT sum(value) FROM req_count`)
	s.merged = sum(b, server, database, `SELECT sum(value) FROM req_count_merged`)
	s.timed = sum(b, server, database, `SELECT sum("count") FROM req_latency_merged`)
	return s
}

func sum(tb testing.TB, server *influxtest.Server, database, query string) float64 {
	tb.Helper()
	rows := server.Query(tb, database, query)
	if len(rows) == 0 {
		return 0
	}
	v, err := rows[0].Values[0][1].(json.Number).Float64()
	ok(tb, err)
	return v
}

// wantAll fails the test unless the bucket holds the first n seconds of all
// machines, once, and as many points as the ledger says.
func (b *bench) wantAll(server *influxtest.Server, database string, n int) {
	b.Helper()
	got, e := b.read(server, database), b.export()
	machines := len(b.machines)
	want := float64(machines * n * (n + 1) / 2)
	if got.count != want || got.merged != want || got.timed != float64(10*machines*n) {
		b.Errorf("read back: count %v, merged %v, timings %v; want %v, %v, %d", got.count, got.merged, got.timed, want, want, 10*machines*n)
	}
	if points := uint64(n * (machines*4 + 3)); got.points != points || e.Written != points || e.Refused != 0 || e.Waiting != 0 {
		b.Errorf("%d points read back, ledger %d written, %d refused, %d frames waiting; want %d points", got.points, e.Written, e.Refused, e.Waiting, points)
	}
}
