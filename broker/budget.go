package broker

import (
	"context"
	"fmt"
	"time"
)

// budgetWindow is how far back the spending of a project counts.
const budgetWindow = 30 * 24 * time.Hour

// budgetReserve is how long before the machines' money is used up a run is
// ended, so that it can end in order.
const budgetReserve = 2 * time.Minute

// A Budget is what the machines of all runs of a project may cost together
// within 30 days.
type Budget struct {
	MaxUSD float64 `json:"max_usd"` // Project.MaxCost
	// SpentUSD is what they have cost in the last 30 days. A run that was deleted
	// counts as a whole until the last of its machines was given back so long ago.
	SpentUSD float64 `json:"spent_usd"`
	// ReservedUSD is what runs under way can still cost at the very worst.
	ReservedUSD float64 `json:"reserved_usd"`
}

// Left is what a new run may cost at most.
func (u Budget) Left() float64 { return max(u.MaxUSD-u.SpentUSD-u.ReservedUSD, 0) }

// ProjectBudget returns how the project's money stands; nil when it has no
// limit. It gives ENotFound for an unknown project.
func (b *Broker) ProjectBudget(ctx context.Context, projectUUID string) (*Budget, error) {
	rec, err := b.cfg.Store.Project(ctx, projectUUID)
	if err != nil || rec.Project.MaxCost == 0 {
		return nil, err
	}
	now := time.Now()
	since := now.Add(-budgetWindow)
	machines, err := b.cfg.Store.ProjectMachines(ctx, projectUUID, since)
	if err != nil {
		return nil, fmt.Errorf("read the project's machines: %w", err)
	}
	deleted, err := b.cfg.Store.SpentOnDeleted(ctx, projectUUID, since)
	if err != nil {
		return nil, fmt.Errorf("read what the project's deleted runs have cost: %w", err)
	}
	running, err := b.cfg.Store.Runs(ctx, RunFilter{ProjectUUID: projectUUID, States: []RunState{Initializing, Running, Terminating}})
	if err != nil {
		return nil, fmt.Errorf("read the project's runs: %w", err)
	}
	u := Budget{MaxUSD: rec.Project.MaxCost, SpentUSD: spentSince(machines, since, now) + deleted}
	byRun := map[int64][]Machine{}
	for _, m := range machines {
		byRun[m.RunID] = append(byRun[m.RunID], m)
	}
	for _, run := range running {
		if run.Cost != nil {
			u.ReservedUSD += max(run.Cost.WorstUSD-Spent(byRun[run.ID], now), 0)
		}
	}
	return &u, nil
}

// SetMaxCost sets what the machines of all runs of the project may cost together
// within 30 days, in USD; 0 is no limit. It holds for runs under way, too.
func (b *Broker) SetMaxCost(ctx context.Context, projectUUID string, usd float64) (ProjectRecord, error) {
	rec, err := b.cfg.Store.Project(ctx, projectUUID)
	if err != nil {
		return ProjectRecord{}, err
	}
	rec.Project.MaxCost = usd
	if err := invalid(rec.Project.Validate()); err != nil {
		return ProjectRecord{}, err
	}
	return rec, b.cfg.Store.SetMaxCost(ctx, projectUUID, usd)
}

// withBudget adds to the cost of a run what its project allows.
func (b *Broker) withBudget(ctx context.Context, projectUUID string, c *Cost) error {
	budget, err := b.ProjectBudget(ctx, projectUUID)
	if err != nil || budget == nil {
		return err
	}
	c.Project = budget
	switch {
	case c.Partial:
		c.Faults = append(c.Faults, fmt.Sprintf(
			"That the project costs no more than %s can't be promised, since not all prices are known; take away its max_cost to run without a limit.", usd(budget.MaxUSD)))
	case c.WorstUSD > budget.Left():
		c.Faults = append(c.Faults, fmt.Sprintf(
			"The machines can cost up to %s, and of the %s that the project may cost in %.0f days %s are spent and %s may yet be by runs under way; raise the project's max_cost, or wait, or have fewer, cheaper or shorter-lived machines.",
			usd(c.WorstUSD), usd(budget.MaxUSD), budgetWindow.Hours()/24, usd(budget.SpentUSD), usd(budget.ReservedUSD)))
	}
	return nil
}

// A purse is money that machines are paid from.
type purse struct {
	whose       string // as in a sentence
	max         float64
	spent, rate float64 // USD, and USD an hour
}

// forever is longer than can be told, in ns.
const forever = 1 << 62

// lasts is how long machines may go on until it is empty; enough says that this
// is longer than can be told.
func (p purse) lasts() (left time.Duration, enough bool) {
	if p.max == 0 || p.rate == 0 {
		return 0, true
	}
	ns := (p.max - p.spent) / p.rate * float64(time.Hour)
	return time.Duration(max(-forever, min(ns, forever))) - overrun, false
}

// purses are those that the run is paid from: its own, and its project's.
func (x *execution) purses(ctx context.Context, now time.Time) ([]purse, error) {
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return nil, fmt.Errorf("read machines: %w", err)
	}
	replaced, err := x.b.cfg.Store.Replaced(ctx, x.ref.UUID)
	if err != nil {
		return nil, fmt.Errorf("read replaced machines: %w", err)
	}
	machines = append(machines, replaced...)
	own := purse{"its machines", x.ref.Cost.MaxUSD, Spent(machines, now), perHour(machines)}
	project, err := x.b.cfg.Store.Project(ctx, x.ref.ProjectUUID)
	if err != nil || project.Project.MaxCost == 0 {
		return []purse{own}, err
	}
	since := now.Add(-budgetWindow)
	all, err := x.b.cfg.Store.ProjectMachines(ctx, x.ref.ProjectUUID, since)
	if err != nil {
		return nil, fmt.Errorf("read the project's machines: %w", err)
	}
	deleted, err := x.b.cfg.Store.SpentOnDeleted(ctx, x.ref.ProjectUUID, since)
	if err != nil {
		return nil, fmt.Errorf("read what the project's deleted runs have cost: %w", err)
	}
	whose := fmt.Sprintf("the project's machines of %.0f days", budgetWindow.Hours()/24)
	return []purse{own, {whose, project.Project.MaxCost, spentSince(all, since, now) + deleted, perHour(all)}}, nil
}

// watchBudget shortens the life of the machines to what may be paid for, and
// ends the run when that is used up. It can only come to this when something
// costs more than the run was told at its start, such as machines in the place
// of others, or when a limit was lowered. What was taken of a life no higher
// limit gives back, since the end of a machine's term can only come nearer.
func (x *execution) watchBudget(ctx context.Context) {
	if x.ref.Cost == nil {
		return
	}
	now := time.Now()
	purses, err := x.purses(ctx, now)
	if err != nil {
		return // the next look will tell
	}
	end := x.plannedEnd()
	x.leases.mu.Lock()
	first := x.leases.until.IsZero()
	for _, p := range purses {
		left, enough := p.lasts()
		until := now.Add(left)
		if enough || until.After(end) {
			continue
		}
		if x.leases.until.IsZero() || until.Before(x.leases.until) {
			x.leases.until, x.leases.paidBy = until, p
		}
	}
	until, p := x.leases.until, x.leases.paidBy
	x.leases.mu.Unlock()
	if until.IsZero() {
		return
	}
	if first {
		x.log.Warn("the machines may live less long than the plan: they cost more than was expected",
			"until", until, "spent_usd", p.spent, "usd_per_hour", p.rate)
	}
	if until.Sub(now) < budgetReserve+x.leases.every()/2 {
		x.requestStop(fmt.Sprintf("The run was ended, since %s would cost more than the %s that they may: %s are spent, and an hour costs %s.",
			p.whose, usd(p.max), usd(p.spent), usd(p.rate)))
	}
}
