package engine

import (
	"fmt"
	"sync"

	"github.com/loads/loads/loadgen/stats"
)

// outletSize is how many reports may wait for the sinks; the next ones are
// dropped, and counted.
const outletSize = 60

// outlet gives reports to sinks in a goroutine of its own, so that a slow
// sink holds nobody up.
type outlet struct {
	reports chan *stats.Report
	done    sync.WaitGroup
	dropped int
	errs    []string
}

func newOutlet(sinks []stats.Sink) *outlet {
	o := &outlet{reports: make(chan *stats.Report, outletSize)}
	o.done.Go(func() {
		told := map[string]bool{}
		for r := range o.reports {
			for _, s := range sinks {
				if err := s.Report(r); err != nil && !told[err.Error()] && len(told) < 10 {
					told[err.Error()] = true
					o.errs = append(o.errs, err.Error())
				}
			}
		}
	})
	return o
}

func (o *outlet) give(r *stats.Report) {
	select {
	case o.reports <- r:
	default:
		o.dropped++
	}
}

// close waits until the sinks have all, and returns what went wrong.
func (o *outlet) close() []string {
	close(o.reports)
	o.done.Wait()
	if o.dropped > 0 {
		o.errs = append(o.errs, fmt.Sprintf("%d reports were dropped, since the receiver was slow", o.dropped))
	}
	return o.errs
}
