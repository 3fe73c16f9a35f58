package stats

import (
	"fmt"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
)

// Breach is a limit that was not kept.
type Breach struct {
	Phase   string `json:"phase"`
	Metric  string `json:"metric"`
	Message string `json:"message"`
}

// String returns the breach as a sentence.
func (b Breach) String() string { return fmt.Sprintf("%s, %s: %s", b.Phase, b.Metric, b.Message) }

// maxBreaches is how many breaches a judge keeps.
const maxBreaches = 100

// Judge sees whether the limits of phases are kept. It is for one goroutine.
type Judge struct {
	period   time.Duration
	windows  map[Key][]*window
	limits   map[Key]benchmark.SLAs
	Breaches []Breach // the first ones
	Missed   int      // breaches beyond those
}

// window is the part of a metric's time that an SLA looks at.
type window struct {
	sla  benchmark.SLA
	ring []*Cell
	next int
	full bool
	bad  bool // it was breached just now
}

// NewJudge returns a judge for reports of the period.
func NewJudge(period time.Duration) *Judge {
	return &Judge{period: period, windows: map[Key][]*window{}, limits: map[Key]benchmark.SLAs{}}
}

// Limit adds limits for a metric of a phase.
func (j *Judge) Limit(key Key, slas benchmark.SLAs) {
	for _, sla := range slas {
		if sla.Window == 0 {
			j.limits[key] = append(j.limits[key], sla)
			continue
		}
		size := max(1, int(time.Duration(sla.Window)/j.period))
		j.windows[key] = append(j.windows[key], &window{sla: sla, ring: make([]*Cell, size)})
	}
}

// Watch looks at a report's part in the windows, and returns the phases that
// have failed by it. A window that is breached for a while is told once.
func (j *Judge) Watch(r *Report) (failed []string) {
	for key, windows := range j.windows {
		cell := r.index[key]
		for _, w := range windows {
			if cell == nil && !w.full && w.next == 0 {
				continue // the phase has not begun
			}
			w.add(cell)
			if !w.full {
				continue
			}
			sum := w.sum()
			message := Breaks(&sum, &w.sla)
			if message != "" && !w.bad {
				j.breach(Breach{key.Phase, key.Metric, fmt.Sprintf("%s within %s", message, time.Duration(w.sla.Window))})
				failed = append(failed, key.Phase)
			}
			w.bad = message != ""
		}
	}
	return failed
}

func (w *window) add(c *Cell) {
	w.ring[w.next] = c
	if w.next++; w.next == len(w.ring) {
		w.next, w.full = 0, true
	}
}

func (w *window) sum() (sum Cell) {
	for _, c := range w.ring {
		if c != nil {
			sum.Merge(c)
		}
	}
	return sum
}

// End judges a phase that is over, by its totals, and reports whether it has
// kept its limits.
func (j *Judge) End(phase string, totals *Totals) bool {
	kept := true
	for key, slas := range j.limits {
		if key.Phase != phase {
			continue
		}
		cell := totals.index[key]
		if cell == nil {
			continue // nothing was measured
		}
		for i := range slas {
			if message := Breaks(cell, &slas[i]); message != "" {
				j.breach(Breach{key.Phase, key.Metric, message})
				kept = false
			}
		}
	}
	return kept
}

func (j *Judge) breach(b Breach) {
	if len(j.Breaches) >= maxBreaches {
		j.Missed++
		return
	}
	j.Breaches = append(j.Breaches, b)
}

// Breaks says how a cell breaks an SLA, and returns nothing if it keeps it.
func Breaks(c *Cell, sla *benchmark.SLA) string {
	if c.Requests == 0 {
		return ""
	}
	all := float64(c.Requests)
	if limit := sla.ErrorRatio; limit != nil && c.Errors() > 0 && float64(c.Errors())/all >= *limit {
		return fmt.Sprintf("%d of %d requests failed, errorRatio is %g", c.Errors(), c.Requests, *limit)
	}
	if limit := sla.InvalidRatio; limit != nil && c.Invalid > 0 && float64(c.Invalid)/all >= *limit {
		return fmt.Sprintf("%d of %d answers were invalid, invalidRatio is %g", c.Invalid, c.Requests, *limit)
	}
	if limit := sla.BlockedRatio; limit != nil && *limit < 1 {
		if blocked := c.Blocked.Sum(); blocked > *limit*(blocked+c.Service.Sum()) {
			return fmt.Sprintf("requests waited %.4g ms for connections, %.3g %% of their time, blockedRatio is %g: give more connections",
				blocked, 100*blocked/(blocked+c.Service.Sum()), *limit)
		}
	}
	if c.Latency.Count() == 0 {
		return ""
	}
	if limit := msOf(sla.MeanResponseTime); limit > 0 && c.Latency.Mean() >= limit {
		return fmt.Sprintf("the mean latency was %.4g ms, meanResponseTime is %g ms", c.Latency.Mean(), limit)
	}
	for _, l := range sla.Limits {
		if value := c.Latency.Quantile(l.Percentile); value >= msOf(l.Latency) {
			return fmt.Sprintf("the latency at %g was %.4g ms, the limit is %g ms", l.Percentile, value, msOf(l.Latency))
		}
	}
	return ""
}

func msOf(l benchmark.Latency) float64 { return float64(l) / float64(time.Millisecond) }
