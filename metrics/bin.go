package metrics

import "math"

// Coefficients of the cubic that stands for the binary logarithm between two
// powers of two, as in the library's CubicallyInterpolatedMapping.
const (
	cubicA = 6.0 / 35
	cubicB = -3.0 / 5
	cubicC = 10.0 / 7
)

// binsPerOctave is how many bins lie between a magnitude and its double, for
// RelativeError: 7 / (10 ln((1+e)/(1-e))). It is a constant, and not computed,
// so that it has the same last bit on every machine.
const binsPerOctave = 34.998833302220497

// binIndex returns the number of the bin for a positive normal magnitude. It is
// the library's Index, written so that it is compiled inline and that every
// product is rounded: without that, some processors fuse a product and a sum,
// and a value at the edge of two bins would be in another one there.
func binIndex(magnitude float64) int {
	b := math.Float64bits(magnitude)
	exponent := float64(int(b>>52&0x7ff) - 1023)
	s := math.Float64frombits(b&(1<<52-1)|0x3ff<<52) - 1
	log := float64(s*(cubicC+float64(s*(cubicB+float64(s*cubicA))))) + exponent
	index := log * binsPerOctave
	if index < 0 {
		return int(index) - 1
	}
	return int(index)
}
