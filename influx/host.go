package influx

import (
	"slices"

	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"github.com/loads/loads/metrics"
)

// hostSampleOf makes a sample of what a machine tells of itself. It is of that
// machine alone: as it has no kind, it is not merged with those of others.
func hostSampleOf(p *metrics.HostPoint, place []metrics.Tag) sample {
	tags := slices.Clone(place)
	for _, t := range p.Tags {
		if !slices.Contains(ours, t.Name) {
			tags = append(tags, t)
		}
	}
	return sample{name: metrics.Measurement(p.Name), tags: tidy(tags), host: p.Fields}
}

// addHost adds the fields to the point, all as floats, so that the type of a
// field never changes.
func (s *sample) addHost(p *write.Point) *write.Point {
	for field, value := range s.host {
		p.AddField(metrics.Printable(field), value)
	}
	return p.SortFields()
}
