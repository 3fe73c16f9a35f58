package engine_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/stats"
)

func TestUsersWhoAreDueWithinAGrainStartTogether(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(server.Close)
	cfg := config(t, server.URL, `
name: b
http: {host: HOST, sharedConnections: 100}
usersPerSec: 1000
duration: 1s
variance: false
scenario: [{s: [{httpRequest: {GET: /, sla: {blockedRatio: 1}}}]}]
`)
	cfg.Grain, cfg.Threads = 200*time.Millisecond, 1
	r := mustRun(t, t.Context(), cfg)
	cell := r.Totals.Find(stats.Key{Phase: "main", Metric: "s"})
	if cell == nil || cell.Responses != 1000 {
		t.Fatalf("got %+v, want 1000 answers", cell)
	}
	// Only the first of those who start together may be late, and those who are
	// due as long as a busy machine kept the loop from its work.
	if lag := r.Totals.Users("main").Lag.Quantile(0.5); lag >= 100 {
		t.Errorf("half of the users started %v ms late or more, want them to be early", lag)
	}
	if cell.Latency.Min() < 0 || cell.Service.Min() < 0 {
		t.Errorf("an answer took %v ms, %v from when the request left", cell.Latency.Min(), cell.Service.Min())
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
