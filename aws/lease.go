package aws

import (
	"context"
	"time"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/broker"
)

// leaseName is the name of the container that leases are renewed through.
const leaseName = "loads-lease"

// LeaseEvery is a third of the lease.
func (p *Pool) LeaseEvery() time.Duration { return p.cfg.Lease / 3 }

// Renew renews the machine's lease through its engine. The number of the
// renewal is on disk before it is sent, so that none is used twice.
func (p *Pool) Renew(ctx context.Context, m broker.Machine, e broker.Engine, life time.Duration) error {
	entry := p.ledger.get(m.Token)
	if entry == nil {
		return broker.Errorf(broker.ENotFound, "there is no record of machine %s, so its lease can't be renewed; it will end by itself", m.ProviderID)
	}
	return p.renew(ctx, entry, e, life)
}

// renewByItself renews the lease through an engine opened for it.
func (p *Pool) renewByItself(ctx context.Context, m broker.Machine) error {
	entry := p.ledger.get(m.Token)
	if entry == nil {
		return nil // given back meanwhile
	}
	return p.renewEntry(ctx, entry)
}

// anyLife leaves the end of a term where it is.
const anyLife = 10 * 365 * 24 * time.Hour

// renewEntry renews the lease, for the term that the machine is in by then,
// through an engine opened for it.
func (p *Pool) renewEntry(ctx context.Context, e *entry) error {
	engine, err := p.dial(e.read())
	if err != nil {
		return err
	}
	defer engine.Close()
	return p.renew(ctx, e, engine, anyLife)
}

func (p *Pool) renew(ctx context.Context, e *entry, engine broker.Engine, life time.Duration) error {
	now := time.Now()
	err := e.update(func(rec *record) {
		rec.Seq++
		if ends := now.Add(life); ends.Before(rec.Ends) {
			rec.Ends = ends
		}
	})
	if err != nil {
		return err
	}
	rec := e.read()
	left := rec.Ends.Sub(now)
	if left < time.Second {
		return broker.Errorf(broker.EConflict, "the time of machine %s is over", rec.Instance)
	}
	spec, err := boot.LeaseContainer(leaseName, map[string]string{broker.LabelBroker: rec.Request.BrokerID},
		boot.Renewal{Term: rec.Term, Seq: rec.Seq, Lease: whole(p.cfg.Lease), End: whole(left)})
	if err != nil {
		return err
	}
	_, err = engine.Create(ctx, spec)
	if broker.CodeOf(err) != broker.ENotFound {
		return err
	}
	// The machine does not have the image yet, or not any more.
	if err := engine.EnsureEmptyImage(ctx); err != nil {
		return err
	}
	_, err = engine.Create(ctx, spec)
	return err
}
