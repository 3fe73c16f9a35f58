package broker

import (
	"context"
	"slices"
	"time"

	"github.com/loads/loads/strategies"
)

// defaultLead is how long rented machines are given to be ready for a step that
// starts late, until it is known how long they take, and leastLead when it is.
const (
	defaultLead = 3 * time.Minute
	leastLead   = 30 * time.Second
)

// leadOf is how long before its run_delay the machines of a step are asked for.
// What the plan says comes first, then how long such machines took in earlier
// runs, with half as much again; then what the pool knows of how long machines
// take to be up, with as much again for their images.
func leadOf(s strategies.Step, up, prepared time.Duration) time.Duration {
	switch {
	case s.Lead > 0:
		return time.Duration(s.Lead) * time.Second
	case prepared > 0:
		return max(leastLead, prepared+prepared/2)
	}
	return max(defaultLead, 2*up)
}

// lateBy is how long after the beginning of the steps a step's rented machines
// are asked for; 0 when they are there from the beginning.
func lateBy(s strategies.Step, up, prepared time.Duration) time.Duration {
	return max(time.Duration(s.RunDelay)*time.Second-leadOf(s, up, prepared), 0)
}

// lateBy is that of step i: rented machines cost money while they wait. It is
// told from what was known at the start of the run, whoever asks.
func (x *execution) lateBy(i int) time.Duration {
	if x.ref.Cost == nil {
		return 0
	}
	step := x.ref.Plan.Steps[i]
	var known CostLine
	for _, line := range x.ref.Cost.Lines {
		if line.Name == step.Name {
			known = line
		}
	}
	return lateBy(step, ofSeconds(known.UpSeconds), ofSeconds(known.PreparedSeconds))
}

func ofSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

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
	if err := x.admit(ctx); err != nil {
		return err
	}
	if err := x.prepareThese(ctx, func() []*machine { return x.of(i) }); err != nil {
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
