package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A ComparisonWriter writes a comparison.
type ComparisonWriter func(io.Writer, Comparison) error

// ComparisonJSON writes the comparison as one JSON object.
func ComparisonJSON(w io.Writer, c Comparison) error { return writeJSON(w, c) }

// ComparisonText writes the comparison as a table for a terminal, what is more
// than noise first in each run.
func ComparisonText(w io.Writer, c Comparison) error {
	out := &errWriter{w: w}
	for _, line := range c.heads() {
		out.printf("%s\n", printable(line))
	}
	for _, warning := range c.Warnings {
		out.printf("warning: %s\n", printable(warning))
	}
	for _, run := range c.others() {
		out.printf("\n%s against %s\n", run.UUID, c.Runs[0].UUID)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, row := range c.rows(run.UUID) {
			if _, err := fmt.Fprintln(t, printable(strings.Join(row, "\t"))); err != nil {
				return err
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	out.printf("\n%s\n", c.Method)
	return out.err
}

// ComparisonMarkdown writes the comparison in GitHub's Markdown.
func ComparisonMarkdown(w io.Writer, c Comparison) error {
	out := &errWriter{w: w}
	out.printf("# Comparison\n\n")
	for _, line := range c.heads() {
		out.printf("* %s\n", plain(line))
	}
	for _, warning := range c.Warnings {
		out.printf("\n**Warning:** %s\n", plain(warning))
	}
	for _, run := range c.others() {
		out.table(fmt.Sprintf("%s against %s", run.UUID, c.Runs[0].UUID), c.rows(run.UUID), 2)
	}
	out.printf("\n%s\n", c.Method)
	return out.err
}

// Write writes as it is, for what formats by itself.
func (w *errWriter) Write(data []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(data)
	w.err = err
	return n, err
}

// heads say what the runs are.
func (c Comparison) heads() []string {
	var lines []string
	for _, run := range c.Runs {
		verdict := orDash(string(run.Verdict))
		lines = append(lines, fmt.Sprintf("%s of %s: %s, %s s measured", run.UUID, run.Plan, verdict, figure(run.Seconds)))
	}
	return lines
}

// others are the runs set against the first.
func (c Comparison) others() []Compared { return c.Runs[min(1, len(c.Runs)):] }

// rows are the table of one run, head first; what differs comes first.
func (c Comparison) rows(run string) [][]string {
	var list []Difference
	for _, d := range c.Figures {
		if d.Run == run {
			list = append(list, d)
		}
	}
	slices.SortStableFunc(list, func(a, b Difference) int { return weight(a.Assessment) - weight(b.Assessment) })
	rows := [][]string{{"metric", "figure", "before", "after", "change", "percent", "99 % interval", "assessment"}}
	for _, d := range list {
		interval, percent := dash, dash
		if d.Interval != nil {
			interval = signed(d.Interval.Low) + " … " + signed(d.Interval.High)
		}
		if d.Percent != nil {
			percent = fmt.Sprintf("%+.1f %%", *d.Percent)
		}
		rows = append(rows, []string{
			d.Metric, d.Figure, optional(d.Before, figure), optional(d.After, figure), optional(d.Change, signed),
			percent, interval, string(d.Assessment),
		})
	}
	return rows
}

// weight orders assessments by how much they say.
func weight(a Assessment) int {
	return slices.Index([]Assessment{Differs, Missing, Unsure, Noise}, a)
}

func optional(x *float64, write func(float64) string) string {
	if x == nil {
		return dash
	}
	return write(*x)
}

func signed(x float64) string {
	if x > 0 {
		return "+" + figure(x)
	}
	return figure(x)
}

// printable takes out what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}
