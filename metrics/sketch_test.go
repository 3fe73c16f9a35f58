package metrics_test

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"

	"github.com/loads/loads/metrics"
)

var percentiles = []float64{0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1}

// distributions are values as load tests meet them, and some they shouldn't.
var distributions = []struct {
	name string
	next func(r *rand.Rand) float64
}{
	{"fast local calls", func(r *rand.Rand) float64 { return 0.05 + 0.02*r.ExpFloat64() }},
	{"usual web latencies", func(r *rand.Rand) float64 { return math.Exp(3 + 0.7*r.NormFloat64()) }},
	{"two modes far apart", func(r *rand.Rand) float64 { return []float64{0.8, 1800}[r.IntN(2)] * (1 + 0.1*r.Float64()) }},
	{"a microsecond to ten hours", func(r *rand.Rand) float64 { return math.Pow(10, -3+10.5*r.Float64()) }},
	{"whole milliseconds with zeros", func(r *rand.Rand) float64 { return float64(r.IntN(5)) }},
	{"both signs", func(r *rand.Rand) float64 { return 100 * r.NormFloat64() }},
	{"all negative", func(r *rand.Rand) float64 { return -1 - 50*r.ExpFloat64() }},
	{"one value only", func(*rand.Rand) float64 { return 42 }},
}

func TestSketchQuantilesAreWithinTheStatedError(t *testing.T) {
	for _, d := range distributions {
		t.Run(d.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			values := make([]float64, 20_000)
			s := metrics.NewSketch()
			for i := range values {
				values[i] = d.next(r)
				s.Add(values[i], 1)
			}
			slices.Sort(values)
			checkQuantiles(t, s, values)
			checkQuantiles(t, roundTrip(t, s), values)
		})
	}
}

func checkQuantiles(t *testing.T, s *metrics.Sketch, sorted []float64) {
	t.Helper()
	for _, q := range percentiles {
		want := sorted[max(0, int(math.Ceil(q*float64(len(sorted))-1e-6))-1)]
		got := s.Quantile(q)
		if math.Abs(got-want) > metrics.RelativeError*math.Abs(want)+1e-9 {
			t.Errorf("quantile %v: got %v, want %v within %v", q, got, want, metrics.RelativeError)
		}
	}
	if s.Min() != sorted[0] || s.Max() != sorted[len(sorted)-1] {
		t.Errorf("min, max: got %v, %v, want %v, %v", s.Min(), s.Max(), sorted[0], sorted[len(sorted)-1])
	}
	if s.Count() != float64(len(sorted)) {
		t.Errorf("count: got %v, want %v", s.Count(), len(sorted))
	}
}

func TestSketchMergedFromPartsEqualsTheWhole(t *testing.T) {
	for _, d := range distributions {
		t.Run(d.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			whole, merged := metrics.NewSketch(), metrics.NewSketch()
			parts := make([]*metrics.Sketch, 17)
			for i := range parts {
				parts[i] = metrics.NewSketch()
			}
			for range 5000 {
				v, w := d.next(r), float64(1+r.IntN(3))
				whole.Add(v, w)
				parts[r.IntN(len(parts))].Add(v, w)
			}
			for i, p := range parts {
				if i%2 == 0 {
					p = roundTrip(t, p)
				}
				if err := merged.Merge(p); err != nil {
					t.Fatal(err)
				}
			}
			checkSame(t, merged, whole)
		})
	}
}

func checkSame(t *testing.T, got, want *metrics.Sketch) {
	t.Helper()
	if got.Count() != want.Count() || got.Min() != want.Min() || got.Max() != want.Max() {
		t.Errorf("count, min, max: got %v, %v, %v, want %v, %v, %v",
			got.Count(), got.Min(), got.Max(), want.Count(), want.Min(), want.Max())
	}
	if math.Abs(got.Sum()-want.Sum()) > 1e-9*math.Abs(want.Sum())+1e-6 {
		t.Errorf("sum: got %v, want %v", got.Sum(), want.Sum())
	}
	if got, want := got.Quantiles(percentiles...), want.Quantiles(percentiles...); !slices.Equal(got, want) {
		t.Errorf("quantiles: got %v, want %v", got, want)
	}
}

func TestSketchStaysWholeWithStrangeValues(t *testing.T) {
	for _, c := range []struct {
		name     string
		values   []float64
		count    float64
		min, max float64
	}{
		{"NaN counts as nothing", []float64{math.NaN()}, 0, 0, 0},
		{"infinities become the greatest numbers", []float64{math.Inf(1), math.Inf(-1)}, 2, -math.MaxFloat64, math.MaxFloat64},
		{"the sum of greatest numbers does not overflow", []float64{math.MaxFloat64, math.MaxFloat64}, 2, math.MaxFloat64, math.MaxFloat64},
		{"the least numbers count as zero", []float64{5e-324, -5e-324}, 2, -5e-324, 5e-324},
		{"zero and its negative are one", []float64{0, math.Copysign(0, -1)}, 2, 0, 0},
		{"the ends of the range have bins", []float64{1e-6, 1e12, -1e-6, -1e12}, 4, -1e12, 1e12},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := metrics.NewSketch()
			for _, v := range c.values {
				s.Add(v, 1)
			}
			for _, s := range []*metrics.Sketch{s, roundTrip(t, s), s.Clone()} {
				if s.Count() != c.count || s.Min() != c.min || s.Max() != c.max {
					t.Errorf("count, min, max: got %v, %v, %v, want %v, %v, %v", s.Count(), s.Min(), s.Max(), c.count, c.min, c.max)
				}
				for _, v := range append(s.Quantiles(percentiles...), s.Sum(), s.Mean()) {
					if math.IsNaN(v) || math.IsInf(v, 0) {
						t.Errorf("got %v, want a finite number", v)
					}
				}
			}
		})
	}
}

func TestSketchWeightsCountAsManyValues(t *testing.T) {
	weighted, repeated := metrics.NewSketch(), metrics.NewSketch()
	for i := range 100 {
		weighted.Add(float64(i), 10)
		for range 10 {
			repeated.Add(float64(i), 1)
		}
	}
	checkSame(t, weighted, repeated)
	weighted.Add(5, 0)
	weighted.Add(5, -3)
	weighted.Add(5, math.NaN())
	if got, want := weighted.Count(), 1000.0; got != want {
		t.Errorf("count after weights that are none: got %v, want %v", got, want)
	}
}

func TestSketchOddWeightsSurviveTheWire(t *testing.T) {
	s := metrics.NewSketch()
	for _, rate := range []float64{0.1, 0.3, 0.7, 1e-6, 1} {
		s.Add(12.5, 1/rate)
		s.Add(-0.1, 1/rate)
	}
	s.Add(3, 1e-300)
	s.Add(4, 1e300)
	once := roundTrip(t, s)
	once.Add(1, 1)
	twice := roundTrip(t, once)
	if math.Abs(twice.Count()-s.Count()-1) > 1e-9*s.Count() {
		t.Errorf("count: got %v, want %v", twice.Count(), s.Count()+1)
	}
}

func TestSketchCloneIsIndependent(t *testing.T) {
	s := metrics.NewSketch()
	s.Add(1, 1)
	for _, s := range []*metrics.Sketch{s, roundTrip(t, s)} {
		c := s.Clone()
		c.Add(100, 1)
		c.Add(-100, 1)
		if s.Count() != 1 || s.Quantile(1) != 1 || s.Min() != 1 {
			t.Errorf("original changed: count %v, p100 %v, min %v", s.Count(), s.Quantile(1), s.Min())
		}
	}
}

func TestSketchEmptyIsZeroEverywhere(t *testing.T) {
	var zero metrics.Sketch
	for _, s := range []*metrics.Sketch{&zero, metrics.NewSketch(), roundTrip(t, metrics.NewSketch())} {
		if s.Count() != 0 || s.Sum() != 0 || s.Min() != 0 || s.Max() != 0 || s.Mean() != 0 || s.Quantile(0.5) != 0 {
			t.Errorf("got %+v, want zeros", s)
		}
		if err := s.Merge(nil); err != nil {
			t.Errorf("merge nothing: %v", err)
		}
		s.Add(7, 2)
		if s.Count() != 2 || s.Quantile(0.5) != 7 {
			t.Errorf("after adding: count %v, p50 %v, want 2, 7", s.Count(), s.Quantile(0.5))
		}
	}
}

// TestSketchIsReadByTheLibrary keeps the format an open one.
func TestSketchIsReadByTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, d := range distributions {
		s := metrics.NewSketch()
		for range 1000 {
			s.Add(d.next(r), 1)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := base64.RawStdEncoding.DecodeString(string(text[1 : len(text)-1]))
		if err != nil {
			t.Fatal(err)
		}
		m, err := mapping.NewCubicallyInterpolatedMapping(metrics.RelativeError)
		if err != nil {
			t.Fatal(err)
		}
		lib, err := ddsketch.DecodeDDSketchWithExactSummaryStatistics(packed, store.DenseStoreConstructor, m)
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		if lib.GetCount() != s.Count() || lib.GetSum() != s.Sum() {
			t.Errorf("%s: library's count and sum: got %v, %v, want %v, %v", d.name, lib.GetCount(), lib.GetSum(), s.Count(), s.Sum())
		}
		// Of negative values the library takes the rank above, we the one below.
		got, err := lib.GetValueAtQuantile(0.9)
		if want := s.Quantile(0.9); err != nil || got != want && want > 0 {
			t.Errorf("%s: library's p90: got %v (%v), want %v", d.name, got, err, want)
		}
	}
}

func TestSketchBrokenBytesAreRefused(t *testing.T) {
	s := metrics.NewSketch()
	for i := range 50 {
		s.Add(float64(i*i-100), 1)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := base64.RawStdEncoding.DecodeString(string(text[1 : len(text)-1]))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(packed); cut++ {
		if err := new(metrics.Sketch).UnmarshalJSON(quoted(packed[:cut])); err == nil {
			t.Errorf("the first %d of %d bytes were taken for a sketch", cut, len(packed))
		}
	}
	for _, text := range []string{`1`, `null `, `{}`, `"%%%"`, `"AAAA"`, string(quoted(append(packed, 0)))} {
		if err := new(metrics.Sketch).UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%.20s was taken for a sketch", text)
		}
	}
}

func quoted(packed []byte) []byte {
	return []byte(`"` + base64.RawStdEncoding.EncodeToString(packed) + `"`)
}

func roundTrip(t *testing.T, s *metrics.Sketch) *metrics.Sketch {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back metrics.Sketch
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return &back
}

// A limit on p95 must see one slow value of ten.
func TestSketchQuantileOfFewValues(t *testing.T) {
	s := metrics.NewSketch()
	for i := range 10 {
		s.Add(float64(i+1), 1)
	}
	for _, test := range []struct{ q, want float64 }{
		{0, 1}, {0.07, 1}, {0.1, 1}, {0.11, 2}, {0.5, 5}, {0.7, 7}, {0.9, 9}, {0.95, 10}, {0.99, 10}, {1, 10},
	} {
		if got := s.Quantile(test.q); math.Abs(got-test.want) > metrics.RelativeError*test.want+1e-9 {
			t.Errorf("quantile %v of 1 to 10: got %v, want %v", test.q, got, test.want)
		}
	}
}
