// Package relay is the part of the node program that receives metrics on a
// machine: it takes statsd lines over UDP and writes one numbered
// metrics.Frame a second. It is also the name server that lets containers find
// the machines of earlier steps.
//
// Nothing that arrives is lost without being counted: see metrics.Received.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/loads/loads/metrics"
)

// DefaultMaxSeries is how many metrics a relay tells apart by default. One
// name with two different tags counts twice.
const DefaultMaxSeries = 20_000

// Config says how a relay works.
type Config struct {
	// Listen is the UDP address to receive statsd on, for example
	// "172.18.0.1:8125".
	Listen string
	// Interval is the time that a frame covers, a second if 0. Frames end at its
	// multiples on the wall clock.
	Interval time.Duration
	// Out gets the frames, one a line. It may block; reading goes on meanwhile.
	Out io.Writer
	// Log gets what the relay says about itself; nil drops it.
	Log *slog.Logger
	// MaxSeries bounds the metrics told apart; 0 is DefaultMaxSeries. Values of
	// metrics beyond it are counted as dropped.
	MaxSeries int
	// Series is the tag type of all metrics that come without one; empty is
	// none.
	Series string
	// Ready, when not nil, is called once with the address that is listened on.
	Ready func(net.Addr)
}

// Run receives metrics and writes frames until ctx is done. Then it reads what
// has already arrived at the socket, writes it in a final frame and returns
// nil. An address that can't be bound, or an Out that can't be written to, is
// an error, and then there is no final frame.
//
// The first frame comes at once and says that the address is bound. From then
// on a frame holds the counters and timers of its second, and every gauge that
// was ever set, with its last value. There is a frame also for a second in
// which nothing arrived. When the machine was suspended, the time of it is in
// one frame, whose Time says when it went on.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	conn, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	if cfg.Ready != nil {
		cfg.Ready(conn.LocalAddr())
	}
	r := &relay{cfg: cfg, received: newAggregate(cfg.MaxSeries, cfg.Series), out: newOutbox()}
	err = r.run(ctx, conn)
	r.logEnd(err)
	return err
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	if c.MaxSeries <= 0 {
		c.MaxSeries = DefaultMaxSeries
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// relay is a running relay: three goroutines (reader, clock, writer) with the
// aggregate between the first two and the outbox between the last two.
type relay struct {
	cfg      Config
	received *aggregate
	out      *outbox
	warned   bool // of lines that are malformed or dropped; the clock's own
}

func (r *relay) run(ctx context.Context, conn *net.UDPConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.out.put(r.take(time.Now()))
	var reader, clock, writer sync.WaitGroup
	var readErr, writeErr error
	reader.Go(func() {
		defer cancel()
		readErr = readPackets(ctx, conn, r.received.packets)
	})
	clock.Go(func() { ticks(ctx, r.cfg.Interval, r.second) })
	writer.Go(func() {
		defer cancel()
		writeErr = r.out.drainTo(r.cfg.Out)
	})
	reader.Wait()
	clock.Wait()
	last := r.take(time.Now())
	last.Final = readErr == nil
	r.out.finish(last)
	writer.Wait()
	return errors.Join(readErr, writeErr)
}

// second passes on what arrived until the tick at the given time.
func (r *relay) second(at time.Time) {
	frame := r.take(at)
	r.out.put(frame)
	if l := frame.Ledger; !r.warned && l.Malformed+l.Dropped > 0 {
		r.warned = true
		r.logLosses(l)
	}
}

// take returns a frame, without a number, of what arrived since the last one.
func (r *relay) take(at time.Time) metrics.Frame {
	points, ledger := r.received.take()
	return metrics.Frame{Time: at.UnixMilli(), Points: points, Ledger: ledger}
}

func (r *relay) logLosses(l metrics.Received) {
	if line, why := r.received.lastMalformed(); why != nil {
		r.cfg.Log.Warn("malformed lines arrive", "count", l.Malformed, "example", line, "error", why)
	}
	if l.Dropped > 0 {
		r.cfg.Log.Warn("too many metrics: new ones are dropped", "limit", r.cfg.MaxSeries, "dropped", l.Dropped)
	}
}

func (r *relay) logEnd(err error) {
	_, l := r.received.take()
	if err == nil {
		r.cfg.Log.Info("relay ended", "frames", r.out.written, "datagrams", l.Datagrams, "values", l.Values,
			"malformed", l.Malformed, "dropped", l.Dropped)
	}
}

func listen(ctx context.Context, cfg Config) (*net.UDPConn, error) {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for statsd on %s: %w", cfg.Listen, err)
	}
	udp := conn.(*net.UDPConn) // as the network is "udp"
	size := withRoom(udp, cfg.Log)
	cfg.Log.Info("statsd is received", "address", udp.LocalAddr().String(), "socket_buffer", size)
	return udp, nil
}

// withRoom gives the socket as large a buffer as the kernel allows, and returns
// its size: what comes in bursts, while other programs have the processor, is
// lost when the buffer is full.
func withRoom(conn *net.UDPConn, log *slog.Logger) int {
	size, err := raiseReadBuffer(conn)
	if err != nil {
		log.Warn("socket buffer stays as it is", "error", err)
	}
	return size
}
