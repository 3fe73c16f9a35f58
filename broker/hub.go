package broker

import "sync"

// A hub wakes those who watch a run. It carries no data: a watcher reads what
// is new from the store, so nothing is lost when it is slow.
type hub struct {
	mu       sync.Mutex
	watchers map[string]map[chan struct{}]bool
}

func newHub() *hub {
	return &hub{watchers: map[string]map[chan struct{}]bool{}}
}

// watch returns a channel that receives after something happened in the run,
// and a function that ends the watch.
func (h *hub) watch(run string) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers[run] == nil {
		h.watchers[run] = map[chan struct{}]bool{}
	}
	h.watchers[run][c] = true
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers[run], c)
		if len(h.watchers[run]) == 0 {
			delete(h.watchers, run)
		}
	}
}

// notify wakes the run's watchers. It never blocks: a watcher that has not
// taken the last wake-up yet will find this news as well.
func (h *hub) notify(run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.watchers[run] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
