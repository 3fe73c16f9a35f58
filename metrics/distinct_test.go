package metrics_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/loads/loads/metrics"
)

func distinct(from, to int) *metrics.Distinct {
	d := &metrics.Distinct{}
	for i := from; i < to; i++ {
		d.Add(fmt.Appendf(nil, "user-%d", i))
	}
	return d
}

func mustJSON(t *testing.T, d *metrics.Distinct) string {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDistinctCountsWithinItsError(t *testing.T) {
	for _, n := range []int{0, 1, 2, 10, 100, 1_000, 10_000, 200_000} {
		d := distinct(0, n)
		d.Merge(distinct(0, n/2)) // nothing new
		if got := d.Count(); math.Abs(got-float64(n)) > 4*metrics.DistinctError*float64(n) {
			t.Errorf("got %v of %d distinct values, want it within four standard errors", got, n)
		}
	}
}

func TestDistinctMergesToTheSameInAnyOrder(t *testing.T) {
	for _, n := range []int{10, 1_000, 50_000} {
		whole := distinct(0, n)
		var merged metrics.Distinct
		for _, part := range []*metrics.Distinct{distinct(n/2, n), {}, distinct(0, n/3), distinct(n/4, n/2+1)} {
			var read metrics.Distinct
			if err := json.Unmarshal([]byte(mustJSON(t, part)), &read); err != nil {
				t.Fatal(err)
			}
			merged.Merge(&read)
		}
		if got, want := mustJSON(t, &merged), mustJSON(t, whole); got != want {
			t.Errorf("%d values: got %.80s, want %.80s", n, got, want)
		}
		if got, want := merged.Clone().Count(), whole.Count(); got != want {
			t.Errorf("%d values: got %v, want %v", n, got, want)
		}
	}
}

func TestDistinctAllocatesNothingForAValue(t *testing.T) {
	d := distinct(0, 1)
	value := []byte("user-17")
	if allocs := testing.AllocsPerRun(1000, func() { d.Add(value) }); allocs > 0 {
		t.Errorf("got %v allocations, want none", allocs)
	}
}

func FuzzDistinct(f *testing.F) {
	for _, d := range []*metrics.Distinct{distinct(0, 0), distinct(0, 3), distinct(0, 20_000)} {
		packed, _ := d.MarshalJSON()
		raw, _ := base64.RawStdEncoding.DecodeString(string(packed[1 : len(packed)-1]))
		f.Add(raw)
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Add([]byte{1, 0, 60})
	f.Fuzz(func(t *testing.T, packed []byte) {
		var d metrics.Distinct
		if err := d.UnmarshalJSON([]byte(`"` + base64.RawStdEncoding.EncodeToString(packed) + `"`)); err != nil {
			return
		}
		if n := d.Count(); math.IsNaN(n) || n < 0 || (n == 0) != (len(packed) == 0) {
			t.Fatalf("got %v distinct values of %d bytes", n, len(packed))
		}
		changed := d.Clone()
		changed.Add([]byte("one more"))
		if changed.Count() < d.Count() {
			t.Fatalf("got %v after one more value than %v", changed.Count(), d.Count())
		}
	})
}
