package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// admit has the run's machines reach each other where they are of a pool that
// asks for it.
func (x *execution) admit(ctx context.Context) error {
	err := x.admitAll(ctx)
	if err == nil || isStoreError(err) {
		return err
	}
	return x.fail(ctx, "The run's machines can't be made to reach each other: %v", err)
}

// letInEvery is the least time between two calls of letIn that do something.
const letInEvery = 10 * time.Second

// letIn has the machines admit the broker as it is now, when one of them does not
// answer: the broker's address may have changed, as a laptop's does.
func (x *execution) letIn(ctx context.Context) {
	if !x.lettingIn.TryLock() {
		return // another does
	}
	defer x.lettingIn.Unlock()
	if time.Since(x.letInAt) < letInEvery {
		return
	}
	x.letInAt = time.Now()
	if err := x.admitAll(ctx); err != nil && ctx.Err() == nil {
		x.log.Warn("have machines admit the broker", "error", err)
	}
}

func (x *execution) admitAll(ctx context.Context) error {
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return &storeError{fmt.Errorf("read machines: %w", err)}
	}
	there := map[string][]Machine{} // by pool
	for _, m := range machines {
		if m.State == MachineReady || m.State == MachinePrepared {
			there[m.Pool] = append(there[m.Pool], m)
		}
	}
	for pool, machines := range there {
		r, ok := x.b.renter(pool)
		if !ok {
			continue
		}
		if err := r.Admit(ctx, machines); err != nil {
			return err
		}
	}
	return nil
}

// tellNames gives the names file to all relays again, after machines have come:
// to those that were there for the new names, and to the new ones for what came
// while they were made. A relay that does not answer is noticed by what needs its
// machine.
func (x *execution) tellNames(ctx context.Context) error {
	if !x.hasNames() {
		return nil
	}
	x.names.telling.Lock() // so that no relay is left with an earlier file
	defer x.names.telling.Unlock()
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return fmt.Errorf("read machines: %w", err)
	}
	var wg sync.WaitGroup
	for _, m := range machines {
		if m.State != MachinePrepared || m.RelayID == "" {
			continue
		}
		wg.Go(func() {
			var names []byte
			engine, err := x.engines.get(m.Endpoint)
			if err == nil {
				names, err = x.names.file(m)
			}
			if err == nil {
				err = patiently(ctx, x.b.cfg.LostAfter, func() error {
					return engine.PutFiles(ctx, m.RelayID, map[string][]byte{namesFile: names})
				})
			}
			if err != nil && ctx.Err() == nil {
				x.log.Warn("tell a relay of new names", "machine", m.ProviderID, "error", err)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// names are the machines of each dns_name, as far as they are known.
type names struct {
	telling sync.Mutex // held while relays are told

	mu       sync.Mutex
	machines map[string][]Machine
}

func (n *names) add(name string, m Machine) {
	if name == "" || m.Address == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machines == nil {
		n.machines = map[string][]Machine{}
	}
	same := func(o Machine) bool { return o.ID == m.ID }
	if !slices.ContainsFunc(n.machines[name], same) {
		n.machines[name] = append(n.machines[name], m)
	}
}

// remove forgets a machine that has none of them any more.
func (n *names) remove(id int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, machines := range n.machines {
		n.machines[name] = slices.DeleteFunc(machines, func(m Machine) bool { return m.ID == id })
	}
}

// file is the names file of the machine's relay. Private addresses are for
// machines of the same region, since nothing connects the networks of two; others
// are told the public ones.
func (n *names) file(asking Machine) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string][]string{}
	for name, machines := range n.machines {
		for _, m := range machines {
			addr := m.Address
			if m.Region != asking.Region && m.PublicIP != "" {
				addr = m.PublicIP
			}
			all[name] = append(all[name], addr)
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("write the names: %w", err)
	}
	return data, nil
}
