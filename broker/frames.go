package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/loads/loads/metrics"
)

// maxFrameLine is the size in bytes after which a line of a container's output
// is cut off. It is far more than a frame may have.
const maxFrameLine = 16 << 20

// rereadMargin is how far before the last stored frame reading begins again
// after a break: the engine selects its log by time, and numbers tell repeated
// frames.
const rereadMargin = 3 * time.Second

// frameItem is a frame on its way to the store, with the number of broken lines
// before it, which is stored together with it; or such a number alone, when
// body is nil; or neither: stored is then closed when all before it is stored.
type frameItem struct {
	stored  chan struct{}
	id      int64 // of the machine
	machine int   // its index in the step
	step    string
	frame   metrics.Frame
	body    []byte
	broken  uint64
}

// A frameReader reads the frames of one machine's relay. The execution's
// goroutine for the machine starts it, terminate waits for it.
type frameReader struct {
	x      *execution
	id     int64 // of the machine
	index  int   // its index in the step
	step   string
	engine Engine
	relay  string // container id
	cancel context.CancelFunc
	done   chan struct{} // closed when no more frames come

	first     chan struct{} // closed at the first frame
	firstOnce sync.Once
	last      uint64 // number of the last frame passed on
	lastTime  int64
	final     bool
	broken    uint64        // lines after it that are no frame
	passed    atomic.Uint64 // frames passed on
	stderr    tail
}

// follow starts reading the machine's frames, unless it does already.
func (x *execution) follow(ctx context.Context, m *machine) {
	if m.reader != nil {
		return
	}
	// Reading outlives the phase that starts it: terminate ends it.
	reading, cancel := context.WithCancel(x.b.ctx)
	r := &frameReader{
		x: x, id: m.ID, index: m.Index, step: x.ref.Plan.Steps[m.Step].Name, engine: m.engine, relay: m.RelayID,
		cancel: cancel, done: make(chan struct{}), first: make(chan struct{}),
		last: m.FrameSeq, lastTime: m.FrameTime, final: m.FramesFinal,
	}
	if r.last > 0 {
		r.firstOnce.Do(func() { close(r.first) })
	}
	m.reader = r
	x.work.Go(func() {
		defer close(r.done)
		defer cancel()
		r.read(reading)
		r.tellEarlyEnd(reading)
	})
}

// firstFrame waits for the relay's first frame.
func (x *execution) firstFrame(ctx context.Context, m *machine) error {
	patience := time.NewTimer(x.b.cfg.LostAfter)
	defer patience.Stop()
	select {
	case <-m.reader.first:
		return nil
	case <-m.reader.done:
		return Errorf(EInternal, "its relay ended: %s", m.reader.stderr.String())
	case <-patience.C:
		return Errorf(EUnavailable, "its relay sent no frame within %s", x.b.cfg.LostAfter)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read reads frames until the relay's final one, or until its container has
// ended, or ctx has. A broken link is picked up from the last frame.
func (r *frameReader) read(ctx context.Context) {
	pause := 100 * time.Millisecond
	for !r.final && ctx.Err() == nil {
		before := r.last
		ended, err := r.readOnce(ctx)
		if ended || CodeOf(err) == ENotFound {
			return
		}
		if r.last > before {
			pause = 100 * time.Millisecond
		}
		sleep(ctx, pause)
		pause = min(2*pause, 5*time.Second)
	}
}

// readOnce reads the relay's log until the link breaks or its container ends,
// and reports whether it has ended.
func (r *frameReader) readOnce(ctx context.Context) (ended bool, err error) {
	opts := LogOptions{Follow: true}
	r.broken = 0 // they come again
	if r.lastTime > 0 {
		opts.Since = time.UnixMilli(r.lastTime).Add(-rereadMargin)
	}
	// Asked first: if it had ended before the log was read, the log is complete.
	c, err := r.engine.Inspect(ctx, r.relay)
	if err != nil {
		return false, err
	}
	lines := &lineWriter{line: func(b []byte) error { return r.take(ctx, b) }}
	if err := r.engine.Logs(ctx, r.relay, opts, lines, &r.stderr); err != nil {
		return false, err
	}
	return c.Started() && !c.Running(), nil
}

// take passes a frame on to the store. A line that is no frame is counted with
// the next frame: so the count is stored once, and a line that comes again
// after a break, perhaps torn, is told by the frame after it.
func (r *frameReader) take(ctx context.Context, line []byte) error {
	f, err := metrics.Decode(line)
	switch {
	case err != nil || f.Seq > math.MaxInt64:
		r.broken++
		return nil
	case f.Seq <= r.last && f.Time <= r.lastTime:
		r.broken = 0 // the frame has come before, and so has what was before it
		return nil
	case f.Seq <= r.last:
		r.broken++ // of a relay that was started again; its numbers mean nothing
		return nil
	}
	// A relay that ends before it is asked to leaves metrics out from then on:
	// what it takes for its last frame is not the machine's.
	f.Final = f.Final && r.x.state() >= Terminating
	item := frameItem{id: r.id, machine: r.index, step: r.step, frame: f, body: bytes.Clone(line), broken: r.broken}
	select {
	case r.x.frames <- item:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.last, r.lastTime, r.final, r.broken = f.Seq, f.Time, f.Final, 0
	r.passed.Add(1)
	r.firstOnce.Do(func() { close(r.first) })
	return nil
}

// passBroken passes on the number of broken lines after the last frame. It is
// called once the reading is over, and no more after what it says is stored.
func (r *frameReader) passBroken(ctx context.Context) error {
	if r.broken == 0 {
		return nil
	}
	select {
	case r.x.frames <- frameItem{id: r.id, broken: r.broken}:
		r.broken = 0
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tellEarlyEnd notes that the relay has ended though nobody asked it to.
func (r *frameReader) tellEarlyEnd(ctx context.Context) {
	if ctx.Err() != nil || r.x.state() != Running {
		return
	}
	text := fmt.Sprintf("The relay of machine %d of step %s ended before the run did; metrics sent to it from now on are lost. Its last words: %s",
		r.index, r.step, r.stderr.String())
	if err := r.x.note(ctx, text); err != nil && ctx.Err() == nil {
		r.x.log.Error("note the end of a relay", "step", r.step, "machine", r.index, "error", err)
	}
}

// storeFrames stores what the readers pass on, many frames at once, until ctx
// ends. The queue before it is bounded; while it is full the readers wait, and
// the engines' logs keep what comes.
func (x *execution) storeFrames(ctx context.Context) {
	for {
		select {
		case item := <-x.frames:
			x.storeBatch(ctx, x.batch(item))
		case <-ctx.Done():
			return
		}
	}
}

// batch takes what is waiting, up to a bound.
func (x *execution) batch(first frameItem) []frameItem {
	items := []frameItem{first}
	for len(items) < 512 {
		select {
		case item := <-x.frames:
			items = append(items, item)
		default:
			return items
		}
	}
	return items
}

func (x *execution) storeBatch(ctx context.Context, items []frameItem) {
	var frames []StoredFrame
	broken := map[int64]uint64{}
	for _, it := range items {
		if it.broken > 0 {
			broken[it.id] += it.broken
		}
		if it.body == nil {
			continue
		}
		frames = append(frames, StoredFrame{
			MachineID: it.id, Seq: it.frame.Seq, At: it.frame.Time, Final: it.frame.Final, Body: it.body, Words: it.frame.Words,
		})
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := x.b.cfg.Store.AddFrames(ctx, frames, broken)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return // not stored, so they are read again at the next start
		}
		x.log.Error("store frames", "frames", len(frames), "retry_in", pause, "error", err)
		sleep(ctx, pause)
	}
	x.seriesMu.Lock()
	for _, it := range items {
		switch {
		case it.stored != nil:
			close(it.stored)
		case it.body != nil:
			x.series.Add(it.step, it.machine, it.frame)
		}
	}
	x.seriesMu.Unlock()
	for _, it := range items {
		if it.body != nil {
			x.tellCouncil(it.step, it.machine, it.frame)
		}
	}
	x.b.hub.notify(x.ref.UUID)
}

// flushFrames waits until all frames passed on so far are stored.
func (x *execution) flushFrames(ctx context.Context) error {
	stored := make(chan struct{})
	select {
	case x.frames <- frameItem{stored: stored}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-stored:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// restoreSeries reads the frames stored by an earlier broker.
func (x *execution) restoreSeries(ctx context.Context) error {
	s, err := x.b.cfg.Store.ReadSeries(ctx, x.ref.UUID)
	if err != nil {
		return err
	}
	x.seriesMu.Lock()
	defer x.seriesMu.Unlock()
	x.series = s
	return nil
}

// A lineWriter calls line for every line written to it, without its end. What
// follows the last line end is kept until more comes. A line is cut off after
// maxFrameLine bytes.
type lineWriter struct {
	line func([]byte) error
	rest []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		line := p[:i]
		if len(w.rest) > 0 {
			w.keep(line)
			line, w.rest = w.rest, w.rest[:0]
		}
		if err := w.line(line); err != nil {
			return 0, err
		}
		p = p[i+1:]
	}
	w.keep(p)
	return n, nil
}

// keep adds to the line that has not ended, as far as there is room.
func (w *lineWriter) keep(p []byte) {
	w.rest = append(w.rest, p[:min(len(p), maxFrameLine-len(w.rest))]...)
}

// tail keeps the end of what is written to it, to say why a program ended.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

var _ io.Writer = (*tail)(nil)

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - 2048; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// String returns the last lines on one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Split(strings.TrimSpace(string(t.buf)), "\n"), "; ")
}
