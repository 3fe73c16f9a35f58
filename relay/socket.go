package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// batchSize is how many packets one system call may read.
	batchSize = 64
	// maxDatagram is more than UDP can carry.
	maxDatagram = 64 << 10
	// drainIdle and drainMost bound the last read. What was sent before the end
	// is in the socket's buffer already; it takes no waiting.
	drainIdle = 20 * time.Millisecond
	drainMost = time.Second
)

// readPackets passes packets to take, some at a time, until ctx is done; then
// those that have arrived until then. The slices are take's only for the call.
func readPackets(ctx context.Context, conn *net.UDPConn, take func([][]byte)) error {
	// Only this deadline ends the first loop, so that it can't cut the second.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := newBatch(conn)
	if err := b.readUntilTimeout(take); err != nil {
		return err
	}
	for end := time.Now().Add(drainMost); time.Now().Before(end); {
		if err := conn.SetReadDeadline(time.Now().Add(drainIdle)); err != nil {
			return fmt.Errorf("read statsd: %w", err)
		}
		n, err := b.read(take)
		if errors.Is(err, os.ErrDeadlineExceeded) || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// batch is room for the packets of one system call.
type batch struct {
	conn     *ipv4.PacketConn // serves IPv6 too: only its ReadBatch is used
	messages []ipv4.Message
	packets  [][]byte
}

func newBatch(conn *net.UDPConn) *batch {
	b := &batch{
		conn:     ipv4.NewPacketConn(conn),
		messages: make([]ipv4.Message, batchSize),
		packets:  make([][]byte, 0, batchSize),
	}
	for i := range b.messages {
		b.messages[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	return b
}

func (b *batch) readUntilTimeout(take func([][]byte)) error {
	for {
		if _, err := b.read(take); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return err
		}
	}
}

// read reads at least one packet.
func (b *batch) read(take func([][]byte)) (int, error) {
	n, err := b.conn.ReadBatch(b.messages, 0)
	if err != nil {
		return 0, fmt.Errorf("read statsd: %w", err)
	}
	b.packets = b.packets[:0]
	for i := range b.messages[:n] {
		m := &b.messages[i]
		b.packets = append(b.packets, m.Buffers[0][:m.N])
	}
	take(b.packets)
	return n, nil
}
