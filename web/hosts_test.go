package web

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/metrics"
)

// Of a run that is over, all is by the minute: two minutes and a rest here.
func TestMinutesAreDrawnOverTheirTime(t *testing.T) {
	level := metrics.HostLine{Step: "web", Values: []metrics.HostValue{
		{Time: 60_000, Value: 5, Max: new(9.0), Seconds: 60}, {Time: 120_000, Value: 7, Max: new(8.0), Seconds: 60}, {Time: 121_000, Value: 1, Seconds: 1},
	}}
	other := metrics.HostLine{Step: "web", Machine: 1, Values: []metrics.HostValue{
		{Time: 59_000, Value: 7, Max: new(7.0), Seconds: 50}, {Time: 121_000, Value: 3, Seconds: 1},
	}}
	total := metrics.HostLine{Step: "web", Counts: true, Values: []metrics.HostValue{
		{Time: 60_000, Value: 6900, First: new(1000.0), Seconds: 60},
		{Time: 120_000, Value: 12_900, First: new(7000.0), Seconds: 60},
		{Time: 121_000, Value: 400, Seconds: 1},
		{Time: 122_000, Value: 450, Seconds: 1},
	}}
	type points struct {
		Label  string
		Times  []int64
		Values []float64
	}
	for _, c := range []struct {
		what  string
		draw  func([]metrics.HostLine) []chartedLine
		lines []metrics.HostLine
		from  int64
		want  []points
	}{
		{"a level", byMachine, []metrics.HostLine{level}, 0, []points{{"web/0", []int64{1, 60, 61, 120, 121}, []float64{5, 5, 7, 7, 1}}}},
		{"a total that begins anew", byMachine, []metrics.HostLine{total}, 0, []points{{"web/0", []int64{1, 60, 61, 120, 122}, []float64{100, 100, 100, 100, 50}}}},
		{"what is new of a minute", byMachine, []metrics.HostLine{level}, 90_000, []points{{"web/0", []int64{91, 120, 121}, []float64{7, 7, 1}}}},
		{"nothing new", byMachine, []metrics.HostLine{level}, 121_000, nil},
		{"machines that differ, by step", byStep, []metrics.HostLine{level, other}, 0, []points{
			{"web mean", []int64{1, 60, 61, 120, 121}, []float64{6, 6, 7, 7, 2}},
			{"web highest", []int64{1, 60, 61, 120, 121}, []float64{9, 9, 8, 8, 3}},
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			var lines []metrics.HostLine
			for _, line := range c.lines {
				line.Values = since(line, c.from, 1)
				lines = append(lines, line)
			}
			var got []points
			for _, line := range c.draw(lines) {
				p := points{Label: line.Label, Times: line.Times}
				for _, v := range line.Values["value"] {
					p.Values = append(p.Values, *v)
				}
				got = append(got, p)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
