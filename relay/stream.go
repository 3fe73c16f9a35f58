package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxConnections is how many TCP connections are read at once. One more is
	// closed at once and counted in metrics.Received.Refused.
	maxConnections = 256
	// acceptPause is waited after an accept that failed, as for want of file
	// descriptors.
	acceptPause = 100 * time.Millisecond
	// streamDrain is how long a connection is still read after the end. What was
	// sent before is in the socket's buffer already.
	streamDrain = 20 * time.Millisecond
)

// errCut says that a connection ended within a line.
var errCut = errors.New("connection ended within the line")

// streams reads lines from TCP connections. Each has a goroutine, which serve
// waits for; TCP holds a sender back when it is not read fast enough, so nothing
// is lost.
type streams struct {
	received *aggregate

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// serve accepts until ctx is done, reads what has arrived until then, and
// closes the listener.
func (s *streams) serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var readers sync.WaitGroup
	defer readers.Wait()
	defer s.end()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept statsd: %w", err)
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		case !s.admit(conn):
			s.received.refuse()
			_ = conn.Close()
		default:
			readers.Go(func() { s.read(conn) })
		}
	}
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

// end gives every connection a last moment.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.SetReadDeadline(time.Now().Add(streamDrain))
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
	for {
		n, err := conn.Read(buffer[held:])
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
