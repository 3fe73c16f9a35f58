package images

import (
	"sync"
	"time"
)

// A flow watches that something goes on: in each period at least so many bytes
// must come, or give up is called, once.
type flow struct {
	period time.Duration
	least  int64
	giveUp func()

	mu    sync.Mutex
	got   int64
	ended bool
	timer *time.Timer
}

func newFlow(period time.Duration, least int64, giveUp func()) *flow {
	f := &flow{period: period, least: least, giveUp: giveUp}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.timer = time.AfterFunc(period, f.look)
	return f
}

func (f *flow) look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	if f.got < f.least {
		f.giveUp()
		return
	}
	f.got = 0
	f.timer.Reset(f.period)
}

func (f *flow) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got += int64(n)
}

// end ends the watch.
func (f *flow) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.timer.Stop()
}
