package engine_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/stats"
)

// two makes a server speak HTTP/2 over TLS, and HTTP/1.1.
func two(s *httptest.Server) { s.EnableHTTP2 = true }

// clearTwo is a server of HTTP/2 without TLS.
func clearTwo(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// allProtocols are the ways to an HTTP server, by what the endpoint says.
var allProtocols = []struct {
	name, endpoint string
	major          int
	server         func(*testing.T, http.HandlerFunc) *httptest.Server
}{
	{"the server chooses HTTP/2", "", 2, func(t *testing.T, f http.HandlerFunc) *httptest.Server { return secureServer(t, f, two) }},
	{"the server chooses HTTP/1.1", "", 1, func(t *testing.T, f http.HandlerFunc) *httptest.Server { return secureServer(t, f) }},
	{"HTTP/1.1 over TLS", ", allowHttp2: false", 1, func(t *testing.T, f http.HandlerFunc) *httptest.Server { return secureServer(t, f, two) }},
	{"HTTP/2 over TLS", ", allowHttp1x: false", 2, func(t *testing.T, f http.HandlerFunc) *httptest.Server { return secureServer(t, f, two) }},
	{"HTTP/2 without TLS", ", directHttp2: true", 2, clearTwo},
	{"HTTP/2 only, without TLS", ", allowHttp1x: false", 2, clearTwo},
}

func TestAllProtocolsDoTheSame(t *testing.T) {
	for _, c := range allProtocols {
		for _, strategy := range []string{"SHARED_POOL", "SESSION_POOLS", "OPEN_ON_REQUEST", "ALWAYS_NEW"} {
			t.Run(c.name+" "+strategy, func(t *testing.T) {
				var right atomic.Int64
				server := c.server(t, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					if r.ProtoMajor == c.major && r.Header.Get("X-Own") == "mine" && r.UserAgent() != "Go-http-client/2.0" &&
						(r.Method == "GET" || string(body) == "id=7") && (r.Method == "POST" || r.URL.RawQuery == "q=%20a") {
						right.Add(1)
					}
					w.Header().Set("X-Id", "7")
					if r.Method == "POST" {
						w.WriteHeader(http.StatusNotFound)
					}
					_, _ = io.WriteString(w, `{"id": "text"}`)
				})
				r := mustRun(t, t.Context(), config(t, server.URL, `
name: b
http: {host: HOST, sharedConnections: 4, connectionStrategy: `+strategy+c.endpoint+`}
phases:
- main:
    atOnce:
      users: 10
      scenario:
      - s:
        - httpRequest:
            GET: /a/b?q=%20a
            headers: {X-Own: mine}
            sla: {blockedRatio: 1}
            handler:
              header: {filter: {header: X-Id, processor: {store: id}}}
              body: {json: {query: .id, toVar: text}}
        - httpRequest: {POST: /, headers: {X-Own: mine}, metric: '${text}', body: 'id=${id}', sla: {blockedRatio: 1}}
`))
				get, post := mainCell(r, "s"), r.Totals.Find(stats.Key{Phase: "main", Metric: "${text}"})
				if post == nil {
					t.Fatalf("got no second metric, %+v", r.Failures)
				}
				if get.Responses != 10 || get.Class(2) != 10 || post.Responses != 10 || post.Class(4) != 10 || post.Invalid != 10 || right.Load() != 20 {
					t.Errorf("got %+v and %+v, %d right requests, %+v", get.Counts, post.Counts, right.Load(), r.Failures)
				}
				if get.Service.Count() != 10 || get.Service.Max() > get.Latency.Max() || get.BytesIn < 10*10 || get.BytesOut < 10*10 {
					t.Errorf("got %+v, %v service times", get.Counts, get.Service.Count())
				}
			})
		}
	}
}

func TestStreamsOfAConnection(t *testing.T) {
	const room = 8 // two streams on each of four connections
	var busy, most atomic.Int64
	full := make(chan struct{})
	server := clearTwo(t, func(_ http.ResponseWriter, r *http.Request) {
		n := busy.Add(1)
		defer busy.Add(-1)
		for old := most.Load(); n > old; old = most.Load() {
			if most.CompareAndSwap(old, n) && n == room {
				close(full)
			}
		}
		select {
		case <-full:
		case <-r.Context().Done():
		}
	})
	r := mustRun(t, t.Context(), config(t, server.URL, strings.NewReplacer("EXTRA", ", allowHttp1x: false, maxHttp2Streams: 2, requestTimeout: 1m", ", allowHttp2: false", "", "users: 10", "users: 24").Replace(secure)))
	if cell := mainCell(r, "s"); cell.Responses != 24 || most.Load() != room || cell.Blocked.Max() == 0 {
		t.Errorf("got %+v, %d at once, blocked for %v ms, want 8 at once", cell.Counts, most.Load(), cell.Blocked.Max())
	}
}

func TestFailuresOfHTTP2AreToldApart(t *testing.T) {
	server := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/unavailable":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/reset":
			panic(http.ErrAbortHandler) // the stream is reset
		case "/silent":
			<-r.Context().Done() // until it is given up
		case "/close":
			w.Header().Set("Connection", "close") // GOAWAY
		}
	}, two)
	var sequences []string // of each user, at once
	for _, path := range []string{"fine", "unavailable", "reset", "silent, timeout: 1s", "close"} {
		name, _, _ := strings.Cut(path, ",")
		sequences = append(sequences, "{"+name+": [{httpRequest: {GET: /"+path+", metric: s, sla: {blockedRatio: 1}}}]}")
	}
	r := mustRun(t, t.Context(), config(t, server.URL, "name: b\nhttp: {host: HOST, sharedConnections: 4, requestTimeout: 2m}\nergonomics: {stopOnInvalid: false}\nphases:\n"+
		"- main: {atOnce: {users: 10, scenario: {initialSequences: ["+strings.Join(sequences, ", ")+"]}}}\n"))
	cell := mainCell(r, "s")
	want := stats.Counts{Requests: 50, Responses: 30, Invalid: 10, Timeouts: 10, Connections: 10, BytesIn: cell.BytesIn, BytesOut: cell.BytesOut}
	if cell.Counts != want || cell.Class(5) != 10 || cell.Class(2) != 20 {
		t.Errorf("got %+v, %v, want %+v; %+v", cell.Counts, cell.Statuses, want, r.Failures)
	}
}

func TestLongAnswersOfHTTP2TakeNoMemory(t *testing.T) {
	const size = 256 << 20
	server := secureServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, zeros{}, size) }, two)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := mustRun(t, t.Context(), config(t, server.URL, strings.NewReplacer("EXTRA", ", requestTimeout: 5m", ", allowHttp2: false", "", "users: 10", "users: 1").Replace(secure)))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if cell := mainCell(r, "s"); cell.Responses != 1 || cell.BytesIn < size {
		t.Errorf("got %+v, %+v", cell.Counts, r.Failures)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
}

func TestRunsOfHTTP2EndEarly(t *testing.T) {
	server := secureServer(t, slow(5*time.Minute), two)
	r := mustRun(t, t.Context(), config(t, server.URL, "name: b\nhttp: {host: HOST, sharedConnections: 2, maxHttp2Streams: 4}\nphases:\n"+
		"- main: {always: {users: 20, duration: 300ms, maxDuration: 300ms, scenario: [{s: [{httpRequest: {GET: /, timeout: 5m}}]}]}}\n"))
	if cell := mainCell(r, "s"); cell.Cancelled != 20 || cell.Requests != 20 {
		t.Errorf("got %+v, want 20 cancelled requests", cell.Counts)
	}
}

// A connection that had been used, and is closed before it answers, was stale.
func TestStaleConnectionsOfHTTP2AreNamed(t *testing.T) {
	var server *httptest.Server
	first := make(chan bool, 1)
	first <- true
	started := make(chan bool)
	server = secureServer(t, func(http.ResponseWriter, *http.Request) {
		select {
		case <-first:
		default:
			<-started
			server.CloseClientConnections()
		}
	}, func(s *httptest.Server) { s.EnableHTTP2 = true })
	close(started) // now the server is known to its handler
	r := mustRun(t, t.Context(), config(t, server.URL, "name: b\nhttp: {host: HOST, requestTimeout: 2m}\nergonomics: {stopOnInvalid: false}\nphases:\n- main: {atOnce: {users: 1, scenario: [{s: [{httpRequest: {GET: /a}}, {httpRequest: {GET: /b}}]}]}}\n"))
	if cell := mainCell(r, "s"); cell.Responses != 1 || cell.Connections != 1 || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].What, "had been used before") {
		t.Errorf("got %+v, %+v, want one answer and one connection that was used before", cell.Counts, r.Failures)
	}
}

// Headers without end are no answer, whatever the protocol.
func TestHeadersHaveAnEnd(t *testing.T) {
	for _, c := range allProtocols {
		t.Run(c.name, func(t *testing.T) {
			server := c.server(t, func(w http.ResponseWriter, r *http.Request) {
				n := 100
				if r.URL.Path == "/long" {
					n = 1000
				}
				for i := range n {
					w.Header().Add("X-Long", strings.Repeat("x", 100+i%10))
				}
			})
			r := mustRun(t, t.Context(), config(t, server.URL, "name: b\nhttp: {host: HOST, requestTimeout: 2m"+c.endpoint+"}\nergonomics: {stopOnInvalid: false}\n"+
				"phases:\n- main: {atOnce: {users: 1, scenario: [{s: [{httpRequest: {GET: /}}, {httpRequest: {GET: /long}}, {httpRequest: {GET: /}}]}]}}\n"))
			if cell := mainCell(r, "s"); cell.Responses != 2 || cell.Connections != 1 || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].What, "header") {
				t.Errorf("got %+v, %+v, want two answers and one with too many headers", cell.Counts, r.Failures)
			}
		})
	}
}
