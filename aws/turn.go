package aws

import (
	"context"
	"sync"
	"time"
)

// A turn is a lock that can be waited for no longer than a context lasts. It is
// for what is held while AWS is asked. The zero turn is free.
type turn struct {
	once sync.Once
	free chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() { t.free = make(chan struct{}, 1) })
	select {
	case t.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) give() { <-t.free }

// keptFor is how long what was learnt of a region is thought to be so.
const keptFor = time.Hour

// known keeps answers, not errors, by their keys. Who asks while another does
// waits for that.
type known[V any] struct {
	turn turn
	kept map[string]kept[V]
}

type kept[V any] struct {
	value V
	until time.Time
}

// forget has all be asked for again.
func (k *known[V]) forget(ctx context.Context) {
	if k.turn.take(ctx) == nil {
		k.kept = nil
		k.turn.give()
	}
}

func (k *known[V]) get(ctx context.Context, key string, ask func() (V, error)) (V, error) {
	if err := k.turn.take(ctx); err != nil {
		var none V
		return none, err
	}
	defer k.turn.give()
	if have, ok := k.kept[key]; ok && time.Now().Before(have.until) {
		return have.value, nil
	}
	v, err := ask()
	if err == nil {
		if k.kept == nil {
			k.kept = map[string]kept[V]{}
		}
		k.kept[key] = kept[V]{v, time.Now().Add(keptFor)}
	}
	return v, err
}
