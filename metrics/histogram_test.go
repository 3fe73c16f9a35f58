package metrics

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/DataDog/sketches-go/ddsketch/encoding"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// TestHistogramIsTheLibrarysStore holds a histogram to the library's dense
// store, which writes the bytes that older frames and blocks hold.
func TestHistogramIsTheLibrarysStore(t *testing.T) {
	for spread := 1; spread <= 2000; spread *= 3 {
		t.Run(fmt.Sprintf("bins within %d", spread), func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(spread)))
			var all histogram
			want := store.NewDenseStore()
			for part := range 20 {
				var h histogram
				s := store.NewDenseStore()
				for range part * 5 {
					bin, weight := random.IntN(spread)-spread/3, float64(1+random.IntN(100))
					h.add(bin, weight)
					s.AddWithCount(bin, weight)
				}
				all.merge(h.clone())
				want.MergeWith(s)
			}
			var encoded []byte
			want.Encode(&encoded, encoding.FlagTypePositiveStore)
			if got := all.appendTo(nil, encoding.FlagTypePositiveStore); !bytes.Equal(got, encoded) {
				t.Errorf("bytes:\ngot  %x\nwant %x", got, encoded)
			}
			for rank := -1.0; rank < want.TotalCount()+2; rank++ {
				if got, want := all.atRank(rank), want.KeyAtRank(rank); got != want {
					t.Fatalf("rank %v: got bin %d, want %d", rank, got, want)
				}
			}
			if got := all.total(); got != want.TotalCount() {
				t.Errorf("total: got %v, want %v", got, want.TotalCount())
			}
		})
	}
}

func TestWeightsComeBackAsTheLibraryWritesThem(t *testing.T) {
	weights := []float64{smallestWeight, 0.1, 1.0 / 3, 0.5, 1.5, 1e9 + 1, 1 << 53, largestWeight}
	for n := range 70_000 {
		weights = append(weights, float64(n))
	}
	for _, want := range weights {
		var written, library []byte
		encoding.EncodeVarfloat64(&written, want)
		library = written
		read, _ := encoding.DecodeVarfloat64(&library)
		got, rest := cutWeight(append(written, 'x'))
		if got != read || string(rest) != "x" {
			t.Errorf("%v: got %v and %q behind it, want %v and x", want, got, rest, read)
		}
		for end := range written {
			if got, rest := cutWeight(written[:end]); got == got || rest != nil {
				t.Errorf("%v, %d bytes of it: got %v, want no number", want, end, got)
			}
		}
	}
}

func TestBinsOutOfRangeAreRefused(t *testing.T) {
	for what, c := range map[string]struct {
		first int64
		n     uint64
		want  bool
	}{
		"all that there can be":      {int64(lowestBin), uint64(highestBin - lowestBin + 1), true},
		"below the lowest":           {int64(lowestBin) - 1, 2, false},
		"above the highest":          {int64(highestBin), 2, false},
		"beyond what a number holds": {math.MaxInt64, 2, false},
		"at the end of all numbers":  {math.MinInt64, 2, false},
		"none":                       {0, 0, false},
		"more than a number holds":   {0, math.MaxUint64, false},
	} {
		var written []byte
		encoding.EncodeFlag(&written, encoding.NewFlag(encoding.FlagTypePositiveStore, encoding.BinEncodingContiguousCounts))
		encoding.EncodeUvarint64(&written, c.n)
		encoding.EncodeVarint64(&written, c.first)
		encoding.EncodeVarint64(&written, 1)
		for range min(c.n, 5000) {
			encoding.EncodeVarfloat64(&written, 1)
		}
		into := NewSketch()
		for _, r := range []packedReader{{rest: written}, {rest: written, into: into}} {
			if got := r.bins(encoding.FlagTypePositiveStore, &r.pos); got != c.want {
				t.Errorf("%s: got %v, want %v", what, got, c.want)
			}
		}
	}
}
