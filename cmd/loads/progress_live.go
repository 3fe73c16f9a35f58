package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
)

const (
	liveSteps   = 12 // rows of steps at most, so that they fit most terminals
	liveMetrics = 3  // rows of metrics
)

// Where rows stand, from the top.
const (
	rowStage    = 0
	rowSteps    = 1
	rowMetrics  = 1 << 16
	rowQuestion = 1 << 17
)

// liveDisplay redraws some rows at the foot of a terminal: the whole run, a bar
// a step, the busiest metrics and a question. What is worth keeping is written
// above them as lines.
type liveDisplay struct {
	bars  *mpb.Progress
	state *progress
	stage *mpb.Bar
	steps map[int]*mpb.Bar
	lines []*mpb.Bar // of metrics
	asked *mpb.Bar   // the question, while there is one
	said  string     // the last line: a step's failure is the run's reason, too
	// failed are criteria that have been told: those that failed early are told
	// of again with the verdict.
	failed map[string]bool
}

func newLiveDisplay(terminal *os.File, state *progress) *liveDisplay {
	d := &liveDisplay{
		bars:  mpb.New(mpb.WithOutput(terminal), mpb.WithRefreshRate(200*time.Millisecond)),
		state: state,
		steps: map[int]*mpb.Bar{}, failed: map[string]bool{},
	}
	d.stage = d.row(rowStage, state.stage)
	return d
}

// row adds a row of text that is asked for at each redraw.
func (d *liveDisplay) row(place int, text func() string) *mpb.Bar {
	return d.bars.New(1, mpb.NopStyle(), mpb.BarPriority(place), mpb.BarFillerTrim(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return text() })))
}

func nth(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func (d *liveDisplay) event(e api.Event) {
	d.state.add(e)
	switch e.Kind {
	case broker.EventStep:
		d.showStep(e)
	case api.EventMetrics:
		d.showMetrics()
	case broker.EventRun, broker.EventNote:
		d.line(e.At.Time, e.Text)
	case broker.EventCriterion:
		if e.State == string(broker.CriterionFailed) && !d.failed[e.Text] {
			d.failed[e.Text] = true
			d.line(e.At.Time, e.Text)
		}
	case broker.EventMachine:
		if e.State == string(broker.MachineLost) {
			d.line(e.At.Time, sentence(e))
		}
	}
}

// showMetrics sees to it that there is a row for each of the busiest metrics.
func (d *liveDisplay) showMetrics() {
	for i := len(d.lines); i < len(d.state.busiest(liveMetrics)); i++ {
		d.lines = append(d.lines, d.row(rowMetrics+i, func() string { return nth(d.state.busiest(liveMetrics), i) }))
	}
}

// showStep adds the step's bar when its time comes, if there is room. In a plan
// of many steps the bars of those that are over make room for others.
func (d *liveDisplay) showStep(e api.Event) {
	state := broker.StepState(e.State)
	if state == broker.StepFailed || state == broker.StepSkipped {
		d.line(e.At.Time, sentence(e))
	}
	many := len(d.state.steps) > liveSteps
	for i := range d.state.steps {
		if d.state.steps[i].name != e.Step {
			continue
		}
		bar := d.steps[i]
		switch {
		case bar == nil && len(d.steps) < liveSteps && !(many && state.Over()):
			d.steps[i] = d.bar(i)
		case bar != nil && many && state.Over():
			bar.Abort(true)
			delete(d.steps, i)
		}
	}
}

// bar adds the bar of step i. What it shows is computed from the progress at
// each redraw; mpb's own count is not used.
func (d *liveDisplay) bar(i int) *mpb.Bar {
	width := 0
	for _, s := range d.state.steps {
		width = max(width, min(24, len([]rune(s.name))))
	}
	fill := func(base mpb.BarFiller) mpb.BarFiller {
		return mpb.BarFillerFunc(func(w io.Writer, st decor.Statistics) error {
			s, elapsed := d.state.step(i)
			st.Total = max(1, s.max.Milliseconds())
			st.Current = min(st.Total, elapsed.Milliseconds())
			if s.max == 0 { // no limit: nothing to measure by
				st.Current = 0
			}
			st.AvailableWidth = min(st.AvailableWidth, 40)
			return base.Fill(w, st)
		})
	}
	name := func(decor.Statistics) string {
		s, _ := d.state.step(i)
		return fmt.Sprintf("  %-*s", width, shorten(s.name, width))
	}
	return d.bars.New(1, mpb.BarStyle(), mpb.BarPriority(rowSteps+i), mpb.BarFillerMiddleware(fill),
		mpb.PrependDecorators(decor.Any(name)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return stepWords(d.state.step(i)) })))
}

// stepWords says where a step is, after its bar.
func stepWords(s stepProgress, elapsed time.Duration) string {
	words := fmt.Sprintf("%-8s", s.state)
	if s.started.IsZero() {
		return words
	}
	words += " " + seconds(elapsed)
	if s.max > 0 && !s.state.Over() {
		words += " of at most " + seconds(s.max)
	}
	return words
}

func shorten(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

func (d *liveDisplay) note(text string) { d.line(time.Now(), text) }

// line writes above the rows.
func (d *liveDisplay) line(at time.Time, text string) {
	if text == d.said {
		return
	}
	d.said = text
	text = strings.ReplaceAll(text, "\n", " ")
	// After close nothing is written, and nothing needs to be.
	_, _ = fmt.Fprintf(d.bars, "%s %s\n", at.Local().Format(time.TimeOnly), text)
}

func (d *liveDisplay) ask(question string) {
	if d.asked != nil {
		d.asked.Abort(true)
		d.asked = nil
	}
	if question != "" {
		d.asked = d.row(rowQuestion, func() string { return question })
	}
}

// close draws the rows a last time, without metrics and question, and waits
// until all is written.
func (d *liveDisplay) close() {
	d.ask("")
	for _, bar := range d.lines {
		bar.Abort(true)
	}
	d.stage.Abort(false)
	for _, bar := range d.steps {
		bar.Abort(false)
	}
	d.bars.Wait()
}
