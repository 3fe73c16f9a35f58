package influx_test

import (
	"fmt"
	"testing"

	"github.com/loads/loads/internal/influxtest"
	"github.com/loads/loads/metrics"
)

// BenchmarkCatchUp writes what 100 machines with 50 metrics have measured in a
// number of seconds; seconds/s says how much faster than they measured.
func BenchmarkCatchUp(b *testing.B) {
	const seconds = 20
	server := influxtest.Start(b)
	bucket := server.CreateDatabase(b, "runs")
	for b.Loop() {
		b.StopTimer()
		bench := mustBench(b, 100)
		for s := range seconds {
			for m := range bench.machines {
				bench.add(m, s, manyPoints(m, s)...)
			}
		}
		ok(b, bench.store.BeginExports(b.Context()))
		bench.complete()
		b.StartTimer()
		stop := bench.send(server.URL, server.Token, bucket)
		bench.until("the run is done", func() bool { return bench.export().Done })
		stop()
	}
	b.ReportMetric(float64(seconds*b.N)/b.Elapsed().Seconds(), "seconds/s")
}

// manyPoints are 50 metrics.
func manyPoints(machine, second int) (all []metrics.Point) {
	for i := range 17 {
		p := points(machine, second)
		p[0].Name, p[1].Name, p[2].Name = fmt.Sprint("count", i), fmt.Sprint("gauge", i), fmt.Sprint("time", i)
		all = append(all, p...)
	}
	return all[:50]
}
