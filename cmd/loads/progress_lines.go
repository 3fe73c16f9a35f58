package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/loads/loads/api"
)

// metricsEvery is the pause between two lines of metrics in plain output.
const metricsEvery = 5 * time.Second

// lineDisplay shows a run as plain lines: one an event, and one now and then
// with the busiest metrics.
type lineDisplay struct {
	w     io.Writer
	state *progress
	last  time.Time // of the last line of metrics
}

func (d *lineDisplay) event(e api.Event) {
	d.state.add(e)
	switch e.Kind {
	case api.EventEnd:
	case api.EventMetrics:
		if lines := d.state.busiest(3); len(lines) > 0 && e.At.Sub(d.last) >= metricsEvery {
			d.last = e.At.Time
			d.line(e.At.Time, strings.Join(lines, " | "))
		}
	default:
		d.line(e.At.Time, sentence(e))
	}
}

func (d *lineDisplay) note(text string) { d.line(time.Now(), text) }

func (d *lineDisplay) ask(question string) {
	if question != "" {
		fmt.Fprintln(d.w, question)
	}
}

func (d *lineDisplay) close() {}

func (d *lineDisplay) line(at time.Time, text string) {
	fmt.Fprintf(d.w, "%s %s\n", at.Local().Format(time.TimeOnly), text)
}

// sentence is an event for people. The texts of all but machines say what they
// are about.
func sentence(e api.Event) string {
	if e.Machine == nil {
		return e.Text
	}
	return fmt.Sprintf("%s/%d: %s", e.Step, *e.Machine, e.Text)
}

// jsonDisplay writes the events as they are, one a line.
type jsonDisplay struct {
	w io.Writer
}

func (d *jsonDisplay) event(e api.Event) {
	if e.Kind != api.EventEnd { // the result, which comes last, says the same
		_ = writeJSON(d.w, e)
	}
}

func (d *jsonDisplay) note(text string) {
	_ = writeJSON(d.w, map[string]string{"kind": "message", "text": text})
}

func (d *jsonDisplay) ask(string) {}
func (d *jsonDisplay) close()     {}
