package strategies

import (
	"maps"
	"slices"
)

// Clone returns a deep copy of the plan. It clears nothing.
func (p Plan) Clone() Plan {
	p.Criteria = slices.Clone(p.Criteria)
	p.Steps = slices.Clone(p.Steps)
	for i := range p.Steps {
		p.Steps[i] = p.Steps[i].clone()
	}
	return p
}

func (s Step) clone() Step {
	s.EnvironmentData = slices.Clone(s.EnvironmentData)
	s.Ulimits = maps.Clone(s.Ulimits)
	s.StartAfter = slices.Clone(s.StartAfter)
	s.InstanceTypes = slices.Clone(s.InstanceTypes)
	s.LogMetrics = slices.Clone(s.LogMetrics)
	for i, l := range s.LogMetrics {
		s.LogMetrics[i] = l.clone()
	}
	s.Benchmark = s.Benchmark.clone()
	if s.Ready != nil {
		r := *s.Ready
		s.Ready = &r
	}
	return s
}
