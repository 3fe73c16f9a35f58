package metrics

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/DataDog/sketches-go/ddsketch/encoding"
)

// A packed sketch has the layout of the library's sketch with exact summary
// statistics, without its index mapping, which Version implies. We read it
// ourselves: the library takes a sketch that is cut off for a whole one.
var errBroken = errors.New("broken sketch")

// MarshalJSON writes the sketch as a string: its packed bytes in base64.
func (s *Sketch) MarshalJSON() ([]byte, error) {
	packed := s.pack()
	out := make([]byte, 0, base64.RawStdEncoding.EncodedLen(len(packed))+2)
	out = append(out, '"')
	out = base64.RawStdEncoding.AppendEncode(out, packed)
	return append(out, '"'), nil
}

// UnmarshalJSON reads what MarshalJSON has written, and refuses anything that
// no sketch could have given.
func (s *Sketch) UnmarshalJSON(text []byte) error {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return fmt.Errorf("read sketch: %w: not a string", errBroken)
	}
	packed, err := base64.RawStdEncoding.AppendDecode(nil, text[1:len(text)-1])
	if err != nil {
		return fmt.Errorf("read sketch: %w", err)
	}
	return s.setPacked(packed)
}

// setPacked makes the sketch that of the packed bytes, which become its own.
func (s *Sketch) setPacked(packed []byte) error {
	if len(packed) == 0 {
		*s = Sketch{}
		return nil
	}
	read := packedReader{rest: packed}
	if !read.all() {
		return fmt.Errorf("read sketch: %w", errBroken)
	}
	*s = read.stats
	s.packed = packed
	return nil
}

// pack returns the sketch's bytes, none for an empty sketch.
func (s *Sketch) pack() []byte {
	if s.packed != nil || s.count == 0 {
		return s.packed
	}
	b := make([]byte, 0, 256)
	encoding.EncodeFlag(&b, encoding.FlagCount)
	encoding.EncodeVarfloat64(&b, s.count)
	appendFloat(&b, encoding.FlagSum, s.sum)
	appendFloat(&b, encoding.FlagMin, s.min)
	appendFloat(&b, encoding.FlagMax, s.max)
	if s.zero > 0 {
		encoding.EncodeFlag(&b, encoding.FlagZeroCountVarFloat)
		encoding.EncodeVarfloat64(&b, s.zero)
	}
	if s.pos != nil {
		b = s.pos.appendTo(b, encoding.FlagTypePositiveStore)
	}
	if s.neg != nil {
		b = s.neg.appendTo(b, encoding.FlagTypeNegativeStore)
	}
	return b
}

func appendFloat(b *[]byte, flag encoding.Flag, v float64) {
	encoding.EncodeFlag(b, flag)
	encoding.EncodeFloat64LE(b, v)
}

// Pack makes the sketch as small as it travels, until something is added to it.
// Nil stays nil.
func (s *Sketch) Pack() {
	if s != nil && s.packed == nil {
		s.freeze()
	}
}

// freeze packs the sketch for good, which frees its bins.
func (s *Sketch) freeze() {
	s.packed = s.pack()
	s.pos, s.neg = nil, nil
}

// unpack gives a packed sketch its bins back.
func (s *Sketch) unpack() {
	if packed := s.packed; packed != nil {
		*s = Sketch{}
		_ = s.addPacked(packed) // it was checked before it was kept
	}
}

// opened returns the sketch with its bins, for reading only: s itself unless it
// is packed.
func (s *Sketch) opened() *Sketch {
	if s.packed == nil {
		return s
	}
	opened := s.Clone()
	opened.unpack()
	return opened
}

// addPacked adds what pack has written.
func (s *Sketch) addPacked(packed []byte) error {
	read := packedReader{rest: packed, into: s}
	if !read.all() {
		return errBroken
	}
	s.note(read.stats.min, read.stats.max, read.stats.count, read.stats.sum)
	s.zero += read.stats.zero
	return nil
}

// packedReader reads a packed sketch from front to end.
type packedReader struct {
	rest     []byte
	into     *Sketch // gets the bins; nil only checks
	stats    Sketch  // all but the bins
	pos, neg binRange
}

// binRange says which bins of a store hold something, and how much in all.
type binRange struct {
	first, last int
	count       float64
}

// all reports whether the bytes are a sketch.
func (r *packedReader) all() bool {
	s := &r.stats
	return r.flag(encoding.FlagCount) && r.weight(&s.count) &&
		r.flag(encoding.FlagSum) && r.float(&s.sum) &&
		r.flag(encoding.FlagMin) && r.float(&s.min) &&
		r.flag(encoding.FlagMax) && r.float(&s.max) &&
		(!r.flag(encoding.FlagZeroCountVarFloat) || r.weight(&s.zero)) &&
		r.bins(encoding.FlagTypePositiveStore, &r.pos) &&
		r.bins(encoding.FlagTypeNegativeStore, &r.neg) &&
		len(r.rest) == 0 && r.fits()
}

// fits reports whether the exact statistics agree with the bins.
func (r *packedReader) fits() bool {
	s := &r.stats
	total := s.zero + r.pos.count + r.neg.count
	if math.Abs(total-s.count) > 1e-6*s.count || s.min > s.max {
		return false
	}
	return signedBin(s.min) == r.lowest() && signedBin(s.max) == r.highest()
}

// lowest and highest return the ends of the bins in use, as signedBin does.
func (r *packedReader) lowest() [2]int {
	switch {
	case r.neg.count > 0:
		return [2]int{-1, r.neg.last}
	case r.stats.zero > 0:
		return [2]int{0, 0}
	default:
		return [2]int{1, r.pos.first}
	}
}

func (r *packedReader) highest() [2]int {
	switch {
	case r.pos.count > 0:
		return [2]int{1, r.pos.last}
	case r.stats.zero > 0:
		return [2]int{0, 0}
	default:
		return [2]int{-1, r.neg.first}
	}
}

// signedBin returns the sign and the number of the bin that a value falls in.
func signedBin(v float64) [2]int {
	switch magnitude := math.Abs(v); {
	case magnitude < smallestMagnitude:
		return [2]int{0, 0}
	case v > 0:
		return [2]int{1, binOf(magnitude)}
	default:
		return [2]int{-1, binOf(magnitude)}
	}
}

// flag consumes the flag if it comes next.
func (r *packedReader) flag(want encoding.Flag) bool {
	rest := r.rest
	got, err := encoding.DecodeFlag(&rest)
	if err != nil || got != want {
		return false
	}
	r.rest = rest
	return true
}

func (r *packedReader) float(v *float64) (ok bool) {
	var err error
	*v, err = encoding.DecodeFloat64LE(&r.rest)
	return err == nil && !math.IsNaN(*v) && !math.IsInf(*v, 0)
}

func (r *packedReader) weight(v *float64) (ok bool) {
	var err error
	*v, err = encoding.DecodeVarfloat64(&r.rest)
	return err == nil && *v > 0 && !math.IsInf(*v, 0)
}

// bins reads the bins of one sign, if they come next.
func (r *packedReader) bins(sign encoding.FlagType, in *binRange) bool {
	switch {
	case r.flag(encoding.NewFlag(sign, encoding.BinEncodingContiguousCounts)):
		return r.denseBins(in, r.dest(sign))
	case r.flag(encoding.NewFlag(sign, encoding.BinEncodingIndexDeltasAndCounts)):
		return r.sparseBins(in, r.dest(sign))
	default:
		return true
	}
}

// dest returns the store for the bins of one sign, nil when only checking.
func (r *packedReader) dest(sign encoding.FlagType) *histogram {
	switch {
	case r.into == nil:
		return nil
	case sign == encoding.FlagTypePositiveStore:
		return r.into.positive()
	default:
		return r.into.negative()
	}
}

func (r *packedReader) denseBins(in *binRange, dest *histogram) bool {
	n, err := encoding.DecodeUvarint64(&r.rest)
	if err != nil || n == 0 || n > uint64(highestBin-lowestBin+1) {
		return false
	}
	first, err := encoding.DecodeVarint64(&r.rest)
	if err != nil {
		return false
	}
	if step, err := encoding.DecodeVarint64(&r.rest); err != nil || step != 1 {
		return false
	}
	if first < int64(lowestBin) || first > int64(highestBin) || first+int64(n)-1 > int64(highestBin) {
		return false
	}
	if dest != nil {
		dest.cover(int(first), int(first)+int(n)-1)
	}
	rest := r.rest
	for bin := int(first); bin < int(first)+int(n); bin++ {
		var weight float64
		if len(rest) > 0 && rest[0] < 0x80 { // as cutWeight, but inline
			weight, rest = shortWeights[rest[0]], rest[1:]
		} else {
			weight, rest = cutWeight(rest)
		}
		switch {
		case weight == 0:
			continue
		case !(weight > 0 && weight <= math.MaxFloat64):
			return false
		}
		in.note(bin, weight)
		if dest != nil {
			dest.weights[bin-dest.first] += weight
		}
	}
	r.rest = rest
	return in.count > 0
}

func (r *packedReader) sparseBins(in *binRange, dest *histogram) bool {
	n, err := encoding.DecodeUvarint64(&r.rest)
	if err != nil || n == 0 || n > uint64(highestBin-lowestBin+1) {
		return false
	}
	index := int64(0)
	for i := range n {
		delta, err := encoding.DecodeVarint64(&r.rest)
		if err != nil || i > 0 && delta <= 0 {
			return false
		}
		weight, rest := cutWeight(r.rest)
		r.rest = rest
		if index += delta; index < int64(lowestBin) || index > int64(highestBin) || !(weight > 0 && weight <= math.MaxFloat64) {
			return false
		}
		in.note(int(index), weight)
		if dest != nil {
			dest.add(int(index), weight)
		}
	}
	return true
}

// note takes one bin in, in ascending order.
func (b *binRange) note(bin int, weight float64) {
	if b.count == 0 {
		b.first = bin
	}
	b.last = bin
	b.count += weight
}

// shortWeights are those weights, mostly small whole numbers, that are written
// as one byte. They never change.
var shortWeights = func() (weights [0x80]float64) {
	for n := range weights {
		weights[n] = weightOf(uint64(n) << 57)
	}
	return weights
}()

// cutWeight reads a weight as encoding.EncodeVarfloat64 writes it from the
// front of b, and returns what is behind it. When b is cut off, the weight is
// NaN and the rest nil. Nearly all weights have one byte or two, which are read
// here since the library's loop was an eighth of the time that condensing took.
func cutWeight(b []byte) (weight float64, rest []byte) {
	switch {
	case len(b) > 0 && b[0] < 0x80:
		return shortWeights[b[0]], b[1:]
	case len(b) > 1 && b[1] < 0x80:
		return weightOf(uint64(b[0]&0x7f)<<57 | uint64(b[1])<<50), b[2:]
	}
	weight, err := encoding.DecodeVarfloat64(&b)
	if err != nil {
		return math.NaN(), nil
	}
	return weight, b
}

// weightOf turns the bits that EncodeVarfloat64 writes into the weight.
func weightOf(written uint64) float64 {
	return math.Float64frombits(bits.RotateLeft64(written, -6)+math.Float64bits(1)) - 1
}
