//go:build linux

package h1_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// patience is how long a test waits for what is certain to come.
const patience = 5 * time.Minute

// bench is a loop with a pool of connections to a server.
type bench struct {
	t    *testing.T
	loop *loop.Loop
	pool *h1.Pool
}

// mustPool starts a loop with a pool, which end with the test.
func mustPool(t *testing.T, cfg h1.Config) *bench {
	t.Helper()
	l, err := loop.New()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t, l, h1.NewPool(l, cfg)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		b.on(b.pool.Close)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run the loop: %v", err)
		}
	})
	return b
}

// on calls f on the loop and waits for it.
func (b *bench) on(f func()) {
	b.t.Helper()
	done := make(chan struct{})
	b.loop.Post(func() { f(); close(done) })
	select {
	case <-done:
	case <-time.After(patience):
		b.t.Fatal("the loop hangs")
	}
}

// record is an exchange that notes what it is told.
type record struct {
	h1.Exchange
	b       *bench
	log     strings.Builder
	body    strings.Builder
	bytes   int64 // of the body
	status  int
	sent    int
	end     h1.End
	ended   chan struct{}
	discard bool
	onSent  func()
	onBody  func()
	onEnd   func()
}

func (r *record) OnSent(loop.Instant) {
	r.sent++
	if r.onSent != nil {
		r.onSent()
	}
}

func (r *record) OnStatus(code int) {
	r.status = code
	fmt.Fprintf(&r.log, "%d;", code)
}

func (r *record) OnHeader(name, value []byte) { fmt.Fprintf(&r.log, "%s=%s;", name, value) }

func (r *record) OnBody(piece []byte) {
	r.bytes += int64(len(piece))
	if !r.discard {
		r.body.Write(piece)
	}
	if r.onBody != nil {
		r.onBody()
	}
}

func (r *record) OnEnd(e h1.End) {
	r.end = e
	if r.onEnd != nil {
		r.onEnd()
	}
	close(r.ended)
}

// kind returns why the exchange failed.
func (r *record) kind() h1.Kind { return h1.KindOf(r.end.Err) }

// exchange returns a GET of / that has not begun.
func (b *bench) exchange(set ...func(*record)) *record {
	b.t.Helper()
	r := &record{b: b, ended: make(chan struct{})}
	r.Exchange = h1.Exchange{Request: mustRequest(b.t, "GET", nil), Handler: r, Timeout: patience}
	for _, f := range set {
		f(r)
	}
	return r
}

func mustRequest(t *testing.T, method string, body []byte) *h1.Request {
	t.Helper()
	r := &h1.Request{}
	r.Begin(method, []byte("/"), "server.test")
	if err := r.End(body); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin begins the exchange.
func (r *record) begin() *record {
	r.b.t.Helper()
	r.b.on(func() { r.b.pool.Do(&r.Exchange) })
	return r
}

// wait waits until the exchange has ended.
func (r *record) wait() *record {
	r.b.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.b.t.Fatal("the exchange does not end")
	}
	return r
}

// mustServe serves each connection by f, one after the other, numbered from
// 0, and returns the address. A connection is closed when f returns.
func mustServe(t *testing.T, f func(n int, c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	return serveOn(t, "127.0.0.1:0", f)
}

func serveOn(t *testing.T, address string, f func(n int, c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	served.Go(func() {
		for n := 0; ; n++ {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			served.Go(func() {
				defer c.Close()
				f(n, c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		served.Wait()
	})
	return netip.MustParseAddrPort(listener.Addr().String())
}

// readHead reads a request without a body; false at the end of the connection.
func readHead(c net.Conn) bool {
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); head.Write(b) {
		if _, err := c.Read(b); err != nil {
			return false
		}
	}
	return true
}

// answering serves answers to each request, and closes the connection behind
// the last, or, with none left, keeps it open until the client closes it.
func answering(answers ...string) func(int, *net.TCPConn) {
	return func(_ int, c *net.TCPConn) {
		for _, a := range answers {
			if !readHead(c) {
				return
			}
			_, _ = io.WriteString(c, a)
		}
	}
}

// forever answers each request in the same way.
func forever(answer string) func(int, *net.TCPConn) {
	return func(_ int, c *net.TCPConn) {
		for readHead(c) {
			_, _ = io.WriteString(c, answer)
		}
	}
}

// hello is a short answer.
const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

// to is a pool of up to n connections to an address.
func to(a netip.AddrPort, n int) h1.Config {
	return h1.Config{Addresses: []netip.AddrPort{a}, Max: n}
}

func TestAnswersAreReadHoweverTheyEnd(t *testing.T) {
	tests := []struct {
		name, method, answer string
		status               int
		body, log            string
		kept                 bool // the connection
	}{
		{name: "with a length", answer: hello, status: 200, body: "hello", log: "200;Content-Length=5;", kept: true},
		{name: "with a length and close", answer: "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nok", status: 200, body: "ok", log: "200;connection=x, Close;content-length=2;"},
		{name: "in chunks with trailers", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nSum: 13\r\n\r\n", status: 200, body: "abc0123456789", log: "200;Transfer-Encoding=chunked;Sum=13;", kept: true},
		{name: "with the connection", answer: "HTTP/1.1 404 \r\n\r\nnot there", status: 404, body: "not there", log: "404;"},
		{name: "of HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", log: "200;Content-Length=2;"},
		{name: "of HTTP/1.0 kept alive", answer: "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", log: "200;Connection=Keep-Alive;Content-Length=2;", kept: true},
		{name: "after answers that come before", answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 7\r\n\r\n" + hello, status: 200, body: "hello", log: "200;Content-Length=5;", kept: true},
		{name: "to HEAD", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", status: 200, log: "200;Content-Length=500;", kept: true},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 500\r\n\r\n", status: 204, log: "204;Content-Length=500;", kept: true},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", status: 304, log: "304;ETag=\"x\";", kept: true},
		{name: "without a body", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", status: 200, log: "200;Content-Length=0;", kept: true},
		{name: "with bare line feeds", answer: "HTTP/1.1 200\nContent-Length: 2\n\nok", status: 200, body: "ok", log: "200;Content-Length=2;", kept: true},
		{name: "with an encoding that is none of ours", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nzzz", status: 200, body: "zzz", log: "200;Transfer-Encoding=gzip;"},
		{name: "with both a length and chunks", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", status: 200, body: "x", log: "200;Content-Length=2;Transfer-Encoding=chunked;"},
	}
	for _, tt := range tests {
		for _, slow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, byte by byte %v", tt.name, slow), func(t *testing.T) {
				b := mustPool(t, to(mustServe(t, func(_ int, c *net.TCPConn) {
					_ = c.SetNoDelay(true)
					for readHead(c) {
						if !slow {
							_, _ = io.WriteString(c, tt.answer)
						}
						for i := 0; slow && i < len(tt.answer); i++ {
							_, _ = io.WriteString(c, tt.answer[i:i+1])
							runtime.Gosched()
						}
						if !tt.kept {
							return
						}
					}
				}), 1))
				var r *record
				for range 2 {
					r = b.exchange(func(r *record) { r.Headers = true })
					if tt.method != "" {
						r.Request = mustRequest(t, tt.method, nil)
					}
					r.begin().wait()
					if r.end.Err != nil || r.status != tt.status || r.body.String() != tt.body || r.log.String() != tt.log {
						t.Errorf("got error %v, status %d, body %q, %q", r.end.Err, r.status, r.body.String(), r.log.String())
					}
					if r.end.BytesIn != int64(len(tt.answer)) || r.end.BytesOut != int64(r.Request.Size()) || r.sent != 1 {
						t.Errorf("counted %d in, %d out, %d sent", r.end.BytesIn, r.end.BytesOut, r.sent)
					}
				}
				want := uint64(2)
				if tt.kept {
					want = 1
				}
				b.on(func() {
					if s := b.pool.Stats(); s.Opened != want {
						t.Errorf("made %d connections, want %d", s.Opened, want)
					}
				})
			})
		}
	}
}

func TestBadServersAreNamed(t *testing.T) {
	reset := func(_ int, c *net.TCPConn, before string) {
		readHead(c)
		_, _ = io.WriteString(c, before)
		_ = c.SetLinger(0)
	}
	untilClosed := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	tests := []struct {
		name  string
		serve func(int, *net.TCPConn)
		want  h1.Kind
	}{
		{"closes at once", func(int, *net.TCPConn) {}, h1.Reset},
		{"closes after the request", answering(""), h1.Reset},
		{"closes within the head", answering("HTTP/1.1 200 OK\r\nConte"), h1.Reset},
		{"closes within the body", answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell"), h1.Reset},
		{"closes within a chunk", answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell"), h1.Reset},
		{"resets at once", func(n int, c *net.TCPConn) { reset(n, c, "") }, h1.Reset},
		{"resets within the body", func(n int, c *net.TCPConn) { reset(n, c, hello[:len(hello)-1]) }, h1.Reset},
		{"never answers", func(_ int, c *net.TCPConn) { untilClosed(c) }, h1.Timeout},
		{"never ends its answer", func(_ int, c *net.TCPConn) {
			for readHead(c) {
				for _, err := io.WriteString(c, hello[:len(hello)-2]); err == nil; _, err = c.Read(make([]byte, 1)) {
				}
			}
		}, h1.Timeout},
		{"sends garbage", forever("\x16\x03\x01 what is this\r\n\r\n"), h1.Malformed},
		{"sends garbage without lines", forever(strings.Repeat("x", 100<<10)), h1.Malformed},
		{"has a status that is none", forever("HTTP/1.1 2x0 OK\r\n\r\n"), h1.Malformed},
		{"has HTTP/2", forever("HTTP/2 200 OK\r\n\r\n"), h1.Malformed},
		{"has huge headers", forever("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 100) + "\r\n"), h1.Malformed},
		{"has one huge header", forever("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 100<<10) + "\r\n\r\n"), h1.Malformed},
		{"has a header without a name", forever("HTTP/1.1 200 OK\r\n: b\r\n\r\n"), h1.Malformed},
		{"folds headers", forever("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"), h1.Malformed},
		{"has two lengths", forever("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), h1.Malformed},
		{"has a length that is none", forever("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), h1.Malformed},
		{"has a length that is too long", forever("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"), h1.Malformed},
		{"has a chunk size that is none", forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), h1.Malformed},
		{"has a chunk that is too long", forever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n"), h1.Malformed},
		{"sends answers that come before without end", func(_ int, c *net.TCPConn) {
			for readHead(c) {
				for err := error(nil); err == nil; _, err = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n") {
				}
			}
		}, h1.Malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := mustPool(t, to(mustServe(t, tt.serve), 1))
			r := b.exchange(func(r *record) {
				if tt.want == h1.Timeout {
					r.Timeout = 30 * time.Millisecond
				}
			}).begin().wait()
			if r.kind() != tt.want || r.end.Err.Error() == "" {
				t.Errorf("got %v (%v), want %v", r.kind(), r.end.Err, tt.want)
			}
			b.on(func() {
				if s := b.pool.Stats(); s.Connections != 0 || s.Busy != 0 || s.Waiting != 0 {
					t.Errorf("left %+v", s)
				}
			})
		})
	}
}

// quiet is a handler that takes no notice of what comes before the end.
type quiet struct{}

func (quiet) OnSent(loop.Instant)  {}
func (quiet) OnStatus(int)         {}
func (quiet) OnHeader(_, _ []byte) {}
func (quiet) OnBody([]byte)        {}
