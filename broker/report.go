package broker

import (
	"context"
	"slices"
	"sync"

	"github.com/loads/loads/metrics"
)

// A seriesCache keeps the series of completed runs that were asked for last:
// making one reads all frames of the run.
type seriesCache struct {
	mu    sync.Mutex
	byRun map[string]*metrics.Series
	order []string // oldest first
}

// cachedRuns is how many completed runs' series are kept in memory, which for
// an hour of a hundred machines are some 160 MB each.
const cachedRuns = 3

// withSeries calls f with the run's series, which f must not keep.
func (b *Broker) withSeries(ctx context.Context, uuid string, f func(*metrics.Series)) error {
	return b.withStored(ctx, uuid, &b.cache, b.cfg.Store.ReadSeries, f)
}

// withTotals calls f with a series of the run that has its Summary and
// Hosts, if not more. f must not keep it.
func (b *Broker) withTotals(ctx context.Context, uuid string, f func(*metrics.Series)) error {
	return b.withStored(ctx, uuid, &b.totals, b.cfg.Store.ReadTotals, f)
}

// withStored calls f with the series of the run under way, or with what the
// cache has or read gives.
func (b *Broker) withStored(ctx context.Context, uuid string, cache *seriesCache,
	read func(context.Context, string) (*metrics.Series, error), f func(*metrics.Series),
) error {
	if x := b.execution(uuid); x != nil {
		x.seriesMu.Lock()
		defer x.seriesMu.Unlock()
		f(x.series)
		return nil
	}
	cache.mu.Lock()
	defer cache.mu.Unlock()
	s, ok := cache.byRun[uuid]
	if !ok {
		run, err := b.cfg.Store.Run(ctx, uuid)
		if err != nil {
			return err
		}
		if s, err = read(ctx, uuid); err != nil {
			return err
		}
		if run.State == Completed {
			cache.add(uuid, s)
		}
	}
	f(s)
	return nil
}

func (c *seriesCache) add(uuid string, s *metrics.Series) {
	if c.byRun == nil {
		c.byRun = map[string]*metrics.Series{}
	}
	c.byRun[uuid] = s
	c.order = append(c.order, uuid)
	if len(c.order) > cachedRuns {
		delete(c.byRun, c.order[0])
		c.order = c.order[1:]
	}
}

// remove forgets a run that is deleted.
func (c *seriesCache) remove(uuid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byRun, uuid)
	c.order = slices.DeleteFunc(c.order, func(u string) bool { return u == uuid })
}

// Report returns the run with its machines and what they told of themselves,
// its metrics so far, merged over all machines, and its ledger.
func (b *Broker) Report(ctx context.Context, runUUID string) (Report, error) {
	var r Report
	var err error
	if r.Run, err = b.cfg.Store.Run(ctx, runUUID); err != nil {
		return Report{}, err
	}
	if r.Machines, err = b.cfg.Store.Machines(ctx, runUUID); err != nil {
		return Report{}, err
	}
	if r.Replaced, err = b.cfg.Store.Replaced(ctx, runUUID); err != nil {
		return Report{}, err
	}
	if r.Ledger, err = b.cfg.Store.Ledger(ctx, runUUID); err != nil {
		return Report{}, err
	}
	switch a, err := b.cfg.Store.Archive(ctx, runUUID); {
	case err == nil:
		r.Archive = &a
	case CodeOf(err) != ENotFound:
		return Report{}, err
	}
	err = b.withTotals(ctx, runUUID, func(s *metrics.Series) { r.Summary, r.Hosts = s.Summary(), s.Hosts() })
	return r, err
}

// Summary returns the run and its metrics so far, merged over all machines: of
// a Report what is quickly had, for who asks each second.
func (b *Broker) Summary(ctx context.Context, runUUID string) (Run, metrics.Summary, error) {
	run, err := b.cfg.Store.Run(ctx, runUUID)
	if err != nil {
		return Run{}, metrics.Summary{}, err
	}
	var sum metrics.Summary
	err = b.withTotals(ctx, runUUID, func(s *metrics.Series) { sum = s.Summary() })
	return run, sum, err
}

// Live returns the metrics of the run's last complete second.
func (b *Broker) Live(ctx context.Context, runUUID string) (metrics.Summary, error) {
	var live metrics.Summary
	err := b.withSeries(ctx, runUUID, func(s *metrics.Series) { live = s.Live() })
	return live, err
}

// Series returns the run's metrics over time.
func (b *Broker) Series(ctx context.Context, runUUID string, q metrics.Query) ([]metrics.Line, error) {
	var lines []metrics.Line
	err := b.withSeries(ctx, runUUID, func(s *metrics.Series) { lines = s.Lines(q) })
	return lines, err
}

// HostSeries returns what the run's machines told of themselves over time.
func (b *Broker) HostSeries(ctx context.Context, runUUID string, q metrics.HostQuery) ([]metrics.HostLine, error) {
	var lines []metrics.HostLine
	err := b.withSeries(ctx, runUUID, func(s *metrics.Series) { lines = s.HostLines(q) })
	return lines, err
}
