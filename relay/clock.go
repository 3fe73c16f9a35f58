package relay

import (
	"context"
	"time"
)

// ticks calls do after every multiple of the interval on the wall clock, with
// that time, until ctx is done. When several have passed at once, since the
// machine or the process stood still or the clock was set, do is called once,
// with the last of them.
func ticks(ctx context.Context, interval time.Duration, do func(time.Time)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		next := now.Truncate(interval).Add(interval)
		timer.Reset(next.Sub(now))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// Timers don't follow the wall clock: it may be a hair early.
		now = time.Now().Round(0)
		if early := next.Sub(now); early > 0 && early < interval {
			continue
		}
		do(now.Truncate(interval))
	}
}
