package engine_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/loadgen/stats"
)

// noLimits is for tests, which run beside others.
var noLimits = engine.Limits{Lag: -1, Pause: -1, Steal: -1}

// config reads a benchmark, in which HOST stands for the server's address.
func config(t testing.TB, host, file string) engine.Config {
	t.Helper()
	file = strings.ReplaceAll(file, "HOST", host)
	b, err := benchmark.Parse("b.yaml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := phases.Expand("b.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.HTTP { // a computer that stands still takes longer than the usual time
		b.HTTP[i].Handshake = benchmark.Timeout(5 * time.Minute)
	}
	return engine.Config{Benchmark: b, Name: "b.yaml", Phases: list, Seed: 1, Limits: noLimits}
}

func mustRun(t testing.TB, ctx context.Context, cfg engine.Config) *engine.Result {
	t.Helper()
	r, err := engine.Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a benchmark and returns what was counted of a metric of phase main.
func run(t testing.TB, file string, handler http.HandlerFunc) (*engine.Result, *stats.Cell) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	r := mustRun(t, t.Context(), config(t, server.URL, file))
	cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
	if cell == nil {
		cell = &stats.Cell{}
	}
	return r, cell
}

func ok(http.ResponseWriter, *http.Request) {}

func TestUsersArriveAtTheirRate(t *testing.T) {
	var served atomic.Int64
	r, cell := run(t, `
name: b
http: {host: HOST, sharedConnections: 10}
usersPerSec: 200
duration: 1s
variance: false
scenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]
`, func(http.ResponseWriter, *http.Request) { served.Add(1) })
	if cell.Requests != 200 || cell.Responses != 200 || served.Load() != 200 || cell.Latency.Count() != 200 {
		t.Errorf("got %d requests, %d answers, %d served, want 200 of each", cell.Requests, cell.Responses, served.Load())
	}
	if cell.Class(2) != 200 || cell.Errors() != 0 || r.Failed() {
		t.Errorf("got %+v, %+v, want no failure", cell.Counts, r.Phases)
	}
	if users := r.Totals.Users("main"); users.Started != 200 || users.Ended != 200 {
		t.Errorf("got %d users started, %d ended, want 200", users.Started, users.Ended)
	}
}
