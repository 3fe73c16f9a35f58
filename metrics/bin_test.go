package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestBinIndexIsTheLibrarys holds on processors that don't fuse a product and a
// sum; on others the library's own may differ at the edge of two bins.
func TestBinIndexIsTheLibrarys(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	differ := 0
	check := func(v float64) {
		got, want := binIndex(v), bins.Index(v)
		if got != want {
			differ++
		}
		if got < want-1 || got > want+1 {
			t.Errorf("%v: got bin %d, want %d", v, got, want)
		}
	}
	for range 200_000 {
		check(math.Exp(rnd.Float64()*math.Log(largestMagnitude/smallestMagnitude)) * smallestMagnitude)
	}
	for bin := lowestBin + 1; bin <= highestBin; bin++ {
		edge := bins.LowerBound(bin)
		check(edge)
		check(math.Nextafter(edge, 0))
		check(math.Nextafter(edge, math.Inf(1)))
	}
	if differ > 10 {
		t.Errorf("got %d bins that differ from the library's, want almost none", differ)
	}
}
