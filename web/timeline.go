package web

import (
	"fmt"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// maxBars is how many machines the timeline draws at most.
const maxBars = 200

// Heights in a step's drawing, in pixels.
const (
	stepHeight    = 12
	machineHeight = 5
)

// A timeline is the time of a run with a drawing for each step.
type timeline struct {
	From, To string
	Rows     []timelineRow
	Left     int // machines not drawn
}

// A timelineRow is one step: what was planned, what came of it, and a bar for
// each of its machines.
type timelineRow struct {
	Name, Note string
	Height     int
	Bars       []bar
}

// A bar is a part of a row. X and Width are percentages of the run's time.
type bar struct {
	Class    string
	X, Width string
	Y        int
	Height   int
	Title    string
}

// A scale is the time that a timeline shows.
type scale struct{ from, to time.Time }

// timelineOf returns nil for a run without steps.
func timelineOf(r broker.Report) *timeline {
	run := r.Run
	s := scale{run.CreatedAt, time.Now()}
	if run.CompletedAt != nil {
		s.to = *run.CompletedAt
	}
	if !s.to.After(s.from) {
		s.to = s.from.Add(time.Second)
	}
	if len(run.StepRecords) == 0 {
		return nil
	}
	t := &timeline{From: moment(s.from), To: moment(s.to)}
	drawn := 0
	for _, rec := range run.StepRecords {
		if rec.Index < 0 || rec.Index >= len(run.Plan.Steps) {
			continue
		}
		row := s.step(run, rec, run.Plan.Steps[rec.Index])
		for _, m := range r.Machines {
			if m.Step != rec.Index || m.StartedAt == nil {
				continue
			}
			if drawn++; drawn > maxBars {
				t.Left++
				continue
			}
			row.Bars = append(row.Bars, s.machine(m, row.Height))
			row.Height += machineHeight
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// step draws the planned time of a step as a frame, and the actual one in it.
func (s scale) step(run broker.Run, rec broker.StepRecord, step strategies.Step) timelineRow {
	row := timelineRow{Name: step.Name, Note: string(rec.State), Height: stepHeight + 2}
	if rec.Reason != "" {
		row.Note += ": " + rec.Reason
	}
	planned := rec.StartAt
	if planned == nil && run.StartedAt != nil && len(step.StartAfter) == 0 {
		at := run.StartedAt.Add(time.Duration(step.RunDelay) * time.Second)
		planned = &at
	}
	if planned != nil && !step.Monitor {
		end := planned.Add(time.Duration(step.RunMaxTime) * time.Second)
		row.Note += fmt.Sprintf("; planned from %s, until %s at the latest", s.after(run, *planned), s.after(run, end))
		row.Bars = append(row.Bars, s.bar("planned", *planned, end, 0, stepHeight))
	}
	if rec.StartedAt == nil {
		return row
	}
	begin, end := *rec.StartedAt, s.to
	row.Note += "; started " + s.after(run, begin)
	if rec.CompletedAt != nil {
		end = *rec.CompletedAt
		row.Note += ", ended " + s.after(run, end)
	}
	class := "good"
	if rec.Failed || rec.State == broker.StepFailed {
		class = "bad"
	}
	if rec.ReadyAt != nil && rec.ReadyAt.After(begin) {
		row.Bars = append(row.Bars, s.bar("wait", begin, *rec.ReadyAt, 2, stepHeight-4))
		row.Note += fmt.Sprintf(", ready after %.1f s", rec.ReadyAt.Sub(begin).Seconds())
		begin = *rec.ReadyAt
	}
	row.Bars = append(row.Bars, s.bar(class, begin, end, 2, stepHeight-4))
	return row
}

// machine draws the time of a machine's container, by the broker's clock.
func (s scale) machine(m broker.Machine, y int) bar {
	begin, end := m.StartedAt.Add(-m.ClockOffset), s.to
	if m.FinishedAt != nil {
		end = m.FinishedAt.Add(-m.ClockOffset)
	}
	class := "machine"
	if m.State == broker.MachineLost || m.ExitCode != nil && *m.ExitCode != 0 {
		class = "machine bad"
	}
	b := s.bar(class, begin, end, y, machineHeight-2)
	b.Title = fmt.Sprintf("machine %d: %s to %s", m.Index, begin.UTC().Format("15:04:05.000"), end.UTC().Format("15:04:05.000"))
	return b
}

// after writes a moment as seconds from the start of the steps.
func (s scale) after(run broker.Run, t time.Time) string {
	from := s.from
	if run.StartedAt != nil {
		from = *run.StartedAt
	}
	return fmt.Sprintf("%+.1f s", t.Sub(from).Seconds())
}

func (s scale) bar(class string, begin, end time.Time, y, height int) bar {
	whole := float64(s.to.Sub(s.from))
	x := max(0, min(100, 100*float64(begin.Sub(s.from))/whole))
	width := max(0.2, min(100-x, 100*float64(end.Sub(begin))/whole))
	return bar{Class: class, X: fmt.Sprintf("%.2f%%", x), Width: fmt.Sprintf("%.2f%%", width), Y: y, Height: height}
}
