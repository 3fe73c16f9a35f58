// Package report writes what came of a run for people and for other programs:
// as one HTML file that needs no server and no network, as Markdown, JSON and
// CSV; and it compares runs. Its functions are pure: they write to the writer
// they are given and read nothing else.
//
// Secret values in the plan's and the run's environment are masked. The
// containers' outputs are shown as they are.
package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// A Writer writes the report of one run.
type Writer func(io.Writer, broker.Dossier) error

// An errWriter writes until a write fails, and keeps that error.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.w, format, args...)
	}
}

// maskedPlan is the plan without the secrets in its environments.
func maskedPlan(run broker.Run) strategies.Plan {
	plan := run.Plan
	plan.Steps = append([]strategies.Step(nil), plan.Steps...)
	for i := range plan.Steps {
		plan.Steps[i].EnvironmentData = plan.Steps[i].EnvironmentData.Masked(run.Environment...)
	}
	return plan
}

// stepName is the name of a step by its index in the plan.
func stepName(run broker.Run, index int) string {
	if index < 0 || index >= len(run.Plan.Steps) {
		return strconv.Itoa(index)
	}
	return run.Plan.Steps[index].Name
}

// figure writes a number for people, with four digits that matter, or in full
// when it is a whole one.
func figure(x float64) string {
	switch size := math.Abs(x); {
	case x == math.Trunc(x) && size < 1e15:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 1e15 || size < 0.0001:
		return strconv.FormatFloat(x, 'g', 4, 64)
	case size >= 1000:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'f', 4, 64)
}

// instant writes a time in UTC; a dash when there is none.
func instant(t *time.Time) string {
	if t == nil || t.IsZero() {
		return dash
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

// length writes the time from one moment to another; a dash when one is missing.
func length(from, to *time.Time) string {
	if from == nil || to == nil {
		return dash
	}
	return to.Sub(*from).Round(100 * time.Millisecond).String()
}

// ms writes a number of milliseconds; a dash when there is none.
func ms(x *float64) string {
	if x == nil {
		return dash
	}
	return figure(*x) + " ms"
}

const dash = "–"

func orDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// verdictOf is the verdict, or the state of a run that has none yet.
func verdictOf(run broker.Run) string {
	if run.Verdict == "" || run.State != broker.Completed {
		return run.State.String()
	}
	return string(run.Verdict)
}
