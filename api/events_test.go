package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
)

// note adds an event to a stored run.
func (b *bench) note(run *broker.Run, text string) {
	b.Helper()
	if err := b.store.AddEvents(b.Context(), run, broker.Event{Kind: broker.EventNote, Text: text}); err != nil {
		b.Fatalf("add event: %v", err)
	}
}

// collect follows the run's events on another goroutine. The function it
// returns waits for the end and gives them, without their times.
func (b *bench) collect(c *Client, run string, after int64) (seen func() []string, end func() error) {
	var mu sync.Mutex
	var list []string
	ended := make(chan error, 1)
	go func() {
		ended <- c.Events(b.Context(), run, after, func(e Event) error {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind != EventMetrics {
				list = append(list, fmt.Sprintf("%d %s %s", e.Seq, e.Kind, e.Text+e.State))
			}
			return nil
		})
	}()
	seen = func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
	end = func() error {
		select {
		case err := <-ended:
			return err
		case <-time.After(5 * time.Minute):
			return errors.New("the stream did not end")
		}
	}
	return seen, end
}

func TestEventsAreLiveUntilTheEnd(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	b.note(&run, "first")
	seen, end := b.collect(b.client(), run.UUID, 0)
	b.eventually("the first event comes", func() bool { return len(seen()) == 1 })
	b.note(&run, "second")
	b.eventually("the second event comes", func() bool { return len(seen()) == 2 })
	b.complete(&run)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 note first", "2 note second", "3 run The run is completed.COMPLETED", "0 end PASS"}
	if diff := cmp.Diff(want, seen()); diff != "" {
		t.Errorf("events, -want +got:\n%s", diff)
	}
}

func TestEventsOfARunUnderWayAreWoken(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStart(b.mustPlan())
	seen, end := b.collect(b.client(), run, 0)
	if _, err := b.client().Abort(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	list := seen()
	if len(list) < 2 || !strings.HasPrefix(list[len(list)-1], "0 end ") || !strings.Contains(list[len(list)-1], "ABORTED") {
		t.Errorf("got events %q, want the last to be the end of an aborted run", list)
	}
}

// raw reads a stream as it is until its end.
func (b *bench) raw(path string, header ...string) string {
	b.Helper()
	return b.do("GET", path, "", header...).body
}

func TestEventsResume(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	for _, text := range []string{"one", "two", "three"} {
		b.note(&run, text)
	}
	b.complete(&run)
	path := "/api/run/" + run.UUID + "/events"
	for _, c := range []struct {
		what   string
		query  string
		header []string
		first  string
	}{
		{"Without a number all events come.", "", nil, "id: 1\n"},
		{"After the second comes the third.", "?after=2", nil, "id: 3\n"},
		{"Last-Event-ID says the same.", "", []string{"Last-Event-ID", "2"}, "id: 3\n"},
		{"Last-Event-ID wins, since it is newer.", "?after=1", []string{"Last-Event-ID", "3"}, "id: 4\n"},
		{"After the last comes only the end.", "?after=4", nil, "event: end\n"},
		{"After more than there is comes only the end.", "?after=99", nil, "event: end\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := b.raw(path+c.query, c.header...)
			if !strings.HasPrefix(got, c.first) {
				t.Errorf("got a stream that begins\n%.80s\nwant it to begin %q", got, c.first)
			}
			if strings.Count(got, "event: end\n") != 1 || !strings.HasSuffix(got, "}\n\n") {
				t.Errorf("got a stream that does not end in one end:\n%s", got)
			}
		})
	}
}

func TestEventStreamAsItIs(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	b.note(&run, "one\nof two lines")
	b.complete(&run)
	got := b.do("GET", "/api/run/"+run.UUID+"/events", "")
	if kind := got.header.Get("Content-Type"); kind != contentSSE {
		t.Errorf("got content type %q", kind)
	}
	text := timePattern.ReplaceAllString(got.body, "<time>")
	want := "id: 1\nevent: note\n" + `data: {"seq":1,"at":"<time>","kind":"note","text":"one\nof two lines"}` + "\n\n" +
		"id: 2\nevent: run\n" + `data: {"seq":2,"at":"<time>","kind":"run","state":"COMPLETED","text":"The run is completed."}` + "\n\n" +
		"event: end\n" + `data: {"at":"<time>","kind":"end","state":"PASS","run":{"uuid":`
	if !strings.HasPrefix(text, want) {
		t.Errorf("got\n%s\nwant it to begin\n%s", text, want)
	}
}

func TestEventsHaveMetricsEachSecond(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	m := broker.Machine{State: broker.MachinePrepared, RelayID: "r"}
	if err := b.store.SaveMachine(t.Context(), &run, &m); err != nil {
		t.Fatal(err)
	}
	b.frames(m, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	enough := errors.New("enough")
	err := b.client().Events(ctx, run.UUID, 0, func(e Event) error {
		if e.Kind != EventMetrics {
			return nil
		}
		if e.Metrics == nil || len(e.Metrics.Metrics) != 1 || e.Metrics.Metrics[0].Name != "req.count" {
			t.Errorf("got metrics %+v, want req.count", e.Metrics)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("got %v, want the error of the caller's function", err)
	}
}

// frames stores n seconds of one counter, up to now.
func (b *bench) frames(m broker.Machine, n int) {
	b.Helper()
	now := time.Now().UnixMilli() / 1000 * 1000
	var frames []broker.StoredFrame
	for i := 1; i <= n; i++ {
		f := metrics.Frame{
			Version: metrics.Version, Seq: uint64(i), Time: now - int64(n-i)*1000,
			Points: []metrics.Point{{Kind: metrics.Counter, Name: "req.count", Value: 7}},
		}
		body, err := metrics.Encode(f)
		if err != nil {
			b.Fatal(err)
		}
		frames = append(frames, broker.StoredFrame{MachineID: m.ID, Seq: f.Seq, At: f.Time, Body: body})
	}
	if err := b.store.AddFrames(b.Context(), frames, nil); err != nil {
		b.Fatal(err)
	}
}

func TestEventStreamBeatsWhenNothingHappens(t *testing.T) {
	b := mustServe(t, nil)
	b.server.heartbeat = 20 * time.Millisecond
	run := b.mustStore(b.mustPlan())
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.url+"/api/run/"+run.UUID+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for beats := 0; beats < 3; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d beats: %v", beats, err)
		}
		if strings.HasPrefix(line, ":") {
			beats++
		}
	}
}

func TestHeadOfAStreamDoesNotWait(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	for _, part := range []string{"events", "logs?follow"} {
		if got := b.do("HEAD", "/api/run/"+run.UUID+"/"+part, ""); got.status != 200 || got.body != "" {
			t.Errorf("HEAD of %s: got %d with %q", part, got.status, got.body)
		}
	}
}

// A cutter passes calls on to a server, and cuts what is under way when told.
type cutter struct {
	*httptest.Server
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func mustCutter(t *testing.T, target string) *cutter {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{conns: map[net.Conn]bool{}}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(u) },
	}
	c.Server = httptest.NewUnstartedServer(proxy)
	c.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if state == http.StateActive {
			c.conns[conn] = true
		} else {
			delete(c.conns, conn)
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
}

func TestClientFollowsEventsOverBrokenConnections(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	cutter := mustCutter(t, b.url)
	retried := make(chan error, 100)
	c := &Client{BaseURL: cutter.URL, Retrying: func(err error, _ time.Duration) { retried <- err }}
	seen, end := b.collect(c, run.UUID, 0)
	var want []string
	for i := 1; i <= 4; i++ {
		b.note(&run, fmt.Sprint("note ", i))
		want = append(want, fmt.Sprintf("%d note note %d", i, i))
		b.eventually("the event comes", func() bool { return len(seen()) == i })
		cutter.cut()
		if err := <-retried; broker.CodeOf(err) != broker.EUnavailable {
			t.Errorf("told of %v, want EUnavailable", err)
		}
	}
	b.complete(&run)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	want = append(want, "5 run The run is completed.COMPLETED", "0 end PASS")
	if diff := cmp.Diff(want, seen()); diff != "" {
		t.Errorf("events, -want +got:\n%s", diff)
	}
}

func TestClientEventsEnd(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	b.note(&run, "one")
	t.Run("an unknown run is not asked for again", func(t *testing.T) {
		err := b.client().Events(t.Context(), "x", 0, func(Event) error { return nil })
		if broker.CodeOf(err) != broker.ENotFound {
			t.Errorf("got %v, want ENotFound", err)
		}
	})
	t.Run("the caller's error is returned as it is", func(t *testing.T) {
		mine := errors.New("mine")
		if err := b.client().Events(t.Context(), run.UUID, 0, func(Event) error { return mine }); err != mine {
			t.Errorf("got %v, want %v", err, mine)
		}
	})
	t.Run("the caller's context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := b.client().Events(ctx, run.UUID, 0, func(Event) error { cancel(); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
	})
	t.Run("a broker that is away is waited for until the deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		gone := &Client{BaseURL: "http://" + waittest.FreeAddress(t)}
		err := gone.Events(ctx, run.UUID, 0, func(Event) error { return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
	})
	t.Run("a run deleted meanwhile is not there", func(t *testing.T) {
		other := b.mustStore(b.mustPlan())
		b.note(&other, "one")
		err := b.client().Events(t.Context(), other.UUID, 0, func(e Event) error {
			if e.Kind == broker.EventNote {
				// Completed and deleted between two looks of the stream.
				done := other
				b.complete(&done)
				return b.store.DeleteRun(t.Context(), other.UUID)
			}
			return nil
		})
		if err != nil && broker.CodeOf(err) != broker.ENotFound {
			t.Errorf("got %v, want ENotFound or the end", err)
		}
	})
}

func TestReadEvent(t *testing.T) {
	for _, c := range []struct {
		what string
		text string
		want string // kind and text, or the error
	}{
		{"A message with a space after the colon is read.", "data: {\"kind\":\"note\",\"text\":\"x\"}\n\n", "note x"},
		{"One without a space is read.", "data:{\"kind\":\"note\",\"text\":\"x\"}\n\n", "note x"},
		{"Data over two lines is one.", "data: {\"kind\":\ndata: \"note\"}\n\n", "note "},
		{"Comments, ids, names and retries are passed over.", ": hi\n\nretry: 5\nid: 3\nevent: run\ndata: {\"kind\":\"run\"}\n\n", "run "},
		{"Lines may end as on other systems.", "data: {\"kind\":\"note\"}\r\n\r\n", "note "},
		{"A field whose name only begins alike is another.", "datum: 1\ndata: {\"kind\":\"note\"}\n\n", "note "},
		{"A message that breaks off is none.", "data: {\"kind\":\"note\"}\n", "read event: EOF"},
		{"A line that breaks off is none.", "data: {\"ki", "read event: unexpected EOF"},
		{"Data that is not JSON is an error.", "data: x\n\n", "decode event: invalid character"},
	} {
		t.Run(c.what, func(t *testing.T) {
			e, err := readEvent(bufio.NewReader(strings.NewReader(c.text)), func() {})
			got := string(e.Kind) + " " + e.Text
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	long := io.MultiReader(strings.NewReader("data: "), zeros{})
	if _, err := readLine(bufio.NewReader(long)); !errors.Is(err, errLongLine) {
		t.Errorf("a line without end: got %v, want %v", err, errLongLine)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}
