package broker

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// renewLimit is how long one renewal of a lease may take.
const renewLimit = 30 * time.Second

// overrun is how much longer than its lease a machine can live; see
// docs/leases.md.
const overrun = time.Minute

// leases are the leases of a run's rented machines. The machines come when
// their pool has given them, and go when they are lost or given back.
type leases struct {
	mu    sync.Mutex
	held  map[int64]*lease
	added chan struct{} // of capacity 1; says that there is a new one

	// until, when not zero, is when the money for all machines is used up, which
	// is paidBy's.
	until  time.Time
	paidBy purse
}

// A lease is that of one machine.
type lease struct {
	m      Machine
	renter Renter

	mu      sync.Mutex // held while it is renewed, and for what follows
	due     time.Time
	failing bool // the last renewal failed

	// given, when closed, ends a renewal under way, and there is no other.
	given chan struct{}
}

// note takes in the machine as it is now.
func (l *leases) note(r Renter, m Machine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	had := l.held[m.ID]
	switch wanted := m.State == MachineReady || m.State == MachinePrepared; {
	case wanted && had == nil:
		l.held[m.ID] = &lease{m: m, renter: r, given: make(chan struct{})}
		select {
		case l.added <- struct{}{}:
		default: // one is told of already
		}
	case !wanted && had != nil:
		delete(l.held, m.ID)
		close(had.given)
	}
}

// noteLease begins or ends the renewals of a machine's lease, as its state asks
// for; machines that are not rented have none.
func (x *execution) noteLease(m Machine) {
	if r, ok := x.b.renter(m.Pool); ok {
		x.leases.note(r, m)
	}
}

// all returns the leases that are held now.
func (l *leases) all() []*lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*lease, 0, len(l.held))
	for _, le := range l.held {
		list = append(list, le)
	}
	return list
}

// every is the shortest time between two renewals that a machine's pool asks
// for; 0 when there is no machine.
func (l *leases) every() time.Duration {
	every := time.Duration(0)
	for _, le := range l.all() {
		if e := le.renter.LeaseEvery(); every == 0 || e < every {
			every = e
		}
	}
	return every
}

// renewLeases renews the leases of the run's machines, each as often as its pool
// says and at once when it is new, until ctx ends. One that could not be renewed
// is tried again after a quarter of that time. It also sees to it that the
// machines don't cost more than they may.
func (x *execution) renewLeases(ctx context.Context) {
	under := &renewals{room: make(chan struct{}, 64)}
	defer under.Wait()
	for ctx.Err() == nil {
		wait := time.Hour
		if every := x.leases.every(); every > 0 {
			wait = every / 4
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-x.leases.added:
		case <-ctx.Done():
		}
		timer.Stop()
		x.watchBudget(ctx)
		x.renewDue(ctx, under)
	}
}

// renewals are those under way, as many at once as there is room for.
type renewals struct {
	sync.WaitGroup
	room chan struct{}
}

// renewDue begins to renew what is due. It waits for none: a machine that does
// not answer must not keep the others from being renewed.
func (x *execution) renewDue(ctx context.Context, under *renewals) {
	for _, le := range x.leases.all() {
		if !le.mu.TryLock() {
			continue // it is being renewed
		}
		if time.Now().Before(le.due) {
			le.mu.Unlock()
			continue
		}
		under.Go(func() {
			defer le.mu.Unlock()
			select {
			case under.room <- struct{}{}:
				defer func() { <-under.room }()
				x.renew(ctx, le)
			case <-le.given:
			case <-ctx.Done():
			}
		})
	}
}

// renew renews one lease, and tells when that begins to fail and when it works
// again. The caller holds the lease's lock.
func (x *execution) renew(ctx context.Context, le *lease) {
	ctx, cancel := untilClosed(ctx, le.given)
	defer cancel()
	life := time.Until(x.lifeEnd())
	err := x.renewOnce(ctx, le, life)
	if ctx.Err() != nil || isClosed(le.given) {
		return
	}
	every := le.renter.LeaseEvery()
	le.due = time.Now().Add(every)
	if err != nil {
		le.due = time.Now().Add(every / 4)
	}
	if CodeOf(err) == EUnavailable {
		x.letIn(ctx)
	}
	if (err != nil) == le.failing {
		return
	}
	le.failing = err != nil
	text := "The machine's lease is renewed again."
	if err != nil {
		text = fmt.Sprintf("The machine's lease could not be renewed; it is tried again, and ends the machine when that fails: %v", err)
	}
	x.log.Info(text, "machine", le.m.ProviderID)
	e := Event{Kind: EventNote, Step: x.ref.Plan.Steps[le.m.Step].Name, Machine: &le.m.Index, Text: oneLine(text)}
	if err := x.b.cfg.Store.AddEvents(ctx, x.ref, e); err != nil {
		x.log.Warn("store event", "error", err)
	}
	x.b.hub.notify(x.ref.UUID)
}

func (x *execution) renewOnce(ctx context.Context, le *lease, life time.Duration) error {
	if life < time.Second {
		return Errorf(EInvalid, "the time that the machine may live for this run is over")
	}
	engine, err := x.engines.get(le.m.Endpoint)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	return le.renter.Renew(limited, le.m, engine, life)
}

// plannedEnd is until when the run's rented machines may live by its plan.
func (x *execution) plannedEnd() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.run.StartedAt != nil {
		return x.run.StartedAt.Add(lifeOf(x.ref.Plan) - readyAllowance)
	}
	return x.run.CreatedAt.Add(lifeOf(x.ref.Plan))
}

// lifeEnd is until when they may live: by the plan, and by what may be paid.
func (x *execution) lifeEnd() time.Time {
	end := x.plannedEnd()
	x.leases.mu.Lock()
	defer x.leases.mu.Unlock()
	if until := x.leases.until; !until.IsZero() && until.Before(end) {
		return until
	}
	return end
}

// letGo ends the renewals of a machine's lease, before it is given back.
func (x *execution) letGo(m *machine) {
	x.leases.mu.Lock()
	le := x.leases.held[m.ID]
	delete(x.leases.held, m.ID)
	x.leases.mu.Unlock()
	if le == nil {
		return
	}
	close(le.given)
	le.mu.Lock() // waits for the end of a renewal under way
	defer le.mu.Unlock()
}
