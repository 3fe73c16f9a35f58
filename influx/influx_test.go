package influx_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/influx"
	"github.com/loads/loads/internal/influxtest"
	"github.com/loads/loads/metrics"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 2)
	b.send(server.URL, server.Token, bucket)
	b.seconds(0, 5)
	b.until("all is written while the run goes on", func() bool { return b.export().Newest == t0+5000 })
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 5)

	got := b.read(server, "runs")
	place := func(host string, more ...string) map[string]string {
		tags := map[string]string{"run": b.run.UUID, "plan": "smoke, all", "project": "shop"}
		if host != "" {
			tags["host"], tags["step"], tags["type"] = host, "gen=1", "load"
		}
		for i := 0; i < len(more); i += 2 {
			tags[more[i]] = more[i+1]
		}
		return tags
	}
	for name, want := range map[string]map[string]string{
		"req_count":          place("10.0.0.1", "metric_type", "counter", "code", "200 OK"),
		"queue":              place("10.0.0.1", "metric_type", "gauge"),
		"req_latency":        place("10.0.0.1", "metric_type", "timing"),
		"loads_ledger":       place("10.0.0.1"),
		"req_count_merged":   place("", "metric_type", "counter", "code", "200 OK"),
		"req_latency_merged": place("", "metric_type", "timing"),
	} {
		rows := got.rows[name]
		if !slices.ContainsFunc(rows, func(r influxtest.Row) bool { return cmp.Equal(r.Tags, want) }) {
			t.Errorf("%s: got %+v, want a series with the tags %v", name, rows, want)
		}
	}
	if len(got.rows) != 7 {
		t.Errorf("got %d measurements, want 7", len(got.rows))
	}
	checkTiming(t, got.rows["req_latency_merged"][0])
}

// checkTiming compares the fields of the timings 10…19 and 20…29.
func checkTiming(t *testing.T, row influxtest.Row) {
	t.Helper()
	want := map[string]float64{
		"count": 20, "sum": 390, "mean": 19.5, "lower": 10, "upper": 29, "median": 19, "50_percentile": 19,
		"90_percentile": 27, "95_percentile": 28, "99_percentile": 29, "stddev": 5.77,
	}
	for i, column := range row.Columns {
		if column == "time" {
			if at := row.Values[0][i].(json.Number).String(); at != "1790000001000000000" {
				t.Errorf("time is %s, want the end of the first second", at)
			}
			continue
		}
		number, _ := row.Values[0][i].(json.Number)
		if number == "" {
			continue // a field of another measurement
		}
		got, err := number.Float64()
		if err != nil || got < 0.99*want[column] || got > 1.01*want[column] {
			t.Errorf("field %s is %v, want %v", column, got, want[column])
		}
		delete(want, column)
	}
	if len(want) > 0 {
		t.Errorf("fields %v are missing", want)
	}
}

func TestAStoppedServerLosesNothing(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 3)
	b.send(server.URL, server.Token, bucket)
	b.seconds(0, 3)
	b.until("the first seconds are written", func() bool { return b.export().Newest == t0+3000 })
	server.Stop(t)
	b.seconds(3, 10)
	b.until("the trouble is told", func() bool { return b.export().Trouble == broker.TroubleUnreachable })
	if e := b.export(); e.Waiting != 21 {
		t.Errorf("%d frames wait, want 21", e.Waiting)
	}
	server.Restart(t)
	b.seconds(10, 12)
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 12)
	notes := b.notes()
	if len(notes) != 2 || !strings.HasPrefix(notes[0], "InfluxDB can't take the run's points now; they are kept and sent later: ") ||
		notes[1] != "InfluxDB takes the run's points again." {
		t.Errorf("got the notes %q, want one on the trouble and one on its end", notes)
	}
}

func TestASenderThatIsStartedAgainGoesOn(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 2)
	stop := b.send(server.URL, server.Token, bucket)
	b.seconds(0, 2)
	b.until("the first seconds are written", func() bool { return b.export().Newest == t0+2000 })
	stop()
	b.seconds(2, 4)
	b.complete() // and nobody writes
	b.send(server.URL, server.Token, bucket)
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 4)
}

// The answer is kept from the client, as by a link that breaks at the worst
// moment.
func TestWhatWasWrittenButNotAcknowledgedIsWrittenAgain(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	target, err := url.Parse(server.URL)
	ok(t, err)
	var calls atomic.Int32
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1)%2 == 0 {
			forward.ServeHTTP(w, r)
			return
		}
		forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(proxy.Close)
	b := mustBench(t, 2)
	b.send(proxy.URL, server.Token, bucket)
	b.seconds(0, 6)
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 6)
	if calls.Load() < 2 {
		t.Errorf("%d calls, want one that failed and one that did not", calls.Load())
	}
}

func TestALateMachineIsAddedToWhatIsMerged(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 2)
	b.send(server.URL, server.Token, bucket)
	for s := range 20 {
		b.add(0, s, points(0, s)...)
		if s < 2 {
			b.add(1, s, points(1, s)...)
		}
	}
	b.until("the first machine is not held up", func() bool { return b.export().Newest == t0+20_000 })
	for s := 2; s < 20; s++ {
		b.add(1, s, points(1, s)...)
	}
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 20)
}

func TestFramesOfOneSecondAddUp(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 1)
	b.send(server.URL, server.Token, bucket)
	one := metrics.Point{Kind: metrics.Counter, Name: "n", Value: 1, Tags: []metrics.Tag{{Name: "_field", Value: `a\`}, {Name: "host", Value: "x"}, {Name: "time", Value: "y"}}}
	b.add(0, 0, one)
	b.until("the first is written", func() bool { return b.export().Newest == t0+1000 })
	b.add(0, 0, one)
	b.add(0, 0, one, metrics.Point{Kind: metrics.Gauge, Name: "n", Value: -1.5})
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	if got := sum(t, server, "runs", `SELECT sum(value) FROM n WHERE metric_type = 'counter'`); got != 3 {
		t.Errorf("got %v, want 3", got)
	}
	if got, e := b.read(server, "runs").points, b.export(); got != 5 || e.Written != 5 {
		t.Errorf("%d points read back, ledger %d; want 5", got, e.Written)
	}
}

// Sets of machines have values in common, and so have two frames of a second.
func TestSetsAreMergedNotAddedUp(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 2)
	b.send(server.URL, server.Token, bucket)
	users := func(names ...string) metrics.Point {
		distinct := new(metrics.Distinct)
		for _, name := range names {
			distinct.Add([]byte(name))
		}
		return metrics.Point{Kind: metrics.Set, Name: "users", Distinct: distinct}
	}
	b.add(0, 0, users("ann", "bob"))
	b.add(0, 0, users("bob", "cid"))
	b.add(1, 0, users("cid", "dora"))
	b.add(0, 1, users("ann"))
	b.add(1, 1, users("ann"))
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	for query, want := range map[string]string{
		`SELECT value FROM "users" WHERE host = '10.0.0.1' AND metric_type = 'set'`: "[3 1]",
		`SELECT value FROM "users" WHERE host = '10.0.0.2' AND metric_type = 'set'`: "[2 1]",
		`SELECT value FROM users_merged WHERE metric_type = 'set'`:                  "[4 1]",
	} {
		var got []any
		for _, row := range server.Query(t, "runs", query) {
			for _, v := range row.Values {
				got = append(got, v[1])
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", query, got, want)
		}
	}
}

func TestAWrongTokenIsToldOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 1)
	const wrong = "loads:not-the-secret"
	stop := b.send(server.URL, wrong, bucket)
	b.seconds(0, 2)
	b.until("the trouble is told", func() bool { return b.export().Trouble == broker.TroubleRefused })
	b.seconds(2, 4)
	b.complete()
	stop()
	stop = b.send(server.URL, wrong, bucket) // as a broker that is started again
	b.until("it is logged again", func() bool { return strings.Count(b.log.String(), "level=ERROR") == 2 })
	stop()
	notes := b.notes()
	if len(notes) != 1 || !strings.Contains(notes[0], "(401)") {
		t.Errorf("got the notes %q, want one that has 401", notes)
	}
	if said := b.log.String() + strings.Join(notes, ""); strings.Contains(said, "not-the-secret") || strings.Contains(said, server.Token) {
		t.Error("the token is shown")
	}
	b.send(server.URL, server.Token, bucket)
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 4)
}

func TestAMissingBucketIsTold(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	b := mustBench(t, 1)
	b.send(server.URL, server.Token, "runs/autogen")
	b.seconds(0, 2)
	b.until("the trouble is told", func() bool { return b.export().Trouble == broker.TroubleRefused })
	if detail := b.export().Detail; !strings.Contains(detail, "database not found") {
		t.Errorf("got %q, want what the server said", detail)
	}
	server.CreateDatabase(t, "runs")
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 2)
}

func TestPointsOfAnotherTypeAreCounted(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	server.Write(t, bucket, "queue value=\"a word\" 1790000000500000000")
	b := mustBench(t, 2)
	b.send(server.URL, server.Token, bucket)
	b.seconds(0, 3)
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	got, e := b.read(server, "runs"), b.export()
	if e.Refused != 6 || e.Written != 27 || got.points != e.Written {
		t.Errorf("ledger %d refused, %d written; %d points read back; want 6, 27 and 27", e.Refused, e.Written, got.points)
	}
	if notes := b.notes(); len(notes) != 1 || !strings.Contains(notes[0], "field type conflict") {
		t.Errorf("got the notes %q, want one on the refusal", notes)
	}
}

func TestSlowAnswersHoldNobodyUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	b := mustBench(t, 1)
	stop := b.sendWithin(time.Second, slow.URL, "token", "bucket")
	b.seconds(0, 3)
	b.until("the trouble is told", func() bool { return b.export().Trouble == broker.TroubleUnreachable })
	b.seconds(3, 6) // the store takes frames all the while
	stop()
	server := influxtest.Start(t)
	b.complete()
	b.send(server.URL, server.Token, server.CreateDatabase(t, "runs"))
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 6)
}

func TestAFullDiskIsToldAndLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	server := influxtest.StartIn(t, dir)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 2)
	b.send(server.URL, server.Token, bucket)
	b.seconds(0, 2)
	b.until("the first seconds are written", func() bool { return b.export().Newest == t0+2000 })
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	b.seconds(2, 200)
	b.until("the trouble is told", func() bool { return b.export().Trouble != "" })
	if detail := b.export().Detail; !strings.Contains(detail, "no space left on device") {
		t.Errorf("got %q, want what the server said", detail)
	}
	ok(t, os.Remove(ballast))
	// InfluxDB 1.8 writes no more after this before it is started again.
	server.Stop(t)
	server.Restart(t)
	b.complete()
	b.until("the run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 200)
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	ok(t, err)
	defer f.Close()
	block := make([]byte, 512)
	for err == nil {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
}

func TestARunThatCantBeReadHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	b := mustBench(t, 1)
	unreadable := broker.StoredFrame{MachineID: b.machines[0].ID, Seq: 1, At: t0 + 1000, Body: []byte("no frame")}
	ok(t, b.store.AddFrames(t.Context(), []broker.StoredFrame{unreadable}, nil))
	b.run, b.machines = b.newRun(), nil
	m := broker.Machine{State: broker.MachinePrepared, Token: "another", Address: "10.0.0.9"}
	ok(t, b.store.SaveMachine(t.Context(), &b.run, &m))
	b.machines = append(b.machines, m)
	b.send(server.URL, server.Token, bucket)
	b.seconds(0, 2)
	b.complete()
	b.until("the other run is done", func() bool { return b.export().Done })
	b.wantAll(server, "runs", 2)
	if said := b.log.String(); !strings.Contains(said, "decode frame 1") {
		t.Errorf("got the log %q, want what can't be read", said)
	}
}

func TestRunsThatWereOverBeforeStayAsTheyAre(t *testing.T) {
	t.Parallel()
	server := influxtest.Start(t)
	b := mustBench(t, 1)
	b.seconds(0, 2)
	b.complete()
	old := b.run.UUID
	b.send(server.URL, server.Token, server.CreateDatabase(t, "runs"))
	b.until("exports have begun", func() bool {
		b.run = b.newRun()
		_, err := b.store.Export(t.Context(), b.run.UUID)
		return err == nil && b.export().Run.UUID != ""
	})
	e, err := b.store.Export(t.Context(), old)
	if ok(t, err); e != nil {
		t.Errorf("got %+v, want nothing on the run before", e)
	}
}

func TestOptionsThatCantBeRightAreRefused(t *testing.T) {
	for url, bucket := range map[string]string{"127.0.0.1:8086": "b", "http://": "b", "ftp://h": "b", "http://u:hidden@h\x00": "b", "http://h": ""} {
		_, err := influx.New(influx.Config{URL: url, Bucket: bucket})
		if broker.CodeOf(err) != broker.EInvalid || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q, bucket %q: got %v, want it refused", url, bucket, err)
		}
	}
}
