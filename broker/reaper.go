package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// reapEvery is the time between two looks for what no run owns.
const reapEvery = time.Minute

// reapLoop clears away what no run owns, at once and then every minute.
func (b *Broker) reapLoop(ctx context.Context) {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		if err := b.reap(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("clear away what no run owns", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// reap releases again what could not be released, ends whatever carries this
// broker's label and belongs to no unfinished run, and then looks whether runs
// that have left something are clean now.
func (b *Broker) reap(ctx context.Context) error {
	err := b.releaseLeftovers(ctx)
	for _, p := range b.cfg.Pools {
		err = errors.Join(err, b.reapPool(ctx, p))
	}
	return errors.Join(err, b.settleCleanups(ctx))
}

// releaseLeftovers tries again to release the machines of completed runs.
func (b *Broker) releaseLeftovers(ctx context.Context) error {
	left, err := b.cfg.Store.MachinesIn(ctx, MachineReleasing)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range left {
		if b.execution(m.RunUUID) != nil {
			continue // its run does it
		}
		errs = append(errs, b.releaseLeftover(ctx, m))
	}
	return errors.Join(errs...)
}

func (b *Broker) releaseLeftover(ctx context.Context, m Machine) error {
	if err := b.giveBack(ctx, m, nil); err != nil {
		return fmt.Errorf("release machine %s of run %s: %w", m.ProviderID, m.RunUUID, err)
	}
	run, err := b.cfg.Store.Run(ctx, m.RunUUID)
	if err != nil {
		return err
	}
	m.State, m.ReleasedAt = MachineReleased, utcNow()
	return b.cfg.Store.SaveMachine(ctx, &run, &m)
}

// reapPool ends what the pool lists and no unfinished run owns, but not what it
// keeps for the next run. The list is
// taken first: whatever is on it belongs to a run that was stored before.
func (b *Broker) reapPool(ctx context.Context, p Pool) error {
	owned, err := p.Owned(ctx, b.id)
	unfinished, runsErr := b.cfg.Store.Runs(ctx, RunFilter{States: []RunState{Initializing, Running, Terminating}})
	if runsErr != nil {
		return errors.Join(err, runsErr)
	}
	keep := map[string]bool{}
	for _, run := range unfinished {
		keep[run.UUID] = true
	}
	for _, o := range owned {
		if keep[o.RunUUID] || o.Idle {
			continue
		}
		b.cfg.Log.Info("ending what no run owns", "pool", p.Name(), "kind", o.Kind, "id", o.ProviderID, "of_run", o.RunUUID)
		err = errors.Join(err, p.Discard(ctx, o))
	}
	return err
}

// Instances lists all that the pools have for this broker: the providers' own
// lists. Pools that can't be asked are left out, and the error says why.
func (b *Broker) Instances(ctx context.Context) ([]Instance, error) {
	var all []Instance
	var errs []error
	for _, p := range b.cfg.Pools {
		owned, err := p.Owned(ctx, b.id)
		errs = append(errs, err)
		for _, o := range owned {
			all = append(all, Instance{Owned: o, Pool: p.Name()})
		}
	}
	return all, errors.Join(errs...)
}

// Instance returns one of Instances, or ENotFound.
func (b *Broker) Instance(ctx context.Context, id string) (Instance, error) {
	all, err := b.Instances(ctx)
	for _, in := range all {
		if in.ProviderID == id {
			return in, nil
		}
	}
	if err != nil {
		return Instance{}, err
	}
	return Instance{}, Errorf(ENotFound, "There is no machine %s; loads instances lists them.", id)
}

// DeleteInstance ends a machine, also under a run, which then loses it.
func (b *Broker) DeleteInstance(ctx context.Context, id string) error {
	in, err := b.Instance(ctx, id)
	if err != nil {
		return err
	}
	p, err := b.pool(in.Pool)
	if err != nil {
		return err
	}
	return p.Discard(ctx, in.Owned)
}
