package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// A display shows a run while it goes on. Its methods are called by one
// goroutine, close last and once.
type display interface {
	// event shows an entry of the run's history, or its live metrics.
	event(api.Event)
	// note shows a sentence of ours.
	note(text string)
	// ask shows a question until ask is called with another, or with "".
	ask(question string)
	close()
}

// progress is what is known of a run while it goes on, folded from its events.
// It is safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	began    time.Time
	ahead    time.Duration // the broker's clock less ours, as far as known
	state    string
	steps    []stepProgress
	machines map[machineKey]string
	wanted   int // machines in all
	live     *metrics.Summary
}

type machineKey struct {
	step  string
	index int
}

type stepProgress struct {
	name    string
	max     time.Duration
	state   broker.StepState
	started time.Time // zero before
	ended   time.Time // zero before
}

func newProgress(run api.Run) *progress {
	p := &progress{began: run.CreatedAt.Time, state: run.State.String(), machines: map[machineKey]string{}}
	if run.Plan == nil {
		return p
	}
	for _, s := range run.Plan.Steps {
		p.steps = append(p.steps, stepProgress{
			name: s.Name, max: time.Duration(s.RunMaxTime) * time.Second, state: broker.StepPending,
		})
		p.wanted += s.InstanceCount
	}
	return p
}

// add folds one event.
func (p *progress) add(e api.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case broker.EventRun:
		p.state = cmp.Or(e.State, p.state)
	case broker.EventMachine:
		if e.Machine != nil && e.State != "" {
			p.machines[machineKey{e.Step, *e.Machine}] = e.State
		}
	case broker.EventStep:
		for i := range p.steps {
			if p.steps[i].name == e.Step && e.State != "" {
				p.steps[i].move(broker.StepState(e.State), e.At.Time)
			}
		}
	case api.EventMetrics:
		p.live = e.Metrics
		p.ahead = time.Until(e.At.Time)
	}
}

func (s *stepProgress) move(state broker.StepState, at time.Time) {
	s.state = state
	if s.started.IsZero() && (state == broker.StepStarted || state == broker.StepReady) {
		s.started = at
	}
	if s.ended.IsZero() && state.Over() {
		s.ended = at
	}
}

// elapsed is how long the step has run, by the broker's clock.
func (s *stepProgress) elapsed(now time.Time) time.Duration {
	switch {
	case s.started.IsZero():
		return 0
	case !s.ended.IsZero():
		return s.ended.Sub(s.started)
	}
	return max(0, now.Sub(s.started))
}

// step returns a copy of step i, and how long it has run.
func (p *progress) step(i int) (stepProgress, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.steps[i]
	return s, s.elapsed(time.Now().Add(p.ahead))
}

// stage is one line on the whole run.
func (p *progress) stage() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := []string{fmt.Sprintf("%-12s %4s", p.state, p.age())}
	if p.wanted > 0 {
		parts = append(parts, p.machineWords())
	}
	if n := len(p.steps); n > 0 {
		over := 0
		for _, s := range p.steps {
			if s.state.Over() {
				over++
			}
		}
		parts = append(parts, fmt.Sprintf("steps over %d/%d", over, n))
	}
	return strings.Join(parts, "   ")
}

// age is how long the run has lasted, in whole seconds. The caller holds mu.
func (p *progress) age() time.Duration {
	return max(0, time.Now().Add(p.ahead).Sub(p.began)).Truncate(time.Second)
}

// machineWords says how far the machines are: a prepared one is ready too, and
// has its images. The caller holds mu.
func (p *progress) machineWords() string {
	count := map[string]int{}
	for _, state := range p.machines {
		count[state]++
	}
	prepared, released := count[string(broker.MachinePrepared)], count[string(broker.MachineReleased)]
	words := fmt.Sprintf("machines ready %d/%d, images %d/%d",
		count[string(broker.MachineReady)]+prepared, p.wanted, prepared, p.wanted)
	if released > 0 {
		words = fmt.Sprintf("machines released %d/%d", released, p.wanted)
	}
	if lost := count[string(broker.MachineLost)]; lost > 0 {
		words += fmt.Sprintf(", lost %d", lost)
	}
	return words
}

// busiest returns lines on the n metrics with the highest rates in the last
// second; gauges come after
// counters and timers, and sets last.
func (p *progress) busiest(n int) []string {
	p.mu.Lock()
	live := p.live
	p.mu.Unlock()
	if live == nil {
		return nil
	}
	list := slices.Clone(live.Metrics)
	slices.SortStableFunc(list, func(a, b metrics.MetricSummary) int {
		return cmp.Or(
			cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)),
			cmp.Compare(b.Rate, a.Rate),
			cmp.Compare(a.Name, b.Name),
		)
	})
	var lines []string
	for _, m := range list[:min(n, len(list))] {
		lines = append(lines, metricLine(m))
	}
	return lines
}

func kindOrder(k metrics.Kind) int {
	return slices.Index([]metrics.Kind{metrics.Timer, metrics.Counter, metrics.Gauge, metrics.Set}, k)
}

func metricLine(m metrics.MetricSummary) string {
	switch m.Kind {
	case metrics.Timer:
		return fmt.Sprintf("%s %s/s  p50 %s  p95 %s  p99 %s  max %s", m.Name,
			figure(m.Rate), figure(m.P50), figure(m.P95), figure(m.P99), figure(m.Max))
	case metrics.Gauge:
		return fmt.Sprintf("%s %s", m.Name, figure(m.Value))
	case metrics.Set:
		return fmt.Sprintf("%s %s distinct", m.Name, figure(m.Count))
	}
	return fmt.Sprintf("%s %s/s", m.Name, figure(m.Rate))
}
