//go:build linux

package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sealMost is how much is encrypted before the kernel has taken it.
	sealMost = 64 << 10
	// keptOut is the largest buffer that a connection keeps for what it sends.
	keptOut = 4 << 10
)

var errNoHandshake = &Error{Handshake, errors.New("the server did not set up TLS in time")}

// secure is the TLS of a connection. A goroutine does the handshake, as that
// takes a processor a while, and on a copy of the descriptor, which may wait.
// Everything after it is done on the loop: crypto/tls reads from the socket, and
// an EAGAIN is to it an error that will pass; what it writes is kept in out
// until the kernel takes it.
type secure struct {
	net.Conn // of the handshake
	tls      *tls.Conn
	fd       int
	conn     *conn
	cancel   context.CancelFunc
	done     bool // the handshake
	out      []byte
	fault    error // of what has come
}

// Read implements net.Conn for crypto/tls.
func (s *secure) Read(b []byte) (int, error) {
	if !s.done {
		return s.Conn.Read(b)
	}
	for {
		n, errno := s.conn.receiveRaw(b)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write implements net.Conn for crypto/tls.
func (s *secure) Write(b []byte) (int, error) {
	if !s.done {
		return s.Conn.Write(b)
	}
	s.out = append(s.out, b...)
	return len(b), nil
}

// Close implements net.Conn for crypto/tls, which calls it when a handshake is
// given up.
func (s *secure) Close() error {
	if !s.done {
		return s.Conn.Close()
	}
	return nil
}

// SetDeadline implements net.Conn; only the handshake may wait.
func (s *secure) SetDeadline(t time.Time) error {
	if !s.done {
		return s.Conn.SetDeadline(t)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *secure) SetReadDeadline(t time.Time) error { return s.SetDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (s *secure) SetWriteDeadline(t time.Time) error { return s.SetDeadline(t) }

// receive does for decrypted bytes what the function of this name does for
// those of a socket. EPROTO says that there is a fault.
func (s *secure) receive(b []byte) (int, unix.Errno) {
	n, err := s.tls.Read(b)
	if n > 0 {
		return n, 0
	}
	if len(s.out) > 0 {
		_ = s.flush() // an answer to a change of keys; if it can't leave, the request can't either
	}
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		return 0, errno
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, 0
	case err == nil:
		return 0, unix.EAGAIN
	}
	s.fault = err
	return 0, unix.EPROTO
}

// send encrypts what the kernel can be expected to take.
func (s *secure) send(b []byte) (int, unix.Errno) {
	if errno := s.flush(); errno != 0 {
		return 0, errno
	}
	n, err := s.tls.Write(b[:min(len(b), sealMost)])
	if err != nil {
		return 0, unix.EPIPE
	}
	_ = s.flush() // tells its error to the next one, or reading does
	return n, 0
}

// flush gives what is encrypted to the kernel; EAGAIN says that it did not take
// all.
func (s *secure) flush() unix.Errno {
	sent := 0
	defer func() {
		if s.out = s.out[:copy(s.out, s.out[sent:])]; len(s.out) == 0 && cap(s.out) > keptOut {
			s.out = nil
		}
	}()
	for sent < len(s.out) {
		n, errno := send(s.fd, s.out[sent:], false)
		switch errno {
		case 0:
			sent += n
		case unix.EINTR:
		default:
			return errno
		}
	}
	return 0
}

// end tells the server that the connection ends, if the kernel takes it, or
// gives the handshake up.
func (s *secure) end() {
	s.cancel()
	if s.done {
		_ = s.tls.Close()
		_ = s.flush()
	}
}

// handshake begins to set up TLS.
func (p *Pool) handshake(c *conn) *Error {
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return p.connectError(c, err)
	}
	file := os.NewFile(uintptr(fd), "")
	raw, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return p.connectError(c, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &secure{Conn: raw, fd: c.fd, conn: c, cancel: cancel}
	s.tls = tls.Client(s, p.cfg.TLS)
	c.secure, c.deadline = s, 0
	if t := p.cfg.HandshakeTimeout; t > 0 {
		c.expire(p.loop.Now().Add(t))
	}
	p.handshakes.Go(func() {
		err := s.tls.HandshakeContext(ctx)
		_ = raw.Close() // of the copy: the connection stays
		p.loop.Post(func() { p.shaken(c, err) })
	})
	return nil
}

// shaken takes notice of what has become of a handshake.
func (p *Pool) shaken(c *conn, err error) {
	switch {
	case c.closed:
	case err != nil:
		p.attemptFailed(c, &Error{Handshake, fmt.Errorf("set up TLS with %s: %w", c.to, err)})
	default:
		c.secure.done = true
		p.established(c)
		// What came meanwhile was no event.
		for again := true; again && !c.closed; {
			again = c.read()
		}
	}
}
