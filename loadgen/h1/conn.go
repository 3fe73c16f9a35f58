//go:build linux

package h1

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/loads/loads/loadgen/loop"
	"golang.org/x/sys/unix"
)

const (
	// readMost is how often a connection is read before others have their turn.
	readMost = 16
	// bufferSize is that of the buffer into which all connections of a pool are
	// read. Of a line that has not come in full up to headMost stay before it.
	bufferSize = 128 << 10
)

// conn is one connection. While it is connecting or idle, it has no exchange.
type conn struct {
	pool  *Pool
	to    netip.AddrPort
	fd    int
	place int // in pool.conns

	secure *secure // its TLS, nil for none

	connecting bool
	closed     bool
	used       bool // has carried an exchange
	last       bool // is to be closed after the exchange under way
	hungUp     bool // what is to be read has an end

	parser // its x is the exchange under way
	rest   []byte
	in     int64
	out    int

	hold     *Hold
	idle     bool  // in pool.idle
	newer    *conn // in pool.idle
	older    *conn
	idleFrom loop.Instant

	timer    loop.Timer
	deadline loop.Instant // of the attempt to connect or the exchange; 0 is none
}

// OnReady goes on with what the kernel says is possible.
func (c *conn) OnReady(e loop.Events) (again bool) {
	c.hungUp = c.hungUp || e&loop.HangUp != 0
	if s := c.secure; s != nil {
		if !s.done {
			return false // a goroutine has it
		}
		if e&loop.Writable != 0 && len(s.out) > 0 {
			_ = s.flush() // what is wrong is told to who reads, or writes
		}
	}
	if c.connecting {
		if e&(loop.Writable|loop.HangUp) == 0 || !c.pool.connected(c) {
			return false
		}
	}
	if e&loop.Writable != 0 && c.x != nil && c.out < c.x.Request.Size() && !c.write() {
		return false
	}
	return c.read()
}

// start sends the request of an exchange. An error is told to its handler later.
func (c *conn) start(x *Exchange) {
	c.begin(x)
	c.in, c.out = 0, 0
	x.conn = c
	x.sent = c.pool.loop.Now()
	if x.Timeout > 0 {
		c.expire(x.sent.Add(x.Timeout))
	} else {
		c.deadline = 0
	}
	x.Handler.OnSent(x.sent)
	if c.x == x {
		c.write()
	}
}

// write sends what the kernel takes of the request. It returns false when the
// connection is gone.
func (c *conn) write() bool {
	r := c.x.Request
	for c.out < r.Size() {
		part, more := r.body, false
		if c.out < len(r.head) {
			part, more = r.head[c.out:], len(r.body) > 0
		} else {
			part = part[c.out-len(r.head):]
		}
		n, errno := c.send(part, more)
		c.pool.loop.Tick()
		switch errno {
		case 0:
			c.out += n
		case unix.EAGAIN:
			return true
		case unix.EINTR:
		default:
			// What the server said before it closed the connection may be there to be
			// read: it is an answer like any other, and followed by the end.
			if errno == unix.EPIPE || errno == unix.ECONNRESET {
				c.last = true
				return true
			}
			c.breakLater(c.pool.failure("send the request to", c.to, errno))
			return false
		}
	}
	return true
}

// read reads what has come.
func (c *conn) read() (again bool) {
	c.pool.arrivals.at = 0
	for range readMost {
		kept := copy(c.pool.buffer, c.rest)
		space := c.pool.buffer[kept:]
		n, errno := c.receive(space)
		c.pool.loop.Tick()
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EINTR:
			continue
		case errno != 0:
			c.broken(errno)
			return false
		case n == 0:
			c.ended()
			return false
		}
		if c.take(c.pool.buffer[:kept+n], n); c.closed {
			return false
		}
		// A short read has emptied the socket, and what comes later is a new event.
		// The end of the connection is none if it is in this one. Of TLS a read brings
		// one record at most, and says nothing of the socket.
		if n < len(space) && !c.hungUp && c.secure == nil {
			return false
		}
	}
	return true
}

func (c *conn) receive(b []byte) (int, unix.Errno) {
	if c.secure != nil {
		return c.secure.receive(b)
	}
	return c.receiveRaw(b)
}

// receiveRaw reads from the socket, and takes down when an answer came that may
// have waited for it.
func (c *conn) receiveRaw(b []byte) (int, unix.Errno) {
	if c.x != nil && c.x.Patient {
		return c.pool.arrivals.receive(c.fd, b)
	}
	return receive(c.fd, b)
}

func (c *conn) send(b []byte, more bool) (int, unix.Errno) {
	if c.secure != nil {
		return c.secure.send(b)
	}
	return send(c.fd, b, more)
}

// take goes on with an answer by data, of which the last n bytes are new.
func (c *conn) take(data []byte, n int) {
	if c.x == nil {
		c.pool.drop(c) // nobody has asked for it
		return
	}
	c.in += int64(n)
	used, err := c.feed(data)
	switch {
	case c.closed || c.x == nil:
		return
	case err != nil:
		c.fail(err)
	case c.stage == atEnd:
		c.rest = c.rest[:0]
		c.finish(used == len(data) && !c.hungUp)
	default:
		c.rest = append(c.rest[:0], data[used:]...)
	}
}

// finish ends an exchange whose answer is complete.
func (c *conn) finish(clean bool) {
	x, p := c.x, c.pool
	end := End{At: p.arrivals.end(x.sent, p.loop.Now()), BytesIn: c.in, BytesOut: int64(c.out)}
	keep := clean && c.keep && !c.last && !p.cfg.NoReuse && c.out == x.Request.Size() && (c.secure == nil || len(c.secure.out) == 0)
	c.x, x.conn, c.deadline, c.used = nil, nil, 0, true
	p.lessBusy(x)
	if keep {
		p.free(c)
	} else {
		p.drop(c)
	}
	x.Handler.OnEnd(end)
}

// fail ends the exchange under way with an error, and the connection.
func (c *conn) fail(err *Error) {
	x, p := c.x, c.pool
	end := End{At: p.loop.Now(), Err: err, BytesIn: c.in, BytesOut: int64(c.out)}
	c.x, x.conn = nil, nil
	p.lessBusy(x)
	p.drop(c)
	x.Handler.OnEnd(end)
}

// breakLater does what fail does, but tells the handler in the next turn.
func (c *conn) breakLater(err *Error) {
	x := c.x
	c.x, x.conn = nil, nil
	c.pool.lessBusy(x)
	c.pool.drop(c)
	c.pool.failLater(x, err)
}

// ended is for a connection that the server has closed.
func (c *conn) ended() {
	switch {
	case c.x == nil:
		c.pool.drop(c)
	case c.eof():
		c.pool.arrivals.at = 0 // the kernel doesn't say when this end came
		c.finish(false)
	default:
		c.broken(0)
	}
}

// broken is for a connection on which nothing more can come; without an error
// number it was closed in an orderly way.
func (c *conn) broken(errno unix.Errno) {
	p := c.pool
	switch {
	case c.x == nil:
		p.drop(c)
	case c.used && c.in == 0:
		p.stats.Stale++
		c.fail(errStale)
	case errno == unix.EPROTO && c.secure != nil:
		c.fail(&Error{Malformed, fmt.Errorf("read the answer of %s: %w", c.to, c.secure.fault)})
	case errno != 0:
		c.fail(p.failure("read the answer of", c.to, errno))
	case c.in == 0:
		c.fail(errNoAnswer)
	default:
		c.fail(errCut)
	}
}

// expire sets when the attempt to connect, or the exchange, has taken too long.
// The timer is not moved to a later instant before it fires, so that it costs
// nothing for each exchange.
func (c *conn) expire(at loop.Instant) {
	c.deadline = at
	if !c.timer.Armed() || c.timer.When() > at {
		c.pool.loop.Set(&c.timer, at)
	}
}

// onTimer looks whether the deadline has passed.
func (c *conn) onTimer() {
	switch now := c.pool.loop.Now(); {
	case c.deadline == 0:
	case c.deadline > now:
		c.pool.loop.Set(&c.timer, c.deadline)
	case c.connecting && c.secure != nil:
		c.pool.attemptFailed(c, errNoHandshake)
	case c.connecting:
		c.pool.attemptFailed(c, errNoConnect)
	case c.x != nil:
		c.fail(errTimeout)
	}
}

// close closes the socket and leaves the hold.
func (c *conn) close() {
	c.closed = true
	c.pool.loop.Stop(&c.timer)
	c.pool.loop.Remove(c.fd)
	if c.secure != nil {
		c.secure.end()
	}
	_ = unix.Close(c.fd)
	if h := c.hold; h != nil {
		c.hold = nil
		h.conns = slices.DeleteFunc(h.conns, func(o *conn) bool { return o == c })
	}
}
