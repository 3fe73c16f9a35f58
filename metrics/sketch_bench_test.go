package metrics_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/loads/loads/metrics"
)

// The candidates of docs/decisions/0002-sketch.md. Each keeps timers in ms,
// from a microsecond to ten hours at least.
var candidates = []struct {
	name string
	make func() candidate
}{
	{"hdr-2-digits", func() candidate { return newHDR(2) }},
	{"hdr-3-digits", func() candidate { return newHDR(3) }},
	{"ddsketch-default", func() candidate { return newDD(ddsketch.NewDefaultDDSketch(0.01)) }},
	{"ddsketch-collapsing", func() candidate { return newDD(ddsketch.LogCollapsingLowestDenseDDSketch(0.01, 2048)) }},
	{"loads", func() candidate { return &loadsCandidate{metrics.NewSketch()} }},
}

// candidate is what a relay and a broker need of a sketch.
type candidate interface {
	add(v float64)
	merge(o candidate)
	quantile(q float64) float64
	encode() []byte // as in a frame: base64 text
	decode(text []byte) candidate
}

type hdrCandidate struct{ h *hdrhistogram.Histogram }

func newHDR(digits int) *hdrCandidate {
	return &hdrCandidate{hdrhistogram.New(1, 36_000_000_000, digits)} // microseconds
}

func (c *hdrCandidate) add(v float64) {
	if err := c.h.RecordValue(int64(math.Round(v * 1000))); err != nil {
		panic(err)
	}
}
func (c *hdrCandidate) merge(o candidate) { c.h.Merge(o.(*hdrCandidate).h) }
func (c *hdrCandidate) quantile(q float64) float64 {
	return float64(c.h.ValueAtQuantile(q*100)) / 1000
}

func (c *hdrCandidate) encode() []byte {
	text, err := c.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase) // base64 already
	if err != nil {
		panic(err)
	}
	return text
}

func (c *hdrCandidate) decode(text []byte) candidate {
	h, err := hdrhistogram.Decode(text)
	if err != nil {
		panic(err)
	}
	return &hdrCandidate{h}
}

type ddCandidate struct{ d *ddsketch.DDSketch }

func newDD(d *ddsketch.DDSketch, err error) *ddCandidate {
	if err != nil {
		panic(err)
	}
	return &ddCandidate{d}
}

func (c *ddCandidate) add(v float64) {
	if err := c.d.Add(v); err != nil {
		panic(err)
	}
}

func (c *ddCandidate) merge(o candidate) {
	if err := c.d.MergeWith(o.(*ddCandidate).d); err != nil {
		panic(err)
	}
}

func (c *ddCandidate) quantile(q float64) float64 {
	v, err := c.d.GetValueAtQuantile(q)
	if err != nil {
		panic(err)
	}
	return v
}

func (c *ddCandidate) encode() []byte {
	var packed []byte
	c.d.Encode(&packed, true)
	return base64.RawStdEncoding.AppendEncode(nil, packed)
}

func (c *ddCandidate) decode(text []byte) candidate {
	packed, err := base64.RawStdEncoding.AppendDecode(nil, text)
	if err != nil {
		panic(err)
	}
	d := c.d.Copy()
	d.Clear()
	if err := d.DecodeAndMergeWith(packed); err != nil {
		panic(err)
	}
	return &ddCandidate{d}
}

type loadsCandidate struct{ s *metrics.Sketch }

func (c *loadsCandidate) add(v float64) { c.s.Add(v, 1) }

func (c *loadsCandidate) merge(o candidate) {
	if err := c.s.Merge(o.(*loadsCandidate).s); err != nil {
		panic(err)
	}
}
func (c *loadsCandidate) quantile(q float64) float64 { return c.s.Quantile(q) }

func (c *loadsCandidate) encode() []byte {
	text, err := json.Marshal(c.s)
	if err != nil {
		panic(err)
	}
	return text
}

func (c *loadsCandidate) decode(text []byte) candidate {
	var s metrics.Sketch
	if err := s.UnmarshalJSON(text); err != nil {
		panic(err)
	}
	return &loadsCandidate{&s}
}

// timers are n values as one busy timer gives them: a bulk around 20 ms, and
// one in a hundred that is a hundred times slower.
func timers(n int) []float64 {
	r := rand.New(rand.NewPCG(7, 8))
	values := make([]float64, n)
	for i := range values {
		values[i] = math.Exp(3 + 0.6*r.NormFloat64())
		if r.IntN(100) == 0 {
			values[i] *= 100
		}
	}
	return values
}

// BenchmarkSketchRecord is the cost of one value at a relay.
func BenchmarkSketchRecord(b *testing.B) {
	values := timers(4096)
	for _, c := range candidates {
		b.Run(c.name, func(b *testing.B) {
			s := c.make()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.add(values[i%len(values)])
			}
		})
	}
}

// BenchmarkSketchSecond is one second of a timer with 100 values: a new sketch,
// its values, its bytes.
func BenchmarkSketchSecond(b *testing.B) {
	values := timers(100)
	for _, c := range candidates {
		b.Run(c.name, func(b *testing.B) {
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				s := c.make()
				for _, v := range values {
					s.add(v)
				}
				size = len(s.encode())
			}
			b.ReportMetric(float64(size), "wire-bytes")
		})
	}
}

// BenchmarkSketchMerge is the cost at the broker of one more sketch of 1000
// values, with and without reading it from a frame first. It reports the size
// in a frame, and the worst error of p50, p90, p95, p99 in per cent.
func BenchmarkSketchMerge(b *testing.B) {
	values := timers(1000)
	for _, c := range candidates {
		part := c.make()
		for _, v := range values {
			part.add(v)
		}
		text := part.encode()
		b.Run("read/"+c.name, func(b *testing.B) {
			whole := c.make()
			b.ReportAllocs()
			for b.Loop() {
				whole.merge(part.decode(text))
			}
			b.ReportMetric(float64(len(text)), "wire-bytes")
			b.ReportMetric(100*worstError(whole, values), "%error")
		})
		b.Run("merge-only/"+c.name, func(b *testing.B) {
			whole := c.make()
			b.ReportAllocs()
			for b.Loop() {
				whole.merge(part)
			}
		})
	}
}

func worstError(s candidate, values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	worst := 0.0
	for _, q := range []float64{0.5, 0.9, 0.95, 0.99} {
		// Ranks may differ by one between libraries: take the nearer neighbour.
		rank := int(q * float64(len(sorted)-1))
		off := math.Inf(1)
		for _, want := range sorted[rank : rank+2] {
			off = min(off, math.Abs(s.quantile(q)-want)/want)
		}
		worst = max(worst, off)
	}
	return worst
}
