//go:build linux

package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// batchSize is how much of a body is told at once.
const batchSize = 64 << 10

// buffers are those of bodies.
var buffers = sync.Pool{New: func() any { b := make([]byte, batchSize); return &b }}

// stream is one exchange on a connection. The goroutine of its run has fields of
// its own; when the exchange was given up, what it still tells is not heard.
type stream struct {
	x      *Exchange // nil: given up; of the loop
	conn   *conn
	cancel context.CancelFunc
	sent   atomic.Int64 // instant, 0 before
	told   bool         // OnSent was called; of the loop
	in     int64        // bytes that were told; of the loop
	out    int64
}

// batch is what a stream tells at once, in this order.
type batch struct {
	status  int
	header  http.Header
	body    []byte
	trailer http.Header
	ended   bool
	at      loop.Instant
	err     error
	heard   chan struct{} // closed afterwards; nil if nobody waits
}

// start sends an exchange on a connection.
func (p *Pool) start(c *conn, x *Exchange) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{x: x, conn: c, cancel: cancel, out: x.Request.size}
	x.stream, x.waiting, x.sent = s, false, p.loop.Now()
	c.active++
	p.under[s] = struct{}{}
	if x.Hold != nil && c.hold == nil {
		c.hold, x.Hold.conn = x.Hold, c
	}
	p.stats.LongestWait = max(p.stats.LongestWait, x.Blocked())
	if x.Timeout > 0 {
		x.timer.Fire = func() { p.end(x, h1.ErrTimeout) }
		p.loop.Set(&x.timer, x.sent.Add(x.Timeout))
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { s.sent.Store(int64(loop.Now())) }})
	request := &http.Request{
		Method: x.Request.method, URL: x.Request.url(p.scheme()), Host: x.Request.host,
		Header: x.Request.header, ContentLength: int64(len(x.Request.body)),
	}
	if len(x.Request.body) > 0 {
		request.Body = io.NopCloser(bytes.NewReader(x.Request.body))
	}
	wantHeader := x.Headers
	p.running.Go(func() {
		defer cancel()
		p.run(ctx, s, request.WithContext(ctx), wantHeader)
	})
}

// run is the goroutine of a stream.
func (p *Pool) run(ctx context.Context, s *stream, request *http.Request, wantHeader bool) {
	response, err := s.conn.client.RoundTrip(request)
	if err != nil {
		p.post(s, &batch{ended: true, at: loop.Now(), err: err})
		return
	}
	defer func() { _ = response.Body.Close() }()
	b := &batch{status: response.StatusCode}
	if wantHeader {
		b.header = response.Header
	}
	space, _ := buffers.Get().(*[]byte)
	for {
		for err == nil && len(b.body) < batchSize {
			var n int
			n, err = response.Body.Read((*space)[len(b.body):])
			b.body = (*space)[:len(b.body)+n]
		}
		if b.heard = make(chan struct{}); err != nil {
			b.ended, b.at = true, loop.Now()
			if b.err = err; errors.Is(err, io.EOF) {
				b.err = nil
			}
			if wantHeader {
				b.trailer = response.Trailer
			}
		}
		if !p.post(s, b) {
			return
		}
		select {
		case <-b.heard:
		case <-ctx.Done():
			return // the loop may be reading the buffer, which is left to it
		}
		if b.ended {
			buffers.Put(space)
			return
		}
		b = &batch{}
	}
}

// post has a batch told on the loop, false if that has ended.
func (p *Pool) post(s *stream, b *batch) bool {
	return p.loop.Post(func() {
		if s.x != nil {
			p.tell(s, b)
		}
		if b.heard != nil {
			close(b.heard)
		}
	})
}

// againMost is how often an exchange is sent that servers haven't processed.
const againMost = 10

// isUnprocessed reports whether the server has said that it did nothing with a
// request: it closes the connection behind earlier ones (GOAWAY), or has
// refused the stream. The library has no names for the first two.
func isUnprocessed(err error) bool {
	var refused http2.StreamError
	if errors.As(err, &refused) {
		return refused.Code == http2.ErrCodeRefusedStream
	}
	switch err.Error() {
	case "http2: Transport received Server's graceful shutdown GOAWAY", "http2: client conn not usable":
		return true
	}
	return false
}

// again has an exchange wait for another connection, as the protocol wants it,
// unless that has been done too often.
func (p *Pool) again(s *stream) bool {
	x, c := s.x, s.conn
	if x.tries++; x.tries > againMost {
		return false
	}
	p.leaveStream(s)
	x.waiting = true
	p.waiting = slices.Insert(p.waiting, 0, x)
	if s := c.client.State(); s.Closing || s.Closed {
		p.leave(c)
	}
	p.serve()
	return true
}

// tell tells a batch to the exchange's handler, which may give it up meanwhile.
func (p *Pool) tell(s *stream, b *batch) {
	h := s.x.Handler
	if b.err != nil && s.in == 0 && b.status == 0 && isUnprocessed(b.err) && p.again(s) {
		return
	}
	if b.status != 0 {
		// An answer may be told of before the library tells that the request has left.
		s.sent.CompareAndSwap(0, int64(s.x.sent))
	}
	s.tellSent()
	if b.status != 0 && s.x != nil {
		s.in += 3
		s.conn.used = true
		h.OnStatus(b.status)
	}
	s.tellHeader(b.header)
	if len(b.body) > 0 && s.x != nil {
		s.in += int64(len(b.body))
		h.OnBody(b.body)
	}
	s.tellHeader(b.trailer)
	if b.ended && s.x != nil {
		var err error
		if b.err != nil {
			err = p.failure(s, b.err)
		}
		p.finish(s, h1.End{At: b.at, Err: err, BytesIn: s.in, BytesOut: s.out})
	}
}

// failure says why a stream has failed: one on a connection that had been used
// before, and that closed before an answer came, was stale.
func (p *Pool) failure(s *stream, err error) error {
	failed := h1.NewError("exchange a request over HTTP/2 with "+s.conn.to.String(), err, h1.Reset)
	var ofStream http2.StreamError
	if failed.Kind == h1.Reset && s.in == 0 && s.conn.used && !errors.As(err, &ofStream) {
		p.stats.Stale++
		return h1.ErrStale
	}
	return failed
}

func (s *stream) tellSent() {
	if at := loop.Instant(s.sent.Load()); at != 0 && !s.told {
		s.told = true
		s.x.Handler.OnSent(max(at, s.x.sent))
	}
}

func (s *stream) tellHeader(header http.Header) {
	for name, values := range header {
		for _, value := range values {
			if s.x == nil {
				return
			}
			s.in += int64(len(name) + len(value))
			s.x.Handler.OnHeader([]byte(name), []byte(value))
		}
	}
}
