package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// kept is a sink that keeps reports.
type kept struct{ reports []*stats.Report }

func (k *kept) Report(r *stats.Report) error {
	k.reports = append(k.reports, r)
	return nil
}

// phase wraps properties of phase main into a benchmark.
func phase(kind, properties string) string {
	return "name: b\nhttp: {host: HOST, sharedConnections: 20}\nphases:\n- main: {" + kind + ": {" + properties +
		", scenario: [{s: [{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}}}]}]}}\n"
}

func slow(d time.Duration) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
}

func TestTimeoutsCountOnce(t *testing.T) {
	_, cell := run(t, strings.Replace(phase("atOnce", "users: 5"), "timeout: 2m", "timeout: 200ms", 1), slow(5*time.Minute))
	if cell.Timeouts != 5 || cell.Connections != 0 || cell.Requests != 5 || cell.Errors() != 5 {
		t.Errorf("got %+v, want five timeouts and nothing else", cell.Counts)
	}
	if cell.Latency.Count() != 5 || cell.Latency.Min() < 200 {
		t.Errorf("got %v latencies, the least %v ms, want five from 200 ms", cell.Latency.Count(), cell.Latency.Min())
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	var n atomic.Int64
	r, cell := run(t, phase("atOnce", "users: 8"), func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			panic(http.ErrAbortHandler) // the connection breaks
		case 2:
			w.WriteHeader(http.StatusFound)
		}
	})
	if len(r.Failures) != 1 || r.Failures[0].Count != 2 {
		t.Errorf("got failures %+v, want one reason for two", r.Failures)
	}
	want := stats.Counts{Requests: 8, Responses: 6, Invalid: 2, Connections: 2, BytesIn: cell.BytesIn, BytesOut: cell.BytesOut}
	if cell.Counts != want || cell.Class(5) != 2 || cell.Class(3) != 2 || cell.Class(2) != 2 {
		t.Errorf("got %+v, %v, want %+v", cell.Counts, cell.Statuses, want)
	}
}

// An answer that breaks off, or takes too long, has a status as well: it counts
// as a failure only, so that answers by status and failures add up to the requests.
func TestAnswersThatBreakOffCountOnce(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := n.Add(1) % 3
		if kind > 0 {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		switch kind {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	cfg := config(t, server.URL, strings.Replace(phase("atOnce", "users: 9"), "timeout: 2m", "timeout: 2s", 1))
	var lines bytes.Buffer
	cfg.Sinks = []stats.Sink{stats.NewStatsd(&lines)}
	cell := mainCell(mustRun(t, t.Context(), cfg), "s")
	if cell.Responses+cell.Timeouts+cell.Connections != 9 || cell.Timeouts < 3 || cell.Class(2) != cell.Responses {
		t.Errorf("got %+v, %v, want nine requests, three of which timed out, and a status for each answer", cell.Counts, cell.Statuses)
	}
	sent := 0
	for line := range strings.Lines(lines.String()) {
		if rest, ok := strings.CutPrefix(line, "req.count:"); ok {
			count, _, _ := strings.Cut(rest, "|")
			one, _ := strconv.Atoi(count)
			sent += one
		}
	}
	if sent != 9 {
		t.Errorf("%d requests are told of, want 9:\n%s", sent, lines.String())
	}
}

// atOnce has the first requests wait until as many are there.
func atOnce(users int64) (f http.HandlerFunc, most *atomic.Int64) {
	busy, all := atomic.Int64{}, make(chan struct{})
	most = &atomic.Int64{}
	return func(_ http.ResponseWriter, r *http.Request) {
		n := busy.Add(1)
		defer busy.Add(-1)
		for old := most.Load(); n > old; old = most.Load() {
			if most.CompareAndSwap(old, n) && n == users {
				close(all)
			}
		}
		select {
		case <-all:
		case <-r.Context().Done():
		}
	}, most
}

func TestClosedPhasesKeepTheirUsersBusy(t *testing.T) {
	f, most := atOnce(4)
	r, cell := run(t, phase("always", "users: 4, duration: 500ms"), f)
	if most.Load() != 4 || cell.Responses < 4 || r.Failed() {
		t.Errorf("got %d requests, %d at once, want four at once", cell.Responses, most.Load())
	}
	if r.Elapsed < 500*time.Millisecond {
		t.Errorf("it took %v, want 500 ms", r.Elapsed)
	}
	// Each begins anew, as often as they can.
	f, most = atOnce(4)
	server := httptest.NewServer(f)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := config(t, server.URL, phase("always", "users: 4, duration: 10m"))
	cfg.Benchmark.Period = 50
	cfg.Live = func(p *engine.Progress) {
		if cell := p.Totals.Find(stats.Key{Phase: "main", Metric: "s"}); cell != nil && cell.Responses >= 20 {
			cancel()
		}
	}
	if r = mustRun(t, ctx, cfg); most.Load() != 4 || mainCell(r, "s").Responses < 20 {
		t.Errorf("got %d requests, %d at once, want many, four at once", mainCell(r, "s").Responses, most.Load())
	}
}

func TestUsersWhoWaitForOthersKeepTheirTime(t *testing.T) {
	for _, policy := range []string{"FAIL", "CONTINUE"} {
		t.Run(policy, func(t *testing.T) {
			file := phase("constantRate", "usersPerSec: 100, duration: 400ms, variance: false, maxSessions: 1, sessionLimitPolicy: "+policy)
			r, cell := run(t, file, slow(20*time.Millisecond))
			users := r.Totals.Users("main")
			if cell.Responses != 40 || users.Started != 40 || users.Delayed < 10 || users.Unstarted != 0 {
				t.Fatalf("got %d answers, %+v, want 40, of which most were delayed", cell.Responses, users)
			}
			// 40 users of 20 ms each take 800 ms, and the last is due after 400 ms.
			if users.Longest < 350 || cell.Latency.Max() < 370 {
				t.Errorf("got a longest delay of %v ms, a latency of %v ms, want 400 and 420", users.Longest, cell.Latency.Max())
			}
			if r.Failed() != (policy == "FAIL") {
				t.Errorf("got %+v", r.Phases)
			}
		})
	}
}

func TestUsersWhoNeverStartAreCounted(t *testing.T) {
	file := phase("constantRate", "usersPerSec: 100, duration: 200ms, maxDuration: 300ms, variance: false, maxSessions: 1")
	r, cell := run(t, file, slow(5*time.Minute))
	users := r.Totals.Users("main")
	if users.Started != 1 || users.Unstarted != 19 || cell.Cancelled != 1 || cell.Requests != 1 || !r.Failed() {
		t.Errorf("got %+v, %+v, want one user, cancelled, and 19 who never started", users, cell.Counts)
	}
	if r.Elapsed > time.Minute {
		t.Errorf("it took %v, want 300 ms", r.Elapsed)
	}
}

func TestLimitsFailAPhase(t *testing.T) {
	for _, c := range []struct{ sla, want string }{
		{"{limits: {0.9: 5ms}, blockedRatio: 1}", "the latency at 0.9"},
		{"{meanResponseTime: 5ms, blockedRatio: 1}", "the mean latency"},
		{"{invalidRatio: 0.1, blockedRatio: 1}", "answers were invalid"},
		{"{limits: {0.9: 5m}, blockedRatio: 1}", ""},
		{"{window: 100ms, meanResponseTime: 5ms, blockedRatio: 1}", "within 100ms"},
	} {
		t.Run(c.sla, func(t *testing.T) {
			// The answers, one after the other, take more than two periods.
			file := strings.NewReplacer("[{httpRequest:", "[{loop: {counterVar: i, repeats: 15, steps: [{httpRequest:", "}}}]}]}}", "}}}]}}]}]}}").Replace(phase("atOnce", "users: 2"))
			file = strings.Replace(file, "sla: {blockedRatio: 1}", "sla: "+c.sla, 1)
			file += "- after: {atOnce: {users: 1, startAfterStrict: main, scenario: [{s: [{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}}}]}]}}\nstatisticsCollectionPeriod: 100\nergonomics: {stopOnInvalid: false}\n"
			r, _ := run(t, file, func(w http.ResponseWriter, _ *http.Request) {
				<-time.After(20 * time.Millisecond)
				w.WriteHeader(http.StatusNotFound)
			})
			why, after := strings.Join(r.Phases[0].Reasons, ""), r.Phases[1].Status
			if !strings.Contains(why, c.want) || r.Phases[0].Failed != (c.want != "") || r.Phases[1].Failed {
				t.Errorf("got %+v, want %q", r.Phases, c.want)
			}
			if (after == "cancelled") != (c.want != "") {
				t.Errorf("the phase after is %s", after)
			}
		})
	}
}

func TestPhasesFollowEachOther(t *testing.T) {
	var mu sync.Mutex
	at := map[string]time.Time{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if _, seen := at[r.URL.Path]; !seen {
			at[r.URL.Path] = time.Now()
		}
	}))
	defer server.Close()
	s := func(path string) string { return "scenario: [{s: [{httpRequest: {GET: /" + path + "}}]}]" }
	cfg := config(t, server.URL, `
name: b
http: {host: HOST, sharedConnections: 20}
phases:
- a: {constantRate: {usersPerSec: 20, duration: 300ms, variance: false, `+s("a")+`}}
- b: {atOnce: {users: 1, startAfter: a, `+s("b")+`}}
- c: {atOnce: {users: 1, startTime: 500ms, forks: {x: {`+s("x")+`}, y: {`+s("y")+`}}}}
- d: {atOnce: {users: 2, startWith: {phase: b, delay: 100ms}, `+s("d")+`}}
`)
	cfg.Start = time.Now().Add(200 * time.Millisecond)
	r := mustRun(t, t.Context(), cfg)
	for path, want := range map[string]time.Duration{"/a": 50 * time.Millisecond, "/b": 300 * time.Millisecond, "/x": 500 * time.Millisecond, "/d": 400 * time.Millisecond} {
		if got := at[path].Sub(cfg.Start); got < want-engine.DefaultGrain || got > want+time.Minute {
			t.Errorf("%s came after %v, want %v", path, got, want)
		}
	}
	var names []string
	for _, p := range r.Phases {
		names = append(names, p.Name+" "+p.Status)
	}
	if want := []string{"a terminated", "b terminated", "c/x terminated", "c/y terminated", "d terminated"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestRunEndsEarly(t *testing.T) {
	server := httptest.NewServer(slow(5 * time.Minute))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := config(t, server.URL, phase("always", "users: 5, duration: 1h"))
	cfg.Live = func(p *engine.Progress) {
		if len(p.Report.Phases) > 0 && p.Report.Phases[0].Busy == 5 {
			cancel()
		}
	}
	cfg.Benchmark.Period = 50
	r := mustRun(t, ctx, cfg)
	cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
	if !r.Stopped || cell == nil || cell.Cancelled != 5 || cell.Requests != 5 || r.Failed() {
		t.Fatalf("got stopped %v, %+v, want five cancelled requests", r.Stopped, cell)
	}
	var table strings.Builder
	_ = stats.WriteTable(&table, &r.Totals.Report, func(string) time.Duration { return 0 }, func(string) bool { return false })
	lines := strings.Split(table.String(), "\n")
	if !strings.HasSuffix(lines[0], "CANCELLED") || !strings.HasSuffix(lines[1], " 5") {
		t.Errorf("the table is\n%s\nwant the five that were cancelled", table.String())
	}
}

func TestReportsAddUpToTheTotals(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	defer server.Close()
	cfg := config(t, server.URL, phase("constantRate", "usersPerSec: 500, duration: 700ms"))
	cfg.Benchmark.Period, cfg.Threads = 100, 2
	sink := &kept{}
	cfg.Sinks = []stats.Sink{sink}
	r := mustRun(t, t.Context(), cfg)
	sum := stats.NewReport(0)
	for i, one := range sink.reports {
		if one.Period != i {
			t.Errorf("report %d is of period %d", i, one.Period)
		}
		sum.Merge(one)
	}
	key := stats.Key{Phase: "main", Metric: "s"}
	want, got := r.Totals.Find(key), sum.Find(key)
	if got == nil || got.Counts != want.Counts || got.Latency.Quantile(0.99) != want.Latency.Quantile(0.99) || want.Requests == 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if u := sum.Users("main"); u.Started != r.Totals.Users("main").Started {
		t.Errorf("got %d users, want %d", u.Started, r.Totals.Users("main").Started)
	}
	if n := len(sink.reports); n < 5 || n > int(r.Elapsed/(100*time.Millisecond))+2 {
		t.Errorf("got %d reports in %v, want one for each 100 ms", n, r.Elapsed)
	}
}

func TestMachinesShareTheLoad(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	defer server.Close()
	start := time.Now().Add(500 * time.Millisecond)
	var sent atomic.Int64
	var machines sync.WaitGroup
	for machine := range 3 {
		machines.Go(func() {
			cfg := config(t, server.URL, phase("constantRate", "usersPerSec: 200, duration: 500ms, variance: false"))
			cfg.Machine, cfg.Machines, cfg.Start, cfg.Threads = machine, 3, start, machine+1
			r, err := engine.Run(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			sent.Add(r.Totals.Users("main").Started)
		})
	}
	machines.Wait()
	if sent.Load() != 100 {
		t.Errorf("three machines have started %d users, want 100", sent.Load())
	}
}

func TestWhatCannotBeRunIsRefused(t *testing.T) {
	for _, c := range []struct{ steps, want string }{
		{"{httpRequest: {GET: /, compression: {encoding: gzip, type: TRANSFER_ENCODING}}}", "use CONTENT_ENCODING"},
		{"{randomItem: {toVar: x, file: gone.txt}}", "gone.txt"},
	} {
		cfg := config(t, "http://a.test", "name: b\nhttp: {host: HOST}\nusersPerSec: 1\nduration: 1s\nscenario: [{s: ["+c.steps+"]}]\n")
		cfg.Read = func(name string) ([]byte, error) { return nil, fmt.Errorf("open %s: it is not there", name) }
		faults := engine.Check(cfg)
		if len(faults) != 1 || !strings.Contains(faults.Error(), c.want) || faults[0].Line != 5 {
			t.Errorf("%s: got %v, want one fault with %q", c.steps, faults, c.want)
		}
	}
}

func TestServerThatIsNotThereEndsTheRun(t *testing.T) {
	_, err := engine.Run(t.Context(), config(t, "http://127.0.0.1:1", phase("atOnce", "users: 1")))
	if err == nil || !strings.Contains(err.Error(), "refused") || strings.Count(err.Error(), "connect to ") != 1 {
		t.Errorf("got error %v, want that the connection was refused", err)
	}
}

func TestLargeBodiesAreCountedAndNotKept(t *testing.T) {
	const size = 50 << 20
	_, cell := run(t, phase("atOnce", "users: 1"), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.CopyN(w, zeros{}, size)
	})
	if cell.BytesIn < size || cell.Responses != 1 {
		t.Errorf("got %d bytes of %d answers, want %d of one", cell.BytesIn, cell.Responses, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// The generator says when it was late itself: here a scenario stops its loop.
func TestALateGeneratorIsInvalid(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	defer server.Close()
	cfg := config(t, server.URL, phase("constantRate", "usersPerSec: 1000, duration: 300ms, variance: false"))
	cfg.Limits.Lag = time.Nanosecond
	r := mustRun(t, t.Context(), cfg)
	if len(r.Invalid) != 1 || !strings.Contains(r.Invalid[0], "late") {
		t.Errorf("got %q, want that users were started late", r.Invalid)
	}
}

// A patient run begins with a server that is not there yet.
func TestServerMayComeLater(t *testing.T) {
	address := waittest.FreeAddress(t)
	cfg := config(t, "http://"+address, phase("constantRate", "usersPerSec: 50, duration: 10m"))
	cfg.Patient, cfg.Benchmark.Period = true, 50
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var server *http.Server
	cfg.Live = func(p *engine.Progress) {
		cell := p.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
		switch {
		case cell == nil:
		case cell.Responses > 0:
			cancel()
		case cell.Connections > 0 && server == nil:
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Error(err)
				cancel()
				return
			}
			server = &http.Server{Handler: http.HandlerFunc(ok), ReadHeaderTimeout: time.Minute}
			go func() { _ = server.Serve(l) }()
		}
	}
	r := mustRun(t, ctx, cfg)
	if server != nil {
		_ = server.Close()
	}
	if cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"}); cell == nil || cell.Responses == 0 || cell.Connections == 0 {
		t.Errorf("got %+v, want refused connections, and answers then", cell)
	}
}

// Users of a closed phase begin in a rhythm, and are measured from it as well.
func TestCompensationCountsFromTheRhythm(t *testing.T) {
	file := strings.Replace(phase("always", "users: 4, duration: 1s"), "GET: /,", "GET: /, compensation: {targetRate: 40},", 1)
	r, cell := run(t, file, ok)
	compensated := r.Totals.Find(stats.Key{Phase: "main", Metric: "compensated-s", Measured: true})
	if compensated == nil || compensated.Requests != cell.Requests || cell.Requests > 44 || cell.Requests < 4 {
		t.Fatalf("got %d requests, %+v compensated, want about 40 of each", cell.Requests, compensated)
	}
	// Answers of 300 ms make each turn later than the one before: by 200 ms.
	server := httptest.NewServer(slow(300 * time.Millisecond))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := config(t, server.URL, strings.Replace(file, "duration: 1s", "duration: 10m", 1))
	cfg.Benchmark.Period = 50
	cfg.Live = func(p *engine.Progress) {
		if cell := p.Totals.Find(stats.Key{Phase: "main", Metric: "s"}); cell != nil && cell.Responses >= 8 {
			cancel()
		}
	}
	r = mustRun(t, ctx, cfg)
	cell, compensated = mainCell(r, "s"), r.Totals.Find(stats.Key{Phase: "main", Metric: "compensated-s", Measured: true})
	if compensated == nil || compensated.Responses != cell.Responses || cell.Responses < 8 {
		t.Fatalf("got %+v, %+v compensated, want as many of each", cell.Counts, compensated)
	}
	// Four answers are to first turns, and all others to later ones.
	if more, want := compensated.Latency.Sum()-cell.Latency.Sum(), 200*float64(cell.Responses-4); more < want-10 {
		t.Errorf("compensated latencies are longer by %v ms in all, want %v at least", more, want)
	}
}

func TestConnectionsAreClosedWhenAskedTo(t *testing.T) {
	for handler, want := range map[string]int{
		"{body: [{closeConnection: }]}": 3, "{}": 1,
		"{body: [{closeConnection: }, {parseHtml: {onEmbeddedResource: {fetchResource: {maxResources: 1}}}}]}": 3,
	} {
		var mu sync.Mutex
		from := map[string]bool{}
		file := strings.Replace(phase("atOnce", "users: 1"), "[{httpRequest: {GET: /,", "[{loop: {counterVar: i, repeats: 3, steps: [{httpRequest: {GET: /, handler: "+handler+",", 1)
		file = strings.Replace(file, "}}}]}]}}", "}}}]}}]}]}}", 1)
		_, cell := run(t, file, func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			from[r.RemoteAddr] = true
		})
		if cell.Responses != 3 || len(from) != want {
			t.Errorf("%s: got %d answers on %d connections, want 3 on %d", handler, cell.Responses, len(from), want)
		}
	}
}

// What a handler starts is due since the answer, not since the request before.
func TestSequencesOfHandlersAreDueSinceTheAnswer(t *testing.T) {
	file := strings.Replace(phase("atOnce", "users: 1"), "[{s: [{httpRequest: {GET: /,", "{initialSequences: [{a: [{httpRequest: {GET: /, handler: {onCompletion: [{newSequence: s}]},", 1)
	file = strings.Replace(file, "}}}]}]}}", "}}}]}], sequences: [{s: [{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}}}, {httpRequest: {GET: /, metric: last, timeout: 2m}}]}]}}}", 1)
	var came, left []time.Time // the user does one after the other
	_, cell := run(t, file, func(http.ResponseWriter, *http.Request) {
		came = append(came, time.Now())
		<-time.After(200 * time.Millisecond)
		left = append(left, time.Now())
	})
	if len(came) != 3 || cell.Responses != 1 {
		t.Fatalf("the server has seen %d requests, and %d are counted, want 3 and 1", len(came), cell.Responses)
	}
	// The first answer had not left before, and the second had come.
	if most := inMs(came[2].Sub(left[0])); cell.Latency.Max() > most+1 {
		t.Errorf("the second request took %v ms, want %v at most since the first answer", cell.Latency.Max(), most)
	}
}

// A phase is judged by all that it did, also when nobody has taken what was
// counted for a while: here the leader does something else until the user has
// ended, whose last answer is the only bad one.
func TestPhasesAreJudgedByAllOfThem(t *testing.T) {
	ended, once := make(chan struct{}), sync.Once{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/last" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed { // as users close theirs
			once.Do(func() { close(ended) })
		}
	}
	server.Start()
	defer server.Close()
	cfg := config(t, server.URL, `
name: b
http: {host: HOST, connectionStrategy: OPEN_ON_REQUEST}
statisticsCollectionPeriod: 20
phases:
- main: {atOnce: {users: 1, scenario: [{s: [{loop: {counterVar: i, repeats: 10, steps: [{httpRequest: {GET: /}}, {thinkTime: 20ms}]}}, {httpRequest: {GET: /last, metric: last, sla: {invalidRatio: 0.5}}}]}]}}
`)
	cfg.Live = func(*engine.Progress) { <-ended }
	r := mustRun(t, t.Context(), cfg)
	if why := r.Phases[0].Reasons; len(why) != 1 || !strings.Contains(why[0], "1 of 1 answers were invalid") {
		t.Errorf("got reasons %q, want that the last answer was invalid; %+v", why, mainCell(r, "last").Counts)
	}
}

// Users whom the generator has not started when their phase is over, as it was
// late itself, are counted as never started, and make it late.
func TestUsersWhoWereDueAreCountedWhenTheirPhaseEnds(t *testing.T) {
	cfg := config(t, "http://127.0.0.1:1", `
name: b
http: {host: HOST, sharedConnections: {core: 0, max: 1}}
phases:
- main: {constantRate: {usersPerSec: 1000000, duration: 100ms, maxDuration: 100ms, variance: false, scenario: [{s: [{thinkTime: 1h}]}]}}
- all: {atOnce: {users: 100000, maxDuration: 1ms, startAfterStrict: main, scenario: [{s: [{thinkTime: 1h}]}]}}
`)
	cfg.Threads = 1
	r := mustRun(t, t.Context(), cfg)
	for _, phase := range []string{"main", "all"} {
		if u := r.Totals.Users(phase); u.Started+u.Unstarted != 100_000 || u.Ended != u.Started {
			t.Errorf("of phase %s %d users have started, %d ended, %d never started, want 100,000 together", phase, u.Started, u.Ended, u.Unstarted)
		}
	}
	if lag := &r.Totals.Users("main").Lag; lag.Count() != 100_000 {
		t.Errorf("%v users count as late or in time, want all 100,000", lag.Count())
	}
	if why := append(r.Phases[0].Reasons, r.Phases[1].Reasons...); len(why) > 0 {
		t.Errorf("got %q, want that no limit of sessions is blamed", why)
	}
}

// Users who have waited for others and end at once don't start each other within
// each other: however many there are, that takes no stack.
func TestManyLateUsersMayEndAtOnce(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(4 << 20))
	r, _ := run(t, `
name: b
http: {host: HOST}
phases:
- main: {constantRate: {usersPerSec: 200000, duration: 100ms, variance: false, maxSessions: 1, sessionLimitPolicy: CONTINUE,
    scenario: [{s: [{getSharedCounter: c}, {addToSharedCounter: c += 1}, {breakSequence: {intCondition: {fromVar: c, greaterThan: 0}}}, {httpRequest: {GET: /}}]}]}}
`, slow(300*time.Millisecond))
	if u := r.Totals.Users("main"); u.Ended != 20_000 || u.Started != 20_000 {
		t.Errorf("got %+v, want that all 20,000 have started and ended", u)
	}
}
