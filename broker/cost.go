package broker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/loads/loads/strategies"
)

// What rented machines may live beside the plan's own time: until all are ready
// and have their images, and from the plan's end until all metrics are home. A
// run that is not ready in the former is ended.
const (
	readyAllowance = 30 * time.Minute
	endAllowance   = 15 * time.Minute
)

// maxLife bounds what is asked for: a year, less what a pool adds.
const maxLife = 364 * 24 * time.Hour

// lifeOf is how long a rented machine may live for a run of the plan.
func lifeOf(p strategies.Plan) time.Duration {
	return min(readyAllowance+p.Longest()+endAllowance, maxLife)
}

// Cost is what the machines of a run can cost.
type Cost struct {
	Pool  string     `json:"pool"`
	Lines []CostLine `json:"lines"` // one a step
	// WorstUSD is the most that all machines can cost together, in USD, whatever
	// fails, before taxes and traffic.
	WorstUSD float64 `json:"worst_usd"`
	// Partial says that a price is not known, and that WorstUSD is without it.
	Partial bool `json:"partial,omitempty"`
	// MaxUSD is what the plan or the broker allow at most; 0 is no limit.
	MaxUSD float64 `json:"max_usd,omitempty"`
	// Project is what is left of its project's money; nil when that has no limit.
	Project *Budget  `json:"project,omitempty"`
	Quotas  []Quota  `json:"quotas,omitempty"`
	Notes   []string `json:"notes,omitempty"`  // sentences on what to know
	Faults  []string `json:"faults,omitempty"` // sentences on why the run can't be had
}

// A CostLine is what the machines of one step can cost.
type CostLine struct {
	QuoteLine
	WorstUSD float64 `json:"worst_usd"` // of all machines of the step
	// UpSeconds is how long a machine takes to be up, as measured or by
	// experience.
	UpSeconds float64 `json:"up_seconds"`
	// PreparedSeconds is how long the slowest of the last machines of the region
	// and type took from when they were asked for until their images were loaded; 0
	// when that is not known.
	PreparedSeconds float64 `json:"prepared_seconds,omitempty"`
	// LifeSeconds is how long a machine can be paid for, whatever fails.
	LifeSeconds float64 `json:"life_seconds"`
}

// Terms are what a broker knows of the cost of a plan, and says to it.
type Terms struct {
	// MaxUSD is what a run may cost at most; 0 is no limit.
	MaxUSD float64
	// Prepared says how long machines take, as Store.PreparedIn; nil is not known.
	Prepared func(ctx context.Context, region, kind string) (time.Duration, error)
}

// Estimate asks what a run of the plan would cost with machines of the renter. It
// makes nothing.
func Estimate(ctx context.Context, r Renter, p strategies.Plan, terms Terms) (Cost, error) {
	var reqs []MachineRequest
	for i, step := range p.Steps {
		for j := range step.InstanceCount {
			reqs = append(reqs, requestOf(p, i, j))
		}
	}
	quote, err := r.Quote(ctx, reqs)
	if err != nil {
		return Cost{}, fmt.Errorf("ask what the machines cost: %w", err)
	}
	c := Cost{
		Pool: r.Name(), MaxUSD: lesser(p.MaxCost, terms.MaxUSD),
		Lines: []CostLine{}, Quotas: quote.Quotas, Notes: quote.Notes, Faults: quote.Faults,
	}
	for _, q := range quote.Lines {
		line := CostLine{QuoteLine: q, UpSeconds: q.Up.Seconds()}
		var prepared time.Duration
		if terms.Prepared != nil {
			if prepared, err = terms.Prepared(ctx, q.Region, q.Type); err != nil {
				return Cost{}, err
			}
		}
		line.PreparedSeconds = prepared.Seconds()
		life := lifeOf(p)
		if late := lateBy(p.Steps[q.Step], q.Up, prepared); late > 0 {
			life -= readyAllowance + late // it is asked for when all others are ready
		}
		life += q.Beyond
		line.LifeSeconds, line.WorstUSD = life.Seconds(), float64(q.Count)*q.HighUSD*life.Hours()
		c.Partial = c.Partial || q.HighUSD <= 0
		c.WorstUSD += line.WorstUSD
		c.Lines = append(c.Lines, line)
	}
	if len(c.Lines) == 0 {
		c.Partial = true
	}
	if why := c.tooMuch(); why != "" {
		c.Faults = append(c.Faults, why)
	}
	return c, nil
}

// requestOf asks for a machine of a step, by what the plan says of it.
func requestOf(p strategies.Plan, step, index int) MachineRequest {
	s := p.Steps[step]
	r := MachineRequest{
		PlanUUID: p.UUID, PlanName: p.Name, Step: step, StepUUID: s.UUID, StepName: s.Name, Index: index,
		Region: s.InstanceRegion, Type: s.InstanceType, Alternatives: s.InstanceTypes, Spot: s.Spot,
		Image: s.ImageID, VolumeGB: s.VolumeSize, Ports: s.Ports(), Private: monitorPorts(s), Life: lifeOf(p),
	}
	if !strings.Contains(s.ContainerName+s.ContainerURL, "$") { // else it may have a secret in it
		r.Container, r.ContainerURL = s.ContainerName, s.ContainerURL
	}
	return r
}

// lesser is the lesser of two limits, of which 0 is none.
func lesser(a, b float64) float64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// tooMuch says why the limit could not be kept; nothing when it can.
func (c Cost) tooMuch() string {
	switch {
	case c.MaxUSD == 0:
		return ""
	case c.Partial:
		return fmt.Sprintf("That the machines cost no more than %s can't be promised, since not all prices are known; leave max_cost out to run without a limit.",
			usd(c.MaxUSD))
	case c.WorstUSD > c.MaxUSD:
		return fmt.Sprintf("The machines can cost up to %s, and %s are the limit; raise max_cost, or have fewer, cheaper or shorter-lived machines.",
			usd(c.WorstUSD), usd(c.MaxUSD))
	}
	return ""
}

// Err is the faults as one error of the code EInvalid; nil when there is none.
func (c Cost) Err() error {
	if len(c.Faults) == 0 {
		return nil
	}
	return Errorf(EInvalid, "%s", strings.Join(c.Faults, " "))
}

// usd writes a sum of money, small ones exactly enough to tell them apart.
func usd(v float64) string {
	if v > 0 && v < 1 {
		return fmt.Sprintf("%.4f USD", v)
	}
	return fmt.Sprintf("%.2f USD", v)
}

// Spent is what the machines have cost until now, in USD, as their pools know
// the prices: from their launch to their release.
func Spent(machines []Machine, now time.Time) float64 {
	return spentSince(machines, time.Time{}, now)
}

// spentSince is what they have cost from a time until now.
func spentSince(machines []Machine, since, now time.Time) float64 {
	sum := 0.0
	for _, m := range machines {
		if m.LaunchedAt == nil {
			continue
		}
		from, until := *m.LaunchedAt, now
		if from.Before(since) {
			from = since
		}
		if m.ReleasedAt != nil {
			until = *m.ReleasedAt
		}
		sum += m.HourUSD * max(until.Sub(from), 0).Hours()
	}
	return sum
}

// perHour is what the machines cost now, in USD an hour.
func perHour(machines []Machine) float64 {
	rate := 0.0
	for _, m := range machines {
		if m.LaunchedAt != nil && m.ReleasedAt == nil {
			rate += m.HourUSD
		}
	}
	return rate
}

// Rents reports whether new machines are rented.
func (b *Broker) Rents() bool {
	_, ok := b.cfg.Pools[0].(Renter)
	return ok
}

// EstimatePlan asks what a run of a plan would cost; nil when the broker rents
// no machines. It gives ENotFound for an unknown plan.
func (b *Broker) EstimatePlan(ctx context.Context, planUUID string) (*Cost, error) {
	rec, err := b.cfg.Store.Plan(ctx, planUUID)
	if err != nil {
		return nil, err
	}
	cost, err := b.estimate(ctx, rec.Plan)
	if err != nil || cost == nil {
		return nil, err
	}
	return cost, b.withBudget(ctx, rec.ProjectUUID, cost)
}

// estimate is Estimate with the pool that runs use; nil when it rents nothing.
func (b *Broker) estimate(ctx context.Context, p strategies.Plan) (*Cost, error) {
	r, ok := b.cfg.Pools[0].(Renter)
	if !ok {
		return nil, nil
	}
	c, err := Estimate(ctx, r, p, Terms{MaxUSD: b.cfg.MaxCost, Prepared: b.cfg.Store.PreparedIn})
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// renter is the pool of that name, if it rents machines.
func (b *Broker) renter(name string) (Renter, bool) {
	for _, p := range b.cfg.Pools {
		if p.Name() == name {
			r, ok := p.(Renter)
			return r, ok
		}
	}
	return nil, false
}
