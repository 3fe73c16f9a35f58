package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/relay"
)

// never is an Interval that ends in years: the full hour may be over within a test.
const never = 20 * 365 * 24 * time.Hour

// running is a relay under test, with what it wrote.
type running struct {
	address string
	stop    func() error // ends it and returns its error

	mu    sync.Mutex
	lines []byte
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, p...)
	return len(p), nil
}

// mustRun starts a relay. The port that UDP is given by the kernel may be taken
// for TCP; then it is tried again.
func mustRun(t *testing.T, cfg relay.Config) *running {
	t.Helper()
	for {
		r, err := run(t, cfg)
		if err == nil {
			return r
		}
		if cfg.Listen != "" || !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("relay ended: %v", err)
		}
	}
}

func run(t *testing.T, cfg relay.Config) (*running, error) {
	r := &running{}
	if cfg.Out == nil {
		cfg.Out = r
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	ready := make(chan string, 1)
	cfg.Ready = func(a net.Addr) { ready <- a.String() }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx, cfg) }()
	select {
	case r.address = <-ready:
	case err := <-ended:
		cancel()
		return nil, err
	}
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = r.stop() })
	return r, nil
}

// frames decodes what was written so far, checking the numbers.
func (r *running) frames(t *testing.T) []metrics.Frame {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var frames []metrics.Frame
	for text := range bytes.Lines(r.lines) {
		f, err := metrics.Decode(bytes.TrimSuffix(text, []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		if f.Seq != uint64(len(frames)+1) {
			t.Fatalf("got frame number %d after %d frames", f.Seq, len(frames))
		}
		frames = append(frames, f)
	}
	return frames
}

// end stops the relay and returns its frames, of which only the last is final.
func (r *running) end(t *testing.T) []metrics.Frame {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	frames := r.frames(t)
	for i, f := range frames {
		if f.Final != (i == len(frames)-1) {
			t.Errorf("frame %d of %d: got final %v", i+1, len(frames), f.Final)
		}
	}
	return frames
}

func send(t *testing.T, address string, packets ...string) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, p := range packets {
		if _, err := conn.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
}

// until polls for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waittest.Until(t, what, 5*time.Minute, ok)
}

func summary(frames []metrics.Frame) map[string]metrics.MetricSummary {
	series := metrics.NewSeries()
	for _, f := range frames {
		series.Add("a", 0, f)
	}
	byName := make(map[string]metrics.MetricSummary)
	for _, m := range series.Summary().Metrics {
		byName[m.Name] = m
	}
	return byName
}

func TestRelayCountsAllThatArrived(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: 30 * time.Millisecond})
	const senders, packets = 4, 250
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range packets {
				send(t, r.address, fmt.Sprintf("hits:1|c\nlat:%d:%d|ms|#status:200\nsampled:2|c|@0.1\r\n\nusers:7|g", i, i+1))
			}
		})
	}
	wg.Wait()
	send(t, r.address, "what is this", "ok:1|c\nbad:x|c\nusers:-2|g\nusers:+1.5|g")
	frames := r.end(t)
	got := summary(frames)
	const n = senders * packets
	for name, want := range map[string]float64{"hits": n, "lat": 2 * n, "sampled": 20 * n, "ok": 1, "users": n + 2} {
		if math.Abs(got[name].Count-want) > 1e-6 {
			t.Errorf("%s: got %v, want %v", name, got[name].Count, want)
		}
	}
	if got["users"].Value != 6.5 || got["lat"].Max != packets {
		t.Errorf("users %v, greatest latency %v, want 6.5, %d", got["users"].Value, got["lat"].Max, packets)
	}
	want := metrics.Received{Datagrams: n + 2, Values: 5*n + 3, Malformed: 2, Notes: &metrics.Notes{Malformed: []string{
		"what is this: type is unknown", "bad:x|c: value is no finite number",
	}}}
	if diff := cmp.Diff(want, frames[len(frames)-1].Ledger); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

func TestRelayReadsTheSocketToItsEndBeforeTheFinalFrame(t *testing.T) {
	for range 5 {
		r := mustRun(t, relay.Config{Interval: never})
		packets := make([]string, 100)
		for i := range packets {
			packets[i] = "hits:1|c"
		}
		send(t, r.address, packets...)
		frames := r.end(t) // at once
		if len(frames) != 2 || summary(frames)["hits"].Count != 100 {
			t.Errorf("got %d frames with %v hits, want the first and the final one with 100", len(frames), summary(frames)["hits"].Count)
		}
	}
}

func TestRelayWritesItsFirstFrameAtOnce(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: never})
	until(t, "the first frame", func() bool { return len(r.frames(t)) == 1 })
	send(t, r.address, "hits:1|c")
	if got := summary(r.end(t))["hits"].Count; got != 1 {
		t.Errorf("hits: got %v, want 1", got)
	}
}

func TestRelayWritesAFrameAlsoWhenNothingArrives(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: 20 * time.Millisecond})
	until(t, "four frames", func() bool { return len(r.frames(t)) >= 4 })
	frames := r.end(t)
	for i, f := range frames[1 : len(frames)-1] {
		if len(f.Points) != 0 || f.Time%20 != 0 {
			t.Errorf("frame %d: got time %d, points %v, want a multiple of 20 ms and none", f.Seq, f.Time, f.Points)
		}
		if f.Time <= frames[i].Time && i > 0 {
			t.Errorf("frame %d: got time %d after %d", f.Seq, f.Time, frames[i].Time)
		}
	}
}

func TestRelayRepeatsGaugesAndForgetsTheRest(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: 20 * time.Millisecond})
	send(t, r.address, "users:5|g\nhits:3|c\nlat:1|ms")
	until(t, "a frame after the values", func() bool {
		frames := r.frames(t)
		return len(frames) > 1 && frames[len(frames)-2].Ledger.Values == 3
	})
	frames := r.end(t)
	last := frames[len(frames)-1]
	if len(last.Points) != 1 || last.Points[0].Name != "users" || last.Points[0].Value != 5 || last.Points[0].Count != 0 {
		t.Errorf("got %+v, want users with 5, carried over", last.Points)
	}
	if got := summary(frames)["hits"].Count; got != 3 {
		t.Errorf("hits: got %v, want 3", got)
	}
}

func TestRelayCountsWhatTheSeriesLimitDrops(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: never, MaxSeries: 3})
	send(t, r.address, "a:1|c\na:1|ms\na:1|c|#x:1\nb:1|c\nb:1:2|ms\na:1|c\na:1|c|#x:1\na:1|c|#x:2")
	frames := r.end(t)
	last := frames[len(frames)-1]
	if l := last.Ledger; l.Dropped != 4 || l.Values != 5 || len(last.Points) != 3 {
		t.Errorf("got %d dropped, %d values, %d points, want 4, 5, 3", l.Dropped, l.Values, len(last.Points))
	}
}

func TestRelayTakesTagsInAnyOrderForOneSeries(t *testing.T) {
	r := mustRun(t, relay.Config{Interval: never, MaxSeries: 1})
	var lines strings.Builder
	for range 10 {
		lines.WriteString("a:1|c|#x:1,y:2\na:1|c|#y:2,x:1\na:1|c|#y:2,x:3,x:1\na:1|c|#y:2,,x:1\na:1|c|#y:2,x:1,\n")
	}
	send(t, r.address, lines.String())
	frames := r.end(t)
	if p := frames[len(frames)-1].Points; len(p) != 1 || p[0].Value != 50 || len(p[0].Tags) != 2 {
		t.Errorf("got %+v, want one series of 50 with two tags", p)
	}
}

// gate is an output that blocks until it is opened.
type gate struct {
	open chan struct{}
	io.Writer
}

func (g gate) Write(p []byte) (int, error) {
	<-g.open
	return g.Writer.Write(p)
}

func TestRelayReadsOnWhileItsOutputIsBlocked(t *testing.T) {
	g := gate{open: make(chan struct{}), Writer: &running{}}
	var taken atomic.Int64 // frames, more than wait to be written before they are merged
	count := func(context.Context) []metrics.HostPoint { taken.Add(1); return nil }
	r := mustRun(t, relay.Config{Interval: 5 * time.Millisecond, Out: g, Host: count})
	waittest.Until(t, "frames are taken while the output is blocked", 5*time.Minute, func() bool {
		send(t, r.address, "hits:1|c\nlat:1|ms")
		return taken.Load() > 20
	})
	go close(g.open)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	frames := g.Writer.(*running).frames(t)
	last := frames[len(frames)-1]
	got := summary(frames)
	if !last.Final || last.Ledger.Merged == 0 {
		t.Errorf("last frame: got final %v, merged %d, want true, some", last.Final, last.Ledger.Merged)
	}
	if n := float64(last.Ledger.Datagrams); n == 0 || got["hits"].Count != n || got["lat"].Count != n {
		t.Errorf("got %v hits, %v latencies, want %v of each", got["hits"].Count, got["lat"].Count, n)
	}
}

var errClosed = errors.New("pipe closed")

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errClosed }

func TestRelayEndsWhenItCannotWrite(t *testing.T) {
	err := relay.Run(t.Context(), relay.Config{Listen: "127.0.0.1:0", Interval: time.Millisecond, Out: closedPipe{}})
	if !errors.Is(err, errClosed) {
		t.Errorf("got %v, want %v", err, errClosed)
	}
}

func TestRelayNamesTheAddressItCannotBind(t *testing.T) {
	r := mustRun(t, relay.Config{})
	for _, address := range []string{r.address, "192.0.2.1:8125", "nonsense"} {
		err := relay.Run(t.Context(), relay.Config{Listen: address, Out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "listen for statsd on "+address) {
			t.Errorf("%s: got %v, want an error that names it", address, err)
		}
	}
}

func TestRelayMarksMetricsWithTheirSeries(t *testing.T) {
	r := mustRun(t, relay.Config{Series: "front"})
	send(t, r.address, "hits:1|c\nhits:1|c|#zone:a\nhits:1|c|#app:x,zone:b\nhits:1|c|#type:own")
	var got []string
	for _, f := range r.end(t) {
		for _, p := range f.Points {
			got = append(got, fmt.Sprint(p.Tags))
		}
	}
	want := []string{"[{type front}]", "[{type front} {zone a}]", "[{app x} {type front} {zone b}]", "[{type own}]"}
	if !slices.Equal(got, want) {
		t.Errorf("got tags %v, want %v", got, want)
	}
}

func TestRelayListensOnIPv6(t *testing.T) {
	r := mustRun(t, relay.Config{Listen: "[::1]:0", Interval: never})
	send(t, r.address, "hits:1|c")
	if got := summary(r.end(t))["hits"].Count; got != 1 {
		t.Errorf("hits: got %v, want 1", got)
	}
}
