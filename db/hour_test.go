package db_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/metrics"
)

// A fleet makes the frames of machines that send 50 metrics each: 20 timers of
// 200 to 400 values a second, spread log-normally, 20 counters and 10 gauges.
type fleet struct {
	random   *rand.Rand
	start    int64
	machines []broker.Machine
	timers   [20][]*metrics.Sketch // seconds to draw from
	gauges   [][10]float64         // by machine
}

func newFleet(tb testing.TB, machines []broker.Machine, draws int) *fleet {
	tb.Helper()
	f := &fleet{
		random: rand.New(rand.NewPCG(1, 2)), start: 1_700_000_000_000 / 60_000 * 60_000,
		machines: machines, gauges: make([][10]float64, len(machines)),
	}
	for i := range f.timers {
		for range draws {
			s := metrics.NewSketch()
			for range 200 + f.random.IntN(200) {
				s.Add(math.Exp(1+float64(i)/4+0.6*f.random.NormFloat64()), 1)
			}
			f.timers[i] = append(f.timers[i], packed(tb, s))
		}
	}
	return f
}

// packed returns the sketch as it comes from the wire, which is quick to encode.
func packed(tb testing.TB, s *metrics.Sketch) *metrics.Sketch {
	tb.Helper()
	text, err := json.Marshal(s)
	ok(tb, err)
	var back metrics.Sketch
	ok(tb, json.Unmarshal(text, &back))
	return &back
}

// second returns the frames of all machines of a second, from 1 on.
func (f *fleet) second(tb testing.TB, second int, final bool) []broker.StoredFrame {
	tb.Helper()
	frames := make([]broker.StoredFrame, len(f.machines))
	for i := range f.machines {
		at := f.start + int64(second)*1000 + int64(f.random.IntN(20)) - 19
		frame := metrics.Frame{Seq: uint64(second), Time: at, Final: final, Ledger: metrics.Received{Values: uint64(second)}}
		for t := range f.timers {
			frame.Points = append(frame.Points, metrics.Point{
				Kind: metrics.Timer, Name: fmt.Sprintf("http.endpoint%02d.latency", t),
				Tags: []metrics.Tag{{Name: "method", Value: "GET"}}, Sketch: f.timers[t][f.random.IntN(len(f.timers[t]))],
			})
			frame.Points = append(frame.Points, metrics.Point{
				Kind: metrics.Counter, Name: fmt.Sprintf("http.endpoint%02d.requests", t), Value: float64(200 + f.random.IntN(200)),
			})
		}
		for g := range f.gauges[i] {
			f.gauges[i][g] += f.random.NormFloat64()
			frame.Points = append(frame.Points, metrics.Point{
				Kind: metrics.Gauge, Name: fmt.Sprintf("host.gauge%d", g), Value: f.gauges[i][g], Count: 1,
			})
		}
		body, err := metrics.Encode(frame)
		ok(tb, err)
		frames[i] = broker.StoredFrame{MachineID: f.machines[i].ID, Seq: frame.Seq, At: at, Final: final, Body: body}
	}
	return frames
}

// mustFleet makes a run of a step with n machines, whose timers draw from so
// many seconds each.
func mustFleet(tb testing.TB, d *db.DB, n, draws int) (broker.Run, *fleet) {
	tb.Helper()
	run := mustRun(tb, d)
	var machines []broker.Machine
	for i := range n {
		m := broker.Machine{Step: 1, Index: i, RelayID: "relay"}
		ok(tb, d.SaveMachine(context.Background(), &run, &m))
		machines = append(machines, m)
	}
	return run, newFleet(tb, machines, draws)
}

// BenchmarkHour stores an hour of 100 machines of 50 metrics as the broker
// does, condensing as it goes, and measures what is left and what it takes to
// read it. An iteration is the hour.
func BenchmarkHour(b *testing.B) {
	const seconds = 3600
	ctx := context.Background()
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "loads.db")
		d, err := db.Open(ctx, path)
		ok(b, err)
		run, fleet := mustFleet(b, d, 100, 200)
		live, largest, longest := metrics.NewSeries(), int64(0), time.Duration(0)
		var writing, condensing time.Duration
		for second := 1; second <= seconds; second++ {
			frames := fleet.second(b, second, second == seconds)
			began := time.Now()
			ok(b, d.AddFrames(ctx, frames, nil))
			writing += time.Since(began)
			for i, f := range frames {
				decoded, err := metrics.Decode(f.Body)
				ok(b, err)
				live.Add("generator", i, decoded)
			}
			if second%10 == 0 {
				live.Condense(live.Newest() - 30_000)
			}
			if second%60 == 30 || second == seconds {
				began := time.Now()
				until := live.Newest() - 30_000
				if second == seconds {
					until = math.MaxInt64
				}
				ok(b, d.Condense(ctx, run.UUID, until))
				took := time.Since(began)
				condensing += took
				longest = max(longest, took)
				largest = max(largest, size(b, path)+size(b, path+"-wal"))
			}
		}
		b.ReportMetric(float64(size(b, path)+size(b, path+"-wal"))/1e6, "MB-at-end")
		b.ReportMetric(float64(largest)/1e6, "MB-largest")
		b.ReportMetric(writing.Seconds()/seconds*1e3, "ms-add/s")
		b.ReportMetric(condensing.Seconds()/60*1e3, "ms-condense/min")
		b.ReportMetric(float64(longest.Milliseconds()), "ms-condense-max")
		b.ReportMetric(float64(heapOf(func() *metrics.Series { s := live; live = nil; return s }()))/1e6, "MB-series")
		complete(b, d, &run)
		used, err := d.UsedBytes()
		ok(b, err)
		b.ReportMetric(float64(used)/1e6, "MB-used")
		ok(b, d.Close())
		b.ReportMetric(float64(size(b, path))/1e6, "MB-closed")
		measureReading(b, path, run.UUID)
	}
}

// measureReading opens the file anew and reads a summary and a page's lines.
func measureReading(b *testing.B, path, runUUID string) {
	b.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, path)
	ok(b, err)
	began := time.Now()
	totals, err := d.ReadTotals(ctx, runUUID)
	ok(b, err)
	summary := totals.Summary()
	b.ReportMetric(float64(time.Since(began).Microseconds())/1e3, "ms-summary")
	began = time.Now()
	ledger, err := d.Ledger(ctx, runUUID)
	ok(b, err)
	b.ReportMetric(float64(time.Since(began).Microseconds())/1e3, "ms-ledger")
	if !ledger.Balance || ledger.Stored != 360_000 || len(summary.Metrics) != 50 {
		b.Fatalf("got %+v and %d metrics", ledger, len(summary.Metrics))
	}
	began = time.Now()
	series, err := d.ReadSeries(ctx, runUUID)
	ok(b, err)
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-series")
	began = time.Now()
	lines := series.Lines(metrics.Query{})
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-lines")
	if len(lines) != 50 || len(lines[0].Buckets) != 3600 {
		b.Fatalf("got %d lines of %d seconds", len(lines), len(lines[0].Buckets))
	}
	ok(b, d.Close())
}

func size(tb testing.TB, path string) int64 {
	tb.Helper()
	info, err := os.Stat(path)
	ok(tb, err)
	return info.Size()
}

// heapOf returns what becomes free when the series does.
func heapOf(s *metrics.Series) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	runtime.KeepAlive(s)
	s = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	_ = s
	return before.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}
