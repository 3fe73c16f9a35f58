package report

import (
	"io"
	"slices"
	"strings"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// Markdown writes the report in GitHub's Markdown, for a comment on a change or
// a wiki: all but the series, the events and the outputs.
func Markdown(w io.Writer, d broker.Dossier) error {
	run := d.Run
	out := &errWriter{w: w}
	out.printf("# %s: %s\n\n", plain(run.PlanName), verdictOf(run))
	if run.Reason != "" {
		out.printf("%s\n\n", plain(run.Reason))
	}
	out.printf("Run `%s` of project %s, started %s UTC, took %s.\n", run.UUID, orDash(plain(run.ProjectName)),
		instant(run.StartedAt), length(run.StartedAt, run.CompletedAt))
	if at := archiveLine(d); at != "" {
		out.printf("\nArchive: `%s`.\n", at)
	}
	for _, fault := range run.Judgement.Instrument {
		out.printf("\n**Instrument at fault:** %s.\n", plain(fault))
	}
	markdownCriteria(out, run.Judgement.Criteria)
	markdownMetrics(out, d.Summary)
	markdownSteps(out, run)
	markdownMachines(out, d)
	markdownRented(out, d)
	markdownLedger(out, d.Ledger, d.Run.State == broker.Completed)
	return out.err
}

func markdownCriteria(out *errWriter, criteria []broker.CriterionResult) {
	if len(criteria) == 0 {
		return
	}
	rows := [][]string{{"criterion", "state", "value", "limit", ""}}
	for _, c := range criteria {
		rows = append(rows, []string{c.Name, string(c.State), criterionValue(c), orDash(c.Bound), c.Detail})
	}
	out.table("Criteria", rows, 0)
}

// criterionValue is what a criterion was judged by: its value, or the readings
// of an expression that is not one comparison.
func criterionValue(c broker.CriterionResult) string {
	if c.Value != nil {
		return figure(*c.Value)
	}
	var parts []string
	for _, r := range c.Readings {
		parts = append(parts, r.Call+" = "+figure(r.Value))
	}
	return orDash(strings.Join(parts, ", "))
}

func metricHead() []string {
	return []string{"metric", "kind", "count", "rate/s", "value", "mean", "p50", "p90", "p95", "p99", "max"}
}

// metricCells are the figures of a metric, as metricHead names them.
func metricCells(m metrics.MetricSummary) []string {
	cells := []string{m.Name, m.Kind.Word(), figure(m.Count), dash, dash, dash, dash, dash, dash, dash, dash}
	switch m.Kind {
	case metrics.Gauge:
		cells[4] = figure(m.Value)
	case metrics.Counter:
		cells[3] = figure(m.Rate)
	case metrics.Timer:
		cells[3] = figure(m.Rate)
		for i, x := range []float64{m.Mean, m.P50, m.P90, m.P95, m.P99, m.Max} {
			cells[5+i] = figure(x)
		}
	}
	return cells
}

func markdownMetrics(out *errWriter, s metrics.Summary) {
	if len(s.Metrics) == 0 {
		out.printf("\n## Metrics\n\nNo metrics came.\n")
		return
	}
	rows := [][]string{metricHead()}
	for _, m := range s.Metrics {
		rows = append(rows, metricCells(m))
	}
	out.table("Metrics", rows, 2)
}

func markdownSteps(out *errWriter, run broker.Run) {
	rows := [][]string{{"step", "state", "started (UTC)", "ran", "start skew", "image", ""}}
	for _, s := range run.StepRecords {
		rows = append(rows, []string{
			stepName(run, s.Index), string(s.State), instant(s.StartedAt), length(s.StartedAt, s.CompletedAt),
			ms(s.SkewMS), orDash(short(s.ImageDigest)), s.Reason,
		})
	}
	out.table("Steps", rows, 0)
}

// short is a digest for people: the beginning of its figures.
func short(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) < 12 {
		return digest
	}
	return hex[:12]
}

func markdownMachines(out *errWriter, d broker.Dossier) {
	rows := [][]string{{"machine", "address", "state", "exit code", "last frame", ""}}
	for _, m := range d.Machines {
		rows = append(rows, []string{machineName(d.Run, m), orDash(m.Address), string(m.State), exitCode(m), lastFrame(m), m.Reason})
	}
	out.table("Machines", rows, 0)
	if len(d.Hosts) == 0 {
		return
	}
	rows = [][]string{append([]string{"machine"}, hostHead()...)}
	for _, m := range d.Machines {
		rows = append(rows, append([]string{machineName(d.Run, m)}, hostCells(d, m)...))
	}
	out.table("What the machines did", rows, 1)
}

func markdownLedger(out *errWriter, l metrics.Ledger, over bool) {
	rows := [][]string{{"ledger", "count"}}
	for _, line := range ledgerLines(l) {
		rows = append(rows, []string{line.Name, line.Value})
	}
	out.table("Ledger: "+l.Standing(over), rows, 1)
	if list := l.Notes.Examples(); len(list) > 0 {
		out.printf("\n")
		for _, note := range list {
			out.printf("* %s\n", plain(note))
		}
	}
}

// table writes rows, the first of which is the head; columns from right on are
// aligned to the right when right is not 0.
func (w *errWriter) table(title string, rows [][]string, right int) {
	w.printf("\n## %s\n\n", title)
	for i, row := range rows {
		cells := make([]string, len(row))
		for k, cell := range row {
			cells[k] = plain(cell)
		}
		w.printf("| %s |\n", strings.Join(cells, " | "))
		if i > 0 {
			continue
		}
		marks := slices.Repeat([]string{"---"}, len(row))
		for k := right; right > 0 && k < len(row); k++ {
			marks[k] = "--:"
		}
		w.printf("| %s |\n", strings.Join(marks, " | "))
	}
}

// plain escapes what Markdown or HTML would read in a text.
func plain(text string) string {
	return strings.NewReplacer(
		"\r", "", "\n", " ", `\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`,
		"<", "&lt;", ">", "&gt;", "&", "&amp;", "#", `\#`, "@", "&#64;",
	).Replace(text)
}
