//go:build linux

package loop

import (
	"context"
	"testing"
	"time"
)

func TestKernelsWithoutExactWaitsDoTheSame(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	l.precise = false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var posted, early bool
	var timer Timer
	timer.Fire = func() {
		early = Now() < timer.When()
		time.AfterFunc(time.Millisecond, func() { // while the loop waits without end
			l.Post(func() {
				posted = true
				cancel()
			})
		})
	}
	l.Set(&timer, l.Now().Add(3*time.Millisecond))
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !posted || early || l.precise {
		t.Errorf("posted %v, timer early %v, precise %v", posted, early, l.precise)
	}
}
