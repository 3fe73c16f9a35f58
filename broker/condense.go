package broker

import (
	"context"
	"errors"
	"math"
	"time"
)

const (
	// condenseEvery is how often a run under way is condensed in memory.
	condenseEvery = 10 * time.Second
	// freshMs is how long, in ms, each second of each machine is kept apart in
	// memory, and storedMs in the store, which condenses partMs at once.
	freshMs  = 30_000
	storedMs = 20_000
	partMs   = 20_000
)

// condense keeps the run's series and stored frames small while it goes on,
// until ctx ends. What the store can't condense now, it can the next time.
func (x *execution) condense(ctx context.Context) {
	tick := time.NewTicker(condenseEvery)
	defer tick.Stop()
	done := int64(0) // up to where the store has condensed
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := x.watchProcessors(ctx); err != nil {
			if ctx.Err() == nil {
				x.log.Error("look at the machines' processors", "error", err)
			}
			continue // its seconds must not be condensed before
		}
		x.seriesMu.Lock()
		newest := x.series.Newest()
		x.series.Condense(newest - freshMs)
		x.seriesMu.Unlock()
		until := (newest - storedMs) / partMs * partMs
		if until <= done {
			continue
		}
		if err := x.b.cfg.Store.Condense(ctx, x.ref.UUID, until); err != nil {
			if ctx.Err() == nil {
				x.log.Error("condense the stored frames", "error", err)
			}
			continue
		}
		done = until
	}
}

// condenseRest condenses what is left when the run is completed. If that fails
// or the broker ends, condenseLeftovers does it at the next start.
func (x *execution) condenseRest(ctx context.Context) {
	err := x.b.cfg.Store.Condense(ctx, x.ref.UUID, math.MaxInt64)
	// A completed run may be deleted meanwhile.
	if err != nil && ctx.Err() == nil && CodeOf(err) != ENotFound {
		x.log.Error("condense the frames of the completed run", "error", err)
	}
}

// condenseLeftovers condenses what earlier brokers have left of completed runs.
func (b *Broker) condenseLeftovers(ctx context.Context) {
	left, err := b.cfg.Store.Uncondensed(ctx)
	for _, uuid := range left {
		// A completed run may be deleted meanwhile.
		if failed := b.cfg.Store.Condense(ctx, uuid, math.MaxInt64); CodeOf(failed) != ENotFound {
			err = errors.Join(err, failed)
		}
	}
	if err != nil && ctx.Err() == nil {
		b.cfg.Log.Error("condense the frames of completed runs", "error", err)
	}
}
