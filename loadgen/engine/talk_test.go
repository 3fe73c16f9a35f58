package engine_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/loads/loads/loadgen/stats"
)

// tcpServer serves each connection by f, and waits for all in the end.
func tcpServer(t *testing.T, f func(net.Conn)) (address string, open *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open = &atomic.Int64{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			serving.Go(func() {
				defer open.Add(-1)
				defer func() { _ = c.Close() }()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String(), open
}

// lines answers each line with ECHO and the line, until a line is bye.
func echoLines(c net.Conn) {
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil || line == "bye\r\n" {
			return
		}
		if _, err := io.WriteString(c, "ECHO "+line); err != nil {
			return
		}
	}
}

// talk is a benchmark of steps that ten users do at once.
func talk(steps string) string {
	return "name: b\nphases:\n- main: {atOnce: {users: 10, scenario: [{s: [" + steps + "]}]}}\n"
}

func TestTCP(t *testing.T) {
	address, open := tcpServer(t, echoLines)
	for _, c := range []struct {
		name, steps string
		want        stats.Counts
		in, out     int64 // of all users; below 0 is any
	}{
		{
			"a line", "{tcp: {connect: ADDRESS, send: \"a\\r\\n\", expect: {until: \"\\r\\n\", contains: a, handle: {store: x}}}}, " +
				"{tcp: {send: {pattern: \"${x}\"}, expect: {equals: \"ECHO ECHO a\\r\\n\"}, close: true}}",
			stats.Counts{Requests: 20, Responses: 20},
			10 * (8 + 13), 10 * (3 + 8),
		},
		{"a length", "{tcp: {connect: ADDRESS, send: \"abcdef\\r\\n\", expect: {length: 8}}}, {tcp: {expect: {length: 5, equals: \"def\\r\\n\"}}}", stats.Counts{Requests: 20, Responses: 20}, 130, 80},
		{"until it is closed", "{tcp: {connect: ADDRESS, send: \"a\\r\\nbye\\r\\n\", expect: {closed: true, equals: \"ECHO a\\r\\n\"}}}", stats.Counts{Requests: 10, Responses: 10}, 80, 80},
		{"a pattern", "{tcp: {connect: ADDRESS, send: \"a1\\r\\n\", expect: {matches: '[0-9]'}}}", stats.Counts{Requests: 10, Responses: 10}, 90, 40},
		{"another answer", "{tcp: {connect: ADDRESS, send: \"a\\r\\n\", expect: {until: \"\\r\\n\", contains: b}}}", stats.Counts{Requests: 10, Responses: 10, Invalid: 10}, 80, 30},
		{"a long answer", "{tcp: {connect: ADDRESS, send: \"aaaa\\r\\n\", expect: {until: \"\\r\\n\", maxSize: 5}}}", stats.Counts{Requests: 10, Responses: 10, Invalid: 10}, 110, 60},
		{"no answer", "{tcp: {connect: ADDRESS, send: a, expect: b, timeout: 100ms}}", stats.Counts{Requests: 10, Timeouts: 10}, -1, -1},
		{"closed too early", "{tcp: {connect: ADDRESS, send: \"bye\\r\\n\", expect: b}}", stats.Counts{Requests: 10, Connections: 10}, 0, 50},
		{"nobody listens", "{tcp: {connect: '127.0.0.1:1', send: a}}", stats.Counts{Requests: 10, Connections: 10}, 0, 0},
		{"no name", "{tcp: {connect: 'nowhere.invalid:1', send: a}}", stats.Counts{Requests: 10, Connections: 10}, 0, 0},
		{"two connections", "{tcp: {connection: one, connect: ADDRESS}}, {tcp: {connection: two, connect: ADDRESS}}, {tcp: {connection: one, send: \"1\\r\\n\", expect: \"1\"}}, " +
			"{tcp: {connection: two, send: \"2\\r\\n\", expect: \"2\"}}", stats.Counts{Requests: 40, Responses: 40}, 160, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustRun(t, t.Context(), config(t, "", strings.ReplaceAll(talk(c.steps), "ADDRESS", "'"+address+"'")))
			cell := mainCell(r, "s")
			if c.want.BytesIn, c.want.BytesOut = c.in, c.out; c.in < 0 { // as far as it came
				c.want.BytesIn, c.want.BytesOut = cell.BytesIn, cell.BytesOut
			}
			if cell.Counts != c.want || int64(cell.Latency.Count()) != c.want.Responses+c.want.Timeouts {
				t.Errorf("got %+v, %v latencies, want %+v; %+v %+v", cell.Counts, cell.Latency.Count(), c.want, r.Failures, r.Phases)
			}
			await(t, "all connections are closed", func() bool { return open.Load() == 0 })
		})
	}
}

func TestTCPOverTLS(t *testing.T) {
	server := secureServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	address := strings.TrimPrefix(server.URL, "https://")
	r := mustRun(t, t.Context(), config(t, "", talk("{tcp: {connect: '"+address+"', tls: true, send: \"GET / HTTP/1.0\\r\\n\\r\\n\", expect: {closed: true, contains: hello}}}")))
	if cell := mainCell(r, "s"); cell.Responses != 10 || cell.Invalid != 0 {
		t.Errorf("got %+v, %+v", cell.Counts, r.Failures)
	}
}

// Sessions that end give up what is under way, and their connections.
func TestConversationsEndWithTheirSessions(t *testing.T) {
	address, open := tcpServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	r := mustRun(t, t.Context(), config(t, "", "name: b\nphases:\n- main: {always: {users: 10, duration: 300ms, maxDuration: 300ms, scenario: [{s: [{tcp: {connect: '"+address+"', send: a, expect: b, timeout: 5m}}]}]}}\n"))
	if cell := mainCell(r, "s"); cell.Cancelled != 10 || cell.Requests != 10 {
		t.Errorf("got %+v, want ten that were cancelled", cell.Counts)
	}
	await(t, "all connections are closed", func() bool { return open.Load() == 0 })
}

// That a step makes it, but another before wants it, is known only in the run.
func TestConversationsWithoutAConnection(t *testing.T) {
	r := mustRun(t, t.Context(), config(t, "", talk("{tcp: {send: a}}, {tcp: {connect: '127.0.0.1:1'}}")))
	if why := strings.Join(r.Phases[0].Reasons, ""); !strings.Contains(why, "there is no connection tcp: a step before must connect") {
		t.Errorf("got %+v", r.Phases)
	}
}

// await waits until something has come true.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for tick := time.NewTicker(time.Millisecond); !f(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within five minutes", what)
		}
	}
}

// echoMessages is a WebSocket server that greets, and sends back what comes.
func echoMessages(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/chat" {
		http.NotFound(w, r)
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"talk"}})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	_ = c.Write(r.Context(), websocket.MessageText, []byte("welcome "+r.Header.Get("X-Me")+" "+c.Subprotocol()))
	for {
		kind, data, err := c.Read(r.Context())
		if err != nil || string(data) == "break" {
			return
		}
		if kind == websocket.MessageBinary {
			data = append([]byte("binary "), data...)
		}
		_ = c.Write(r.Context(), websocket.MessageText, data)
	}
}

func TestWebSocket(t *testing.T) {
	for _, server := range []*httptest.Server{httptest.NewServer(http.HandlerFunc(echoMessages)), secureServer(t, echoMessages, two)} {
		t.Cleanup(server.Close)
		for _, c := range []struct {
			name, steps string
			want        stats.Counts
			in, out     int64
		}{
			{
				"it greets", "{webSocket: {endpoint: shop, connect: /chat, headers: {X-Me: me}, subprotocols: [talk], expect: {equals: welcome me talk}}}, " +
					"{webSocket: {send: hello, expect: {equals: hello, handle: {store: x}}}}, {webSocket: {send: {pattern: '${x}!', binary: true}, expect: {equals: 'binary hello!'}, close: true}}",
				stats.Counts{Requests: 30, Responses: 30},
				10 * (15 + 5 + 13), 10 * (5 + 6),
			},
			{"messages before it", "{webSocket: {connect: 'URL/chat', send: hello, expect: {contains: hello, messages: 2}}}", stats.Counts{Requests: 10, Responses: 10}, 140, 50},
			{"too many before it", "{webSocket: {connect: 'URL/chat', send: hello, expect: hello}}", stats.Counts{Requests: 10, Responses: 10, Invalid: 10}, 90, 50},
			{"a long one", "{webSocket: {connect: 'URL/chat', expect: {maxSize: 5}}}", stats.Counts{Requests: 10, Responses: 10, Invalid: 10}, 0, 0},
			{"no WebSocket", "{webSocket: {connect: 'URL/other', expect: hello}}", stats.Counts{Requests: 10, Connections: 10}, 0, 0},
			{"it breaks", "{webSocket: {connect: 'URL/chat', send: break, expect: {contains: hello, messages: 9}}}", stats.Counts{Requests: 10, Connections: 10}, 90, 50},
			{"no answer", "{webSocket: {connect: 'URL/chat', expect: {contains: hello, messages: 9}, timeout: 100ms}}", stats.Counts{Requests: 10, Timeouts: 10}, -1, -1},
		} {
			t.Run(c.name, func(t *testing.T) {
				file := "http: {host: HOST, name: shop}\n" + talk(c.steps)
				r := mustRun(t, t.Context(), config(t, server.URL, strings.ReplaceAll(file, "URL", "ws"+strings.TrimPrefix(server.URL, "http"))))
				cell := mainCell(r, "s")
				if c.want.BytesIn, c.want.BytesOut = c.in, c.out; c.in < 0 { // as far as it came
					c.want.BytesIn, c.want.BytesOut = cell.BytesIn, cell.BytesOut
				}
				if cell.Counts != c.want {
					t.Errorf("got %+v, want %+v; %+v %+v", cell.Counts, c.want, r.Failures, r.Phases)
				}
			})
		}
	}
}
