package metrics

import (
	"cmp"
	"slices"
)

// A TagValue is a value of a tag that a machine has sent with a metric.
type TagValue struct {
	Step    string
	Machine int // index in the step
	Value   string
}

// TagValues returns the values of a tag that have come with the metric, each
// once for each machine, by step, machine and value.
func (s *Series) TagValues(metric, tag string) []TagValue {
	var values []TagValue
	for key, t := range s.tracks {
		if key.name != metric || key.machine < 0 {
			continue
		}
		for _, has := range t.tags {
			if has.Name == tag {
				values = append(values, TagValue{key.step, key.machine, has.Value})
			}
		}
	}
	slices.SortFunc(values, func(a, b TagValue) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Machine, b.Machine), cmp.Compare(a.Value, b.Value))
	})
	return slices.Compact(values)
}
