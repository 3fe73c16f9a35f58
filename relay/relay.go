// Package relay is the part of the node program that receives metrics on a
// machine: it takes statsd lines over UDP, TCP and a Unix socket and writes
// one numbered metrics.Frame a second, and one more at once when a generator has
// a word for other machines. It is also the name server that lets containers find
// the machines of earlier steps.
//
// Nothing that arrives is lost without being counted: see metrics.Received.
package relay

import (
	"context"
	"errors"
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
	// TCP says to take statsd also over TCP, at the address and port of Listen.
	TCP bool
	// UnixSocket, when not empty, is the path of a datagram socket to receive
	// statsd on as well. A socket that is left there is replaced; the new one
	// may be written to by everybody, and is removed in the end.
	UnixSocket string
	// ReadBuffer is how many bytes are asked for the buffer of each datagram
	// socket; 0 is DefaultReadBuffer. The kernel adds as much for its own use.
	ReadBuffer int
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
	// Host, when not nil, is called for each frame and returns what is told of
	// the machine itself in it. It is never called twice at once.
	Host func(context.Context) []metrics.HostPoint
	// Containers is the file in which the broker lists the plan's containers on
	// the machine; empty is none. There may be no such file yet.
	Containers string
	// LogMetrics are made of the output of those containers, which is read from
	// the engine's files in the folder Logs: those that its driver json-file
	// writes. LogFiles is how many of them it keeps for each container; 0 is
	// DefaultLogFiles.
	LogMetrics []LogMetric
	Logs       string
	LogFiles   int
	// Container, when not nil, is called for each frame and each of these
	// containers, by its id and name, and returns what is told of it beside the
	// machine. It is never called twice at once, nor together with Host.
	Container func(id, name string) []metrics.HostPoint
	// Ready, when not nil, is called once with the address that is listened on.
	Ready func(net.Addr)

	// drain bounds how long is read on after the end, while something keeps
	// coming; 0 is a second. What has come until the end is read however long that
	// takes.
	drain time.Duration
}

// Run receives metrics and writes frames until ctx is done. Then it reads what
// has already arrived at the socket, and the output of containers to its end, writes it in a final frame and returns
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
	received := newAggregate(cfg.MaxSeries, cfg.Series)
	logs, err := newLogs(cfg, received)
	if err != nil {
		return err
	}
	in, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready(in.address)
	}
	r := &relay{cfg: cfg, in: in, logs: logs, received: received, out: newOutbox(), listed: containersFile{path: cfg.Containers}}
	err = errors.Join(r.run(ctx), in.close())
	r.logEnd(err)
	return err
}

func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = time.Second
	}
	if c.drain <= 0 {
		c.drain = time.Second
	}
	if c.MaxSeries <= 0 {
		c.MaxSeries = DefaultMaxSeries
	}
	if c.ReadBuffer <= 0 {
		c.ReadBuffer = DefaultReadBuffer
	}
	if c.LogFiles <= 0 {
		c.LogFiles = DefaultLogFiles
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// relay is a running relay: a reader for each socket and one for the output of
// containers, a clock, one that passes words on, and a writer, with the aggregate between readers and clock
// and the outbox between clock and writer.
type relay struct {
	cfg      Config
	in       *intake
	logs     *logs // nil without log metrics
	received *aggregate
	out      *outbox
	framing  sync.Mutex    // held while a frame is made and put into out
	last     metrics.Frame // that was put, without its points; guarded by framing
	listed   containersFile
	warned   bool // of losses; the clock's own until it has ended
	unlisted bool // the list of containers could not be read last; likewise
}

func (r *relay) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.put(r.take(ctx, time.Now()))
	ticking, stopClock := context.WithCancel(context.WithoutCancel(ctx)) // it goes on while readers end
	defer stopClock()
	var clock, writer, output, words sync.WaitGroup
	var writeErr error
	clock.Go(func() { ticks(ticking, r.cfg.Interval, func(at time.Time) { r.second(ticking, at) }) })
	if r.logs != nil {
		output.Go(func() { r.logs.follow(ctx) })
	}
	words.Go(func() { r.passWords(ctx) })
	writer.Go(func() {
		defer cancel()
		writeErr = r.out.drainTo(r.cfg.Out)
	})
	readErr := r.in.receive(ctx, r.received)
	cancel()
	output.Wait()
	words.Wait()
	stopClock()
	clock.Wait()
	last := r.take(context.WithoutCancel(ctx), time.Now())
	last.Words = r.received.takeWords()
	r.warn(last.Ledger)
	last.Final = readErr == nil
	r.out.finish(last)
	writer.Wait()
	return errors.Join(readErr, writeErr)
}

// second passes on what arrived until the tick at the given time.
func (r *relay) second(ctx context.Context, at time.Time) {
	frame := r.take(ctx, at)
	r.put(frame)
	r.warn(frame.Ledger)
}

// put passes a frame on.
func (r *relay) put(f metrics.Frame) {
	r.framing.Lock()
	defer r.framing.Unlock()
	r.last = metrics.Frame{Time: f.Time, Ledger: f.Ledger}
	r.out.put(f)
}

// warn tells of losses for the first time.
func (r *relay) warn(l metrics.Received) {
	if !r.warned && l.Malformed+l.Dropped+l.KernelDropped+l.LogMalformed+l.LogLost+l.LogGaps > 0 {
		r.warned = true
		r.logLosses(l)
	}
}

// take returns a frame, without a number, of what arrived since the last one.
func (r *relay) take(ctx context.Context, at time.Time) metrics.Frame {
	points, ledger := r.received.take()
	for _, p := range points {
		p.Sketch.Pack() // off the readers' way, and small while it waits
	}
	ledger.KernelDropped = r.in.dropped()
	frame := metrics.Frame{Time: at.UnixMilli(), Points: points, Ledger: ledger}
	if r.cfg.Host != nil {
		frame.Host = r.cfg.Host(ctx)
	}
	if r.cfg.Container != nil {
		frame.Host = append(frame.Host, r.measureContainers()...)
	}
	return frame
}

// measureContainers returns what is told of the plan's containers.
func (r *relay) measureContainers() (points []metrics.HostPoint) {
	list, err := r.listed.containers()
	if err != nil && !r.unlisted {
		r.cfg.Log.Warn("the plan's containers are not known", "error", err)
	}
	r.unlisted = err != nil
	for _, c := range list {
		points = append(points, r.cfg.Container(c.ID, c.Name)...)
	}
	return points
}

// logLosses tells what is lost until now. The ledger has all of it in the end.
func (r *relay) logLosses(l metrics.Received) {
	var examples metrics.Notes
	if l.Notes != nil {
		examples = *l.Notes
	}
	if l.Malformed > 0 {
		r.cfg.Log.Warn("malformed lines arrive", "count", l.Malformed, "examples", examples.Malformed)
	}
	if l.Dropped > 0 {
		r.cfg.Log.Warn("too many metrics: new ones are dropped", "limit", r.cfg.MaxSeries, "dropped", l.Dropped,
			"examples", examples.Dropped)
	}
	if l.LogMalformed > 0 {
		r.cfg.Log.Warn("lines of output fit a log metric and give no number, or can't be read", "count", l.LogMalformed,
			"examples", examples.Malformed)
	}
	if l.LogLost+l.LogGaps > 0 {
		r.cfg.Log.Warn("output of containers is lost: the engine has thrown it away unread", "bytes", l.LogLost, "gaps", l.LogGaps)
	}
	if l.KernelDropped > 0 {
		r.cfg.Log.Warn("packets are lost: a socket's buffer was full", "packets", l.KernelDropped)
	}
}

func (r *relay) logEnd(err error) {
	_, l := r.received.take()
	if err == nil {
		r.cfg.Log.Info("relay ended", "frames", r.out.written, "datagrams", l.Datagrams, "values", l.Values,
			"malformed", l.Malformed, "dropped", l.Dropped, "kernel_dropped", r.in.dropped(),
			"log_lines", l.LogLines, "log_values", l.LogValues, "log_malformed", l.LogMalformed)
	}
}
