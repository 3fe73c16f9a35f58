// Package loadgen generates load. Requests leave on a timetable that is fixed
// beforehand and never waits for the system under test, and a latency counts
// from the time at which the request was due, so that a system that stalls is
// charged for the requests it kept from leaving.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loads/loads/metrics"
)

// Names of the metrics that Run sends; each has the tag status: the HTTP
// status, timeout or error, and for requests that were never sent unsent.
const (
	metricLatency = "req.latency" // timer of all requests that were sent
	metricCount   = "req.count"   // counter of all requests that were due
	metricErrors  = "req.errors"  // counter of those without a status below 400
)

// Config says what load to generate.
type Config struct {
	URL         string        // http or https, asked for with GET
	Rate        float64       // requests a second
	Duration    time.Duration // length of the timetable
	Connections int           // most requests under way at once
	Timeout     time.Duration // for one request, from its sending
	Start       time.Time     // of the timetable; the past is now
	Statsd      *Statsd       // gets the metrics; may be nil
}

// Result says how it went.
type Result struct {
	Planned int             // requests on the timetable
	Sent    int             // requests that were sent
	Failed  int             // of those, without a status below 400
	Unsent  int             // due, but no connection was free until Timeout after the end
	Stopped bool            // ctx ended the timetable early
	Elapsed time.Duration   // from the start until the last answer
	Latency *metrics.Sketch // ms, from when the request was due
}

// Run carries out the timetable and returns when every request has its answer,
// or its error. When ctx is done no more requests are sent, those under way
// are waited for, and that is no error. The error is about cfg only.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.check(); err != nil {
		return Result{}, err
	}
	if now := time.Now(); cfg.Start.Before(now) {
		cfg.Start = now
	}
	g := &generator{cfg: cfg, client: newClient(cfg)}
	g.result.Planned = int(math.Ceil(cfg.Rate*cfg.Duration.Seconds() - 1e-9))
	g.result.Latency = metrics.NewSketch()
	// So that the metric is there when no request fails: no errors, or no
	// measuring of them, would look the same.
	cfg.Statsd.Count(metricErrors, 0)
	var workers sync.WaitGroup
	for range min(cfg.Connections, g.result.Planned) {
		workers.Go(func() { g.work(ctx) })
	}
	workers.Wait()
	g.client.CloseIdleConnections()
	g.result.Elapsed = max(0, time.Since(cfg.Start))
	g.result.Stopped = g.result.Sent+g.result.Unsent < g.result.Planned
	return g.result, nil
}

func (c Config) check() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("url is %q, want http://… or https://…", c.URL)
	}
	if planned := c.Rate * c.Duration.Seconds(); !(c.Rate > 0) || c.Duration <= 0 || planned > math.MaxInt32 {
		return fmt.Errorf("rate is %v and duration %v, want both above 0 and less than %d requests", c.Rate, c.Duration, math.MaxInt32)
	}
	if c.Connections < 1 || c.Timeout <= 0 {
		return fmt.Errorf("connections are %d and timeout %v, want both above 0", c.Connections, c.Timeout)
	}
	return nil
}

func newClient(cfg Config) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // the service itself is measured, nothing in between
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = cfg.Connections, cfg.Connections
	return &http.Client{
		Transport: transport,
		Timeout:   cfg.Timeout,
		// An answer is an answer: a redirect is counted, not followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// generator is shared by the workers, one for each connection.
type generator struct {
	cfg    Config
	client *http.Client
	next   atomic.Int64 // the next request on the timetable

	mu     sync.Mutex
	result Result
}

// work takes requests off the timetable, one after the other. When all workers
// are busy a request leaves late, and its latency says so.
func (g *generator) work(ctx context.Context) {
	giveUp := g.cfg.Start.Add(g.cfg.Duration + g.cfg.Timeout)
	for {
		i := g.next.Add(1) - 1
		if i >= int64(g.result.Planned) {
			return
		}
		due := g.cfg.Start.Add(time.Duration(float64(i) / g.cfg.Rate * float64(time.Second)))
		if !waitUntil(ctx, due) {
			return
		}
		if time.Now().After(giveUp) {
			g.unsent()
			continue
		}
		status, ok := g.request(context.WithoutCancel(ctx))
		g.sent(status, ok, time.Since(due))
	}
}

// waitUntil reports whether the time came before ctx was done.
func waitUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// request sends one request, reads its answer to the end and returns its
// status, or what kept it from having one.
func (g *generator) request(ctx context.Context) (status string, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.cfg.URL, nil)
	if err != nil {
		return failure(err), false
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return failure(err), false
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return failure(err), false
	}
	return strconv.Itoa(resp.StatusCode), resp.StatusCode < http.StatusBadRequest
}

func failure(err error) string {
	var timed interface{ Timeout() bool }
	if errors.As(err, &timed) && timed.Timeout() {
		return "timeout"
	}
	return "error"
}

func (g *generator) sent(status string, ok bool, latency time.Duration) {
	tag := "status:" + status
	g.cfg.Statsd.Time(metricLatency, latency, tag)
	g.cfg.Statsd.Count(metricCount, 1, tag)
	if !ok {
		g.cfg.Statsd.Count(metricErrors, 1, tag)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.result.Sent++
	if !ok {
		g.result.Failed++
	}
	g.result.Latency.Add(float64(latency)/float64(time.Millisecond), 1)
}

func (g *generator) unsent() {
	g.cfg.Statsd.Count(metricCount, 1, "status:unsent")
	g.cfg.Statsd.Count(metricErrors, 1, "status:unsent")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.result.Unsent++
}
