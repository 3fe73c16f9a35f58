package engine_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
	"github.com/loads/loads/metrics"
)

// frozen is a server that stands still at the end of each cycle, and takes
// down what it answers.
type frozen struct {
	start         time.Time
	cycle, freeze time.Duration
	mu            sync.Mutex
	answers       []answer
}

// answer is to the request of a user, of those that a loop has started the
// number, from 1.
type answer struct {
	loop, loops, number int
	connection          string
	came, ready, left   time.Time // ready is just before it may leave
}

// due is when the user was, where they come evenly.
func (a answer) due(start time.Time, rate int) time.Time {
	return start.Add(time.Duration((a.number-1)*a.loops+a.loop+1) * time.Second / time.Duration(rate))
}

func (f *frozen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := answer{connection: r.RemoteAddr, came: time.Now()}
	_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d/%d", &a.loop, &a.loops, &a.number) // what fails shows in its times
	if in := a.came.Sub(f.start) % f.cycle; in > f.cycle-f.freeze && a.came.After(f.start) {
		<-time.After(f.cycle - in)
	}
	w.Header().Set("Content-Length", "0")
	a.ready = time.Now()
	_ = http.NewResponseController(w).Flush() // what fails lacks in the generator's counts
	a.left = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, a)
}

// frozenRun is a run against such a server, with even arrivals.
type frozenRun struct {
	rate          int
	length        time.Duration
	cycle, freeze time.Duration
	connections   int
}

func (f frozenRun) run(t *testing.T) (server *frozen, cell *stats.Cell, end time.Time) {
	t.Helper()
	server = &frozen{start: time.Now().Add(300 * time.Millisecond), cycle: f.cycle, freeze: f.freeze}
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	cfg := config(t, s.URL, fmt.Sprintf(`
name: b
http: {host: HOST, requestTimeout: 2m, sharedConnections: {core: %d, max: %d}}
usersPerSec: %d
duration: %d ms
variance: false
scenario:
- s:
  - addToSharedCounter: users += 1
  - getSharedCounter: users
  - httpRequest: {GET: '/${hyperfoil.agent.thread.id}/${hyperfoil.agent.threads}/${users}', sla: {blockedRatio: 1}}
`, min(10, f.connections), f.connections, f.rate, f.length.Milliseconds()))
	cfg.Start, cfg.Threads = server.start, 2
	r := mustRun(t, t.Context(), cfg)
	end = time.Now()
	s.Close() // so that it has taken down the last answer
	cell = r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
	if want := int64(float64(f.rate) * f.length.Seconds()); cell == nil || cell.Responses != want {
		t.Fatalf("got %+v, want %d answers", cell, want)
	}
	return server, cell, end
}

// expected returns the latency below which a part q of the requests has to be,
// in ms: a request that comes x before the thaw takes x, and the others no time.
func (f frozenRun) expected(q float64) float64 {
	part := float64(f.freeze) / float64(f.cycle)
	return max(0, (q-(1-part))/part) * inMs(f.freeze)
}

func inMs(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// bounds returns what the latencies can't be below and above, and what they are
// by the server's word, in ms and in order. An answer is not read before it is
// ready, and before the next request of its connection comes.
func (f frozenRun) bounds(server *frozen, end time.Time) (least, most, told []float64) {
	slices.SortFunc(server.answers, func(a, b answer) int { return b.came.Compare(a.came) }) // the last first
	next := map[string]time.Time{}
	for _, a := range server.answers {
		due, after := a.due(server.start, f.rate), end
		if t, used := next[a.connection]; used {
			after = t
		}
		next[a.connection] = a.came
		least, most, told = append(least, inMs(a.ready.Sub(due))), append(most, inMs(after.Sub(due))), append(told, inMs(a.left.Sub(due)))
	}
	slices.Sort(least)
	slices.Sort(most)
	slices.Sort(told)
	return least, most, told
}

// A server that stands still for 0.2 s in each second keeps requests waiting, on
// their connections or for one. Nothing can make latencies less than what
// follows from the timetable; what they are beyond that follows from what the
// server has seen. LOADS_TEST_FROZEN=1 has it stand still for 1 s in 5 s at
// 1,000 requests a second, and allows 2 % or 5 ms of what the server says itself
// of when it answered: that wants a machine with nothing else to do.
func TestLatenciesOfAFrozenServerAreTrue(t *testing.T) {
	f := frozenRun{rate: 400, length: 3 * time.Second, cycle: time.Second, freeze: 200 * time.Millisecond}
	quiet := os.Getenv("LOADS_TEST_FROZEN") != ""
	if quiet {
		f = frozenRun{rate: 1000, length: 20 * time.Second, cycle: 5 * time.Second, freeze: time.Second}
	}
	for _, connections := range []int{10, 5000} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			f.connections = connections
			server, cell, end := f.run(t)
			least, most, told := f.bounds(server, end)
			for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
				i := int(math.Ceil(q*float64(len(told))-1e-6)) - 1
				got, calculated := cell.Latency.Quantile(q), f.expected(q)
				t.Logf("p%g: got %.1f ms, from %.1f to %.1f by what the server saw, %.1f by what it says, %.1f calculated", 100*q, got, least[i], most[i], told[i], calculated)
				if got < calculated-max(5, 0.02*calculated) {
					t.Errorf("p%g: got %.1f ms, want %.1f at least", 100*q, got, calculated)
				}
				if off := 1 + metrics.RelativeError; got < least[i]/off-1 || got > most[i]*off+inMs(engine.DefaultGrain)+1 {
					t.Errorf("p%g: got %.1f ms, by what the server saw it is from %.1f to %.1f", 100*q, got, least[i], most[i])
				}
				if quiet && math.Abs(got-told[i]) > max(5, 0.02*told[i]) {
					t.Errorf("p%g: got %.1f ms, the server says %.1f", 100*q, got, told[i])
				}
			}
		})
	}
}
