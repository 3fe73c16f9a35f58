package loadgen_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/loadgen"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func ok(http.ResponseWriter, *http.Request) {}

func config(url string) loadgen.Config {
	return loadgen.Config{URL: url, Rate: 200, Duration: 300 * time.Millisecond, Connections: 10, Timeout: 5 * time.Second}
}

func mustRun(t *testing.T, ctx context.Context, cfg loadgen.Config) loadgen.Result {
	t.Helper()
	r, err := loadgen.Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunCarriesOutTheTimetable(t *testing.T) {
	for _, c := range []struct {
		name     string
		rate     float64
		duration time.Duration
		want     int
	}{
		{"whole numbers", 200, 500 * time.Millisecond, 100},
		{"less than one a second", 0.5, 100 * time.Millisecond, 1},
		{"a fraction at the end", 30, 110 * time.Millisecond, 4},
		{"a duration that binary fractions can't hold", 10, 300 * time.Millisecond, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got atomic.Int64
			cfg := config(serve(t, func(http.ResponseWriter, *http.Request) { got.Add(1) }))
			cfg.Rate, cfg.Duration = c.rate, c.duration
			r := mustRun(t, t.Context(), cfg)
			if r.Planned != c.want || r.Sent != c.want || int(got.Load()) != c.want || r.Latency.Count() != float64(c.want) {
				t.Errorf("got %d planned, %d sent, %d arrived, %v timed, want %d of each", r.Planned, r.Sent, got.Load(), r.Latency.Count(), c.want)
			}
			if r.Failed != 0 || r.Unsent != 0 || r.Stopped {
				t.Errorf("got %d failed, %d unsent, stopped %v, want none", r.Failed, r.Unsent, r.Stopped)
			}
		})
	}
}

func TestRunSendsAtTheIntendedTimes(t *testing.T) {
	var mu sync.Mutex
	var arrivals []time.Time
	cfg := config(serve(t, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		arrivals = append(arrivals, time.Now())
	}))
	cfg.Start = time.Now().Add(300 * time.Millisecond)
	cfg.Rate, cfg.Duration = 50, time.Second
	mustRun(t, t.Context(), cfg)
	late := 0
	for i, at := range arrivals {
		due := cfg.Start.Add(time.Duration(i) * 20 * time.Millisecond)
		if at.Before(due.Add(-time.Millisecond)) {
			t.Errorf("request %d came %s early", i, due.Sub(at))
		}
		if at.Sub(due) > 300*time.Millisecond {
			late++
		}
	}
	if late > len(arrivals)/2 { // a busy machine may hold up some
		t.Errorf("%d of %d requests came more than 300 ms late", late, len(arrivals))
	}
}

// TestRunChargesAFrozenServer is why the timetable is fixed beforehand: a
// server that stands still from 0.3 s to 0.8 s keeps half of the requests
// waiting, whose latencies then go evenly from 0 to 500 ms. With few
// connections most of those requests leave only after the thaw.
func TestRunChargesAFrozenServer(t *testing.T) {
	for _, connections := range []int{2, 100} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			start := time.Now().Add(200 * time.Millisecond)
			cfg := config(serve(t, func(http.ResponseWriter, *http.Request) {
				now := time.Since(start)
				if now > 300*time.Millisecond && now < 800*time.Millisecond {
					<-time.After(800*time.Millisecond - now)
				}
			}))
			cfg.Start, cfg.Rate, cfg.Duration, cfg.Connections = start, 200, time.Second, connections
			r := mustRun(t, t.Context(), cfg)
			for _, q := range []float64{0.6, 0.75, 0.9} {
				want := 500 * (2*q - 1) // as half of the requests don't wait
				// Nothing can make it less; a busy machine adds to it.
				if got := r.Latency.Quantile(q); got < want-15 || got > want+2000 {
					t.Errorf("p%v: got %.0f ms, want %.0f", 100*q, got, want)
				}
			}
		})
	}
}

func TestRunTellsFailuresApart(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		url    string
		failed bool
		status string
	}{
		{"success", serve(t, ok), false, "200"},
		{"a server error", serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), true, "503"},
		{"not found", serve(t, http.NotFound), true, "404"},
		{"a redirect, which is not followed", serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/nowhere", http.StatusFound)
		}), false, "302"},
		{"an answer that breaks off", serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("short"))
		}), true, "error"},
		{"no answer in time", serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), true, "timeout"},
		{"nobody listens", closed, true, "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := listenStatsd(t)
			cfg := config(c.url)
			cfg.Rate, cfg.Duration = 20, 100*time.Millisecond
			if c.status == "timeout" {
				cfg.Timeout = 500 * time.Millisecond
			}
			cfg.Statsd = sink.client(t)
			r := mustRun(t, t.Context(), cfg)
			if err := cfg.Statsd.Close(); err != nil {
				t.Fatal(err)
			}
			if r.Sent != 2 || (r.Failed == 2) != c.failed || (r.Failed == 0) == c.failed {
				t.Errorf("got %d sent, %d failed, want 2 sent, all failed %v", r.Sent, r.Failed, c.failed)
			}
			tag := "|#status:" + c.status
			lines := sink.lines(t, map[bool]int{false: 4, true: 6}[c.failed])
			if n := count(lines, "req.count:1|c"+tag); n != 2 {
				t.Errorf("got %q, want two counts of status %s", lines, c.status)
			}
			if n := count(lines, "req.errors:1|c"+tag); (n == 2) != c.failed {
				t.Errorf("got %q, want errors %v", lines, c.failed)
			}
		})
	}
}

func count(lines []string, want string) int {
	n := 0
	for _, l := range lines {
		if l == want {
			n++
		}
	}
	return n
}

func TestRunCountsWhatItCouldNotSend(t *testing.T) {
	cfg := config(serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	cfg.Rate, cfg.Duration, cfg.Connections, cfg.Timeout = 100, 100*time.Millisecond, 1, 100*time.Millisecond
	r := mustRun(t, t.Context(), cfg)
	if r.Sent == 0 || r.Unsent == 0 || r.Sent+r.Unsent != r.Planned || r.Failed != r.Sent || r.Stopped {
		t.Errorf("got %+v, want some sent, all of them failed, and the rest unsent", r)
	}
}

func TestRunEndsEarlyButWaitsForAnswers(t *testing.T) {
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	cfg := config(serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	cfg.Rate, cfg.Duration = 5, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
		close(release)
	}()
	r := mustRun(t, ctx, cfg)
	if !r.Stopped || r.Sent == 0 || r.Failed != 0 || r.Sent > 10 {
		t.Errorf("got %+v, want a few requests, all answered", r)
	}
}

func TestRunRefusesWhatMakesNoSense(t *testing.T) {
	for name, spoil := range map[string]func(*loadgen.Config){
		"no url":                 func(c *loadgen.Config) { c.URL = "" },
		"a url without a host":   func(c *loadgen.Config) { c.URL = "localhost:80" },
		"another scheme":         func(c *loadgen.Config) { c.URL = "ftp://localhost/" },
		"rate zero":              func(c *loadgen.Config) { c.Rate = 0 },
		"rate that is no number": func(c *loadgen.Config) { c.Rate = math.NaN() },
		"infinite rate":          func(c *loadgen.Config) { c.Rate = math.Inf(1) },
		"negative duration":      func(c *loadgen.Config) { c.Duration = -1 },
		"no connections":         func(c *loadgen.Config) { c.Connections = 0 },
		"no timeout":             func(c *loadgen.Config) { c.Timeout = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config("http://127.0.0.1:1")
			spoil(&cfg)
			if _, err := loadgen.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "want") {
				t.Errorf("got %v, want an error that says what would be right", err)
			}
		})
	}
}
