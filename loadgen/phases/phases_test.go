package phases_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
)

const head = "name: test\nhttp: {host: http://localhost:8080}\n"

// expand parses and expands; %s in the phases stands for a scenario.
func expand(t *testing.T, text string) ([]phases.Phase, error) {
	t.Helper()
	text = head + strings.ReplaceAll(text, "SCENARIO", "scenario: [{test: [{httpRequest: {GET: /}}]}]")
	b, err := benchmark.Parse("b.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return phases.Expand("b.yaml", b)
}

// show writes a phase on a line.
func show(list []phases.Phase) []string {
	names := func(indices []int) string {
		var all []string
		for _, i := range indices {
			all = append(all, list[i].Name)
		}
		return strings.Join(all, ",")
	}
	var lines []string
	for _, p := range list {
		line := fmt.Sprintf("%s %g-%g", p.Name, p.From, p.To)
		if p.Users > 0 {
			line += fmt.Sprintf(" users %d", p.Users)
		}
		if p.MaxSessions > 0 {
			line += fmt.Sprintf(" max %d", p.MaxSessions)
		}
		if p.StartTime > 0 {
			line += " at " + p.StartTime.String()
		}
		for word, list := range map[string][]int{" after ": p.StartAfter} {
			if len(list) > 0 {
				line += word + names(list)
			}
		}
		if len(p.StartStrict) > 0 {
			line += " strict " + names(p.StartStrict)
		}
		if p.StartWith >= 0 {
			line += " with " + list[p.StartWith].Name + "+" + p.Delay.String()
		}
		if p.Umbrella {
			line += " ends with " + names(p.EndAfter)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestExpansion(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"a plain phase", "usersPerSec: 10\nduration: 5s\nmaxSessions: 7\nSCENARIO", "main 10-10 max 7"},
		{
			"forks divide rates, users and limits", `
phases:
- main: {constantRate: {usersPerSec: 10, duration: 5s, maxSessions: 10, forks: {a: {weight: 2, SCENARIO}, b: {SCENARIO}}}}
- shop: {always: {users: 5, duration: 5s, startAfter: main, forks: [{a: {weight: 0.2, SCENARIO}}, {b: {weight: 0.2, SCENARIO}}]}}`,
			`main/a 6.666667-6.666667 max 6
main/b 3.333333-3.333333 max 4
main 0-0 after main/a,main/b ends with main/a,main/b
shop/a 0-0 users 3 after main
shop/b 0-0 users 2 after main
shop 0-0 after shop/a,shop/b ends with shop/a,shop/b`,
		},
		{
			"iterations grow and follow each other", `
phases:
- up: {atOnce: {users: {base: 1, increment: 2}, maxIterations: 3, startTime: 4s, SCENARIO}}`,
			`up/000 0-0 users 1 at 4s
up/001 0-0 users 3 strict up/000
up/002 0-0 users 5 strict up/001
up 0-0 after up/002 ends with up/002`,
		},
		{
			"the same and the previous iteration, with forks", `
phases:
- ramp: {rampPerSec: {initialUsersPerSec: {base: 0, increment: 8}, targetUsersPerSec: {base: 8, increment: 8}, duration: 1s, maxIterations: 2,
    startAfter: {phase: steady, iteration: previous}, SCENARIO}}
- steady: {constantPerSec: {usersPerSec: {base: 8, increment: 8}, duration: 1s, maxIterations: 2,
    startAfterStrict: {phase: ramp, iteration: same}, forks: {a: {SCENARIO}, b: {SCENARIO}}}}
- last: {noop: {duration: 3s, startAfter: [steady, {phase: steady, fork: a, iteration: none}]}}`,
			"",
		},
		{
			"a phase that starts with an iteration of another", `
phases:
- a: {always: {users: 1, duration: 2s, maxIterations: 2, SCENARIO}}
- b: {always: {users: 1, duration: 1s, maxIterations: 2, startWith: {phase: a, iteration: same, delay: 1s}, SCENARIO}}`,
			`a/000 0-0 users 1
a/001 0-0 users 1 strict a/000
a 0-0 after a/001 ends with a/001
b/000 0-0 users 1 with a/000+1s
b/001 0-0 users 1 strict b/000 with a/001+1s
b 0-0 after b/001 ends with b/001`,
		},
		{
			"a part named in full", `
phases:
- a: {always: {users: 2, duration: 2s, maxIterations: 2, forks: {x: {SCENARIO}, y: {SCENARIO}}}}
- b: {atOnce: {users: 1, startAfter: a/000/y, SCENARIO}}`,
			`a/000/x 0-0 users 1
a/000/y 0-0 users 1
a/000 0-0 after a/000/x,a/000/y ends with a/000/x,a/000/y
a/001/x 0-0 users 1 strict a/000
a/001/y 0-0 users 1 strict a/000
a/001 0-0 after a/001/x,a/001/y ends with a/001/x,a/001/y
a 0-0 after a/001 ends with a/001
b 0-0 users 1 after a/000/y`,
		},
		{
			"a staircase", "staircase: {steadyStateDuration: 10s, rampUpDuration: 5s, incrementUsersPerSec: 2, maxIterations: 3, SCENARIO}",
			`initialRampUp 0-2
steadyState/000 2-2 after initialRampUp
steadyState/001 4-4 after initialRampUp,rampUp/000 strict steadyState/000
steadyState/002 6-6 after initialRampUp,rampUp/001 strict steadyState/001
steadyState 0-0 after steadyState/002 ends with steadyState/002
rampUp/000 2-4 after steadyState/000
rampUp/001 4-6 after steadyState/001 strict rampUp/000
rampUp 0-0 after rampUp/001 ends with rampUp/001`,
		},
		{
			"a staircase of two steps", "staircase: {steadyStateDuration: 10s, rampUpDuration: 5s, initialRampUpDuration: 0, initialUsersPerSec: 5, incrementUsersPerSec: 1, maxIterations: 2, SCENARIO}",
			`steadyState/000 5-5
steadyState/001 6-6 after rampUp strict steadyState/000
steadyState 0-0 after steadyState/001 ends with steadyState/001
rampUp 5-6 after steadyState/000`,
		},
		{"a staircase without ramps", "staircase: {steadyStateDuration: 10s, incrementUsersPerSec: 1, maxIterations: 1, SCENARIO}", "steadyState 1-1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list, err := expand(t, test.file)
			if test.want == "" { // steady has no fork outside of its iterations
				if want := "steady/a is not a phase; did you mean"; err == nil || !strings.Contains(err.Error(), "steady/a") {
					t.Errorf("got error %v, want one with %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(test.want, "\n"), show(list)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWrongReferencesAreFaults(t *testing.T) {
	phase := func(rest string) string { return "{atOnce: {users: 1, SCENARIO" + rest + "}}" }
	tests := []struct {
		name, file string
		want       []string
	}{
		{
			"unknown phases, all at once", "phases:\n- warmUp: " + phase("") + "\n- main: " + phase(", startAfter: warmup, startAfterStrict: [nothing]"),
			[]string{"b.yaml:5:88: phases.main: warmup is not a phase; did you mean warmUp?", "nothing is not a phase; there are warmUp and main"},
		},
		{
			"a circle", "phases:\n- a: " + phase(", startAfter: c") + "\n- b: " + phase(", startAfterStrict: a") + "\n- c: " + phase(", startWith: b"),
			[]string{"can never start: a waits for c waits for b waits for a"},
		},
		{"itself", "phases:\n- a: " + phase(", startAfter: a"), []string{"a waits for a"}},
		{
			"an iteration where there is one only", "phases:\n- a: " + phase("") + "\n- b: " + phase(", startAfter: {phase: a, iteration: same}"),
			[]string{"named with iteration: same, and this phase has only one"},
		},
		{
			"too few iterations", "phases:\n- a: " + phase(", maxIterations: 2") + "\n- b: " + phase(", maxIterations: 3, startAfter: {phase: a, iteration: same}"),
			[]string{"a has only 2 of the 3 iterations"},
		},
		{"the same iteration of each other", "phases:\n- a: " + phase(", maxIterations: 2, startAfter: {phase: b, iteration: same}") +
			"\n- b: " + phase(", maxIterations: 2, startAfter: {phase: a, iteration: same}"), []string{"can never start: a/000 waits for b/000 waits for a/000"}},
		{
			"fewer sessions than forks", "phases:\n- a: {constantRate: {usersPerSec: 1, duration: 1s, maxSessions: 1, forks: {x: {SCENARIO}, y: {SCENARIO}}}}",
			[]string{"a.maxSessions: 1 is less than there are forks"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := expand(t, test.file)
			var faults benchmark.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got error %v, want faults", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got\n%v\nwant %q in it", err, want)
				}
			}
			for _, f := range faults {
				if f.File != "b.yaml" || f.Line < 3 || f.Column < 1 {
					t.Errorf("fault %q has no place", f)
				}
			}
		})
	}
}

func TestSplitIsExactAndFair(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		total, weights := random.IntN(1_000_000_000), make([]float64, 1+random.IntN(20))
		if random.IntN(2) == 0 {
			total = random.IntN(20)
		}
		sum := 0.0
		for i := range weights {
			weights[i] = math.Exp(random.Float64()*20 - 10)
			if random.IntN(2) == 0 {
				weights[i] = float64(1 + random.IntN(3))
			}
			sum += weights[i]
		}
		got := 0
		for i, part := range phases.Split(total, weights) {
			got += part
			if share := float64(total) * weights[i] / sum; math.Abs(float64(part)-share) >= 1+1e-6 {
				t.Fatalf("%d by %v: part %d is %d, want about %v", total, weights, i, part, share)
			}
		}
		if got != total {
			t.Fatalf("%d by %v: the parts sum up to %d", total, weights, got)
		}
	}
}

// However a benchmark is divided, the parts of all machines are the whole.
func TestDivisionIsExact(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for range 1000 {
		machines := 1 + random.IntN(40)
		list := []phases.Phase{
			{Name: "open", Kind: benchmark.IncreasingRate, From: random.Float64() * 1000, To: random.Float64() * 1000, Duration: time.Second, MaxSessions: machines + random.IntN(1000), Estimate: 10},
			{Name: "shared", Kind: benchmark.AlwaysBusy, Users: random.IntN(100)},
			{Name: "few", Kind: benchmark.AtOnce, Users: 1 + random.IntN(3)},
			{Name: "each", Kind: benchmark.AlwaysBusy, PerMachine: 3},
			{Name: "threads", Kind: benchmark.AlwaysBusy, PerThread: 2},
			{Name: "pause", Kind: benchmark.Noop},
		}
		cluster := phases.Cluster{Machines: machines, Threads: 4}
		users, sessions, rates := make([]int, len(list)), 0, [2]int64{}
		for machine := range machines {
			shares, err := phases.Divide(list, cluster, machine)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range shares {
				users[i] += s.Users
			}
			sessions += shares[0].MaxSessions
			rates[0] += int64(math.Round(shares[0].From * 1e6))
			rates[1] += int64(math.Round(shares[0].To * 1e6))
			if shares[0].MaxSessions < 1 || shares[0].Arrivals.Machine != machine || shares[0].Arrivals.Machines != machines {
				t.Fatalf("machine %d of %d has the share %+v", machine, machines, shares[0])
			}
		}
		want := []int{0, list[1].Users, list[2].Users, 3 * machines, 8 * machines, 0}
		if diff := cmp.Diff(want, users); diff != "" {
			t.Fatalf("users over %d machines: %s", machines, diff)
		}
		if machines > 1 && (rates[0] != int64(math.Round(list[0].From*1e6)) || rates[1] != int64(math.Round(list[0].To*1e6))) {
			t.Fatalf("rates %v to %v over %d machines sum up to %v", list[0].From, list[0].To, machines, rates)
		}
		if sessions != list[0].MaxSessions {
			t.Fatalf("%d sessions over %d machines are %d", list[0].MaxSessions, machines, sessions)
		}
	}
}

func TestManySmallPhasesDontAllGoToTheFirstMachine(t *testing.T) {
	list := make([]phases.Phase, 6)
	for i := range list {
		list[i] = phases.Phase{Kind: benchmark.AtOnce, Users: 1}
	}
	for machine := range 3 {
		shares, err := phases.Divide(list, phases.Cluster{Machines: 3}, machine)
		if err != nil {
			t.Fatal(err)
		}
		users := 0
		for _, s := range shares {
			users += s.Users
		}
		if users != 2 {
			t.Errorf("machine %d has %d of 6 users, want 2", machine, users)
		}
	}
}

func TestLimitsThatCantBeDividedAreToldTogether(t *testing.T) {
	open := func(name string) phases.Phase {
		return phases.Phase{Name: name, Kind: benchmark.ConstantRate, From: 1, To: 1, Duration: time.Second, MaxSessions: 2}
	}
	_, err := phases.Divide([]phases.Phase{open("a"), open("b")}, phases.Cluster{Machines: 3}, 0)
	if err == nil || !strings.Contains(err.Error(), "phase a has") || !strings.Contains(err.Error(), "phase b has") {
		t.Errorf("got error %v, want one about both phases", err)
	}
	if _, err := phases.Divide(nil, phases.Cluster{Machines: 3}, 3); err == nil {
		t.Error("there is a share for machine 3 of 3")
	}
}

func TestConnectionsAreAtLeastOne(t *testing.T) {
	total := 0
	for machine := range 4 {
		n, raised := phases.Connections(10, machine, 4)
		if total += n; raised {
			t.Errorf("machine %d: 10 connections over 4 machines are said to be too few", machine)
		}
	}
	if total != 10 {
		t.Errorf("10 connections over 4 machines are %d", total)
	}
	for machine := range 4 {
		if n, raised := phases.Connections(2, machine, 4); n != 1 || !raised {
			t.Errorf("machine %d of 4 has %d of 2 connections, raised %v, want 1, raised", machine, n, raised)
		}
	}
}
