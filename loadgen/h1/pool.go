//go:build linux

package h1

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/loads/loads/loadgen/loop"
	"golang.org/x/sys/unix"
)

// Config says how a pool is to connect.
type Config struct {
	Addresses        []netip.AddrPort // connections are divided among them; at least one
	Min              int              // connections to make by Open, and to keep
	Max              int              // most connections at once, those of holds included
	Spare            int              // how many more than in use are to be kept open, up to Max
	IdleTimeout      time.Duration    // after which a connection above Min that was not used is closed; 0 is never
	ConnectTimeout   time.Duration    // of one attempt; 0 is ten seconds
	TLS              *tls.Config      // nil is none; it must name HTTP/1.1, or no protocol
	HandshakeTimeout time.Duration    // of setting up TLS; 0 is none

	NoReuse bool // a connection carries one exchange only
}

// Stats are counters of a pool, since its beginning, and gauges.
type Stats struct {
	Opened, Closed, Failed uint64 // connections made, closed by either side, and attempts that failed
	Stale                  uint64 // exchanges that failed since a used connection was just being closed
	Delayed                uint64 // exchanges that waited for a connection
	LongestWait            time.Duration

	Connections int // open
	Busy        int // of them, with an exchange under way
	Waiting     int // exchanges that wait for a connection
}

// fillPause is how long a pool waits after an attempt to connect that nobody
// waits for has failed, before it makes another.
const fillPause = 50 * time.Millisecond

// Pool is the connections of one loop to one endpoint.
type Pool struct {
	loop     *loop.Loop
	cfg      Config
	buffer   []byte // into which all connections are read
	arrivals arrivals
	turn     int // of the addresses
	closed   bool

	conns          []*conn
	newest, oldest *conn // that are idle
	idle           int
	connecting     int
	busy           int

	waiting   queue // for a connection
	failed    queue // to be told so by failTimer
	failTimer loop.Timer
	idleTimer loop.Timer // for the oldest idle connection
	fillTimer loop.Timer // armed while filling pauses
	filling   bool       // Open was called: Min and Spare are kept
	ready     func(error)

	handshakes sync.WaitGroup

	stats    Stats
	failures map[failure]*Error
}

// failure tells errors of the kernel apart.
type failure struct {
	doing string
	to    netip.AddrPort
	errno unix.Errno
}

// NewPool returns a pool without connections.
func NewPool(l *loop.Loop, cfg Config) *Pool {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	cfg.Max = max(cfg.Max, 1)
	cfg.Min = min(cfg.Min, cfg.Max)
	p := &Pool{loop: l, cfg: cfg, buffer: make([]byte, bufferSize), failures: map[failure]*Error{}}
	p.failTimer.Fire = p.tellFailed
	p.idleTimer.Fire = p.dropIdle
	p.fillTimer.Fire = p.grow
	return p
}

// Open makes the first Min connections, and from then on more when there are
// less, or less than Spare of them idle. It calls ready once: when Min are there, or when an
// attempt has failed.
func (p *Pool) Open(ready func(error)) {
	p.filling, p.ready = true, ready
	p.grow()
	p.tellReady(nil)
}

// Do carries out an exchange: on a connection that is free, else on one that is
// made, as long as there are less than Max, else when one becomes free, first
// come first served. The exchange's handler is told what becomes of it. An
// attempt to connect that was made since exchanges waited, and fails, ends the
// one of them that has waited longest.
func (p *Pool) Do(x *Exchange) {
	x.asked = p.loop.Now()
	x.sent = x.asked
	if p.closed {
		p.failLater(x, errClosed)
		return
	}
	if c := x.Hold.free(); c != nil {
		p.carry(c, x)
		return
	}
	if c := p.newest; c != nil {
		p.leaveIdle(c)
		p.carry(c, x)
		return
	}
	p.stats.Delayed++
	p.waiting.push(x)
	p.grow()
}

// Cancel ends an exchange that is under way, if it is, with Cancelled; its
// connection is closed. OnEnd is called before Cancel returns.
func (p *Pool) Cancel(x *Exchange) { p.end(x, errCancelled) }

func (p *Pool) end(x *Exchange, err *Error) {
	switch {
	case x.conn != nil:
		x.conn.fail(err)
	case x.queue == &p.waiting:
		p.stopWaiting(x)
		p.tell(x, err)
	case x.queue != nil:
		x.queue.remove(x)
		p.tell(x, err)
	}
}

// Release gives a hold's connections back to the pool, or closes them. One with
// an exchange under way follows when that has ended.
func (p *Pool) Release(h *Hold, closing bool) {
	for range h.conns {
		c := h.conns[len(h.conns)-1]
		h.conns = h.conns[:len(h.conns)-1]
		c.hold = nil
		switch {
		case c.x != nil:
			c.last = c.last || closing
		case closing:
			p.drop(c)
		default:
			p.free(c)
		}
	}
}

// SetAddresses changes where new connections go to; at least one address.
func (p *Pool) SetAddresses(a []netip.AddrPort) { p.cfg.Addresses = a }

// Stats returns the pool's counters and gauges.
func (p *Pool) Stats() Stats {
	s := p.stats
	s.Connections, s.Busy, s.Waiting = len(p.conns)-p.connecting, p.busy, p.waiting.len
	return s
}

// Close closes all connections. Exchanges under way end with Cancelled, and so
// do all that follow.
func (p *Pool) Close() {
	p.closed = true
	p.loop.Stop(&p.idleTimer)
	p.loop.Stop(&p.fillTimer)
	for len(p.conns) > 0 {
		c := p.conns[len(p.conns)-1]
		switch {
		case c.x != nil:
			c.fail(errClosed)
		case c.connecting:
			p.connecting--
			p.drop(c)
		default:
			p.drop(c)
		}
	}
	for p.waiting.len > 0 {
		p.end(p.waiting.first, errClosed)
	}
	p.handshakes.Wait() // those that were under way are given up
}

// carry starts an exchange on a connection that is free.
func (p *Pool) carry(c *conn, x *Exchange) {
	p.busy++
	if x.lies = x.Patient && p.arrivals.known; x.lies {
		p.loop.Patient(1)
	}
	if h := x.Hold; h != nil && c.hold == nil {
		c.hold = h
		h.conns = append(h.conns, c)
	}
	c.start(x)
	p.stats.LongestWait = max(p.stats.LongestWait, x.Blocked())
}

// lessBusy is for the end of an exchange that was carried.
func (p *Pool) lessBusy(x *Exchange) {
	p.busy--
	if x.lies {
		p.loop.Patient(-1)
	}
}

// free lets a connection carry what waits for it, or be idle.
func (p *Pool) free(c *conn) {
	x := p.waiting.first
	for c.hold != nil && x != nil && x.Hold != c.hold {
		x = x.next
	}
	switch {
	case x != nil:
		p.waiting.remove(x)
		p.carry(c, x)
	case c.hold == nil:
		p.beIdle(c)
	}
}

// drop closes a connection without an exchange, and makes others if it is missed.
func (p *Pool) drop(c *conn) {
	if c.idle {
		p.leaveIdle(c)
	}
	p.forget(c)
	p.stats.Closed++
	p.grow()
}

// forget closes a connection and strikes it off the list.
func (p *Pool) forget(c *conn) {
	last := len(p.conns) - 1
	p.conns[c.place] = p.conns[last]
	p.conns[c.place].place = c.place
	p.conns[last] = nil
	p.conns = p.conns[:last]
	c.close()
}

func (p *Pool) failLater(x *Exchange, err *Error) {
	x.err = err
	p.failed.push(x)
	p.loop.Set(&p.failTimer, p.loop.Now())
}

func (p *Pool) tellFailed() {
	for range p.failed.len {
		if x := p.failed.pop(); x != nil {
			p.tell(x, x.err)
		}
	}
}

// tell ends an exchange that has no connection.
func (p *Pool) tell(x *Exchange, err *Error) {
	x.Handler.OnEnd(End{At: p.loop.Now(), Err: err})
}

// stopWaiting takes an exchange out of the queue for a connection, which it
// does not get.
func (p *Pool) stopWaiting(x *Exchange) *Exchange {
	p.waiting.remove(x)
	x.sent = p.loop.Now()
	p.stats.LongestWait = max(p.stats.LongestWait, x.Blocked())
	return x
}

// failure returns the error for one of the kernel; it is made once.
func (p *Pool) failure(doing string, to netip.AddrPort, errno unix.Errno) *Error {
	key := failure{doing, to, errno}
	err := p.failures[key]
	if err == nil {
		err = &Error{kindOf(errno), fmt.Errorf("%s %s: %w", doing, to, errno)}
		p.failures[key] = err
	}
	return err
}
