package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// leadOf is how long before its run_delay the machines of step i are asked for.
// What the plan says comes first, then what the pool knows of how long machines
// take to be up, with as much again for their images.
func (x *execution) leadOf(i int) time.Duration {
	if lead := x.ref.Plan.Steps[i].Lead; lead > 0 {
		return time.Duration(lead) * time.Second
	}
	lead := defaultLead
	for _, line := range x.ref.Cost.Lines {
		if line.Step == i || line.Name == x.ref.Plan.Steps[i].Name {
			lead = max(lead, 2*time.Duration(line.UpSeconds*float64(time.Second)))
		}
	}
	return lead
}

// defaultLead is how long rented machines are given to be ready for a step that
// starts late.
const defaultLead = 3 * time.Minute

// isLate reports whether the machines of step i are asked for only while the run
// is under way: rented ones cost money while they wait.
func (x *execution) isLate(i int) bool {
	if x.ref.Cost == nil {
		return false
	}
	return time.Duration(x.ref.Plan.Steps[i].RunDelay)*time.Second > x.leadOf(i)
}

// getLate gets the machines of a step that starts late, in time for its start,
// and tells the others of their names.
func (x *execution) getLate(ctx context.Context, i int) error {
	if !x.isLate(i) || x.isPrepared(i) {
		return nil
	}
	x.mu.Lock()
	start := x.run.StartedAt.Add(time.Duration(x.ref.Plan.Steps[i].RunDelay) * time.Second)
	x.mu.Unlock()
	if !sleep(ctx, time.Until(start.Add(-x.leadOf(i)))) {
		return ctx.Err()
	}
	if err := x.acquireStep(ctx, i); err != nil {
		return err
	}
	if err := x.prepareThese(ctx, x.of(i)); err != nil {
		return err
	}
	if err := x.enoughMachines(ctx, i); err != nil {
		return err
	}
	return x.tellNames(ctx)
}

// isPrepared reports whether no machine of step i is to be got or prepared any
// more.
func (x *execution) isPrepared(i int) bool {
	return !slices.ContainsFunc(x.of(i), func(m *machine) bool {
		return m.State == MachineRequested || m.State == MachineReady
	})
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
	names, err := x.dnsNames()
	if err != nil {
		return fmt.Errorf("write the names: %w", err)
	}
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return fmt.Errorf("read machines: %w", err)
	}
	var wg sync.WaitGroup
	for _, m := range machines {
		if m.State != MachinePrepared {
			continue
		}
		wg.Go(func() {
			engine, err := x.engines.get(m.Endpoint)
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

// names are the addresses of the machines of each dns_name, as far as they are
// known.
type names struct {
	telling sync.Mutex // held while relays are told

	mu        sync.Mutex
	addresses map[string][]string
}

func (n *names) add(name, address string) {
	if name == "" || address == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.addresses == nil {
		n.addresses = map[string][]string{}
	}
	if !slices.Contains(n.addresses[name], address) {
		n.addresses[name] = append(n.addresses[name], address)
	}
}

// all returns a copy.
func (n *names) all() map[string][]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string][]string{}
	for name, addresses := range n.addresses {
		all[name] = slices.Clone(addresses)
	}
	return all
}
