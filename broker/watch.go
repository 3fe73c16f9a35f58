package broker

import (
	"context"
	"fmt"
	"time"
)

// watchEvery is the pause between two looks at the criteria of a run.
const watchEvery = time.Second

// watchCriteria looks at the criteria each second until inner is done, for who
// watches the run, and judges those that can fail while it goes on. When one
// with stop fails it stores that and calls cancel, which ends inner. The error
// is of the store.
func (x *execution) watchCriteria(ctx, inner context.Context, cancel func()) error {
	gauges := map[int]*criterionGauge{}
	for i, c := range x.ref.Plan.Criteria {
		if x.hasFailed(i) {
			continue
		}
		g, err := newGauge(c)
		if err != nil {
			return fmt.Errorf("read criterion %s: %w", c.Title(), err)
		}
		gauges[i] = g
	}
	if len(gauges) == 0 {
		return nil
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-inner.Done():
			return nil
		}
		stop, err := x.lookAt(ctx, gauges)
		if err != nil || stop {
			cancel()
			return err
		}
	}
}

func (x *execution) hasFailed(i int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := x.run.Judgement.Criteria
	return i < len(list) && list[i].State == CriterionFailed
}

// lookAt judges the criteria over what has come so far, and reports whether
// the run is to end.
func (x *execution) lookAt(ctx context.Context, gauges map[int]*criterionGauge) (stop bool, err error) {
	x.mu.Lock()
	records := append([]StepRecord(nil), x.run.StepRecords...)
	x.mu.Unlock()
	for i, c := range x.ref.Plan.Criteria {
		g := gauges[i]
		if g == nil {
			continue
		}
		x.seriesMu.Lock()
		if sp, ok := x.spanOf(c, records, x.series, x.series.LiveSecond()); ok {
			g.advance(x.series, sp)
		}
		x.seriesMu.Unlock()
		r := g.result(false)
		x.see(i, r)
		if !c.Stop && c.For == 0 || r.State != CriterionFailed {
			continue
		}
		delete(gauges, i)
		if r.FailedAt == 0 {
			r.FailedAt = g.seen
		}
		r.Stopped = c.Stop
		if err := x.storeFailed(ctx, i, r); err != nil || r.Stopped {
			return r.Stopped, err
		}
	}
	return false, nil
}

// see keeps what was last seen of a criterion.
func (x *execution) see(i int, r CriterionResult) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.noted == nil {
		x.noted = make([]CriterionResult, len(x.ref.Plan.Criteria))
	}
	x.noted[i] = r
}

// Criteria returns what there is to say of the run's criteria, in the plan's
// order. While the run goes on, one that has not failed for good is held or
// failed by what has come so far; it is pending while that can't be said.
func (b *Broker) Criteria(ctx context.Context, runUUID string) ([]CriterionResult, error) {
	run, err := b.cfg.Store.Run(ctx, runUUID)
	if err != nil {
		return nil, err
	}
	results := make([]CriterionResult, len(run.Plan.Criteria))
	for i, c := range run.Plan.Criteria {
		results[i] = CriterionResult{Name: c.Title(), Expr: c.Expr, State: CriterionPending}
	}
	judged := run.Judgement.Criteria
	// Those beyond the plan's own are of its benchmarks.
	results = append(results, judged[min(len(results), len(judged)):]...)
	copy(results, judged)
	x := b.execution(runUUID)
	if x == nil || run.Judgement.Done {
		return results, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, seen := range x.noted {
		if results[i].State == CriterionPending && seen.State != "" {
			results[i] = seen
		}
	}
	return results, nil
}

// storeFailed stores that a criterion has failed while the run goes on.
func (x *execution) storeFailed(ctx context.Context, i int, r CriterionResult) error {
	return x.update(ctx, func(run *Run) []Event {
		results := make([]CriterionResult, len(x.ref.Plan.Criteria))
		for k, c := range x.ref.Plan.Criteria {
			results[k] = CriterionResult{Name: c.Title(), Expr: c.Expr, State: CriterionPending}
		}
		copy(results, run.Judgement.Criteria)
		results[i] = r
		run.Judgement.Criteria = results
		return []Event{criterionEvent(r)}
	})
}

// stoppedBy returns the criterion that ended the run, if one did.
func (x *execution) stoppedBy() (CriterionResult, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.run.Judgement.stopper()
}
