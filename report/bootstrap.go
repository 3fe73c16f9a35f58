package report

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Settings of the bootstrap.
const (
	resamples  = 2000
	confidence = 0.99
	minSeconds = 20  // of each run; with fewer no interval is given
	maxValues  = 600 // of each run; more seconds than these are taken together
)

// An Interval holds the difference of two means with 99 % confidence.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// holdsZero reports whether there may be no difference at all.
func (i Interval) holdsZero() bool { return i.Low <= 0 && i.High >= 0 }

// differenceOf estimates the interval of mean(b) - mean(a) by the moving block
// bootstrap: each series is drawn again, with replacement, in blocks of
// neighbouring values, so that what one second has of the one before stays in
// it. It is Künsch, The jackknife and the bootstrap for general stationary
// observations, Annals of Statistics 17 (1989), with blocks of n^(1/3) values
// (Hall, Horowitz and Jing, On blocking rules for the bootstrap with dependent
// data, Biometrika 82 (1995), give that order), and the percentile interval of
// Efron. False is too few values. The draws are the same each time.
func differenceOf(a, b []float64) (Interval, bool) {
	if min(len(a), len(b)) < minSeconds {
		return Interval{}, false
	}
	source := rand.New(rand.NewPCG(1979, 1989))
	drawA, drawB := newBlocks(condense(a)), newBlocks(condense(b))
	differences := make([]float64, resamples)
	for i := range differences {
		differences[i] = drawB.mean(source) - drawA.mean(source)
	}
	slices.Sort(differences)
	tail := (1 - confidence) / 2
	return Interval{Low: quantile(differences, tail), High: quantile(differences, 1-tail)}, true
}

// condense takes neighbouring values together to their means, so that there
// are at most maxValues: an hour's seconds tell no more of its mean than its
// groups of six seconds do, and cost six times as much. Values at the end that
// fill no group are left out.
func condense(values []float64) []float64 {
	width := (len(values) + maxValues - 1) / maxValues
	if width <= 1 {
		return values
	}
	means := make([]float64, 0, maxValues)
	for group := range slices.Chunk(values, width) {
		if len(group) < width {
			break
		}
		sum := 0.0
		for _, v := range group {
			sum += v
		}
		means = append(means, sum/float64(width))
	}
	return means
}

// blocks draws means of resampled series.
type blocks struct {
	n    int       // values of the series
	size int       // of a block
	sums []float64 // of the values before each index
}

func newBlocks(values []float64) blocks {
	b := blocks{n: len(values), size: int(math.Ceil(math.Cbrt(float64(len(values))))), sums: []float64{0}}
	for _, v := range values {
		b.sums = append(b.sums, b.sums[len(b.sums)-1]+v)
	}
	return b
}

func (b blocks) mean(source *rand.Rand) float64 {
	sum := 0.0
	for left := b.n; left > 0; {
		size := min(b.size, left)
		at := source.IntN(b.n - size + 1)
		sum += b.sums[at+size] - b.sums[at]
		left -= size
	}
	return sum / float64(b.n)
}

// quantile is the value at q of sorted values, between neighbours in proportion.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
