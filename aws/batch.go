package aws

import (
	"context"
	"sync"
	"time"
)

// A batcher makes one call of what many goroutines ask for within a moment.
// Whoever asks first makes it, so it has no goroutine of its own.
type batcher[V any] struct {
	window time.Duration
	most   int // keys of a call
	call   func(ctx context.Context, keys []string) (map[string]V, error)

	mu   sync.Mutex
	next *batch[V] // that still takes keys; nil if none does
}

type batch[V any] struct {
	keys    map[string]bool
	done    chan struct{} // closed when what follows is set
	answers map[string]V
	err     error
}

// ask returns the call's answer for the key, and whether there is one. It
// returns early when ctx is done, unless it makes the call: others wait for it.
func (b *batcher[V]) ask(ctx context.Context, key string) (answer V, found bool, err error) {
	b.mu.Lock()
	mine := b.next
	first := mine == nil
	if first {
		mine = &batch[V]{keys: map[string]bool{}, done: make(chan struct{})}
		b.next = mine
	}
	mine.keys[key] = true
	if len(mine.keys) >= b.most {
		b.next = nil
	}
	b.mu.Unlock()
	if first {
		b.lead(ctx, mine)
	}
	select {
	case <-mine.done:
	case <-ctx.Done():
		return answer, false, ctx.Err()
	}
	answer, found = mine.answers[key]
	return answer, found, mine.err
}

// lead waits for others to join and makes the call.
func (b *batcher[V]) lead(ctx context.Context, mine *batch[V]) {
	timer := time.NewTimer(b.window)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	if b.next == mine {
		b.next = nil
	}
	b.mu.Unlock()
	keys := make([]string, 0, len(mine.keys))
	for k := range mine.keys {
		keys = append(keys, k)
	}
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*callLimit)
	defer cancel()
	mine.err = errCutShort
	defer close(mine.done)
	mine.answers, mine.err = b.call(calling, keys)
}
