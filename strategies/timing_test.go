package strategies_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// Statuses of steps, as a run goes.
var (
	pending = strategies.StepStatus{}
	started = strategies.StepStatus{Started: true}
	isReady = strategies.StepStatus{Started: true, Ready: true}
	ended   = strategies.StepStatus{Started: true, Ended: true}
	was     = strategies.StepStatus{Started: true, Ready: true, Ended: true}
	broke   = strategies.StepStatus{Started: true, Failed: true, Ended: true}
	never   = strategies.StepStatus{Failed: true}
)

func TestTiming(t *testing.T) {
	delayed := func(name string, delay int, after ...strategies.StartAfter) strategies.Step {
		return step(name, func(s *strategies.Step) { s.RunDelay, s.StartAfter = delay, after })
	}
	gate := func(name string, delay int, after ...strategies.StartAfter) strategies.Step {
		s := delayed(name, delay, after...)
		s.Ready = &strategies.Ready{Health: true, Timeout: 60}
		return s
	}
	onReady := func(name string) strategies.StartAfter {
		return strategies.StartAfter{Step: name, Event: strategies.EventReady}
	}
	onEnd := func(name string) strategies.StartAfter {
		return strategies.StartAfter{Step: name, Event: strategies.EventEnd}
	}
	type status = []strategies.StepStatus
	type steps = []strategies.Step

	for _, c := range []struct {
		name    string
		steps   steps
		status  status
		elapsed int // seconds
		start   []int
		next    int // seconds, -1 for none
		blocked map[int]string
	}{
		{name: "steps without delay start at once, in the plan's order", steps: steps{delayed("a", 0), delayed("b", 0)}, start: []int{0, 1}, next: -1},
		{name: "a lower delay starts first", steps: steps{delayed("a", 5), delayed("b", 0), delayed("c", 5)}, elapsed: 5, start: []int{1, 0, 2}, next: -1},
		{name: "a delay that has not passed is the next", steps: steps{delayed("a", 20), delayed("b", 10), delayed("c", 0)}, start: []int{2}, next: 10},
		{name: "a step starts once", steps: steps{delayed("a", 0), delayed("b", 0), delayed("c", 0)}, status: status{started, ended, never}, next: -1},
		{name: "a status that is missing is of a step that is pending", steps: steps{delayed("a", 0), delayed("b", 0)}, status: status{started}, start: []int{1}, next: -1},
		{name: "a step with ready holds back those after it", steps: steps{gate("a", 0), delayed("b", 0), delayed("c", 9)}, status: status{started}, elapsed: 3, next: -1},
		{name: "when it is ready they go on by the clock", steps: steps{gate("a", 0), delayed("b", 0), delayed("c", 9)}, status: status{isReady}, elapsed: 3, start: []int{1}, next: 9},
		{name: "it does not hold back those before it", steps: steps{gate("a", 5), delayed("b", 0)}, elapsed: 6, start: []int{1, 0}, next: -1},
		{name: "it was ready, so its end does not matter", steps: steps{gate("a", 0), delayed("b", 0)}, status: status{was}, start: []int{1}, next: -1},
		{
			name: "it ended without being ready", steps: steps{gate("a", 0), delayed("b", 0), delayed("c", 0, onEnd("b"))}, status: status{ended}, next: -1,
			blocked: map[int]string{1: "step a was never ready", 2: "step a was never ready"},
		},
		{
			name: "it failed before it started", steps: steps{gate("a", 0), delayed("b", 5)}, status: status{never}, next: -1,
			blocked: map[int]string{1: "step a never started"},
		},
		{name: "readiness without ready is the start", steps: steps{delayed("a", 0), delayed("b", 0, onReady("a"))}, status: status{started}, start: []int{1}, next: -1},
		{name: "start_after waits beyond the delay", steps: steps{delayed("a", 30), delayed("b", 0, onReady("a"))}, elapsed: 10, next: 30},
		{name: "the end of a step that runs is waited for", steps: steps{delayed("a", 0), delayed("b", 0, onEnd("a"))}, status: status{started}, next: -1},
		{name: "the end of a step frees those that wait for it", steps: steps{delayed("a", 0), delayed("b", 0, onEnd("a"))}, status: status{ended}, start: []int{1}, next: -1},
		{name: "a step that failed while it ran has ended, too", steps: steps{delayed("a", 0), delayed("b", 0, onEnd("a"))}, status: status{broke}, start: []int{1}, next: -1},
		{
			name: "what waits for a blocked step is blocked", steps: steps{delayed("a", 0, onEnd("b")), delayed("b", 0, onEnd("c")), delayed("c", 0)},
			status: status{pending, pending, never}, next: -1, blocked: map[int]string{0: "step b can't start", 1: "step c never started"},
		},
		{name: "the monitor is not among them and holds nobody back", steps: steps{{Name: "monitor", Monitor: true}, delayed("a", 0)}, start: []int{1}, next: -1},
		{name: "a delay beyond all time never passes", steps: steps{delayed("a", 1<<40)}, elapsed: 1 << 30, next: 1 << 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := strategies.Plan{Name: "p", Steps: c.steps}
			elapsed := time.Duration(c.elapsed) * time.Second
			if diff := cmp.Diff(c.start, p.Startable(c.status, elapsed)); diff != "" {
				t.Errorf("startable steps differ (-want +got):\n%s", diff)
			}
			next, ok := p.NextDue(c.status, elapsed)
			if ok != (c.next >= 0) || ok && c.next < 1<<33 && next != time.Duration(c.next)*time.Second {
				t.Errorf("got next start at %s, %t; want %d s", next, ok, c.next)
			}
			if c.blocked == nil {
				c.blocked = map[int]string{}
			}
			if diff := cmp.Diff(c.blocked, p.Blocked(c.status)); diff != "" {
				t.Errorf("blocked steps differ (-want +got):\n%s", diff)
			}
		})
	}
}

// Any plan that is valid gets through: every step starts, never before its
// time, and nothing is blocked while nothing fails.
func TestEveryValidPlanStartsAllItsSteps(t *testing.T) {
	valid := 0
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := randomPlan(rnd)
		if p.Validate() != nil {
			continue // a circle
		}
		valid++
		simulate(t, seed, rnd, p)
		if t.Failed() {
			return
		}
	}
	if valid < 500 {
		t.Errorf("got %d valid plans, want 500 at least", valid)
	}
}

func randomPlan(rnd *rand.Rand) strategies.Plan {
	p := strategies.Plan{Name: "p"}
	n := 1 + rnd.IntN(8)
	for i := range n {
		p.Steps = append(p.Steps, step(fmt.Sprint(i), func(s *strategies.Step) {
			s.RunDelay = 10 * rnd.IntN(4)
			if rnd.IntN(3) == 0 {
				s.Ready = &strategies.Ready{Health: true, Timeout: 60}
			}
			for _, j := range rnd.Perm(n)[:min(rnd.IntN(3), n-1)] {
				if j != i && rnd.IntN(2) == 0 {
					event := []strategies.Event{strategies.EventReady, strategies.EventEnd}[rnd.IntN(2)]
					s.StartAfter = append(s.StartAfter, strategies.StartAfter{Step: fmt.Sprint(j), Event: event})
				}
			}
		}))
	}
	return p
}

// simulate runs the plan: by turns what can start is started, then a step gets
// on, and only when nothing does the clock moves to what NextDue says.
func simulate(t *testing.T, seed uint64, rnd *rand.Rand, p strategies.Plan) {
	t.Helper()
	status := make([]strategies.StepStatus, len(p.Steps))
	elapsed := time.Duration(0)
	for range 10 * len(p.Steps) {
		if blocked := p.Blocked(status); len(blocked) > 0 {
			t.Fatalf("seed %d: got blocked steps %v in %+v", seed, blocked, p)
		}
		for _, i := range p.Startable(status, elapsed) {
			if delay := time.Duration(p.Steps[i].RunDelay) * time.Second; elapsed < delay || status[i].Started {
				t.Fatalf("seed %d: step %d starts at %s with %+v, not before %s", seed, i, elapsed, status[i], delay)
			}
			status[i].Started = true
		}
		if getOn(rnd, p, status) {
			continue
		}
		next, ok := p.NextDue(status, elapsed)
		if !ok {
			break
		}
		if next <= elapsed {
			t.Fatalf("seed %d: got next start at %s, which is not after %s", seed, next, elapsed)
		}
		elapsed = next
	}
	for i, s := range status {
		if !s.Started || !s.Ended {
			t.Fatalf("seed %d: step %d is %+v in the end of %+v", seed, i, s, p)
		}
	}
}

// getOn lets one started step, by chance, become ready or end.
func getOn(rnd *rand.Rand, p strategies.Plan, status []strategies.StepStatus) bool {
	for _, i := range rnd.Perm(len(status)) {
		s := &status[i]
		switch {
		case s.Started && p.Steps[i].Ready != nil && !s.Ready:
			s.Ready = true
			return true
		case s.Started && !s.Ended:
			s.Ended = true
			return true
		}
	}
	return false
}
