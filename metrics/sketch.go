package metrics

import (
	"math"

	"github.com/DataDog/sketches-go/ddsketch/mapping"
)

// RelativeError bounds the error of a sketch: a quantile differs from the true
// value at its rank by at most this part of it. Merging adds nothing to it.
const RelativeError = 0.01

// The magnitudes that a sketch tells apart: for timers, which are in ms, from
// a nanosecond to thirty years. Smaller ones count as zero and larger ones as
// the largest, so the number of bins is bounded (2,094 for each sign).
const (
	smallestMagnitude = 1e-6
	largestMagnitude  = 1e12
)

// The weights that a sketch can carry without losing them to rounding.
const (
	smallestWeight = 1e-6
	largestWeight  = 1e15
)

// bins maps a magnitude to the number of its bin. It never changes.
var bins = newMapping()

// Bin numbers of the smallest and the largest magnitude.
var (
	lowestBin  = binIndex(smallestMagnitude)
	highestBin = binIndex(largestMagnitude)
)

func newMapping() *mapping.CubicallyInterpolatedMapping {
	m, err := mapping.NewCubicallyInterpolatedMapping(RelativeError)
	if err != nil {
		panic(err) // RelativeError is a constant between 0 and 1
	}
	return m
}

// A Sketch is a histogram of weighted values that can be merged with others.
// Its bins have the same bounds everywhere, so a quantile of merged sketches is
// the same as that of one sketch with all the values. Count, sum, least and
// greatest value are exact.
//
// A sketch that was decoded stays packed until something is added to it; so
// keeping many of them is cheap. The methods that only read may be called by
// many goroutines at once, as long as none changes the sketch. The zero value
// is an empty sketch.
type Sketch struct {
	count, sum, min, max float64
	zero                 float64    // weight of values nearer to zero than smallestMagnitude
	pos, neg             *histogram // weights by magnitude; nil when there are none
	packed               []byte     // see pack; when set, pos and neg are nil
}

// NewSketch returns an empty sketch.
func NewSketch() *Sketch { return &Sketch{} }

// Add adds a value that stands for weight values (1 / sample rate). NaN counts
// as nothing, and so does a weight that is not above zero.
func (s *Sketch) Add(value, weight float64) {
	if !(weight > 0) || math.IsNaN(value) {
		return
	}
	weight = min(max(weight, smallestWeight), largestWeight)
	value = saturate(value)
	s.unpack()
	s.note(value, value, weight, value*weight)
	switch magnitude := math.Abs(value); {
	case magnitude < smallestMagnitude:
		s.zero += weight
	case value > 0:
		s.positive().add(binOf(magnitude), weight)
	default:
		s.negative().add(binOf(magnitude), weight)
	}
}

// Merge adds all that is in o, which stays as it is. There is no error for
// sketches that this package made or decoded, as all are.
func (s *Sketch) Merge(o *Sketch) error {
	if o == nil || o.count == 0 {
		return nil
	}
	s.unpack()
	if o.packed != nil {
		return s.addPacked(o.packed)
	}
	s.note(o.min, o.max, o.count, o.sum)
	s.zero += o.zero
	if o.pos != nil {
		s.positive().merge(o.pos)
	}
	if o.neg != nil {
		s.negative().merge(o.neg)
	}
	return nil
}

// Count returns the number of values, each counted with its weight.
func (s *Sketch) Count() float64 { return s.count }

// Sum returns the weighted sum of the values.
func (s *Sketch) Sum() float64 { return s.sum }

// Min returns the least value, 0 if there is none.
func (s *Sketch) Min() float64 { return s.min }

// Max returns the greatest value, 0 if there is none.
func (s *Sketch) Max() float64 { return s.max }

// Mean returns the weighted mean, 0 if there is no value.
func (s *Sketch) Mean() float64 {
	if s.count == 0 {
		return 0
	}
	return s.sum / s.count
}

// Quantile returns the least value that a part q of the values is not above, q
// from 0 to 1: of n values, the one at rank qn, counted from 1 and rounded up
// (the nearest-rank method). So one of ten values is not passed over in a p95. It is
// within RelativeError, and 0 for an empty sketch.
func (s *Sketch) Quantile(q float64) float64 { return s.Quantiles(q)[0] }

// Quantiles returns several quantiles; it is cheaper than asking one by one.
func (s *Sketch) Quantiles(qs ...float64) []float64 {
	values := make([]float64, len(qs))
	if s.count == 0 {
		return values
	}
	opened := s.opened()
	for i, q := range qs {
		values[i] = min(max(opened.at(rank(min(max(q, 0), 1), s.count)), s.min), s.max)
	}
	return values
}

// rank returns how many of count values are before quantile q.
func rank(q, count float64) float64 {
	const rounding = 1e-12 // 0.07 of 100 is 7, though the product is a little more
	return max(0, math.Ceil(q*count*(1-rounding))-1)
}

// Clone returns a copy that shares nothing that changes.
func (s *Sketch) Clone() *Sketch {
	c := *s
	c.pos, c.neg = s.pos.clone(), s.neg.clone()
	return &c
}

// set makes s the same as o, with its bins, in the memory that s has.
func (s *Sketch) set(o *Sketch) {
	for _, h := range []*histogram{s.pos, s.neg} {
		if h != nil {
			clear(h.weights)
		}
	}
	*s = Sketch{pos: s.pos, neg: s.neg}
	mergeInto(s, o)
}

// at returns the middle of the bin that holds the value of the given rank.
func (s *Sketch) at(rank float64) float64 {
	below := 0.0
	if s.neg != nil {
		below = s.neg.total()
	}
	switch {
	case rank < below:
		return -bins.Value(s.neg.atRank(below - 1 - rank))
	case rank < below+s.zero || s.pos == nil:
		return 0
	default:
		return bins.Value(s.pos.atRank(rank - below - s.zero))
	}
}

// note updates what is kept exactly.
func (s *Sketch) note(least, greatest, weight, sum float64) {
	if least < s.min || s.count == 0 {
		s.min = least
	}
	if greatest > s.max || s.count == 0 {
		s.max = greatest
	}
	s.count += weight
	s.sum = saturate(s.sum + saturate(sum))
}

func (s *Sketch) positive() *histogram {
	if s.pos == nil {
		s.pos = &histogram{}
	}
	return s.pos
}

func (s *Sketch) negative() *histogram {
	if s.neg == nil {
		s.neg = &histogram{}
	}
	return s.neg
}

func binOf(magnitude float64) int {
	if magnitude >= largestMagnitude {
		return highestBin
	}
	return binIndex(magnitude)
}

// saturate keeps what is too large for a number, so that it can be written.
func saturate(v float64) float64 {
	switch {
	case v > math.MaxFloat64:
		return math.MaxFloat64
	case v < -math.MaxFloat64:
		return -math.MaxFloat64
	}
	return v
}
