// Package phases works out what a benchmark's phases become in a run: the
// iterations and forks they expand to, how these are divided among machines,
// and which of them start, finish and end when. It is pure: it reads no clock,
// and what it decides somebody else does.
package phases

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/internal/source"
	"github.com/loads/loads/loadgen/benchmark"
)

// Phase is one phase of a run. Times count from its start, but StartTime, which
// counts from the start of the run.
type Phase struct {
	Name      string // phase/000/fork, with as many parts as there are
	Base      string // the phase of the file; of a staircase initialRampUp, steadyState or rampUp
	Iteration int    // from 0
	Fork      string // empty if there are none
	Kind      benchmark.Kind
	Umbrella  bool // stands for its iterations or forks, and starts no users

	StartTime   time.Duration
	StartAfter  []int // indices of phases that must be finished
	StartStrict []int // indices of phases that must be terminated
	StartWith   int   // index of a phase that must have started Delay ago, or -1
	Delay       time.Duration
	EndAfter    []int // indices of phases that must be terminated for this one to be so
	Duration    time.Duration
	MaxDuration time.Duration // 0 is no limit
	Warmup      bool

	From, To float64 // users a second at the start and the end, of open phases
	Variance bool    // Poisson arrivals

	Users      int // of closed phases, on all machines; 0 if they are given otherwise
	PerMachine int // users on each machine
	PerThread  int // users on each thread of each machine

	MaxSessions int                     // most users busy at once, on all machines; 0 is no limit
	Estimate    int                     // how many to prepare for, on all machines
	Policy      benchmark.SessionPolicy // of MaxSessions

	Scenario  *benchmark.Scenario
	CustomSLA benchmark.MetricSLAs
}

// Expand returns the phases of a run, in the order of the file, each umbrella
// after its parts. The error is benchmark.Faults, with the file's name given.
func Expand(name string, b *benchmark.Benchmark) ([]Phase, error) {
	e := &expander{file: name, index: map[string]int{}, bases: map[string]*base{}}
	list := b.Phases
	if b.Staircase != nil {
		list = staircase(b.Staircase)
		e.made = true
	}
	for i := range list {
		e.expand(&list[i])
	}
	for i := range list {
		e.link(&list[i])
	}
	e.cycles()
	if len(e.faults) > 0 {
		e.faults.Sort()
		return nil, e.faults
	}
	return e.phases, nil
}

type expander struct {
	file   string
	made   bool // the phases were made up, and refer to each other as they may
	phases []Phase
	index  map[string]int // of phases by name
	bases  map[string]*base
	faults benchmark.Faults
}

// base is a phase of the file.
type base struct {
	phase *benchmark.Phase
	parts [][]int // indices of the forks of each iteration, or of the iteration itself
	whole []int   // index of what stands for each iteration
	line  int
	col   int
}

func (e *expander) fault(line, column int, f benchmark.Fault) {
	f.File, f.Line, f.Column = e.file, line, column
	e.faults = append(e.faults, f)
}

func (e *expander) add(p Phase) int {
	e.index[p.Name] = len(e.phases)
	e.phases = append(e.phases, p)
	return len(e.phases) - 1
}

// expand adds the iterations and forks of a phase, and the umbrellas over them.
func (e *expander) expand(p *benchmark.Phase) {
	b := &base{phase: p, line: p.Line, col: p.Column}
	e.bases[p.Name] = b
	if p.MaxSessions > 0 && p.MaxSessions < len(p.Forks) {
		e.fault(p.Line, p.Column, benchmark.Fault{
			Field: "phases." + p.Name + ".maxSessions", Value: strconv.Itoa(p.MaxSessions),
			What: "is less than there are forks", Want: "give at least one session for each",
		})
	}
	for i := range p.MaxIterations {
		name := p.Name
		if p.MaxIterations > 1 {
			name = fmt.Sprintf("%s/%03d", p.Name, i)
		}
		if len(p.Forks) == 0 {
			at := e.add(iteration(p, name, i))
			b.parts, b.whole = append(b.parts, []int{at}), append(b.whole, at)
			continue
		}
		var parts []int
		for _, part := range forks(p, name, i) {
			parts = append(parts, e.add(part))
		}
		umbrella := e.add(umbrella(name, p.Name, i, parts))
		b.parts, b.whole = append(b.parts, parts), append(b.whole, umbrella)
	}
	if p.MaxIterations > 1 {
		// Earlier iterations have ended when the last one starts.
		last := b.whole[len(b.whole)-1]
		e.add(umbrella(p.Name, p.Name, p.MaxIterations-1, []int{last}))
	}
}

func umbrella(name, base string, iteration int, parts []int) Phase {
	return Phase{
		Name: name, Base: base, Iteration: iteration, Kind: benchmark.Noop, Umbrella: true, Warmup: true,
		StartAfter: parts, EndAfter: parts, StartWith: -1,
	}
}

// iteration is a phase as it is in one iteration, without forks.
func iteration(p *benchmark.Phase, name string, i int) Phase {
	phase := Phase{
		Name: name, Base: p.Name, Iteration: i, Kind: p.Kind, StartWith: -1,
		Duration: time.Duration(p.Duration), MaxDuration: time.Duration(p.MaxDuration), Warmup: p.IsWarmup,
		Variance: p.Variance && p.Kind.IsOpen(), MaxSessions: p.MaxSessions, Estimate: p.MaxSessionsEstimate,
		PerMachine: p.UsersPerAgent, PerThread: p.UsersPerThread, Scenario: p.Scenario, CustomSLA: p.CustomSLA,
	}
	if p.Kind == benchmark.AtOnce {
		phase.Duration = 0
	}
	switch {
	case p.UsersPerSec != nil:
		phase.From = p.UsersPerSec.At(i)
		phase.To = phase.From
	case p.InitialUsers != nil && p.TargetUsers != nil:
		phase.From, phase.To = p.InitialUsers.At(i), p.TargetUsers.At(i)
	case p.Users != nil:
		phase.Users = p.Users.At(i)
	}
	if p.Kind.IsOpen() {
		phase.Policy = p.SessionLimitPolicy
		if phase.Estimate == 0 {
			phase.Estimate = p.MaxSessions
		}
		if phase.Estimate == 0 { // a second of users
			phase.Estimate = int(math.Ceil(max(phase.From, phase.To)))
		}
	}
	return phase
}

// forks divides an iteration among its forks by their weights.
func forks(p *benchmark.Phase, name string, i int) []Phase {
	whole := iteration(p, name, i)
	weights := make([]float64, len(p.Forks))
	for f, fork := range p.Forks {
		weights[f] = fork.Weight
	}
	parts := make([]Phase, len(p.Forks))
	from, to := splitRate(whole.From, weights), splitRate(whole.To, weights)
	users, sessions, estimate := Split(whole.Users, weights), splitLimit(whole.MaxSessions, weights), Split(whole.Estimate, weights)
	perMachine, perThread := Split(whole.PerMachine, weights), Split(whole.PerThread, weights)
	for f, fork := range p.Forks {
		parts[f] = whole
		part := &parts[f]
		part.Name, part.Fork, part.Scenario = name+"/"+fork.Name, fork.Name, fork.Scenario
		part.From, part.To = from[f], to[f]
		part.Users, part.MaxSessions, part.Estimate = users[f], sessions[f], estimate[f]
		part.PerMachine, part.PerThread = perMachine[f], perThread[f]
	}
	return parts
}

// staircase makes the phases of a staircase.
func staircase(s *benchmark.Staircase) benchmark.Phases {
	phase := func(name string, kind benchmark.Kind, duration benchmark.Duration) benchmark.Phase {
		p := benchmark.Phase{
			Name: name, Kind: kind, Duration: duration, MaxIterations: 1,
			CustomSLA: s.CustomSLA, Scenario: s.Scenario, Forks: s.Forks,
			Variance: s.Variance, MaxSessions: s.MaxSessions, SessionLimitPolicy: benchmark.PolicyFail,
			Line: s.Line, Column: s.Column,
		}
		if s.MaxOverrun > 0 {
			p.MaxDuration = duration + s.MaxOverrun
		}
		return p
	}
	after := func(name string, which benchmark.RelativeIteration) benchmark.PhaseRef {
		return benchmark.PhaseRef{Phase: name, Iteration: which, Line: s.Line, Column: s.Column}
	}
	steady := phase("steadyState", benchmark.ConstantRate, s.SteadyState)
	steady.MaxIterations = s.MaxIterations
	steady.UsersPerSec = &benchmark.Rate{Base: s.Initial, Increment: s.Increment}
	var list benchmark.Phases
	if *s.InitialRampUp > 0 {
		first := phase("initialRampUp", benchmark.IncreasingRate, *s.InitialRampUp)
		first.InitialUsers, first.TargetUsers = &benchmark.Rate{}, &benchmark.Rate{Base: s.Initial}
		list = append(list, first)
		steady.StartAfter = append(steady.StartAfter, after("initialRampUp", benchmark.IterationNone))
	}
	if s.RampUp > 0 && s.MaxIterations > 1 {
		ramp := phase("rampUp", benchmark.IncreasingRate, s.RampUp)
		ramp.MaxIterations = s.MaxIterations - 1
		ramp.InitialUsers = &benchmark.Rate{Base: s.Initial, Increment: s.Increment}
		ramp.TargetUsers = &benchmark.Rate{Base: s.Initial + s.Increment, Increment: s.Increment}
		ramp.StartAfter = benchmark.PhaseRefs{after("steadyState", benchmark.IterationSame)}
		steady.StartAfter = append(steady.StartAfter, after("rampUp", benchmark.IterationPrevious))
		return append(list, steady, ramp)
	}
	return append(list, steady)
}

// link resolves what the iterations of a phase start after.
func (e *expander) link(p *benchmark.Phase) {
	b := e.bases[p.Name]
	for i, parts := range b.parts {
		after, strict := e.resolveAll(p, p.StartAfter, i), e.resolveAll(p, p.StartAfterStrict, i)
		if i > 0 {
			strict = append(strict, b.whole[i-1])
		}
		with, delay := -1, time.Duration(0)
		if p.StartWith != nil {
			ref := p.StartWith.PhaseRef
			if ref.Line == 0 {
				ref.Line, ref.Column = p.Line, p.Column
			}
			if with = e.resolve(p, ref, i); with >= 0 {
				delay = time.Duration(p.StartWith.Delay)
			}
		}
		for _, at := range parts {
			phase := &e.phases[at]
			phase.StartAfter, phase.StartStrict = after, strict
			phase.StartWith, phase.Delay = with, delay
			if i == 0 {
				phase.StartTime = time.Duration(p.StartTime)
			}
		}
	}
}

func (e *expander) resolveAll(p *benchmark.Phase, refs benchmark.PhaseRefs, i int) []int {
	var list []int
	for _, ref := range refs {
		if at := e.resolve(p, ref, i); at >= 0 && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list
}

// resolve finds the phase that iteration i of p refers to, or -1 if there is
// none, as before the first iteration.
func (e *expander) resolve(p *benchmark.Phase, ref benchmark.PhaseRef, i int) int {
	f := benchmark.Fault{Field: "phases." + p.Name, Value: source.Show(ref.Phase)}
	fail := func(what, want string) int {
		if f.What, f.Want = what, want; i == 0 || !slices.ContainsFunc(e.faults, func(g benchmark.Fault) bool { return g.What == what && g.Value == f.Value }) {
			e.fault(ref.Line, ref.Column, f)
		}
		return -1
	}
	name := ref.Phase
	if b := e.bases[name]; b != nil && ref.Iteration != benchmark.IterationNone {
		target := i
		if ref.Iteration == benchmark.IterationPrevious {
			target--
		}
		switch {
		case p.MaxIterations == 1 && !e.made:
			return fail("is named with iteration: "+string(ref.Iteration)+", and this phase has only one", "leave iteration out, or give maxIterations")
		case target < 0:
			return -1
		case target >= len(b.whole):
			return fail(fmt.Sprintf("has only %d of the %d iterations that this phase has", len(b.whole), p.MaxIterations), "give both the same maxIterations")
		}
		name = e.phases[b.whole[target]].Name
	} else if b == nil && ref.Iteration != benchmark.IterationNone && e.has(name) {
		return fail("is part of a phase, and named with iteration", "name the phase itself, or leave iteration out")
	}
	if ref.Fork != "" {
		name += "/" + ref.Fork
	}
	at, known := e.index[name]
	if !known {
		f.Value = source.Show(name)
		want := source.DidYouMean(name, e.names())
		if want == "" {
			want = "there are " + source.JoinWords(e.baseNames())
		}
		return fail("is not a phase", want)
	}
	return at
}

func (e *expander) has(name string) bool { _, ok := e.index[name]; return ok }

func (e *expander) names() []string {
	all := make([]string, len(e.phases))
	for i, p := range e.phases {
		all[i] = p.Name
	}
	return all
}

func (e *expander) baseNames() []string {
	var all []string
	for _, p := range e.phases {
		if !slices.Contains(all, p.Base) {
			all = append(all, p.Base)
		}
	}
	return all
}

// needs are the phases that must have come somewhere before phase i can start.
func needs(p Phase) []int {
	list := slices.Concat(p.StartAfter, p.StartStrict)
	if p.StartWith >= 0 {
		list = append(list, p.StartWith)
	}
	return list
}

// cycles finds phases that wait for each other.
func (e *expander) cycles() {
	state := make([]int, len(e.phases)) // 1 while on the path, 2 when done
	var path []int
	var visit func(i int) bool
	visit = func(i int) bool {
		if state[i] == 1 {
			var names []string
			for _, at := range path[slices.Index(path, i):] {
				names = append(names, e.phases[at].Name)
			}
			b := e.bases[e.phases[i].Base]
			e.fault(b.line, b.col, benchmark.Fault{
				Field: "phases." + e.phases[i].Base,
				What:  "can never start: " + strings.Join(append(names, e.phases[i].Name), " waits for "),
				Want:  "leave one of these out",
			})
			return false
		}
		if state[i] == 2 {
			return true
		}
		state[i], path = 1, append(path, i)
		ok := true
		for _, next := range needs(e.phases[i]) {
			if ok = visit(next); !ok {
				break
			}
		}
		state[i], path = 2, path[:len(path)-1]
		return ok
	}
	for i := range e.phases {
		if !visit(i) {
			return // one circle is enough to be told of
		}
	}
}
