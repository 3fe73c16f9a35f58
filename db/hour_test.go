package db_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/db"
	"github.com/loads/loads/metrics"
)

// keepHour is where BenchmarkHour leaves its file, for a broker to show.
var keepHour = flag.String("keep-hour", "", "folder for the file of BenchmarkHour")

// A fleet makes the frames of machines that send 50 metrics each: 20 timers of
// 200 to 400 values a second, spread log-normally, 20 counters and 10 gauges;
// and of the machines themselves and a container on each.
type fleet struct {
	random   *rand.Rand
	start    int64
	machines []broker.Machine
	timers   [20][]*metrics.Sketch // seconds to draw from
	gauges   [][10]float64         // by machine
	totals   [][]float64           // by machine: of what its host points count
}

func newFleet(tb testing.TB, machines []broker.Machine, draws int) *fleet {
	tb.Helper()
	f := &fleet{
		random: rand.New(rand.NewPCG(1, 2)), start: 1_700_000_000_000 / 60_000 * 60_000,
		machines: machines, gauges: make([][10]float64, len(machines)), totals: make([][]float64, len(machines)),
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
		frame.Host = f.host(i)
		body, err := metrics.Encode(frame)
		ok(tb, err)
		frames[i] = broker.StoredFrame{MachineID: f.machines[i].ID, Seq: frame.Seq, At: at, Final: final, Body: body}
	}
	return frames
}

// host is what a machine that works hard tells of itself: the measurements that
// a relay reads, with figures that go up and down like those of real ones.
func (f *fleet) host(machine int) []metrics.HostPoint {
	n := 0
	total := func(rate int) float64 { // a second's growth, to be added to what there was
		if n == len(f.totals[machine]) {
			f.totals[machine] = append(f.totals[machine], float64(f.random.Uint64N(1<<36)))
		}
		f.totals[machine][n] += float64(f.random.IntN(rate))
		n++
		return f.totals[machine][n-1]
	}
	percent := func(most float64) float64 { return math.Round(100*most*f.random.Float64()) / 100 }
	bytes := func(about int) float64 { return float64(about + 4096*f.random.IntN(about>>16)) }
	tag := func(name, value string) []metrics.Tag { return []metrics.Tag{{Name: name, Value: value}} }
	container := tag(metrics.ContainerTag, fmt.Sprintf("loads-6f1c22d0-0b53cf02-s0-m%d-plan", machine))
	return []metrics.HostPoint{
		{Name: "cpu", Tags: tag("cpu", "cpu-total"), Fields: map[string]float64{
			"usage_active": percent(100), "usage_user": percent(60), "usage_system": percent(30), "usage_nice": 0,
			"usage_idle": percent(40), "usage_iowait": percent(1), "usage_softirq": percent(9), "usage_steal": percent(2),
		}},
		{Name: "mem", Fields: map[string]float64{
			"total": 16_381_239_296, "available": bytes(12 << 30), "used": bytes(3 << 30), "free": bytes(9 << 30),
			"cached": bytes(2 << 30), "buffered": bytes(1 << 28), "swap_free": 0,
			"used_percent": percent(20), "available_percent": percent(80),
		}},
		{Name: "system", Fields: map[string]float64{"load1": percent(8), "load5": percent(8), "load15": percent(8), "n_cpus": 8}},
		{Name: "diskio", Tags: tag("name", "total"), Fields: map[string]float64{
			"reads": total(10), "read_bytes": total(1 << 16), "writes": total(100), "write_bytes": total(1 << 20),
			"io_time": total(100), "iops_in_progress": float64(f.random.IntN(3)),
		}},
		{Name: "net", Tags: tag("interface", "total"), Fields: map[string]float64{
			"bytes_sent": total(1 << 24), "bytes_recv": total(1 << 26), "packets_sent": total(1 << 14), "packets_recv": total(1 << 14),
			"err_in": 0, "err_out": 0, "drop_in": 0, "drop_out": 0,
		}},
		{Name: "netstat", Fields: map[string]float64{
			"tcp_established": float64(f.random.IntN(9000)), "tcp_syn_sent": float64(f.random.IntN(30)), "tcp_syn_recv": 0,
			"tcp_fin_wait1": float64(f.random.IntN(30)), "tcp_fin_wait2": 0, "tcp_time_wait": float64(f.random.IntN(20_000)),
			"tcp_close": 0, "tcp_close_wait": float64(f.random.IntN(30)), "tcp_last_ack": 0, "tcp_listen": 12, "tcp_closing": 0,
		}},
		{Name: metrics.ContainerCPU, Tags: container, Fields: map[string]float64{"usage_percent": percent(800)}},
		{Name: metrics.ContainerMemory, Tags: container, Fields: map[string]float64{"usage": bytes(1 << 30), "oom_kill": 0}},
		{Name: metrics.ContainerNetwork, Tags: container, Fields: map[string]float64{
			"rx_bytes": total(1 << 26), "rx_packets": total(1 << 14), "rx_errors": 0, "rx_dropped": 0,
			"tx_bytes": total(1 << 24), "tx_packets": total(1 << 14), "tx_errors": 0, "tx_dropped": 0,
		}},
	}
}

// mustFleet makes a run of a step with n machines, whose timers draw from so
// many seconds each.
func mustFleet(tb testing.TB, d *db.DB, n, draws int) (broker.Run, *fleet) {
	tb.Helper()
	plan := samplePlan("plan")
	plan.Steps[1].InstanceCount = n
	p := mustProject(tb, d, "project", plan)
	run, err := d.CreateRun(context.Background(), broker.Run{PlanUUID: p.Plans[0].Plan.UUID, Owner: "ann"})
	ok(tb, err)
	var machines []broker.Machine
	for i := range n {
		started := run.CreatedAt.Add(10*time.Second + time.Duration(i)*time.Millisecond)
		m := broker.Machine{Step: 1, Index: i, RelayID: "relay", StartedAt: &started, FinishedAt: new(started.Add(time.Hour))}
		ok(tb, d.SaveMachine(context.Background(), &run, &m))
		machines = append(machines, m)
	}
	return run, newFleet(tb, machines, draws)
}

// benchMinutes is how long the run of BenchmarkHour is.
var benchMinutes = flag.Int("minutes", 60, "minutes of the run that BenchmarkHour stores")

// BenchmarkHour stores an hour of 100 machines of 50 metrics as the broker
// does, condensing as it goes, and measures what is left and what it takes to
// read it. An iteration is the hour. Times are the processor's, of all threads,
// so that other work on the machine stays out of them.
func BenchmarkHour(b *testing.B) {
	seconds := *benchMinutes * 60
	ctx := context.Background()
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "loads.db")
		d, err := db.Open(ctx, path)
		ok(b, err)
		run, fleet := mustFleet(b, d, 100, 200)
		live, largest := metrics.NewSeries(), int64(0)
		var writing, condensing, rest time.Duration
		condensed := int64(0) // ms
		for second := 1; second <= seconds; second++ {
			frames := fleet.second(b, second, second == seconds)
			writing += cpuOf(func() { ok(b, d.AddFrames(ctx, frames, nil)) })
			for i, f := range frames {
				decoded, err := metrics.Decode(f.Body)
				ok(b, err)
				live.Add("generator", i, decoded)
			}
			if second%10 == 0 {
				live.Condense(live.Newest() - 30_000)
			}
			if second%20 == 9 || second == seconds { // as late as the broker does
				until := (live.Newest() - 20_000) / 20_000 * 20_000
				if second == seconds {
					until = math.MaxInt64
				}
				took := cpuOf(func() { ok(b, d.Condense(ctx, run.UUID, until)) })
				if second == seconds {
					rest = took
				} else {
					condensing += took
					condensed = until - fleet.start
				}
				largest = max(largest, size(b, path)+size(b, path+"-wal"))
				if testing.Verbose() && second%60 == 59 {
					b.Logf("after %d s: file %.1f MB, log %.1f MB", second, float64(size(b, path))/1e6, float64(size(b, path+"-wal"))/1e6)
				}
			}
		}
		b.ReportMetric(float64(size(b, path)+size(b, path+"-wal"))/1e6, "MB-at-end")
		b.ReportMetric(float64(largest)/1e6, "MB-largest")
		b.ReportMetric(ms(writing)/float64(seconds), "ms-add/s")
		b.ReportMetric(ms(condensing)/(float64(condensed)/60_000), "ms-condense/min")
		b.ReportMetric(ms(rest), "ms-condense-rest")
		b.ReportMetric(float64(heapOf(func() *metrics.Series { s := live; live = nil; return s }()))/1e6, "MB-series")
		run.StartedAt, run.CompletedAt = new(run.CreatedAt.Add(10*time.Second)), new(run.CreatedAt.Add(time.Duration(seconds+20)*time.Second))
		complete(b, d, &run)
		used, err := d.UsedBytes()
		ok(b, err)
		b.ReportMetric(float64(used)/1e6, "MB-used")
		ok(b, d.Close())
		b.ReportMetric(float64(size(b, path))/1e6, "MB-closed")
		if *keepHour != "" {
			ok(b, os.CopyFS(*keepHour, os.DirFS(filepath.Dir(path))))
		}
		measureReading(b, path, run.UUID, seconds)
	}
}

// measureReading opens the file anew and reads a summary and a page's lines.
func measureReading(b *testing.B, path, runUUID string, seconds int) {
	b.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, path)
	ok(b, err)
	var totals, series *metrics.Series
	var summary metrics.Summary
	var ledger metrics.Ledger
	var lines []metrics.Line
	for _, m := range []struct {
		unit string
		read func() error
	}{
		{"ms-summary", func() (err error) {
			if totals, err = d.ReadTotals(ctx, runUUID); err == nil {
				summary = totals.Summary()
			}
			return err
		}},
		{"ms-ledger", func() (err error) { ledger, err = d.Ledger(ctx, runUUID); return err }},
		{"ms-series", func() (err error) { series, err = d.ReadSeries(ctx, runUUID); return err }},
		{"ms-lines", func() error { lines = series.Lines(metrics.Query{}); return nil }},
	} {
		b.ReportMetric(ms(cpuOf(func() { ok(b, m.read()) })), m.unit)
	}
	if !ledger.Balance || ledger.Stored != uint64(100*seconds) || len(summary.Metrics) != 50 {
		b.Fatalf("got %+v and %d metrics", ledger, len(summary.Metrics))
	}
	if hosts := totals.Hosts(); len(hosts) != 100 || hosts[99].CPU == nil || hosts[99].CPU.Max < 90 || *hosts[99].Received < 1<<30 {
		b.Fatalf("got %d machines, the last %+v", len(hosts), hosts[len(hosts)-1])
	}
	if len(lines) != 50 || len(lines[0].Buckets) != seconds {
		b.Fatalf("got %d lines of %d seconds", len(lines), len(lines[0].Buckets))
	}
	ok(b, d.Close())
}

// cpuOf returns the time that the process has used of the processor in f.
func cpuOf(f func()) time.Duration {
	before := cpuTime()
	f()
	return cpuTime() - before
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it takes no argument that could be wrong
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

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
