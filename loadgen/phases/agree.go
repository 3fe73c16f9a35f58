package phases

import "slices"

// Mark is a phase that has come to a status, Finished or Terminated.
type Mark struct {
	Phase  int
	Status Status
}

// Marks returns what users decide on and other phases wait for. When that is
// depends on the system under test, so machines come to it at different times
// unless they tell each other. What only the clock decides on is not in it.
func Marks(list []Phase) (marks []Mark) {
	for i := range list {
		if !list[i].Umbrella {
			marks = append(marks, marksOf(list, &list[i])...)
		}
	}
	slices.SortFunc(marks, func(a, b Mark) int {
		if a.Phase != b.Phase {
			return a.Phase - b.Phase
		}
		return int(a.Status - b.Status)
	})
	return slices.Compact(marks)
}

// Unagreed returns the names of phases that wait for marks.
func Unagreed(list []Phase) (names []string) {
	for i := range list {
		if p := &list[i]; !p.Umbrella && len(marksOf(list, p)) > 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

// marksOf returns the marks that a phase waits for.
func marksOf(list []Phase, p *Phase) (marks []Mark) {
	var need func(i int, status Status)
	need = func(i int, status Status) {
		switch other := &list[i]; {
		case other.Umbrella && status == Terminated:
			for _, part := range other.EndAfter {
				need(part, Terminated)
			}
		case other.Umbrella:
			for _, part := range other.StartAfter {
				need(part, Finished)
			}
		case other.Scenario == nil: // a pause
		case status == Terminated, other.MaxSessions > 0: // users who wait for others to end begin after the phase's time
			marks = append(marks, Mark{i, status})
		}
	}
	for _, i := range p.StartStrict {
		need(i, Terminated)
	}
	for _, i := range p.StartAfter {
		need(i, Finished)
	}
	return marks
}

// Reached returns how far so many machines, those of the least numbers, have
// brought a phase.
func (c Course) Reached(phase, machines int) Status {
	p := &c.Phases[phase]
	if len(p.machines) == 0 || p.Status == Cancelled {
		return p.Status
	}
	return slices.Min(p.machines[:machines])
}
