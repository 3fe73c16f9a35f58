//go:build linux

package h2

// http.ClientConn, by which this library is to be replaced, says neither how many
// streams a server allows nor that it goes away, which a pool has to know.
//
//lint:file-ignore SA1019 see above

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// Pool is the connections of one loop to one endpoint. Its config is that of
// HTTP/1.1; with TLS it must name the protocol h2.
type Pool struct {
	loop    *loop.Loop
	cfg     h1.Config
	streams int // most on a connection
	library *http2.Transport

	conns   []*conn
	dialing int
	waiting []*Exchange // for a connection
	under   map[*stream]struct{}
	turn    int // of the addresses
	closed  bool
	ready   func(error)
	stats   h1.Stats

	ctx     context.Context // ends the attempts to connect
	stop    context.CancelFunc
	running sync.WaitGroup // streams, and attempts to connect
}

// conn is one connection.
type conn struct {
	to     netip.AddrPort
	client *http2.ClientConn
	active int // streams
	hold   *Hold
	last   bool // is to be closed behind its streams
	used   bool // has carried an answer
}

// headMost bounds the headers of an answer, as with HTTP/1.1.
const headMost = 64 << 10

// connectTimeout is that of an attempt to connect, as with HTTP/1.1.
const connectTimeout = 10 * time.Second

// NewPool returns a pool without connections, each of which is to carry so many
// streams at once, if the server allows as many.
func NewPool(l *loop.Loop, cfg h1.Config, streams int) *Pool {
	cfg.Max = max(cfg.Max, 1)
	cfg.Min = min(cfg.Min, cfg.Max)
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.NoReuse {
		streams = 1
	}
	p := &Pool{loop: l, cfg: cfg, streams: max(1, streams), under: map[*stream]struct{}{}}
	p.library = &http2.Transport{DisableCompression: true, IdleConnTimeout: cfg.IdleTimeout, MaxHeaderListSize: headMost}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

func (p *Pool) scheme() string {
	if p.cfg.TLS != nil {
		return "https"
	}
	return "http"
}

// Open makes the first Min connections, and calls ready once: when they are
// there, or when an attempt has failed.
func (p *Pool) Open(ready func(error)) {
	p.ready = ready
	for len(p.conns)+p.dialing < p.cfg.Min {
		p.dial()
	}
	p.tellReady(nil)
}

func (p *Pool) tellReady(err error) {
	if ready := p.ready; ready != nil && (err != nil || len(p.conns) >= p.cfg.Min) {
		p.ready = nil
		ready(err)
	}
}

// Do carries out an exchange: on the connection that has the fewest streams, of
// those with room; else on one that is made, as long as there are less than Max;
// else when there is room, first come first served.
func (p *Pool) Do(x *Exchange) {
	x.asked = p.loop.Now()
	x.sent, x.waiting, x.tries = x.asked, true, 0
	p.waiting = append(p.waiting, x)
	if p.closed {
		p.loop.Post(func() { p.end(x, h1.ErrClosed) })
		return
	}
	p.serve()
	if x.waiting {
		p.stats.Delayed++
	}
}

// serve gives waiting exchanges to connections, and makes those that are missing.
func (p *Pool) serve() {
	p.waiting = slices.DeleteFunc(p.waiting, func(x *Exchange) bool {
		if !x.waiting {
			return true
		}
		c := p.pick(x)
		if c != nil {
			p.start(c, x)
		}
		return c != nil
	})
	// A connection has room for several of those that share it.
	shared, alone := 0, 0
	for _, x := range p.waiting {
		if x.Hold != nil {
			alone++
		} else {
			shared++
		}
	}
	wanted := alone + (shared+p.streams-1)/p.streams
	for !p.closed && p.dialing < wanted && len(p.conns)+p.dialing < p.cfg.Max {
		p.dial()
	}
}

// pick returns a connection that has room for the exchange, nil if there is none.
func (p *Pool) pick(x *Exchange) (best *conn) {
	if x.Hold != nil && x.Hold.conn != nil {
		if c := x.Hold.conn; p.hasRoom(c) {
			return c
		} else if slices.Contains(p.conns, c) {
			return nil // it waits for the connection that it has
		}
	}
	for i := len(p.conns) - 1; i >= 0; i-- {
		c := p.conns[i]
		switch {
		case !p.hasRoom(c), c.hold != nil, x.Hold != nil && c.active > 0:
		case best == nil || c.active < best.active:
			best = c
		}
	}
	return best
}

// hasRoom reports whether a connection can carry another stream. One that the
// server has ended is closed.
func (p *Pool) hasRoom(c *conn) bool {
	if c.last || c.active >= p.streams {
		return false
	}
	s := c.client.State()
	if s.Closed || s.Closing {
		p.leave(c)
		return false
	}
	return s.MaxConcurrentStreams == 0 || c.active < int(s.MaxConcurrentStreams)
}

// leave closes a connection behind its streams.
func (p *Pool) leave(c *conn) {
	c.last = true
	if c.active > 0 {
		return
	}
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
		p.stats.Closed++
		_ = c.client.Close()
	}
	if c.hold != nil {
		c.hold.conn, c.hold = nil, nil
	}
}

// leaveStream parts an exchange from its stream.
func (p *Pool) leaveStream(s *stream) {
	x := s.x
	s.x, x.stream = nil, nil
	delete(p.under, s)
	p.loop.Stop(&x.timer)
	s.conn.active--
}

// finish ends an exchange that has a stream.
func (p *Pool) finish(s *stream, end h1.End) {
	x, c := s.x, s.conn
	p.leaveStream(s)
	if c.last || p.cfg.NoReuse {
		p.leave(c)
	}
	p.serve()
	x.Handler.OnEnd(end)
}

// end ends an exchange that is under way.
func (p *Pool) end(x *Exchange, err error) {
	at := p.loop.Now()
	if s := x.stream; s != nil {
		s.cancel()
		s.tellSent()
		if s.x != nil {
			p.finish(s, h1.End{At: at, Err: err, BytesIn: s.in, BytesOut: s.out})
		}
		return
	}
	if x.waiting {
		x.waiting, x.sent = false, at
		if i := slices.Index(p.waiting, x); i >= 0 {
			p.waiting = slices.Delete(p.waiting, i, i+1)
		}
		x.Handler.OnEnd(h1.End{At: at, Err: err})
	}
}

// Cancel ends an exchange that is under way, if it is, with Cancelled. Its
// connection stays.
func (p *Pool) Cancel(x *Exchange) { p.end(x, h1.ErrCancelled) }

// Release gives a hold's connection back to the pool, or closes it.
func (p *Pool) Release(h *Hold, closing bool) {
	c := h.conn
	if c == nil {
		return
	}
	h.conn, c.hold = nil, nil
	if closing {
		p.leave(c)
	}
	p.serve()
}

// SetAddresses changes where new connections go to; at least one address.
func (p *Pool) SetAddresses(a []netip.AddrPort) { p.cfg.Addresses = a }

// Stats returns the pool's counters and gauges.
func (p *Pool) Stats() h1.Stats {
	s := p.stats
	s.Connections, s.Waiting = len(p.conns), len(p.waiting)
	for _, c := range p.conns {
		if c.active > 0 {
			s.Busy++
		}
	}
	return s
}

// Close closes all connections. Exchanges under way end with Cancelled, and so
// do all that follow.
func (p *Pool) Close() {
	p.closed = true
	p.stop()
	for _, x := range slices.Clone(p.waiting) {
		p.end(x, h1.ErrClosed)
	}
	for s := range p.under {
		if s.x != nil {
			p.end(s.x, h1.ErrClosed)
		}
	}
	for _, c := range slices.Clone(p.conns) {
		p.leave(c)
	}
	p.running.Wait() // streams don't wait for the loop once they are given up
}

// dial begins to make a connection.
func (p *Pool) dial() {
	to := p.cfg.Addresses[p.turn%len(p.cfg.Addresses)]
	p.turn++
	p.dialing++
	p.running.Go(func() {
		client, err := p.connect(to)
		p.loop.Post(func() { p.dialed(&conn{to: to, client: client}, err) })
	})
}

// connect makes a connection, in a goroutine.
func (p *Pool) connect(to netip.AddrPort) (*http2.ClientConn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.ConnectTimeout)
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
	cancel()
	if err != nil {
		return nil, h1.NewError("connect", err, h1.Unreachable)
	}
	c := raw
	if p.cfg.TLS != nil {
		secure, err := Handshake(p.ctx, raw, p.cfg.TLS, p.cfg.HandshakeTimeout)
		if err != nil {
			return nil, err
		}
		if got := secure.ConnectionState().NegotiatedProtocol; got != http2.NextProtoTLS {
			_ = secure.Close()
			return nil, &h1.Error{Kind: h1.Handshake, Err: fmt.Errorf("the server at %s does not speak HTTP/2", to)}
		}
		c = secure
	}
	client, err := p.library.NewClientConn(c)
	if err != nil {
		_ = c.Close()
		return nil, h1.NewError("begin HTTP/2 with "+to.String(), err, h1.Reset)
	}
	return client, nil
}

// Handshake sets up TLS on a connection, and closes that otherwise.
func Handshake(ctx context.Context, raw net.Conn, cfg *tls.Config, timeout time.Duration) (*tls.Conn, error) {
	if timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = limited
	}
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		kind := h1.Handshake
		if errors.Is(err, context.Canceled) {
			kind = h1.Cancelled
		}
		return nil, &h1.Error{Kind: kind, Err: fmt.Errorf("set up TLS with %s: %w", raw.RemoteAddr(), err)}
	}
	return c, nil
}

// dialed takes notice of what has become of an attempt to connect. If it is
// missed by an exchange, that fails too.
func (p *Pool) dialed(c *conn, err error) {
	p.dialing--
	switch {
	case p.closed:
		if c.client != nil {
			_ = c.client.Close()
		}
		return
	case err != nil:
		p.stats.Failed++
		if len(p.waiting) > 0 {
			p.end(p.waiting[0], err)
		}
	default:
		p.stats.Opened++
		p.conns = append(p.conns, c)
	}
	p.tellReady(err)
	p.serve()
}
