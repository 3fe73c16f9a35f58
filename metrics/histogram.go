package metrics

import (
	"slices"

	"github.com/DataDog/sketches-go/ddsketch/encoding"
)

// binsAtOnce is by how many bins, a power of two, a histogram grows at least.
const binsAtOnce = 32

// A histogram holds the weights of bins that follow each other. Its bounds are
// multiples of binsAtOnce, so that it seldom grows.
type histogram struct {
	first   int // number of the bin of weights[0]
	weights []float64
}

// add puts weight into a bin.
func (h *histogram) add(bin int, weight float64) {
	if uint(bin-h.first) >= uint(len(h.weights)) {
		h.cover(bin, bin)
	}
	h.weights[bin-h.first] += weight
}

// cover makes room for the bins from first to last.
func (h *histogram) cover(first, last int) {
	first, end := first&^(binsAtOnce-1), (last|(binsAtOnce-1))+1
	if len(h.weights) == 0 {
		h.first, h.weights = first, make([]float64, end-first)
		return
	}
	first, end = min(first, h.first), max(end, h.first+len(h.weights))
	if end-first == len(h.weights) {
		return
	}
	grown := make([]float64, end-first)
	copy(grown[h.first-first:], h.weights)
	h.first, h.weights = first, grown
}

// merge adds all that is in o.
func (h *histogram) merge(o *histogram) {
	first, end := o.used()
	if first == end {
		return
	}
	h.cover(first, end-1)
	into := h.weights[first-h.first:]
	for i, weight := range o.weights[first-o.first : end-o.first] {
		into[i] += weight
	}
}

func (h *histogram) clone() *histogram {
	if h == nil {
		return nil
	}
	return &histogram{first: h.first, weights: slices.Clone(h.weights)}
}

// used returns the first bin with a weight and the one behind the last; twice
// the same when there is none.
func (h *histogram) used() (first, end int) {
	low, high := 0, len(h.weights)
	for low < high && h.weights[low] == 0 {
		low++
	}
	for high > low && h.weights[high-1] == 0 {
		high--
	}
	return h.first + low, h.first + high
}

// total returns the sum of all weights.
func (h *histogram) total() float64 {
	sum := 0.0
	for _, weight := range h.weights {
		sum += weight
	}
	return sum
}

// atRank returns the bin in which the value of that rank, from 0, lies.
func (h *histogram) atRank(rank float64) int {
	rank = max(rank, 0)
	sum := 0.0
	for i, weight := range h.weights {
		if sum += weight; sum > rank {
			return h.first + i
		}
	}
	_, end := h.used() // the sum was rounded
	return end - 1
}

// each calls f for every bin with a weight, in order.
func (h *histogram) each(f func(bin int, weight float64)) {
	for i, weight := range h.weights {
		if weight != 0 {
			f(h.first+i, weight)
		}
	}
}

// appendTo writes the bins, for a sign, in the shorter of two layouts of the
// library: all weights from the first to the last; or those that are not 0, each
// behind the distance of its bin.
func (h *histogram) appendTo(b []byte, sign encoding.FlagType) []byte {
	first, end := h.used()
	if first == end {
		return b
	}
	weights := h.weights[first-h.first : end-h.first]
	filled, dense, sparse := uint64(0), 0, 0
	last := first
	for i, weight := range weights {
		size := encoding.Varfloat64Size(weight)
		dense += size
		if weight != 0 {
			filled++
			sparse += size + encoding.Varint64Size(int64(first+i-last))
			last = first + i
		}
	}
	dense += encoding.Uvarint64Size(uint64(len(weights))) + encoding.Varint64Size(int64(first)) + encoding.Varint64Size(1)
	sparse += encoding.Uvarint64Size(filled)
	b = slices.Grow(b, min(dense, sparse)+encoding.MaxVarLen64)
	if dense <= sparse {
		encoding.EncodeFlag(&b, encoding.NewFlag(sign, encoding.BinEncodingContiguousCounts))
		encoding.EncodeUvarint64(&b, uint64(len(weights)))
		encoding.EncodeVarint64(&b, int64(first))
		encoding.EncodeVarint64(&b, 1)
		for _, weight := range weights {
			encoding.EncodeVarfloat64(&b, weight)
		}
		return b
	}
	encoding.EncodeFlag(&b, encoding.NewFlag(sign, encoding.BinEncodingIndexDeltasAndCounts))
	encoding.EncodeUvarint64(&b, filled)
	last = 0
	h.each(func(bin int, weight float64) {
		encoding.EncodeVarint64(&b, int64(bin-last))
		encoding.EncodeVarfloat64(&b, weight)
		last = bin
	})
	return b
}
