package relay

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/loads/loads/metrics"
)

func point(kind metrics.Kind, name string, v float64) metrics.Point {
	p := metrics.Point{Kind: kind, Name: name, Value: v}
	switch kind {
	case metrics.Gauge:
		p.Count = 1
	case metrics.Timer:
		p.Value, p.Sketch = 0, metrics.NewSketch()
		p.Sketch.Add(v, 1)
	case metrics.Set:
		p.Value, p.Distinct = 0, &metrics.Distinct{}
		p.Distinct.Add([]byte(fmt.Sprint(v)))
	}
	return p
}

func decodeAll(t *testing.T, lines []byte) []metrics.Frame {
	t.Helper()
	var frames []metrics.Frame
	for text := range bytes.Lines(lines) {
		f, err := metrics.Decode(bytes.TrimSuffix(text, []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return frames
}

func TestOutboxMergesWhatABlockedOutputHoldsUp(t *testing.T) {
	o := newOutbox()
	const seconds = 3*maxHeld + 1
	for i := range seconds {
		o.put(metrics.Frame{Time: int64(i + 1), Points: []metrics.Point{
			point(metrics.Counter, "n", 1), point(metrics.Timer, "lat", float64(i)),
			point(metrics.Gauge, "last", float64(i)), point(metrics.Counter, fmt.Sprint("only", i), 1),
		}})
	}
	o.finish(metrics.Frame{Time: seconds + 1, Final: true, Points: []metrics.Point{point(metrics.Counter, "n", 1)}})
	var out bytes.Buffer
	if err := o.drainTo(&out); err != nil {
		t.Fatal(err)
	}
	frames := decodeAll(t, out.Bytes())
	if len(frames) != maxHeld {
		t.Errorf("got %d frames, want %d", len(frames), maxHeld)
	}
	series := metrics.NewSeries()
	for i, f := range frames {
		if f.Seq != uint64(i+1) || f.Final != (i == len(frames)-1) {
			t.Errorf("frame %d: got number %d, final %v", i+1, f.Seq, f.Final)
		}
		series.Add("a", 0, f)
	}
	last := frames[len(frames)-1]
	if last.Time != seconds+1 || last.Ledger.Merged != seconds+1-maxHeld {
		t.Errorf("last frame: got time %d, merged %d, want %d, %d", last.Time, last.Ledger.Merged, seconds+1, seconds+1-maxHeld)
	}
	for _, m := range series.Summary().Metrics {
		want := 1.0
		switch m.Name {
		case "n":
			want = seconds + 1
		case "lat", "last":
			want = seconds
		}
		if m.Count != want || m.Kind == metrics.Gauge && m.Value != seconds-1 {
			t.Errorf("%s: got count %v, value %v, want count %v", m.Name, m.Count, m.Value, want)
		}
	}
}

func TestOutboxMergesSets(t *testing.T) {
	earlier := metrics.Frame{Points: []metrics.Point{point(metrics.Set, "users", 1)}}
	later := metrics.Frame{Points: []metrics.Point{point(metrics.Set, "users", 2)}}
	if got := mergeFrames(earlier, later).Points; len(got) != 1 || got[0].Distinct.Count() != 2 {
		t.Errorf("got %d points, %v users, want one with 2", len(got), got[0].Distinct.Count())
	}
}

func TestOutboxSplitsASecondThatIsTooLarge(t *testing.T) {
	o := newOutbox()
	var points []metrics.Point
	for i := range 300 {
		points = append(points, point(metrics.Counter, fmt.Sprint(i, strings.Repeat("x", 30_000)), 1))
	}
	o.finish(metrics.Frame{Time: 1, Points: points, Final: true})
	var out bytes.Buffer
	if err := o.drainTo(&out); err != nil {
		t.Fatal(err)
	}
	frames := decodeAll(t, out.Bytes())
	total := 0
	for i, f := range frames {
		total += len(f.Points)
		if f.Seq != uint64(i+1) || f.Final != (i == len(frames)-1) {
			t.Errorf("frame %d: got number %d, final %v", i+1, f.Seq, f.Final)
		}
	}
	if len(frames) < 2 || total != len(points) {
		t.Errorf("got %d frames with %d points, want several with %d", len(frames), total, len(points))
	}
}

type brokenWriter struct{}

var errFull = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errFull }

func TestOutboxEndsWhenItsOutputFails(t *testing.T) {
	o := newOutbox()
	o.put(metrics.Frame{Time: 1})
	if err := o.drainTo(brokenWriter{}); !errors.Is(err, errFull) {
		t.Errorf("got %v, want %v", err, errFull)
	}
	for i := range 100 {
		o.put(metrics.Frame{Time: int64(i + 1)})
	}
	if len(o.held) > 0 {
		t.Errorf("got %d frames held for an output that takes none", len(o.held))
	}
}

func TestOutboxKeepsWordsInOrder(t *testing.T) {
	o := newOutbox()
	for i := range 3 * maxHeld {
		o.put(metrics.Frame{Time: 1, Words: []metrics.Word{{Phase: fmt.Sprint(i), Is: metrics.WordFinished}}})
	}
	o.finish(metrics.Frame{Time: 2, Final: true})
	var out bytes.Buffer
	if err := o.drainTo(&out); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range decodeAll(t, out.Bytes()) {
		for _, w := range f.Words {
			if w.Phase != fmt.Sprint(n) {
				t.Fatalf("word %d is %s", n, w.Phase)
			}
			n++
		}
	}
	if n != 3*maxHeld {
		t.Errorf("got %d words, want %d", n, 3*maxHeld)
	}
}
