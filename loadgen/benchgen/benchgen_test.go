//go:build linux

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/internal/waittest"
)

func TestWaysMeasureRequests(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
	defer server.Close()
	w := way{
		address: netip.MustParseAddrPort(server.Listener.Addr().String()), connections: 4, loops: 2, duration: 100 * time.Millisecond,
	}
	timed := w
	timed.rate = 1000
	tests := []struct {
		name string
		run  func(context.Context) ([]*tally, error)
		want int
	}{
		{name: "event loops", run: w.epoll},
		{name: "event loops on a timetable", run: timed.epoll, want: 100},
		{name: "net.Conn", run: func(ctx context.Context) ([]*tally, error) { return w.goroutines(ctx, connExchange) }},
		{name: "SyscallConn", run: func(ctx context.Context) ([]*tally, error) { return w.goroutines(ctx, rawExchange) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A computer that stands still as long as it lasts lets it make none.
			waittest.Until(t, "requests are made", 5*time.Minute, func() bool {
				tallies, err := tt.run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				requests, failed := 0, 0
				for _, p := range tallies {
					requests += p.requests
					failed += p.failed
				}
				if failed > 0 || requests > tt.want && tt.want > 0 {
					t.Errorf("made %d requests, of which %d failed; want %d (0: as many as go)", requests, failed, tt.want)
				}
				return requests > 0
			})
		})
	}
}

func TestResultsOfProgramsAreRead(t *testing.T) {
	tests := []struct {
		name, output string
		read         func(result, *outcome) error
		want         outcome
	}{
		{
			"wrk", "  Latency Distribution\n     50%  250.00us\n     75%    1.02ms\n     99%   21.11ms\n" +
				"  322702 requests in 3.03s, 51.09MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n",
			readWrk,
			outcome{requests: 322702, failed: 10, p50: 0.25, p99: 21.11},
		},
		{
			"wrk2", " 50.000%    0.91ms\n 99.000%    1.85s \n  39000 requests in 2.00s, 6.17MB read\n",
			readWrk,
			outcome{requests: 39000, p50: 0.91, p99: 1850},
		},
		{
			"hey", "  50% in 0.0016 secs\n  99% in 0.0322 secs\nStatus code distribution:\n  [200]\t17240 responses\n  [502]\t3 responses\n",
			readHey,
			outcome{requests: 17240, failed: 3, p50: 1.6, p99: 32.2},
		},
		{
			"bombardier", `{"result":{"req2xx":34713,"req5xx":2,"others":1,"latency":{"percentiles":{"50":412,"99":17293}}}}`,
			readBombardier,
			outcome{requests: 34713, failed: 3, p50: 0.412, p99: 17.293},
		},
		{"k6", "1000 1 0.5 2.5\n", readK6, outcome{requests: 999, failed: 1, p50: 0.5, p99: 2.5}},
		{
			"loads", `{"metrics":[{"requests":10,"statuses":[{"status":200,"count":9}],"latency":{"p50":0.5,"p99":2.5}}]}`,
			readLoads,
			outcome{requests: 9, failed: 1, p50: 0.5, p99: 2.5},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got outcome
			if err := tt.read(result{output: []byte(tt.output)}, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
