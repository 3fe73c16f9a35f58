package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// plainServer answers requests without a body, one after the other, and
// allocates nothing for them. It calls each, if that isn't nil, before it answers.
// It answers none when silent.
func plainServer(t testing.TB, silent bool, each func()) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			go serveConn(c, silent, each)
		}
	}()
	return "http://" + l.Addr().String()
}

func serveConn(c net.Conn, silent bool, each func()) {
	defer func() { _ = c.Close() }()
	if silent {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	buffer, n := make([]byte, 4096), 0
	for {
		m, err := c.Read(buffer[n:])
		if err != nil {
			return
		}
		if n += m; !bytes.HasSuffix(buffer[:n], []byte("\r\n\r\n")) {
			continue
		}
		n = 0
		if each != nil {
			each()
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// Once sessions and connections are there, requests allocate nothing. No period
// ends meanwhile, whose report would.
func TestRequestsAllocateNothing(t *testing.T) {
	for name, scenario := range map[string]string{
		"fixed":    "[{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]",
		"drawn":    "[{s: [{randomInt: n <- 1 .. 9}, {httpRequest: {POST: '/${n}', headers: {X: 'a${n}'}, sla: {blockedRatio: 1}}}]}]",
		"handlers": "[{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}, handler: {status: {store: st}, body: {store: b}}}}, {unset: b}]}]",
	} {
		t.Run(name, func(t *testing.T) {
			const from, requests = 1000, 5000
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var first, last runtime.MemStats
			var served atomic.Int64
			cfg := config(t, plainServer(t, false, func() {
				switch served.Add(1) {
				case from:
					runtime.ReadMemStats(&first)
				case from + requests:
					runtime.ReadMemStats(&last)
					cancel()
				}
			}), "name: b\nhttp: {host: HOST, sharedConnections: 16}\nphases:\n- main: {always: {users: 16, duration: 5m, scenario: "+scenario+"}}\n")
			cfg.Benchmark.Period = benchmark.Millis(time.Hour.Milliseconds())
			mustRun(t, ctx, cfg)
			if got := last.Mallocs - first.Mallocs; served.Load() < from+requests || got > requests/10 {
				t.Errorf("got %d allocations for %d requests, want none", got, requests)
			}
		})
	}
}

// Users who wait cost memory, and not more than 4 KB each.
func TestSessionsAreSmall(t *testing.T) {
	const users = 20_000
	cfg := config(t, plainServer(t, true, nil), "name: b\nhttp: {host: HOST, sharedConnections: 1}\nphases:\n"+
		"- main: {atOnce: {users: 20000, maxDuration: 5m, scenario: [{s: [{httpRequest: {GET: /, timeout: 5m, sla: {blockedRatio: 1}}}]}]}}\n")
	cfg.Benchmark.Period = 200
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, most := heap(), int64(0)
	cfg.Live = func(p *engine.Progress) {
		if len(p.Report.Phases) > 0 && p.Report.Phases[0].Busy == users {
			most = max(most, heap())
			cancel()
		}
	}
	r := mustRun(t, ctx, cfg)
	if got := (most - before) / users; most == 0 || got > 4096 {
		t.Errorf("got %d bytes a session, want 4,096 at most", got)
	} else {
		t.Logf("%d bytes a session", got)
	}
	if n := r.Totals.Users("main").Ended; n != users {
		t.Errorf("%d users have ended, want %d", n, users)
	}
}

// Sessions that are expected to be busy at once are made beforehand.
func TestSessionsOfTheEstimateArePrepared(t *testing.T) {
	heap := map[string]int64{}
	for _, estimate := range []string{"1", "10000"} {
		cfg := config(t, plainServer(t, false, nil), "name: b\nhttp: {host: HOST, sharedConnections: 1}\nphases:\n"+
			"- main: {constantRate: {usersPerSec: 1, duration: 5m, maxSessionsEstimate: "+estimate+", scenario: [{s: [{httpRequest: {GET: /}}]}]}}\n")
		cfg.Benchmark.Period = 100
		ctx, cancel := context.WithCancel(t.Context())
		cfg.Live = func(*engine.Progress) {
			if heap[estimate] > 0 {
				return
			}
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			heap[estimate] = int64(m.HeapAlloc)
			cancel()
		}
		mustRun(t, ctx, cfg)
	}
	if more := heap["10000"] - heap["1"]; more < 10_000*200 {
		t.Errorf("10,000 expected sessions take %d bytes at the start, want some hundred for each", more)
	}
}

// Large values of a user are gone when the user is: here each of many has one in
// turn, also in a list.
func TestLargeValuesEndWithTheirUser(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }))
	defer server.Close()
	cfg := config(t, server.URL, "name: b\nhttp: {host: HOST, requestTimeout: 2m, sharedConnections: 8}\nstatisticsCollectionPeriod: 50\nphases:\n"+
		"- main: {always: {users: 40, duration: 5m, scenario: [{s: [{getSharedCounter: c}, {addToSharedCounter: c += 1}, {breakSequence: {intCondition: {fromVar: c, greaterOrEqualTo: 40}}}, "+
		"{httpRequest: {GET: /, sla: {blockedRatio: 1}, handler: {body: [{store: v}, {array: \"list[2]\"}]}}}]}, {end: [{thinkTime: 1ms}]}]}}\n")
	cfg.Threads = 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var heap uint64
	cfg.Live = func(p *engine.Progress) {
		if cell := p.Totals.Find(stats.Key{Phase: "main", Metric: "s"}); cell != nil && cell.Responses >= 40 && p.Totals.Users("main").Ended > 200 && heap == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			heap = m.HeapAlloc
			cancel()
		}
	}
	mustRun(t, ctx, cfg)
	if heap == 0 || heap > 40<<20 {
		t.Errorf("%d bytes are kept after 40 users who had 2 MB each", heap)
	}
}
