package report

import (
	"bytes"
	_ "embed" // for the page
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

//go:embed page.html
var pageHTML string

// maxEvents is how many of a run's events the page shows, the last ones.
const maxEvents = 500

// A page is what the template shows.
type page struct {
	broker.Dossier
	Verdict   string
	Plan      strategies.Plan
	PlanText  string
	Asked     string
	Took      string
	Timeline  *timeline
	Charts    []chart
	Left      int // metrics without a chart
	HostHead  []string
	HostPlots []chart
	Head      []string
	Rows      [][]string
	Counts    []count
	Balance   string
	Rented    []count  // of rented machines: cost and receipts
	Archive   string   // where the run is archived
	Notes     []string // examples of what was lost
	Versions  []count
	Variables strategies.Environment
	LeftOut   int // events not shown
}

// hms is the time of day, for tables on a page that has the date.
func hms(t *time.Time) string {
	if t == nil {
		return dash
	}
	return clock(*t)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// HTML writes the report as one page that holds all it needs: no script, no
// fonts, nothing to load. It follows the reader's choice of light or dark, and
// fits a phone's width.
func HTML(w io.Writer, d broker.Dossier) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"instant": instant, "hms": hms, "length": length, "ms": ms, "orDash": orDash, "figure": figure, "short": short,
		"step":      func(index int) string { return stepName(d.Run, index) },
		"role":      func(index int) string { return roleOf(d.Run, index) },
		"machine":   func(m broker.Machine) string { return machineName(d.Run, m) },
		"exitCode":  exitCode,
		"lastFrame": lastFrame,
		"value":     criterionValue,
		"clock":     clock,
		"offset":    func(m broker.Machine) string { x := offsetMS(m); return ms(&x) },
		"host":      func(m broker.Machine) []string { return hostCells(d, m) },
		"lower":     strings.ToLower,
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("read the report's template: %w", err)
	}
	p, err := pageOf(d)
	if err != nil {
		return err
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func pageOf(d broker.Dossier) (page, error) {
	p := page{
		Dossier: d, Verdict: verdictOf(d.Run), Plan: maskedPlan(d.Run), Asked: instant(&d.Run.CreatedAt), Took: length(&d.Run.CreatedAt, d.Run.CompletedAt),
		Timeline: timelineOf(d), Head: metricHead(), HostHead: hostHead(), HostPlots: hostCharts(d), Counts: ledgerLines(d.Ledger), Balance: d.Ledger.Standing(d.Run.State == broker.Completed), Rented: rentedLines(d), Archive: archiveLine(d), Notes: d.Ledger.Notes.Examples(),
		Variables: d.Run.Environment.Masked(),
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p.Plan); err != nil {
		return page{}, fmt.Errorf("write plan: %w", err)
	}
	p.PlanText = text.String()
	p.Charts, p.Left = charts(d)
	for _, m := range d.Summary.Metrics {
		p.Rows = append(p.Rows, metricCells(m))
	}
	p.Versions = sortedPairs(d.Run.Versions)
	if p.LeftOut = len(d.Events) - maxEvents; p.LeftOut > 0 {
		p.Events = d.Events[p.LeftOut:]
	}
	return p, nil
}
