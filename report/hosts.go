package report

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// classes are the colours of curves.
var classes = [...]string{"c1", "c2", "c3", "c4"}

// hostHead names the figures that hostCells returns.
func hostHead() []string {
	return []string{"CPU mean", "CPU max", "memory max", "received", "sent", "container CPU max", "container memory max"}
}

// hostCells are the figures of what a machine told of itself; dashes stand for
// what it did not tell.
func hostCells(d broker.Dossier, m broker.Machine) []string {
	cells := slices.Repeat([]string{dash}, len(hostHead()))
	i := slices.IndexFunc(d.Hosts, func(h metrics.HostSummary) bool {
		return h.Step == stepName(d.Run, m.Step) && h.Machine == m.Index
	})
	if i < 0 {
		return cells
	}
	h := d.Hosts[i]
	if h.CPU != nil {
		cells[0], cells[1] = percent(h.CPU.Mean), percent(h.CPU.Max)
		if h.Steal != nil && h.Steal.Max >= 1 {
			cells[1] += " (steal " + percent(h.Steal.Max) + ")"
		}
	}
	if h.Memory != nil {
		cells[2] = percent(h.Memory.Max)
	}
	cells[3], cells[4] = size(h.Received), size(h.Sent)
	if len(h.Containers) > 0 {
		c := h.Containers[0] // there is one on a machine
		if c.CPU != nil {
			cells[5] = percent(c.CPU.Max)
		}
		if c.Memory != nil {
			cells[6] = size(&c.Memory.Max)
		}
		if c.OOMKills != nil && *c.OOMKills > 0 {
			cells[6] += fmt.Sprintf(" (%.0f killed for want of it)", *c.OOMKills)
		}
	}
	return cells
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", x) }

// size writes a number of bytes; a dash when there is none.
func size(x *float64) string {
	if x == nil {
		return dash
	}
	v := *x
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if math.Abs(v) < 1000 {
			return figure(v) + " " + unit
		}
		v /= 1000
	}
	return figure(v) + " TB"
}

// hostCharts draws, for each step, how busy the processors of its machines were:
// a curve for each of a few machines, or the mean and the busiest of many.
func hostCharts(d broker.Dossier) []chart {
	s := span{from: d.Summary.From, to: d.Summary.To}
	if s.to <= s.from && d.Run.StartedAt != nil && d.Run.CompletedAt != nil {
		s = span{from: d.Run.StartedAt.UnixMilli(), to: d.Run.CompletedAt.UnixMilli()}
	}
	if s.to <= s.from {
		return nil
	}
	byStep := map[string][]metrics.HostLine{}
	for _, line := range d.Busy {
		byStep[line.Step] = append(byStep[line.Step], line)
	}
	var drawn []chart
	for _, step := range d.Run.Plan.Steps {
		lines := byStep[step.Name]
		if len(lines) == 0 {
			continue
		}
		c := draw(step.Name+", CPU in percent", metrics.Line{}, s, hold, busyReadings(lines)...)
		c.Marks = marksOf(d.Run, s)
		c.From = time.UnixMilli(s.from).UTC().Format("15:04:05")
		c.To = time.UnixMilli(s.to).UTC().Format("15:04:05")
		drawn = append(drawn, c)
	}
	return drawn
}

func busyReadings(lines []metrics.HostLine) (readings []reading) {
	value := func(b metrics.Bucket) float64 { return b.Value }
	if len(lines) <= len(classes) {
		for i, line := range lines {
			name := fmt.Sprintf("%s/%d", line.Step, line.Machine)
			readings = append(readings, reading{name, classes[i], value, bySecond(line)})
		}
		return readings
	}
	sums, highest, counts := map[int64]float64{}, map[int64]float64{}, map[int64]float64{}
	for _, line := range lines {
		for _, b := range bySecond(line) {
			sums[b.Time] += b.Value
			highest[b.Time] = math.Max(highest[b.Time], b.Max)
			counts[b.Time]++
		}
	}
	var all []metrics.Bucket
	for at, n := range counts {
		all = append(all, metrics.Bucket{Time: at, Value: sums[at] / n, Max: highest[at]})
	}
	slices.SortFunc(all, func(a, b metrics.Bucket) int { return int(a.Time - b.Time) })
	return []reading{
		{fmt.Sprintf("mean of %d machines", len(lines)), "c1", value, all},
		{"busiest", "c3", func(b metrics.Bucket) float64 { return b.Max }, all},
	}
}

// bySecond spreads what is known of minutes over their seconds.
func bySecond(line metrics.HostLine) (seconds []metrics.Bucket) {
	for _, v := range line.Values {
		for i := v.Seconds - 1; i >= 0; i-- {
			seconds = append(seconds, metrics.Bucket{Time: v.Time - int64(i)*1000, Value: v.Value, Max: v.Highest()})
		}
	}
	return seconds
}
