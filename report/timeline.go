package report

import (
	"fmt"
	"time"

	"github.com/loads/loads/broker"
)

// A timeline is the time of the run with a bar for each step.
type timeline struct {
	From, To string
	Rows     []bar
}

// A bar is one step on the timeline. Positions are percentages of the run's
// time, as SVG takes them; an empty width is no bar.
type bar struct {
	Name        string
	Note        string // when it ran, or why it did not
	Class       string // gives its colour
	Wait, Ready bool
	WaitX       string // from the planned start to readiness
	WaitWidth   string
	X, Width    string // from readiness, or from the start without a condition, to the end
}

// timelineOf returns nil when nothing has begun.
func timelineOf(d broker.Dossier) *timeline {
	run := d.Run
	from := run.CreatedAt
	to := from
	if run.CompletedAt != nil {
		to = *run.CompletedAt
	}
	for _, e := range d.Events { // of a run that goes on, the latest known moment
		if run.CompletedAt == nil && e.At.After(to) {
			to = e.At
		}
	}
	if !to.After(from) || len(run.StepRecords) == 0 {
		return nil
	}
	t := &timeline{From: instant(&from), To: instant(&to)}
	for _, rec := range run.StepRecords {
		t.Rows = append(t.Rows, barOf(run, rec, from, to))
	}
	return t
}

func barOf(run broker.Run, rec broker.StepRecord, from, to time.Time) bar {
	b := bar{Name: stepName(run, rec.Index), Class: "ok", Note: string(rec.State)}
	if rec.Failed || rec.State == broker.StepFailed {
		b.Class = "bad"
	}
	if rec.Reason != "" {
		b.Note += ": " + rec.Reason
	}
	if rec.StartedAt == nil {
		return b
	}
	begin, end := *rec.StartedAt, to
	if rec.CompletedAt != nil {
		end = *rec.CompletedAt
	}
	after := begin.Sub(from)
	if run.StartedAt != nil {
		after = begin.Sub(*run.StartedAt)
	}
	b.Note = fmt.Sprintf("%s; started at %+.1f s, ran %.1f s", b.Note, after.Seconds(), end.Sub(begin).Seconds())
	part := func(a, z time.Time) (string, string) {
		whole := float64(to.Sub(from))
		x := max(0, min(100, 100*float64(a.Sub(from))/whole))
		width := max(0, min(100-x, 100*float64(z.Sub(a))/whole))
		return fmt.Sprintf("%.2f%%", x), fmt.Sprintf("%.2f%%", max(width, 0.3))
	}
	if rec.ReadyAt != nil && rec.ReadyAt.After(begin) {
		b.Wait = true
		b.WaitX, b.WaitWidth = part(begin, *rec.ReadyAt)
		begin = *rec.ReadyAt
	}
	b.Ready = true
	b.X, b.Width = part(begin, end)
	return b
}
