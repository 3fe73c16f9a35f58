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

	"github.com/loads/loads/loadgen/stats"
)

// frozen is a server that stands still at the end of each cycle, and takes
// down what it answers.
type frozen struct {
	start         time.Time
	cycle, freeze time.Duration
	mu            sync.Mutex
	answers       []answer
}

// answer is when a request came and when its answer had left. After a freeze all
// are answered at once, and not in the order in which they came.
type answer struct{ came, left time.Time }

func (f *frozen) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	came := time.Now()
	if in := time.Since(f.start) % f.cycle; in > f.cycle-f.freeze && time.Now().After(f.start) {
		<-time.After(f.cycle - in)
	}
	w.Header().Set("Content-Length", "0")
	_ = http.NewResponseController(w).Flush() // what fails lacks in the generator's counts
	left := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, answer{came, left})
}

// frozenRun is a run against such a server, with even arrivals.
type frozenRun struct {
	rate          int
	length        time.Duration
	cycle, freeze time.Duration
	connections   int
}

func (f frozenRun) run(t *testing.T) (*frozen, *stats.Cell) {
	t.Helper()
	server := &frozen{start: time.Now().Add(300 * time.Millisecond), cycle: f.cycle, freeze: f.freeze}
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	cfg := config(t, s.URL, fmt.Sprintf(`
name: b
http: {host: HOST, requestTimeout: 2m, sharedConnections: {core: %d, max: %d}}
usersPerSec: %d
duration: %d ms
variance: false
scenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]
`, min(10, f.connections), f.connections, f.rate, f.length.Milliseconds()))
	cfg.Start, cfg.Threads = server.start, 2
	r := mustRun(t, t.Context(), cfg)
	s.Close() // so that it has taken down the last answer
	cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
	if want := int64(float64(f.rate) * f.length.Seconds()); cell == nil || cell.Responses != want {
		t.Fatalf("got %+v, want %d answers", cell, want)
	}
	return server, cell
}

// expected returns the latency below which a part q of the requests has to be,
// in ms: a request that comes x before the thaw takes x, and the others no time.
func (f frozenRun) expected(q float64) float64 {
	part := float64(f.freeze) / float64(f.cycle)
	return max(0, (q-(1-part))/part) * float64(f.freeze) / float64(time.Millisecond)
}

// A server that stands still for 0.2 s in each second keeps requests waiting, on
// their connections or for one. Nothing can make latencies less than what
// follows from the timetable; what they are beyond that is what the server says
// itself of when it answered. LOADS_TEST_FROZEN=1 has it stand still for 1 s in
// 5 s at 1,000 requests a second, and allows 2 % or 5 ms: that wants a machine
// with nothing else to do.
func TestLatenciesOfAFrozenServerAreTrue(t *testing.T) {
	f := frozenRun{rate: 400, length: 3 * time.Second, cycle: time.Second, freeze: 200 * time.Millisecond}
	least, part := 2000.0, 0.0 // the loops share processors with other tests
	if os.Getenv("LOADS_TEST_FROZEN") != "" {
		f = frozenRun{rate: 1000, length: 20 * time.Second, cycle: 5 * time.Second, freeze: time.Second}
		least, part = 5, 0.02
	}
	for _, connections := range []int{10, 5000} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			f.connections = connections
			server, cell := f.run(t)
			slices.SortFunc(server.answers, func(a, b answer) int { return a.came.Compare(b.came) })
			truth := make([]float64, len(server.answers))
			for i, a := range server.answers {
				due := server.start.Add(time.Duration(i+1) * time.Second / time.Duration(f.rate))
				truth[i] = float64(a.left.Sub(due)) / float64(time.Millisecond)
			}
			slices.Sort(truth)
			for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
				got, told, calculated := cell.Latency.Quantile(q), truth[int(math.Ceil(q*float64(len(truth))-1e-6))-1], f.expected(q)
				t.Logf("p%g: got %.1f ms, the server says %.1f, calculated %.1f", 100*q, got, told, calculated)
				if got < calculated-max(5, 0.02*calculated) {
					t.Errorf("p%g: got %.1f ms, want %.1f at least", 100*q, got, calculated)
				}
				if math.Abs(got-told) > max(least, part*told) {
					t.Errorf("p%g: got %.1f ms, the server says %.1f", 100*q, got, told)
				}
			}
		})
	}
}
