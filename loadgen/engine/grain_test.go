package engine_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// The first 600 users are due within the first grain, which is a minute.
func TestUsersWhoAreDueWithinAGrainStartTogether(t *testing.T) {
	const rate, grain = 10, time.Minute
	server := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(server.Close)
	cfg := config(t, server.URL, `
name: b
http: {host: HOST, sharedConnections: 100}
statisticsCollectionPeriod: 50
usersPerSec: 10
duration: 10m
variance: false
scenario: [{s: [{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}}}]}]
`)
	cfg.Grain, cfg.Threads = grain, 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var first time.Duration // when they had all started
	cfg.Live = func(p *engine.Progress) {
		started := p.Totals.Users("main").Started
		if most := rate*(p.At+grain).Seconds() + 1; float64(started) > most {
			t.Errorf("%d users have started after %v, want %v at most", started, p.At, most)
		}
		if first == 0 && float64(started) >= rate*grain.Seconds() {
			first = p.At
		}
		if cell := p.Totals.Find(stats.Key{Phase: "main", Metric: "s"}); cell != nil && float64(cell.Responses) >= rate*grain.Seconds() {
			cancel()
		}
	}
	r := mustRun(t, ctx, cfg)
	if first == 0 || first >= grain {
		t.Errorf("600 users had started after %v, want long before the last was due", first)
	}
	cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
	if cell == nil || cell.Latency.Min() < 0 || cell.Service.Min() < 0 {
		t.Errorf("got %+v, want answers that took some time, also from when the request left", cell)
	}
}

// A grain of three minutes would show.
func TestAnswersThatMatterDoNotLie(t *testing.T) {
	tests := []struct{ name, phase string }{
		{"users begin anew", `{always: {users: 5, duration: 50ms, scenario: [{s: [{httpRequest: {GET: /}}]}]}}`},
		{"a step follows", `{constantRate: {usersPerSec: 100, duration: 50ms, scenario: [{s: [{httpRequest: {GET: /}}, {thinkTime: 1ms}]}]}}`},
		{"a redirect may follow", `{constantRate: {usersPerSec: 100, duration: 50ms, scenario: [{s: [{httpRequest: {GET: /, handler: {followRedirect: LOCATION_ONLY}}}]}]}}`},
		{"a handler waits for it", `{constantRate: {usersPerSec: 100, duration: 50ms, scenario: [{s: [{httpRequest: {GET: /, handler: {status: {store: {toVar: code}}}}}]}]}}`},
		{"another sequence runs", `{constantRate: {usersPerSec: 100, duration: 50ms, scenario: {initialSequences: [{s: [{httpRequest: {GET: /}}]}, {u: [{thinkTime: 1ms}, {httpRequest: {GET: /, handler: {status: {store: {toVar: code}}}}}]}]}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(ok))
			t.Cleanup(server.Close)
			cfg := config(t, server.URL, "name: b\nhttp: {host: HOST, sharedConnections: 16, requestTimeout: 1h}\n"+
				"statisticsCollectionPeriod: 1h\nphases: [{main: "+tt.phase+"}]\n")
			cfg.Grain = 3 * time.Minute
			r := mustRun(t, t.Context(), cfg)
			if r.Elapsed > time.Minute || r.Totals.Find(stats.Key{Phase: "main", Metric: "s"}) == nil {
				t.Errorf("the run took %v, or made no requests", r.Elapsed)
			}
		})
	}
}

// Users who wait for a connection, or for others to end, don't wait for a grain
// each time.
func TestAnswersForWhichOthersWaitDoNotLie(t *testing.T) {
	for _, limit := range []string{
		"{host: HOST, sharedConnections: 1, requestTimeout: 1h}\nstatisticsCollectionPeriod: 1h\nmaxSessions: 100",
		"{host: HOST, sharedConnections: 50, requestTimeout: 1h}\nstatisticsCollectionPeriod: 1h\nmaxSessions: 1",
	} {
		t.Run(limit, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(ok))
			t.Cleanup(server.Close)
			cfg := config(t, server.URL, "name: b\nhttp: "+limit+`
usersPerSec: 100
duration: 500ms
variance: false
scenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]
`)
			cfg.Grain = 2 * time.Second
			r := mustRun(t, t.Context(), cfg)
			cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
			if cell == nil || cell.Responses != 50 {
				t.Fatalf("got %+v, want 50 answers", cell)
			}
			if r.Elapsed > time.Minute { // one grain, and not 50
				t.Errorf("50 users took %v", r.Elapsed)
			}
		})
	}
}
