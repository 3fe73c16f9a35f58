//go:build !linux

package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"
)

// drainFor is how long the last read takes.
const drainFor = 20 * time.Millisecond

// pollIn reports whether there is something to read, which we don't know how to
// ask here.
func pollIn(uintptr) bool { return false }

// unread and queued likewise.
func unread(uintptr) int { return 0 }
func queued(uintptr) int { return 0 }

// socket is a datagram socket of a system whose own ways to read many packets
// at once, and to count those it drops, we don't know.
type socket struct {
	conn net.PacketConn
	size int // of its buffer; unknown
	path string
}

func newSocket(conn interface {
	net.PacketConn
	SetReadBuffer(bytes int) error
}, cfg Config,
) (*socket, error) {
	withRoom(conn, cfg.Log)
	return &socket{conn: conn}, nil
}

// withRoom asks for a larger socket buffer; how large it is then is unknown.
func withRoom(conn interface{ SetReadBuffer(bytes int) error }, log *slog.Logger) {
	if err := conn.SetReadBuffer(1 << 20); err != nil {
		log.Warn("socket buffer stays as it is", "error", err)
	}
}

// receive passes packets to take until ctx is done; then those that have
// arrived until then. The slices are take's only for the call.
func (s *socket) receive(ctx context.Context, take func([][]byte)) error {
	// Only this deadline ends the first loop, so that it can't cut the second.
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	room := make([]byte, maxLine)
	var err error
	for err == nil {
		err = s.read(room, take)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	err = s.conn.SetReadDeadline(time.Now().Add(drainFor))
	for err == nil {
		err = s.read(room, take)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

func (s *socket) read(room []byte, take func([][]byte)) error {
	n, _, err := s.conn.ReadFrom(room)
	if err != nil {
		return fmt.Errorf("read statsd: %w", err)
	}
	take([][]byte{room[:n]})
	return nil
}

func (s *socket) dropped() uint64 { return 0 }

func (s *socket) close() error {
	err := s.conn.Close()
	if s.path != "" {
		err = errors.Join(err, removeSocket(s.path))
	}
	if err != nil {
		return fmt.Errorf("close statsd: %w", err)
	}
	return nil
}
