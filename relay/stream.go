package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxConnections is how many TCP connections are read at once. One more is
	// closed at once and counted in metrics.Received.Refused.
	maxConnections = 256
	// acceptPause is waited after an accept that failed, as for want of file
	// descriptors.
	acceptPause = 100 * time.Millisecond
)

// errCut says that a connection ended within a line.
var errCut = errors.New("connection ended within the line")

// streams reads lines from TCP connections. Each has a goroutine, which serve
// waits for; TCP holds a sender back when it is not read fast enough, so nothing
// is lost.
type streams struct {
	received *aggregate
	drain    time.Duration // Config's

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// serve accepts until ctx is done, reads what has arrived until then, also from
// those who were still to be accepted, and closes the listener.
func (s *streams) serve(ctx context.Context, listener *net.TCPListener) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = listener.SetDeadline(time.Now())
	})
	defer stop()
	var readers sync.WaitGroup
	defer readers.Wait()
	defer s.end()
	take := func(conn net.Conn) {
		if !s.admit(conn) {
			s.received.refuse()
			_ = conn.Close()
			return
		}
		readers.Go(func() { s.read(conn) })
	}
	for ctx.Err() == nil {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			take(conn)
		case ctx.Err() != nil:
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept statsd: %w", err)
		default:
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
	<-woken
	_ = listener.SetDeadline(time.Time{})
	waiting := askKernel(listener, queued)
	for end := time.Now().Add(s.drain); isReadable(listener) && (waiting > 0 || time.Now().Before(end)); waiting-- {
		conn, err := listener.Accept()
		if err != nil {
			break // who has connected is told so by the close
		}
		take(conn)
	}
	return listener.Close()
}

func (s *streams) admit(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxConnections {
		return false
	}
	s.conns[conn] = true
	return true
}

// end has every connection read to the end of what has arrived.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.SetReadDeadline(time.Now())
	}
}

// read takes lines in until the connection ends. A line may be as long as the
// buffer; of a longer one the rest is passed over.
func (s *streams) read(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}()
	buffer := make([]byte, maxLine)
	held := 0         // bytes of an unfinished line
	skipping := false // the rest of a line that was too long
	var until time.Time
	rest := 0 // of what had come until the end, bytes
	for {
		n, err := conn.Read(buffer[held:])
		if errors.Is(err, os.ErrDeadlineExceeded) && until.IsZero() { // by end
			until, rest = time.Now().Add(s.drain), askKernel(conn, unread)
			_ = conn.SetReadDeadline(time.Time{})
			err = nil
		} else if !until.IsZero() {
			rest -= n
		}
		text := buffer[:held+n]
		if end := bytes.LastIndexByte(text, '\n') + 1; end > 0 {
			lines := text[:end]
			if skipping {
				lines = lines[bytes.IndexByte(lines, '\n')+1:]
			}
			skipping = false
			s.received.text(lines)
			text = text[end:]
		}
		if len(text) == len(buffer) || skipping {
			if !skipping {
				s.received.bad(text, errLong)
			}
			skipping, text = true, nil
		}
		held = copy(buffer, text)
		if err == nil && !until.IsZero() && (rest <= 0 && time.Now().After(until) || !isReadable(conn)) {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			s.last(buffer[:held], err)
			return
		}
	}
}

// last takes in a last line without an end, unless it may have been cut off.
func (s *streams) last(text []byte, err error) {
	switch {
	case len(text) == 0:
	case errors.Is(err, io.EOF):
		s.received.text(text)
	default:
		s.received.bad(text, errCut)
	}
}

// isReadable reports whether a connection has something to read, or its end, or
// a listener someone to accept. Deadlines can't say so: they are over before
// anything is read when processors are scarce.
func isReadable(c any) bool { return askKernel(c, pollIn) }

// askKernel asks something about a connection or listener. What can't be
// asked is answered by nothing.
func askKernel[T any](c any, question func(fd uintptr) T) (answer T) {
	if raw, err := c.(syscall.Conn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { answer = question(fd) }) // fails once it is closed
	}
	return answer
}
