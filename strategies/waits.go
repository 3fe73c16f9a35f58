package strategies

import (
	"slices"
	"strings"

	"github.com/loads/loads/internal/source"
)

// A wait is what keeps a step from starting: another step's event.
type wait struct {
	step  int // index of the step waited for
	event Event
	// gate marks a wait that nobody wrote: the other step comes earlier in the
	// start order and has a Ready.
	gate bool
}

// startOrder lists the indexes of the steps by run_delay, then by their order
// in the plan. The monitor step is not in it.
func (p Plan) startOrder() []int {
	order := make([]int, 0, len(p.Steps))
	for i, s := range p.Steps {
		if !s.Monitor {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return p.Steps[a].RunDelay - p.Steps[b].RunDelay })
	return order
}

// waits lists, by step, what each step waits for. Names in start_after that no
// step has are left out: Validate reports them.
func (p Plan) waits() [][]wait {
	index := make(map[string]int, len(p.Steps))
	for i, s := range p.Steps {
		index[s.Name] = i
	}
	waits := make([][]wait, len(p.Steps))
	var gates []wait
	for _, i := range p.startOrder() {
		waits[i] = append(waits[i], gates...)
		for _, after := range p.Steps[i].StartAfter {
			if j, ok := index[after.Step]; ok {
				waits[i] = append(waits[i], wait{step: j, event: after.Event})
			}
		}
		if p.Steps[i].Ready != nil {
			gates = append(gates, wait{step: i, event: EventReady, gate: true})
		}
	}
	return waits
}

// cycles returns the circles of steps that wait for each other, so that none
// of them could ever start. Each begins and ends with the same step, and goes
// from a step to one that it waits for. Not more than one circle through a step
// is returned.
func (p Plan) cycles() [][]int {
	f := cycleFinder{waits: p.waits(), state: make([]visit, len(p.Steps))}
	for _, i := range p.startOrder() {
		f.visit(i)
	}
	return f.found
}

// A visit says where the search for cycles stands with a step.
type visit int

const (
	unvisited visit = iota
	visiting
	visited
)

type cycleFinder struct {
	waits [][]wait
	state []visit
	trail []int // the steps being visited
	found [][]int
}

func (f *cycleFinder) visit(i int) {
	f.state[i] = visiting
	f.trail = append(f.trail, i)
	for _, w := range f.waits[i] {
		switch f.state[w.step] {
		case visiting:
			from := slices.Index(f.trail, w.step)
			f.add(append(slices.Clone(f.trail[from:]), w.step))
		case unvisited:
			f.visit(w.step)
		}
	}
	f.trail = f.trail[:len(f.trail)-1]
	f.state[i] = visited
}

// add keeps the circle unless one of its steps is in another already.
func (f *cycleFinder) add(circle []int) {
	for _, other := range f.found {
		if slices.ContainsFunc(circle, func(i int) bool { return slices.Contains(other, i) }) {
			return
		}
	}
	f.found = append(f.found, circle)
}

// describeCycle tells a circle by the names of its steps, and why those wait
// that don't say so themselves.
func (p Plan) describeCycle(circle []int, waits [][]wait) string {
	names := make([]string, len(circle))
	var reasons []string
	for k, i := range circle {
		names[k] = source.Show(p.Steps[i].Name)
		if k == len(circle)-1 {
			break
		}
		at := slices.IndexFunc(waits[i], func(w wait) bool { return w.step == circle[k+1] && !w.gate })
		if at < 0 {
			reasons = append(reasons, names[k]+" starts after "+source.Show(p.Steps[circle[k+1]].Name)+", which has ready")
		}
	}
	text := strings.Join(names, " → ")
	if len(reasons) > 0 {
		text += " (" + strings.Join(reasons, ", and ") + ")"
	}
	return text
}
