package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/loads/loads/strategies"
)

// defaultLead is how long rented machines are given to be ready for a step that
// starts late.
const defaultLead = 3 * time.Minute

// leadOf is how long before its run_delay the machines of a step are asked for.
// What the plan says comes first, then what the pool knows of how long machines
// take to be up, with as much again for their images.
func leadOf(s strategies.Step, up time.Duration) time.Duration {
	if s.Lead > 0 {
		return time.Duration(s.Lead) * time.Second
	}
	return max(defaultLead, 2*up)
}

// lateBy is how long after the beginning of the steps a step's rented machines
// are asked for; 0 when they are there from the beginning.
func lateBy(s strategies.Step, up time.Duration) time.Duration {
	return max(time.Duration(s.RunDelay)*time.Second-leadOf(s, up), 0)
}

// lateBy is that of step i: rented machines cost money while they wait.
func (x *execution) lateBy(i int) time.Duration {
	if x.ref.Cost == nil {
		return 0
	}
	step := x.ref.Plan.Steps[i]
	up := 0.0
	for _, line := range x.ref.Cost.Lines {
		if line.Name == step.Name {
			up = line.UpSeconds
		}
	}
	return lateBy(step, time.Duration(up*float64(time.Second)))
}

// isLate reports whether the machines of step i are asked for only while the run
// is under way.
func (x *execution) isLate(i int) bool { return x.lateBy(i) > 0 }

// getLate gets the machines of a step that starts late, in time for its start,
// and tells the others of their names.
func (x *execution) getLate(ctx context.Context, i int) error {
	if !x.isLate(i) || x.isPrepared(i) {
		return nil
	}
	x.mu.Lock()
	due := x.run.StartedAt.Add(x.lateBy(i))
	x.mu.Unlock()
	if !sleep(ctx, time.Until(due)) {
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
		if m.State != MachinePrepared || m.RelayID == "" {
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
