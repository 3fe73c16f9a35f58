package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestTicksComeOnFullSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.Sleep(300 * time.Millisecond) // of the bubble's clock: begin within a second
		var got []time.Time
		ticks(ctx, time.Second, func(at time.Time) {
			got = append(got, at)
			if !at.Equal(time.Now()) {
				t.Errorf("tick %s came at %s", at, time.Now())
			}
			if len(got) == 3 {
				cancel()
			}
		})
		for i, at := range got {
			if at.Nanosecond() != 0 || i > 0 && at.Sub(got[i-1]) != time.Second {
				t.Errorf("got ticks at %v, want three full seconds in a row", got)
			}
		}
	})
}

func TestTicksMissedAreMadeUpByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var got []time.Duration
		ticks(ctx, time.Second, func(at time.Time) {
			got = append(got, at.Sub(start))
			switch len(got) {
			case 1:
				time.Sleep(5500 * time.Millisecond) // the process stands still
			case 3:
				cancel()
			}
		})
		// The tick at 2 s to 6 s never came; the next full second did.
		want := []time.Duration{time.Second, 7 * time.Second, 8 * time.Second}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got ticks at %v, want %v", got, want)
			}
		}
	})
}
