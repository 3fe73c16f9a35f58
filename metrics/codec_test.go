package metrics_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/loads/loads/metrics"
)

func exampleFrame() metrics.Frame {
	s := metrics.NewSketch()
	s.Add(12.5, 1)
	s.Add(0, 2)
	s.Add(-3, 1)
	return metrics.Frame{
		Version: metrics.Version, Seq: 7, Time: 1_700_000_000_000,
		Points: []metrics.Point{
			{Kind: metrics.Counter, Name: "req.count", Tags: []metrics.Tag{{Name: "status", Value: "200"}}, Value: 12},
			{Kind: metrics.Gauge, Name: "users", Value: -4, Count: 2},
			{Kind: metrics.Timer, Name: "req.<latency>", Sketch: s},
		},
		Ledger: metrics.Received{Datagrams: 4, Values: 18, Malformed: 1, Dropped: 2},
		Final:  true,
	}
}

func TestFrameComesBackAsItWent(t *testing.T) {
	f := exampleFrame()
	line, err := metrics.Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(line, "\n\r") {
		t.Errorf("got a line break in %q", line)
	}
	for what, decode := range map[string]func([]byte) (metrics.Frame, error){"sent": metrics.Decode, "stored": metrics.DecodeStored} {
		got, err := decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, got, cmpopts.IgnoreUnexported(metrics.Sketch{})); diff != "" {
			t.Errorf("%s: frame changed on its way (-want +got):\n%s", what, diff)
		}
		checkSame(t, got.Points[2].Sketch, f.Points[2].Sketch)
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*metrics.Frame)
	}{
		{"no number", func(f *metrics.Frame) { f.Seq = 0 }},
		{"no time", func(f *metrics.Frame) { f.Time = 0 }},
		{"time in seconds past all reason", func(f *metrics.Frame) { f.Time = math.MaxInt64 }},
		{"no name", func(f *metrics.Frame) { f.Points[0].Name = "" }},
		{"NaN", func(f *metrics.Frame) { f.Points[0].Value = math.NaN() }},
		{"infinity", func(f *metrics.Frame) { f.Points[1].Value = math.Inf(-1) }},
		{"unknown kind", func(f *metrics.Frame) { f.Points[1].Kind = "s" }},
		{"timer without a sketch", func(f *metrics.Frame) { f.Points[2].Sketch = nil }},
		{"timer with a value", func(f *metrics.Frame) { f.Points[2].Value = 1 }},
		{"counter with a sketch", func(f *metrics.Frame) { f.Points[0].Sketch = metrics.NewSketch() }},
		{"tags out of order", func(f *metrics.Frame) { f.Points[1].Tags = []metrics.Tag{{Name: "b"}, {Name: "a"}} }},
		{"tag twice", func(f *metrics.Frame) { f.Points[1].Tags = []metrics.Tag{{Name: "a"}, {Name: "a"}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := exampleFrame()
			c.spoil(&f)
			if line, err := metrics.Encode(f); err == nil {
				t.Errorf("got %s, want an error", line)
			}
		})
	}
}

func TestDecodeRefusesWhatIsNoFrame(t *testing.T) {
	line, err := metrics.Encode(exampleFrame())
	if err != nil {
		t.Fatal(err)
	}
	good := string(line)
	for _, c := range []struct{ name, line string }{
		{"nothing", ""},
		{"no JSON", "level=INFO msg=started"},
		{"no object", "17"},
		{"empty object", "{}"},
		{"another version", strings.Replace(good, `"v":1`, `"v":2`, 1)},
		{"no number", strings.Replace(good, `"q":7`, `"q":0`, 1)},
		{"a negative number", strings.Replace(good, `"q":7`, `"q":-7`, 1)},
		{"an unknown field", strings.Replace(good, `"q":7`, `"q":7,"zz":1`, 1)},
		{"two frames in a line", good + good},
		{"the first half of a frame", good[:len(good)/2]},
		{"a number beyond range", strings.Replace(good, `"x":12`, `"x":1e999`, 1)},
		{"a frame over the limit", `{"v":1,` + strings.Repeat(" ", metrics.MaxFrameSize) + good[1:]},
	} {
		t.Run(c.name, func(t *testing.T) {
			if f, err := metrics.Decode([]byte(c.line)); err == nil {
				t.Errorf("got %+v, want an error", f)
			}
			// Decode has kept these from being stored.
			if c.name == "an unknown field" || c.name == "a frame over the limit" {
				return
			}
			if f, err := metrics.DecodeStored([]byte(c.line)); err == nil {
				t.Errorf("stored: got %+v, want an error", f)
			}
		})
	}
}

func TestEncodeSaysWhenAFrameIsTooLarge(t *testing.T) {
	f := metrics.Frame{Seq: 1, Time: 1}
	for range 50 {
		f.Points = append(f.Points, metrics.Point{Kind: metrics.Counter, Name: strings.Repeat("x", 100_000)})
	}
	if _, err := metrics.Encode(f); !errors.Is(err, metrics.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, metrics.ErrTooLarge)
	}
}

func FuzzDecode(f *testing.F) {
	line, err := metrics.Encode(exampleFrame())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"v":1,"q":1,"at":1000,"l":{"dg":0,"vl":0,"mf":0,"dr":0}}`))
	f.Add([]byte(`{"v":1,"q":1,"at":1000,"p":[{"t":"ms","n":"a","s":""}],"l":{}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		frame, err := metrics.Decode(line)
		if err != nil {
			return
		}
		again, err := metrics.Encode(frame)
		if err != nil {
			t.Fatalf("decoded but not encoded: %v", err)
		}
		back, err := metrics.Decode(again)
		if err != nil {
			t.Fatalf("encoded but not decoded: %v\n%s", err, again)
		}
		stored, err := metrics.DecodeStored(again)
		if err != nil {
			t.Fatalf("decoded but not from the store: %v\n%s", err, again)
		}
		// Seconds folded twice must neither fail nor give numbers that are none.
		series := metrics.NewSeries()
		series.Add("step", 0, frame)
		back.Seq++
		series.Add("step", 0, back)
		stored.Seq += 2
		series.Add("step", 1, stored)
		series.Condense(series.Newest())
		for _, m := range series.Summary().Metrics {
			for _, v := range []float64{m.Count, m.Rate, m.Value, m.Mean, m.Min, m.P50, m.P99, m.Max} {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatalf("%s: got %v, want a finite number", m.Name, v)
				}
			}
		}
	})
}
