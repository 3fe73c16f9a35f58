package phases_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
)

// run is a course with what has been ordered.
type run struct {
	list   []phases.Phase
	course phases.Course
	policy benchmark.FailurePolicy
	log    []string
}

func newRun(t *testing.T, file string, machines int) *run {
	t.Helper()
	list, err := expand(t, file)
	if err != nil {
		t.Fatal(err)
	}
	return &run{list: list, course: phases.NewCourse(list, machines), policy: benchmark.Cancel}
}

func (r *run) next(e phases.Event) {
	var orders []phases.Order
	r.course, orders = phases.Next(r.list, r.course, r.policy, e)
	for _, o := range orders {
		name := ""
		if o.Phase >= 0 {
			name = " " + r.list[o.Phase].Name
		}
		r.log = append(r.log, fmt.Sprintf("%v %v%s", e.At, o.Kind, name))
	}
}

func (r *run) tick(at time.Duration) { r.next(phases.Event{At: at}) }

func (r *run) report(at time.Duration, machine int, phase string, status phases.Status) {
	r.next(phases.Event{Kind: phases.Report, At: at, Machine: machine, Phase: r.indexOf(phase), Status: status})
}

func (r *run) indexOf(name string) int {
	for i, p := range r.list {
		if p.Name == name {
			return i
		}
	}
	panic("no phase " + name)
}

func (r *run) want(t *testing.T, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, r.log); diff != "" {
		t.Error(diff)
	}
	r.log = nil
}

func (r *run) status(name string) phases.Status { return r.course.Phases[r.indexOf(name)].Status }

const two = `
phases:
- a: {always: {users: 2, duration: 10s, maxDuration: 15s, SCENARIO}}
- b: {always: {users: 2, duration: 5s, startAfter: a, SCENARIO}}
- c: {always: {users: 2, duration: 5s, startAfterStrict: a, SCENARIO}}
`

func TestPhasesFollowEachOther(t *testing.T) {
	r := newRun(t, two, 2)
	const s = time.Second
	r.tick(0)
	r.want(t, "0s run a")
	r.report(1*s, 0, "a", phases.Running)
	if got := r.status("a"); got != phases.Starting {
		t.Errorf("one of two machines runs a, which is %v, want starting", got)
	}
	r.report(1*s, 1, "a", phases.Running)
	r.tick(9 * s)
	r.want(t)
	if at, ok := phases.Due(r.list, r.course); !ok || at != 10*s {
		t.Errorf("next due at %v, %v, want 10s", at, ok)
	}
	r.tick(10 * s)
	r.want(t, "10s finish a")
	r.report(11*s, 0, "a", phases.Finished)
	r.want(t)
	r.report(11*s, 1, "a", phases.Finished)
	r.want(t, "11s try to terminate a", "11s run b")
	r.report(11*s, 1, "a", phases.Finished) // twice
	r.want(t)
	r.report(12*s, 0, "a", phases.Terminated)
	r.tick(15 * s)
	r.want(t, "15s terminate a")
	r.report(16*s, 1, "a", phases.Terminated)
	r.want(t, "16s finish b", "16s run c")
	for machine := range 2 {
		for _, phase := range []string{"b", "c"} {
			r.report(22*s, machine, phase, phases.Terminated)
		}
	}
	r.want(t, "22s finish c", "22s stop")
	if _, ok := phases.Due(r.list, r.course); ok {
		t.Error("something is due after the end")
	}
}

func TestFailureCancelsWhatHasNotStarted(t *testing.T) {
	r := newRun(t, two, 1)
	r.tick(0)
	r.report(0, 0, "a", phases.Running)
	r.next(phases.Event{Kind: phases.PhaseFailed, At: time.Second, Phase: 0})
	if a, b, c := r.status("a"), r.status("b"), r.status("c"); a != phases.Running || b != phases.Cancelled || c != phases.Cancelled {
		t.Errorf("a is %v, b %v, c %v, want running and twice cancelled", a, b, c)
	}
	r.tick(10 * time.Second)
	r.report(11*time.Second, 0, "a", phases.Terminated)
	r.want(t, "0s run a", "10s finish a", "11s stop")
	if !r.course.Failed || !r.course.Phases[0].Failed || r.course.Phases[1].Failed {
		t.Errorf("the failure is not that of a alone: %+v", r.course)
	}
}

func TestFailureCancelsNothingIfTheRunGoesOn(t *testing.T) {
	r := newRun(t, two, 1)
	r.policy = benchmark.Continue
	r.tick(0)
	r.next(phases.Event{Kind: phases.PhaseFailed, At: time.Second, Phase: 0})
	r.report(11*time.Second, 0, "a", phases.Terminated)
	r.want(t, "0s run a", "11s run b", "11s run c")
}

func TestForksEndTogether(t *testing.T) {
	r := newRun(t, `
phases:
- a: {atOnce: {users: 2, forks: {x: {SCENARIO}, y: {SCENARIO}}}}
- pause: {noop: {duration: 3s, startAfterStrict: a}}
- b: {atOnce: {users: 1, startAfter: pause, SCENARIO}}
`, 1)
	r.tick(0)
	r.want(t, "0s run a/x", "0s run a/y")
	r.report(1, 0, "a/x", phases.Terminated)
	r.want(t)
	r.next(phases.Event{Kind: phases.PhaseFailed, At: 2, Phase: 0})
	if got := r.status("a"); got != phases.NotStarted {
		t.Errorf("a, of which forks have run, is %v after a failure, want it to end with them", got)
	}
	r.report(3, 0, "a/y", phases.Terminated)
	r.want(t, "3ns stop")
}

func TestPauseHoldsItsTime(t *testing.T) {
	r := newRun(t, "phases:\n- pause: {noop: {duration: 3s}}\n- b: {atOnce: {users: 1, startAfter: pause, SCENARIO}}\n"+
		"- c: {atOnce: {users: 1, startWith: {phase: b, delay: 2s}, SCENARIO}}", 1)
	r.tick(0)
	r.want(t)
	for _, want := range []time.Duration{3 * time.Second, 5 * time.Second} {
		at, ok := phases.Due(r.list, r.course)
		if !ok || at != want {
			t.Fatalf("next due at %v, %v, want %v", at, ok, want)
		}
		r.tick(at)
	}
	r.want(t, "3s run b", "5s run c")
}

func TestKillEndsEverything(t *testing.T) {
	for _, kind := range []phases.EventKind{phases.Kill, phases.MachineLost} {
		r := newRun(t, two, 2)
		r.tick(0)
		r.report(0, 0, "a", phases.Running)
		r.next(phases.Event{Kind: kind, At: 1, Machine: 1})
		r.report(2, 0, "a", phases.Terminated)
		r.report(2, 1, "a", phases.Terminated)
		r.want(t, "0s run a", "1ns terminate a", "2ns stop")
		if b := r.status("b"); b != phases.Cancelled || !r.course.Killed {
			t.Errorf("b is %v, want cancelled", b)
		}
	}
}

// Whatever machines report and in whatever order: statuses only grow, Next
// changes nothing that it gets, each order is given once, and with machines
// that do what they are told, the run comes to its end.
func TestCourseAlwaysEnds(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for range 60 {
		machines := 1 + random.IntN(3)
		r := newRun(t, two+"- d: {constantRate: {usersPerSec: 1, duration: 2s, maxIterations: 2, startAfter: b, forks: {x: {SCENARIO}, y: {SCENARIO}}}}\n", machines)
		at := time.Duration(0)
		for step := 0; !r.course.Stopped; step++ {
			if step > 5000 {
				t.Fatalf("the run doesn't end:\n%s", strings.Join(r.log, "\n"))
			}
			before := r.course
			kept := ""
			if step%16 == 0 {
				kept = fmt.Sprintf("%+v", before)
			}
			switch phase := random.IntN(len(r.list)); random.IntN(4) {
			case 0:
				at += time.Duration(random.IntN(3000)) * time.Millisecond
				r.tick(at)
			case 1:
				if random.IntN(200) == 0 {
					r.next(phases.Event{Kind: phases.PhaseFailed, At: at, Phase: phase})
				}
			default:
				r.report(at, random.IntN(machines), r.list[phase].Name, []phases.Status{phases.Running, phases.Finished, phases.Terminated}[random.IntN(3)])
			}
			if kept != "" && fmt.Sprintf("%+v", before) != kept {
				t.Fatal("Next has changed the course that it was given")
			}
			for i := range r.list {
				if r.course.Phases[i].Status < before.Phases[i].Status {
					t.Fatalf("phase %s went from %v to %v", r.list[i].Name, before.Phases[i].Status, r.course.Phases[i].Status)
				}
			}
		}
		seen := map[string]bool{}
		for _, line := range r.log {
			_, order, _ := strings.Cut(line, " ")
			if seen[order] {
				t.Fatalf("ordered twice: %s\n%s", order, strings.Join(r.log, "\n"))
			}
			seen[order] = true
		}
	}
}
