package web

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// manyMachines is how many machines have a line each in the charts of machines,
// at most; of more, each step has its mean and its highest.
const manyMachines = 20

// hostKind stands for a kind in the charts of machines.
const hostKind metrics.Kind = "host"

// hostCharts are the charts of machines, in their order. Fields that count are
// drawn a second.
var hostCharts = [...]struct {
	title, measurement, field string
	scale                     float64
}{
	{"Machines: CPU in percent", "cpu", "usage_active", 1},
	{"Machines: memory in percent", "mem", "used_percent", 1},
	{"Machines: received, kB a second", "net", "bytes_recv", 1e-3},
	{"Machines: sent, kB a second", "net", "bytes_sent", 1e-3},
	{"Containers: CPU in percent of one processor", metrics.ContainerCPU, "usage_percent", 1},
	{"Containers: memory in MB", metrics.ContainerMemory, "usage", 1e-6},
}

// hosts answers the charts of what the run's machines told of themselves.
func (p *Pages) hosts(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	from, err := fromOf(r)
	if err != nil {
		return err
	}
	run, err := p.broker.Run(ctx, r.PathValue("uuid"))
	if err != nil {
		return err
	}
	d := chartData{Over: run.State == broker.Completed, To: from, Metrics: []metricName{}, Lines: []chartedLine{}}
	to := int64(math.MaxInt64)
	if !d.Over {
		// Of later seconds some machines may not have told yet.
		live, err := p.broker.Live(ctx, run.UUID)
		if err != nil {
			return err
		}
		to = live.To
	}
	for _, c := range hostCharts {
		if to <= from {
			break
		}
		// The difference to the value before makes a rate, also where that is a
		// minute back.
		lines, err := p.broker.HostSeries(ctx, run.UUID,
			metrics.HostQuery{Measurement: c.measurement, Field: c.field, From: max(0, from-2*minute), To: to})
		if err != nil {
			return err
		}
		for i, line := range lines {
			lines[i].Values = since(line, from, c.scale)
		}
		drawn := byMachine
		if machinesOf(run) > manyMachines {
			drawn = byStep
		}
		for _, line := range drawn(lines) {
			line.Name = c.title
			d.Lines = append(d.Lines, line)
			d.To = max(d.To, line.Times[len(line.Times)-1]*1000)
		}
	}
	return d.write(w)
}

// minute is what a value that is condensed stands for at most, in ms.
const minute = 60_000

// machinesOf is how many machines the run's plan wants.
func machinesOf(run broker.Run) (n int) {
	for _, step := range run.Plan.Steps {
		if !step.Monitor {
			n += step.InstanceCount
		}
	}
	return n
}

// since returns the line's values after from, by a scale; those of a total as
// what it grew by a second, since the value before, or within a minute. A total
// that fell began anew.
func since(line metrics.HostLine, from int64, scale float64) (values []metrics.HostValue) {
	for i, v := range line.Values {
		if line.Counts {
			before, over := v.First, v.Seconds-1
			if i > 0 {
				before, over = &line.Values[i-1].Value, int(v.Time-line.Values[i-1].Time)/1000
			}
			if before == nil || over < 1 || v.Value < *before {
				continue
			}
			v.Value = (v.Value - *before) / float64(over)
		}
		if v.Time <= from {
			continue
		}
		v.Seconds = min(v.Seconds, int(v.Time-from)/1000) // of a minute, what is new
		if v.Max != nil {
			v.Max = new(*v.Max * scale)
		}
		v.Value *= scale
		values = append(values, v)
	}
	return values
}

// A stretch is a value of a chart, which stands for the time from and to.
type stretch struct {
	from, to     int64 // ends of the first and the last second, Unix s
	sum, highest float64
	n            int // of machines
}

func stretchOf(v metrics.HostValue) stretch {
	return stretch{v.Time/1000 - int64(v.Seconds-1), v.Time / 1000, v.Value, v.Highest(), 1}
}

// span draws a value over its time.
func (c *chartedLine) span(m stretch, value float64) {
	if m.from < m.to {
		c.Times = append(c.Times, m.from)
		c.put("value", &value)
	}
	c.Times = append(c.Times, m.to)
	c.put("value", &value)
}

// byMachine makes a line of each that has values.
func byMachine(lines []metrics.HostLine) (drawn []chartedLine) {
	for _, line := range lines {
		if len(line.Values) == 0 {
			continue
		}
		c := hostLine(fmt.Sprintf("%s/%d", line.Step, line.Machine))
		for _, v := range line.Values {
			c.span(stretchOf(v), v.Value)
		}
		drawn = append(drawn, c)
	}
	return drawn
}

func hostLine(label string) chartedLine {
	return chartedLine{metricName: metricName{Kind: hostKind}, Label: label, Values: map[string][]*float64{}}
}

// byStep makes of the lines of each step one with the mean of its machines and
// one with the highest of them. Where seconds are condensed, that is by minute.
func byStep(lines []metrics.HostLine) (drawn []chartedLine) {
	var names []string
	steps := map[string]map[int64]*stretch{}
	for _, line := range lines {
		if steps[line.Step] == nil {
			steps[line.Step] = map[int64]*stretch{}
			names = append(names, line.Step)
		}
		for _, v := range line.Values {
			key, of := v.Time/1000, stretchOf(v)
			if v.Seconds > 1 {
				key = -(v.Time - 1) / minute // whichever of its seconds a machine's minute ends with
			}
			m := steps[line.Step][key]
			if m == nil {
				steps[line.Step][key] = &of
				continue
			}
			m.from, m.to = min(m.from, of.from), max(m.to, of.to)
			m.sum, m.highest, m.n = m.sum+of.sum, max(m.highest, of.highest), m.n+1
		}
	}
	for _, name := range names {
		mean, highest := hostLine(name+" mean"), hostLine(name+" highest")
		for _, m := range slices.SortedFunc(maps.Values(steps[name]), func(a, b *stretch) int { return cmp.Compare(a.to, b.to) }) {
			mean.span(*m, m.sum/float64(m.n))
			highest.span(*m, m.highest)
		}
		if len(mean.Times) > 0 {
			drawn = append(drawn, mean, highest)
		}
	}
	return drawn
}

// A machineRow is a machine with what it told of itself.
type machineRow struct {
	broker.Machine
	Told hostCells
}

// hostCells are the figures of what a machine told of itself; dashes stand for
// what it did not tell.
type hostCells struct {
	CPUMean, CPUMax, Steal        string // Steal is empty unless it matters
	Memory, Received, Sent        string
	ContainerCPU, ContainerMemory string
	Killed                        string // processes killed for want of memory; empty when none was
}

// machineRows puts together what is known of each machine.
func machineRows(r broker.Report) []machineRow {
	type key struct {
		step    string
		machine int
	}
	told := map[key]metrics.HostSummary{}
	for _, h := range r.Hosts {
		told[key{h.Step, h.Machine}] = h
	}
	rows := make([]machineRow, len(r.Machines))
	for i, m := range r.Machines {
		step := ""
		if m.Step >= 0 && m.Step < len(r.Run.Plan.Steps) {
			step = r.Run.Plan.Steps[m.Step].Name
		}
		rows[i] = machineRow{m, cellsOf(told[key{step, m.Index}])}
	}
	return rows
}

// minSteal is the share of processors' time, in percent, from which on it is
// told what other virtual machines took.
const minSteal = 1

func cellsOf(h metrics.HostSummary) hostCells {
	c := hostCells{
		CPUMean: dash, CPUMax: dash, Memory: dash, ContainerCPU: dash, ContainerMemory: dash,
		Received: size(h.Received), Sent: size(h.Sent),
	}
	if h.CPU != nil {
		c.CPUMean, c.CPUMax = percent(h.CPU.Mean), percent(h.CPU.Max)
	}
	if h.Steal != nil && h.Steal.Max > minSteal {
		c.Steal = percent(h.Steal.Max)
	}
	if h.Memory != nil {
		c.Memory = percent(h.Memory.Max)
	}
	if len(h.Containers) == 0 {
		return c
	}
	plan := h.Containers[0] // there is one on a machine
	if plan.CPU != nil {
		c.ContainerCPU = percent(plan.CPU.Max)
	}
	if plan.Memory != nil {
		c.ContainerMemory = size(&plan.Memory.Max)
	}
	if plan.OOMKills != nil && *plan.OOMKills > 0 {
		c.Killed = figure(*plan.OOMKills)
	}
	return c
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
