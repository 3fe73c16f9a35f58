//go:build linux

package h1

import (
	"errors"

	"golang.org/x/sys/unix"
)

// grow makes connections: one for each exchange that waits, and what Min and
// Spare ask for, up to Max.
func (p *Pool) grow() {
	for !p.closed && len(p.conns) < p.cfg.Max {
		switch {
		case p.connecting < p.waiting.len:
			if err := p.connect(); err != nil {
				p.stats.Failed++
				p.failLater(p.stopWaiting(p.waiting.first), err)
			}
		case p.filling && !p.fillTimer.Armed() && p.isShort():
			if err := p.connect(); err != nil {
				p.stats.Failed++
				p.fillFailed(err)
			}
		default:
			return
		}
	}
}

// isShort reports whether there are less connections than Min, or less idle
// ones than Spare.
func (p *Pool) isShort() bool {
	return len(p.conns) < p.cfg.Min || p.idle+p.connecting-p.waiting.len < p.cfg.Spare
}

// connect begins to make a connection.
func (p *Pool) connect() *Error {
	to := p.cfg.Addresses[p.turn%len(p.cfg.Addresses)]
	p.turn++
	c := &conn{pool: p, to: to, connecting: true, place: len(p.conns)}
	c.timer.Fire = c.onTimer
	var err error
	if c.fd, err = dial(to); err != nil {
		return p.connectError(c, err)
	}
	if err := p.loop.Add(c.fd, c); err != nil {
		_ = unix.Close(c.fd)
		return p.connectError(c, err)
	}
	stamp(c.fd)
	p.conns = append(p.conns, c)
	p.connecting++
	c.expire(p.loop.Now().Add(p.cfg.ConnectTimeout))
	return nil
}

func (p *Pool) connectError(c *conn, err error) *Error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return &Error{Internal, err}
	}
	return p.failure("connect to", c.to, errno)
}

// connected takes notice of what has become of an attempt to connect, and
// reports whether there is a connection.
func (p *Pool) connected(c *conn) bool {
	if err := connected(c.fd); err != nil {
		p.attemptFailed(c, p.connectError(c, err))
		return false
	}
	if p.cfg.TLS != nil {
		if err := p.handshake(c); err != nil {
			p.attemptFailed(c, err)
		}
		return false
	}
	p.established(c)
	return !c.closed
}

// established lets a connection carry exchanges.
func (p *Pool) established(c *conn) {
	c.connecting, c.deadline = false, 0
	p.connecting--
	p.stats.Opened++
	p.free(c)
	p.grow()
	p.tellReady(nil)
}

// attemptFailed gives an attempt to connect up. If it is missed by an exchange,
// that fails too.
func (p *Pool) attemptFailed(c *conn, err *Error) {
	c.connecting = false
	p.connecting--
	p.forget(c)
	p.stats.Failed++
	var x *Exchange
	if p.connecting < p.waiting.len {
		x = p.stopWaiting(p.waiting.first)
	} else {
		p.fillFailed(err)
	}
	p.grow()
	if x != nil {
		p.tell(x, err)
	}
	p.tellReady(err)
}

// fillFailed lets some time pass before the next attempt that nobody waits for.
func (p *Pool) fillFailed(err *Error) {
	if p.filling && !p.closed {
		p.loop.Set(&p.fillTimer, p.loop.Now().Add(fillPause))
	}
	p.tellReady(err)
}

// tellReady calls what Open was given when it is time for it.
func (p *Pool) tellReady(err *Error) {
	ready := p.ready
	switch {
	case ready == nil:
	case err != nil:
		p.ready = nil
		ready(err)
	case len(p.conns)-p.connecting >= p.cfg.Min:
		p.ready = nil
		ready(nil)
	}
}
