package broker

import (
	"context"
	"math"
	"time"
)

const (
	// condenseEvery is how often a run under way is condensed in memory; the
	// store condenses whole minutes.
	condenseEvery = 10 * time.Second
	// freshMs is how long, in ms, each second of each machine is kept apart.
	freshMs  = 30_000
	minuteMs = 60_000
)

// condense keeps the run's series and stored frames small while it goes on,
// until ctx ends. What the store can't condense now, it can the next time.
func (x *execution) condense(ctx context.Context) {
	tick := time.NewTicker(condenseEvery)
	defer tick.Stop()
	done := int64(0) // minute that the store has condensed
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
		until := x.series.Newest() - freshMs
		x.series.Condense(until)
		x.seriesMu.Unlock()
		minute := until / minuteMs * minuteMs
		if minute <= done {
			continue
		}
		if err := x.b.cfg.Store.Condense(ctx, x.ref.UUID, minute); err != nil {
			if ctx.Err() == nil {
				x.log.Error("condense the stored frames", "error", err)
			}
			continue
		}
		done = minute
	}
}

// condenseRest condenses what is left when the run is completed. It stays as it
// is if that fails or the broker ends: it only takes more room.
func (x *execution) condenseRest(ctx context.Context) {
	err := x.b.cfg.Store.Condense(ctx, x.ref.UUID, math.MaxInt64)
	// A completed run may be deleted meanwhile.
	if err != nil && ctx.Err() == nil && CodeOf(err) != ENotFound {
		x.log.Error("condense the frames of the completed run", "error", err)
	}
}
