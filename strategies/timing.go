package strategies

import (
	"math"
	"time"

	"github.com/loads/loads/internal/source"
)

// StepStatus is where a step of a run stands, as far as timing asks. The
// fields are independent: a step that failed while it ran has Started and
// Failed, one that ended after it was ready has Started, Ready and Ended.
type StepStatus struct {
	Started bool // its containers were started
	Ready   bool // it has been ready; only of steps with a Ready
	Ended   bool // all its containers have ended, or it was given up
	Failed  bool // it failed, whether before or after it started
}

// Startable lists the steps that may start now, in the order to start them:
// by run_delay, then by their order in the plan. Those are the steps that
// have not started, failed or ended, whose run_delay has passed, and whose
// waits are fulfilled: a step waits for the readiness of every step that comes
// before it in that order and has a Ready, and for what its start_after says.
// The monitor step is not among them. status is by step; elapsed is the time
// since the start of the run.
func (p Plan) Startable(status []StepStatus, elapsed time.Duration) []int {
	t := p.timing(status)
	var due []int
	for _, i := range t.order {
		if t.startable(i) && p.delay(i) <= elapsed {
			due = append(due, i)
		}
	}
	return due
}

// NextDue returns when, as time since the start of the run, the next step can
// start if no step's status changes until then; false when there is none,
// since then only a change of status lets one start. Steps that are startable
// now don't count.
func (p Plan) NextDue(status []StepStatus, elapsed time.Duration) (time.Duration, bool) {
	t := p.timing(status)
	for _, i := range t.order { // by delay, so the first is the next
		if t.startable(i) && p.delay(i) > elapsed {
			return p.delay(i), true
		}
	}
	return 0, false
}

// Blocked lists the steps that can never start, by index, with the reason as
// a phrase: they wait for a step that failed or ended without what they wait
// for, or for one that is blocked itself.
func (p Plan) Blocked(status []StepStatus) map[int]string {
	t := p.timing(status)
	blocked := map[int]string{}
	for changed := true; changed; {
		changed = false
		for _, i := range t.order {
			if blocked[i] != "" || !t.pending(i) {
				continue
			}
			if reason := t.reason(i, blocked); reason != "" {
				blocked[i], changed = reason, true
			}
		}
	}
	return blocked
}

// delay is the step's run_delay as a duration; one too long for that never
// passes.
func (p Plan) delay(i int) time.Duration {
	seconds := p.Steps[i].RunDelay
	if seconds > math.MaxInt64/int(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

// timing is a plan with the status of its steps.
type timing struct {
	plan   Plan
	status []StepStatus
	order  []int
	waits  [][]wait
}

func (p Plan) timing(status []StepStatus) timing {
	full := make([]StepStatus, len(p.Steps))
	copy(full, status)
	return timing{plan: p, status: full, order: p.startOrder(), waits: p.waits()}
}

// pending reports whether the step has yet to start.
func (t timing) pending(i int) bool {
	s := t.status[i]
	return !s.Started && !s.Failed && !s.Ended
}

// startable reports whether only the step's run_delay can keep it from
// starting.
func (t timing) startable(i int) bool {
	if !t.pending(i) {
		return false
	}
	for _, w := range t.waits[i] {
		if !t.fulfilled(w) {
			return false
		}
	}
	return true
}

func (t timing) fulfilled(w wait) bool {
	s := t.status[w.step]
	switch {
	case w.event == EventEnd:
		return s.Started && s.Ended
	case t.plan.Steps[w.step].Ready == nil:
		return s.Started
	}
	return s.Ready
}

// reason says why the step can never start, or nothing.
func (t timing) reason(i int, blocked map[int]string) string {
	for _, w := range t.waits[i] {
		s, name := t.status[w.step], source.Show(t.plan.Steps[w.step].Name)
		switch over := s.Ended || s.Failed; {
		case t.fulfilled(w):
		case t.plan.Steps[w.step].Monitor:
			return "step " + name + " is the monitor, which is not waited for"
		case over && !s.Started:
			return "step " + name + " never started"
		case over && w.event != EventEnd:
			return "step " + name + " was never ready"
		case blocked[w.step] != "":
			return "step " + name + " can't start"
		}
	}
	return ""
}
