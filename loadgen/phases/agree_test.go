package phases_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
)

func TestUnagreedNamesPhasesThatUsersDecideOn(t *testing.T) {
	const file = `name: x
http: {host: http://shop.test}
phases:
- first: {constantRate: {usersPerSec: 5, duration: 1s, scenario: &s [{a: [{httpRequest: {GET: /}}]}]}}
- timed: {constantRate: {usersPerSec: 5, duration: 1s, startAfter: first, scenario: *s}}
- pause: {noop: {duration: 1s, startAfterStrict: timed}}
- strict: {constantRate: {usersPerSec: 5, maxSessions: 3, duration: 1s, startAfterStrict: timed, scenario: *s}}
- limited: {constantRate: {usersPerSec: 5, duration: 1s, startAfter: strict, scenario: *s}}
- last: {constantRate: {usersPerSec: 5, duration: 1s, startAfterStrict: pause, scenario: *s}}
`
	b, err := benchmark.Parse("x.yaml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := phases.Expand("x.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := phases.Unagreed(list), []string{"pause", "strict", "limited"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMarksAreWhatOthersWaitForAndUsersDecide(t *testing.T) {
	scenario := "scenario: [{a: [{httpRequest: {GET: /}}]}]"
	for _, c := range []struct {
		name, phases string
		want         []string
	}{
		{"nobody waits", "- a: {atOnce: {users: 2, S}}\n", nil},
		{"the clock decides", "- a: {always: {users: 2, duration: 1s, S}}\n- b: {atOnce: {users: 2, startAfter: a, S}}\n", nil},
		{"users have ended", "- a: {atOnce: {users: 2, S}}\n- b: {atOnce: {users: 2, startAfterStrict: a, S}}\n", []string{"a terminated"}},
		{
			"users have begun", "- a: {constantRate: {usersPerSec: 2, duration: 1s, maxSessions: 2, S}}\n- b: {atOnce: {users: 2, startAfter: a, S}}\n" +
				"- c: {atOnce: {users: 2, startAfter: a, startAfterStrict: a, S}}\n", []string{"a finished", "a terminated"},
		},
		{"iterations", "- a: {atOnce: {users: 2, maxIterations: 3, S}}\n", []string{"a/000 terminated", "a/001 terminated"}},
		{
			"forks of the last iteration", "- a: {atOnce: {users: 2, maxIterations: 2, forks: {x: {S}, y: {S}}}}\n- b: {atOnce: {users: 1, startAfterStrict: a, S}}\n",
			[]string{"a/000/x terminated", "a/000/y terminated", "a/001/x terminated", "a/001/y terminated"},
		},
		{
			"forks that have begun", "- a: {constantRate: {usersPerSec: 2, duration: 1s, maxSessions: 2, forks: {x: {S}, y: {S}}}}\n- b: {atOnce: {users: 1, startAfter: a, S}}\n",
			[]string{"a/x finished", "a/y finished"},
		},
		{"a pause", "- a: {atOnce: {users: 2, S}}\n- p: {noop: {duration: 1s, startAfterStrict: a}}\n- b: {atOnce: {users: 2, startAfterStrict: p, S}}\n", []string{"a terminated"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := benchmark.Parse("x.yaml", []byte("name: x\nhttp: {host: http://shop.test}\nphases:\n"+strings.ReplaceAll(c.phases, "S}", scenario+"}")), nil)
			if err != nil {
				t.Fatal(err)
			}
			list, err := phases.Expand("x.yaml", b)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range phases.Marks(list) {
				got = append(got, list[m.Phase].Name+" "+m.Status.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestReachedIsOfTheFirstMachines(t *testing.T) {
	list := []phases.Phase{{Name: "a", Kind: benchmark.AtOnce, StartWith: -1}, {Name: "b", Kind: benchmark.AtOnce, StartStrict: []int{0}, StartWith: -1}}
	c := phases.NewCourse(list, 3)
	next := func(e phases.Event) { c, _ = phases.Next(list, c, benchmark.Cancel, e) }
	next(phases.Event{})
	for machine, status := range []phases.Status{phases.Terminated, phases.Finished, phases.Running} {
		next(phases.Event{Kind: phases.Report, Machine: machine, Status: status})
	}
	for n, want := range map[int]phases.Status{1: phases.Terminated, 2: phases.Finished, 3: phases.Running} {
		if got := c.Reached(0, n); got != want {
			t.Errorf("%d machines have brought it to %v, want %v", n, got, want)
		}
	}
	next(phases.Event{Kind: phases.PhaseFailed})
	if got := c.Reached(1, 2); got != phases.Cancelled {
		t.Errorf("a phase that never comes is %v, want cancelled", got)
	}
}
