package metrics_test

import (
	"fmt"
	"testing"

	"github.com/loads/loads/metrics"
)

// TestCondensingKeepsWindows compares windows before and after: those of all
// time, and such as end within what is condensed.
func TestCondensingKeepsWindows(t *testing.T) {
	const start = 1_700_000_040_000
	plain, condensed := metrics.NewSeries(), metrics.NewSeries()
	for i := 1; i <= 200; i++ {
		for machine := range 2 {
			set := &metrics.Distinct{}
			set.Add(fmt.Append(nil, i%7, machine))
			f := metrics.Frame{Seq: uint64(i), Time: start + int64(i)*1000, Points: []metrics.Point{
				{Kind: metrics.Gauge, Name: "users", Value: float64(i * (machine + 1)), Count: 1},
				{Kind: metrics.Counter, Name: "hits", Value: 2},
				{Kind: metrics.Set, Name: "visitors", Distinct: set},
			}}
			plain.Add("a", machine, f)
			condensed.Add("a", machine, f)
		}
	}
	condensed.Condense(start + 150_000)
	for _, to := range []int64{0, 200, 170, 100, 37} {
		for _, metric := range []string{"users", "hits"} {
			q := metrics.Query{Metric: metric, From: start + 10_000}
			if to > 0 {
				q.To = start + to*1000
			}
			got, want := condensed.Window(q), plain.Window(q)
			if got.Gauged() != want.Gauged() || got.Counted() != want.Counted() {
				t.Errorf("%s up to %d s: got %v, %v, want %v, %v", metric, to, got.Gauged(), got.Counted(), want.Gauged(), want.Counted())
			}
		}
	}
	sameSummary(t, "with a set", throughBytes(t, condensed.Totals()).Summary(), plain.Summary())
}
