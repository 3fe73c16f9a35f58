package broker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

const (
	// busyWindowMs is the time over which processors have to be busy, and
	// busyLeast of how many of its seconds there must be a figure.
	busyWindowMs = 10_000
	busyLeast    = 5
	// stealTold is the part that other virtual machines took, in percent, from
	// which on it is told.
	stealTold = 1
)

// A busyTime is a window in which a machine's processors were too busy.
type busyTime struct {
	at          int64   // Unix ms of its end, by the machine's clock
	busy, steal float64 // percent of all processors, means of the window; steal is part of busy
}

// firstBusy returns the first window within the time from from to to, Unix ms,
// in which the mean of active is above the limit. Values of more than a second
// are not looked at.
func firstBusy(active, steal []metrics.HostValue, from, to int64, limit float64) (busyTime, bool) {
	begin, sum, n := 0, 0.0, 0
	for _, v := range active {
		if v.Seconds > 1 || v.Time-secondMs < from || v.Time > to {
			continue
		}
		sum += v.Value
		n++
		for ; active[begin].Time <= v.Time-busyWindowMs; begin++ {
			if old := active[begin]; old.Seconds <= 1 && old.Time-secondMs >= from {
				sum -= old.Value
				n--
			}
		}
		if mean := sum / float64(n); n >= busyLeast && mean > limit && v.Time-busyWindowMs >= from {
			return busyTime{v.Time, mean, meanUpTo(steal, v.Time)}, true
		}
	}
	return busyTime{}, false
}

// meanUpTo is the mean of the window that ends at that time; 0 without values.
func meanUpTo(values []metrics.HostValue, end int64) float64 {
	sum, n := 0.0, 0
	for _, v := range values {
		if v.Seconds <= 1 && v.Time > end-busyWindowMs && v.Time <= end {
			sum += v.Value
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// A saturation is the first window of a step in which a machine that makes its
// load was out of processors.
type saturation struct {
	step    string
	machine Machine
	busyTime
}

// saturations looks, for each step that makes load, at the seconds that have
// not been condensed. A step makes load when the plan says so or, when it says
// nothing, when timers come from it: what measures times has to have the
// processors to do so. A system under test may well use all it has.
func saturations(plan strategies.Plan, machines []Machine, s *metrics.Series) []saturation {
	var found []saturation
	for i, step := range plan.Steps {
		if !makesLoad(step, s) {
			continue
		}
		var first *saturation
		for _, m := range machines {
			if m.Step != i || m.StartedAt == nil {
				continue
			}
			to := int64(1) << 62
			if m.FinishedAt != nil {
				to = m.FinishedAt.UnixMilli()
			}
			from := m.StartedAt.UnixMilli()
			values := func(field string) []metrics.HostValue {
				return s.HostValues(step.Name, m.Index, "cpu", field, metrics.Tag{Name: "cpu", Value: "cpu-total"})
			}
			busy, ok := firstBusy(values("usage_active"), values("usage_steal"), from, to, float64(plan.CPULimitPercent()))
			if ok && (first == nil || busy.at < first.at) {
				first = &saturation{step.Name, m, busy}
			}
		}
		if first != nil {
			found = append(found, *first)
		}
	}
	return found
}

func makesLoad(step strategies.Step, s *metrics.Series) bool {
	if step.Monitor {
		return false
	}
	if step.Role != "" {
		return step.Role == strategies.RoleGenerator
	}
	return s.HasTimers(step.Name)
}

// saturatedPrefix begins all that is told of a step's saturation, so that it is
// told once.
func saturatedPrefix(step string) string { return fmt.Sprintf("the processors of %s/", step) }

// text says what was found, as a phrase.
func (s saturation) text(limit int) string {
	stolen := ""
	if s.steal >= stealTold {
		stolen = fmt.Sprintf(", %.1f %% of it taken by other virtual machines (steal),", s.steal)
	}
	return fmt.Sprintf("%s%d were %.1f %% busy%s in the %d s up to %s UTC, %d %% are the limit", saturatedPrefix(s.step), s.machine.Index,
		s.busy, stolen, busyWindowMs/secondMs, time.UnixMilli(s.at).UTC().Format("15:04:05"), limit)
}

// noted reports whether a machine's processors being busy is told only: it
// plays its part on the broker's own computer, with all that runs there, and
// the plan sets no limit. That is for trying things out.
func (s saturation) noted(plan strategies.Plan) bool {
	return plan.MaxCPUPercent == 0 && strings.HasPrefix(s.machine.Endpoint.Host, "unix://")
}

// watchProcessors stores what is found wrong with the machines' processors
// while the run goes on. It has to be called before seconds are condensed: what
// it has stored need not be found again, whatever becomes of the broker.
func (x *execution) watchProcessors(ctx context.Context) error {
	faults, err := x.processorFaults(ctx)
	if err != nil {
		return err
	}
	for _, fault := range faults {
		if err := x.noteFault(ctx, fault); err != nil {
			return err
		}
	}
	return nil
}

// processorFaults returns the saturations not told of yet, a phrase each, and
// notes those that are no faults.
func (x *execution) processorFaults(ctx context.Context) ([]string, error) {
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return nil, fmt.Errorf("read machines: %w", err)
	}
	x.seriesMu.Lock()
	found := saturations(x.ref.Plan, machines, x.series)
	x.seriesMu.Unlock()
	var faults []string
	for _, s := range found {
		if !x.firstOf(saturatedPrefix(s.step)) {
			continue
		}
		text := s.text(x.ref.Plan.CPULimitPercent())
		if !s.noted(x.ref.Plan) {
			faults = append(faults, text)
			continue
		}
		text = "T" + text[1:] + ". All machines here are this one computer, so it does not count; set max_cpu_percent to make it count."
		if err := x.note(ctx, text); err != nil {
			return nil, err
		}
		x.markTold(saturatedPrefix(s.step))
	}
	return faults, nil
}

// firstOf reports whether nothing that begins so was told of the run.
func (x *execution) firstOf(prefix string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, fault := range x.run.Judgement.Instrument {
		if strings.HasPrefix(fault, prefix) {
			return false
		}
	}
	return !x.told[prefix]
}

func (x *execution) markTold(prefix string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.told == nil {
		x.told = map[string]bool{}
	}
	x.told[prefix] = true
}

// memoryFaults tells in which containers that make load processes were killed
// for want of memory, though the container went on.
func memoryFaults(plan strategies.Plan, s *metrics.Series) []string {
	makesLoadByName := map[string]bool{}
	for _, step := range plan.Steps {
		makesLoadByName[step.Name] = makesLoad(step, s)
	}
	var faults []string
	for _, h := range s.Hosts() {
		for _, c := range h.Containers {
			if c.OOMKills != nil && *c.OOMKills > 0 && makesLoadByName[h.Step] {
				faults = append(faults, fmt.Sprintf("%.0f processes in the container of %s/%d were killed for want of memory",
					*c.OOMKills, h.Step, h.Machine))
			}
		}
	}
	return faults
}
