package metrics_test

import (
	"slices"
	"testing"

	"github.com/loads/loads/metrics"
)

func TestTagValuesAreKnownForEachMachineAlsoOnceCondensed(t *testing.T) {
	why := func(reason string) metrics.Point {
		return metrics.Point{Kind: metrics.Counter, Name: "gen.failed", Tags: []metrics.Tag{{Name: "reason", Value: reason}}, Value: 1}
	}
	s := metrics.NewSeries()
	s.Add("load", 1, metrics.Frame{Seq: 1, Time: 1000, Points: []metrics.Point{why("slow"), why("broken")}})
	s.Add("load", 0, metrics.Frame{Seq: 1, Time: 1000, Points: []metrics.Point{why("slow")}})
	s.Add("load", 0, metrics.Frame{Seq: 2, Time: 2000, Points: []metrics.Point{why("slow"), {Kind: metrics.Counter, Name: "other", Value: 1}}})
	want := []metrics.TagValue{{"load", 0, "slow"}, {"load", 1, "broken"}, {"load", 1, "slow"}}
	for _, when := range []string{"at first", "condensed"} {
		if got := s.TagValues("gen.failed", "reason"); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", when, got, want)
		}
		s.Condense(120_000)
	}
	if got := s.TagValues("other", "reason"); len(got) != 0 {
		t.Errorf("got %v of a metric without the tag", got)
	}
}
