package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// DefaultReadBuffer is asked for each socket by default, in bytes: at 100,000
// packets a second the kernel then holds about half a second.
const DefaultReadBuffer = 32 << 20

// intake is the sockets that statsd comes in by.
type intake struct {
	address net.Addr // of UDP
	sockets []*socket
	stream  *net.TCPListener // nil without TCP
	drain   time.Duration    // Config's
}

// listen opens all sockets that cfg names, or none.
func listen(ctx context.Context, cfg Config) (*intake, error) {
	in := &intake{drain: cfg.drain}
	err := in.listenIP(ctx, cfg)
	if err == nil && cfg.UnixSocket != "" {
		err = in.listenUnix(ctx, cfg)
	}
	if err != nil {
		return nil, errors.Join(err, in.close())
	}
	cfg.Log.Info("statsd is received", "address", in.address.String(), "socket_buffer", in.sockets[0].size)
	return in, nil
}

// listenIP listens on UDP and, if that is asked for, on TCP.
func (in *intake) listenIP(ctx context.Context, cfg Config) (err error) {
	var lc net.ListenConfig
	var conn net.PacketConn
	if cfg.TCP {
		conn, in.stream, err = listenBoth(ctx, cfg.Listen)
	} else {
		conn, err = lc.ListenPacket(ctx, "udp", cfg.Listen)
	}
	if err != nil {
		return fmt.Errorf("listen for statsd on %s: %w", cfg.Listen, err)
	}
	in.address = conn.LocalAddr()
	s, err := newSocket(conn.(*net.UDPConn), cfg) // as the network is "udp"
	if err != nil {
		return fmt.Errorf("listen for statsd on %s: %w", cfg.Listen, err)
	}
	in.sockets = append(in.sockets, s)
	return nil
}

func (in *intake) listenUnix(ctx context.Context, cfg Config) error {
	conn, err := openUnixSocket(ctx, cfg.UnixSocket)
	if err != nil {
		return fmt.Errorf("listen for statsd on %s: %w", cfg.UnixSocket, err)
	}
	s, err := newSocket(conn, cfg)
	if err != nil {
		return fmt.Errorf("listen for statsd on %s: %w", cfg.UnixSocket, err)
	}
	s.path = cfg.UnixSocket
	in.sockets = append(in.sockets, s)
	return nil
}

// receive passes all that comes to the aggregate until ctx is done, and then
// what has arrived until then. When one socket fails, the others end too.
func (in *intake) receive(ctx context.Context, received *aggregate) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(in.sockets)+1)
	var readers sync.WaitGroup
	for i, s := range in.sockets {
		readers.Go(func() {
			defer cancel()
			errs[i] = s.receive(ctx, received.packets)
		})
	}
	if in.stream != nil {
		readers.Go(func() {
			defer cancel()
			s := &streams{received: received, drain: in.drain, conns: make(map[net.Conn]bool)}
			errs[len(errs)-1] = s.serve(ctx, in.stream)
		})
	}
	readers.Wait()
	return errors.Join(errs...)
}

// dropped returns how many packets the kernel has dropped since the sockets
// were opened. It is for one goroutine at a time.
func (in *intake) dropped() uint64 {
	var sum uint64
	for _, s := range in.sockets {
		sum += s.dropped()
	}
	return sum
}

// close closes what is open. What was dropped can still be asked.
func (in *intake) close() error {
	var errs []error
	for _, s := range in.sockets {
		errs = append(errs, s.close())
	}
	if in.stream != nil {
		if err := in.stream.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close statsd: %w", err))
		}
	}
	return errors.Join(errs...)
}
