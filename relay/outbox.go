package relay

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/loads/loads/metrics"
)

// maxHeld is how many seconds wait for a blocked output before they are merged.
const maxHeld = 8

// outbox holds frames until they are written. It never refuses one: when
// maxHeld wait, the next is merged with the last of them, which is counted in
// metrics.Received.Merged. Numbers are given on writing, so they have no gaps.
type outbox struct {
	mu     sync.Mutex
	filled *sync.Cond
	held   []metrics.Frame
	merged uint64
	done   bool // the last frame is in held, or was written
	broken bool // the output takes no more

	written uint64 // frames; the writer's own until it has ended
}

func newOutbox() *outbox {
	o := &outbox{}
	o.filled = sync.NewCond(&o.mu)
	return o
}

// put adds a frame.
func (o *outbox) put(f metrics.Frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken {
		return
	}
	if n := len(o.held); n >= maxHeld {
		o.merged++
		o.held[n-1] = mergeFrames(o.held[n-1], f)
	} else {
		o.held = append(o.held, f)
	}
	o.filled.Signal()
}

// finish adds the last frame.
func (o *outbox) finish(f metrics.Frame) {
	o.put(f)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
	o.filled.Signal()
}

// drainTo writes frames until the last one is written, or writing fails.
func (o *outbox) drainTo(out io.Writer) error {
	for {
		f, ok := o.next()
		if !ok {
			return nil
		}
		if err := o.write(out, f); err != nil {
			o.mu.Lock()
			o.broken, o.held = true, nil
			o.mu.Unlock()
			return err
		}
	}
}

// next waits for a frame; there is none after the last one.
func (o *outbox) next() (metrics.Frame, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.held) == 0 {
		if o.done {
			return metrics.Frame{}, false
		}
		o.filled.Wait()
	}
	f := o.held[0]
	o.held = append(o.held[:0], o.held[1:]...)
	f.Ledger.Merged = o.merged
	return f, true
}

// write gives the frame its number and writes it, in halves if it is too large.
func (o *outbox) write(out io.Writer, f metrics.Frame) error {
	f.Seq = o.written + 1
	line, err := metrics.Encode(f)
	if errors.Is(err, metrics.ErrTooLarge) && len(f.Points) > 1 {
		half := f
		half.Points, half.Host, half.Words, half.Final = f.Points[:len(f.Points)/2], nil, nil, false
		if err := o.write(out, half); err != nil {
			return err
		}
		f.Points = f.Points[len(f.Points)/2:]
		return o.write(out, f)
	}
	if err != nil {
		return err
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write frame %d: %w", f.Seq, err)
	}
	o.written++
	return nil
}

// mergeFrames makes one frame of two that follow each other.
func mergeFrames(earlier, later metrics.Frame) metrics.Frame {
	at := make(map[string]int, len(earlier.Points))
	points := earlier.Points
	for i := range points {
		at[pointKey(&points[i])] = i
	}
	for _, p := range later.Points {
		i, found := at[pointKey(&p)]
		if !found {
			points = append(points, p)
			continue
		}
		points[i] = mergePoints(points[i], p)
	}
	later.Points = points
	later.Words = append(slices.Clip(earlier.Words), later.Words...)
	if len(later.Host) == 0 {
		later.Host = earlier.Host // else the later totals hold the earlier ones
	}
	return later
}

func mergePoints(earlier, later metrics.Point) metrics.Point {
	switch later.Kind {
	case metrics.Counter:
		later.Value = bounded(earlier.Value + later.Value)
	case metrics.Gauge:
		later.Count += earlier.Count
	case metrics.Timer:
		_ = earlier.Sketch.Merge(later.Sketch) // can't fail: both were made here
		later.Sketch = earlier.Sketch
	case metrics.Set:
		earlier.Distinct.Merge(later.Distinct)
		later.Distinct = earlier.Distinct
	}
	return later
}

func pointKey(p *metrics.Point) string {
	var key strings.Builder
	key.WriteString(string(p.Kind))
	for _, text := range append([]string{p.Name}, tagTexts(p.Tags)...) {
		key.WriteByte(0)
		key.WriteString(text)
	}
	return key.String()
}

func tagTexts(tags []metrics.Tag) []string {
	texts := make([]string, 0, 2*len(tags))
	for _, t := range tags {
		texts = append(texts, t.Name, t.Value)
	}
	return texts
}
