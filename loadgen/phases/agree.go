package phases

import "slices"

// Unagreed returns the names of phases that begin when users of others have
// ended, or have all begun though too many were busy. When that is depends on
// the system under test, so machines that don't tell each other come to them at
// different times.
func Unagreed(list []Phase) (names []string) {
	for _, p := range list {
		waits := slices.ContainsFunc(p.StartStrict, func(i int) bool { return list[i].hasUsers() }) ||
			slices.ContainsFunc(p.StartAfter, func(i int) bool { return list[i].MaxSessions > 0 || list[i].Umbrella })
		if waits && !p.Umbrella {
			names = append(names, p.Name)
		}
	}
	return names
}

func (p *Phase) hasUsers() bool { return p.Scenario != nil || p.Umbrella }
