package aws

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// tendEvery is the time between two looks at idle machines.
const tendEvery = 5 * time.Second

// Tend sees to the machines that no run has, until ctx is done: it renews their
// leases, ends those whose time is over or that do not answer, and launches what
// is to stand by. brokerID is for the tags of the latter. When it returns, idle
// machines go on living until their leases end; the next process ends them at its
// start.
func (p *Pool) Tend(ctx context.Context, brokerID string) {
	t := tender{pool: p, broker: brokerID, loaded: map[*entry][]containerImage{}, due: map[*entry]time.Time{}, pauses: map[Standby]time.Time{}}
	defer t.busy.Wait()
	t.sweep(ctx)
	for {
		t.look(ctx)
		if !sleep(ctx, tendEvery) {
			return
		}
	}
}

// A tender is one call of Tend.
type tender struct {
	pool   *Pool
	broker string
	busy   sync.WaitGroup // what is done for machines

	loaded map[*entry][]containerImage // images that machines have been told to load

	mu     sync.Mutex
	due    map[*entry]time.Time  // when leases are to be renewed; far off while they are
	pauses map[Standby]time.Time // until when none is launched
}

// never is when a lease that is being renewed is due.
const never = 1000 * time.Hour

func (t *tender) look(ctx context.Context) {
	p, now := t.pool, time.Now()
	idle := p.ledger.resting()
	t.forget(idle)
	for _, e := range idle {
		rec := e.read()
		over := p.cfg.Idle == 0 || now.Sub(rec.Idle) >= p.cfg.Idle
		stays := over && t.standsBy(rec, idle)
		switch {
		case rec.Idle.IsZero():
		case !p.isKept(rec):
			t.end(ctx, e, "it is of a broker before")
		case over && !stays:
			t.end(ctx, e, "no run has come")
		case stays && rec.Ends.Sub(now) < p.cfg.Lease+idleGrace && rec.Until.Sub(rec.Ends) > idleGrace:
			t.prolong(ctx, e)
		case t.isDue(e, now):
			t.busy.Go(func() { t.renew(ctx, e) })
		default:
			t.load(ctx, e)
		}
	}
	for _, s := range p.cfg.Standby {
		t.fill(ctx, s, now)
	}
}

// forget forgets when leases are due of machines that are idle no more.
func (t *tender) forget(idle []*entry) {
	is := map[*entry]bool{}
	for _, e := range idle {
		is[e] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := range t.due {
		if !is[e] {
			delete(t.due, e)
		}
	}
	for e := range t.loaded {
		if !is[e] {
			delete(t.loaded, e)
		}
	}
}

// isDue reports whether the machine's lease is to be renewed now; then it is due
// again only when that was done. What has just become idle has just been renewed.
func (t *tender) isDue(e *entry, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, known := t.due[e]
	if !known {
		t.due[e] = now.Add(t.pool.LeaseEvery())
		return false
	}
	if now.Before(at) {
		return false
	}
	t.due[e] = now.Add(never)
	return true
}

// renew renews an idle machine's lease. One that does not answer is of no use.
func (t *tender) renew(ctx context.Context, e *entry) {
	rec := e.read()
	limited, cancel := context.WithTimeout(ctx, t.pool.LeaseEvery())
	defer cancel()
	err := t.pool.renewEntry(limited, e)
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	if _, still := t.due[e]; still {
		t.due[e] = time.Now().Add(t.pool.LeaseEvery())
	}
	t.mu.Unlock()
	if err != nil && e.read().Term == rec.Term {
		t.end(ctx, e, fmt.Sprintf("its lease can't be renewed: %v", err))
	}
}

// end ends the machine, in the background, unless a run has taken it meanwhile.
func (t *tender) end(ctx context.Context, e *entry, why string) {
	t.busy.Go(func() {
		if err := t.pool.endIdle(ctx, e, why); err != nil && ctx.Err() == nil {
			t.pool.log.Warn("end an idle machine", "machine", e.read().Instance, "error", err)
		}
	})
}
