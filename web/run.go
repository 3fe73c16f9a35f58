package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// maxEvents is how many of a run's events its page shows at first, the last ones.
const maxEvents = 200

// A runPage is what the page of a run shows, or a part of it.
type runPage struct {
	broker.Report
	Over      bool
	Stoppable bool
	Criteria  []criterionRow
	Timeline  *timeline
	Rows      []machineRow
	Cost      []count
	Counts    []count
	Notes     []string // examples of what was lost
	Balance   string
	Events    []broker.Event
	Left      int   // events not shown
	After     int64 // number of the last event
	PlanText  string
	Variables []count
	Versions  []count
	Monitor   broker.Monitor // without an address when there is none, or it is gone
	Metric    string         // chosen for the charts; empty is a selection
	By        string
}

// A criterionRow is one criterion, with what there is to say of it by now.
type criterionRow struct {
	broker.CriterionResult
	Word  string
	Value string
}

// A count is one line of an account.
type count struct{ Name, Value string }

// run shows a run. With part, only what may have changed: now is small, rest
// grows with the machines.
func (p *Pages) run(w http.ResponseWriter, r *http.Request) error {
	ctx, q := r.Context(), r.URL.Query()
	report, err := p.broker.Report(ctx, r.PathValue("uuid"))
	if err != nil {
		return err
	}
	run := report.Run
	page := runPage{
		Report: report, Over: run.State == broker.Completed, Metric: q.Get("metric"), By: by(q.Get("by")),
		Rows: machineRows(report), Counts: counts(report.Ledger), Notes: report.Ledger.Notes.Examples(), Balance: report.Ledger.Standing(run.State == broker.Completed),
		Cost: costLines(report),
	}
	page.Stoppable = run.State < broker.Terminating && !run.Aborted
	criteria, err := p.broker.Criteria(ctx, run.UUID)
	if err != nil {
		return err
	}
	for _, c := range criteria {
		page.Criteria = append(page.Criteria, rowOf(c, run))
	}
	page.Timeline = timelineOf(report)
	if page.Monitor, err = p.monitor(ctx, run); err != nil {
		return err
	}
	switch part := q.Get("part"); part {
	case "now", "rest":
		return p.showPart(w, http.StatusOK, "run.html", part, "", page)
	}
	if page.Events, err = p.broker.Events(ctx, run.UUID, 0); err != nil {
		return err
	}
	if n := len(page.Events); n > 0 {
		page.After = page.Events[n-1].Seq
		page.Left = max(0, n-maxEvents)
		page.Events = page.Events[page.Left:]
	}
	text, err := masked(run.Plan, run.Environment).YAML()
	if err != nil {
		return err
	}
	page.PlanText = string(text)
	for _, v := range run.Environment.Masked() {
		page.Variables = append(page.Variables, count{v.Name, v.Value})
	}
	for name, version := range run.Versions {
		page.Versions = append(page.Versions, count{name, version})
	}
	slices.SortFunc(page.Versions, func(a, b count) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
	return p.show(w, http.StatusOK, "run.html", run.PlanName+": "+standing(run), page)
}

// monitor is the run's own InfluxDB and Grafana, as long as they are there.
func (p *Pages) monitor(ctx context.Context, run broker.Run) (broker.Monitor, error) {
	if run.State == broker.Completed {
		return broker.Monitor{}, nil
	}
	m, err := p.broker.Monitor(ctx, run.UUID)
	if broker.CodeOf(err) == broker.ENotFound {
		err = nil
	}
	return m, err
}

// rowOf says of a criterion what there is to say. One that a running run may
// still come to hold, or not, is worded so.
func rowOf(c broker.CriterionResult, run broker.Run) criterionRow {
	row := criterionRow{CriterionResult: c, Word: string(c.State), Value: dash}
	if !run.Judgement.Done && c.FailedAt == 0 {
		switch c.State {
		case broker.CriterionHeld:
			row.Word = "holds"
		case broker.CriterionFailed:
			row.Word = "does not hold"
		}
	}
	if c.Value != nil {
		row.Value = figure(*c.Value)
	} else if len(c.Readings) > 0 {
		row.Value = ""
		for i, reading := range c.Readings {
			if i > 0 {
				row.Value += ", "
			}
			row.Value += fmt.Sprintf("%s = %s", reading.Call, figure(reading.Value))
		}
	}
	return row
}

// by is how a chart tells lines apart: "" for not at all, step, or machine.
func by(text string) string {
	if text == "step" || text == "machine" {
		return text
	}
	return ""
}

// counts are those of the ledger, in the order of the metrics' way.
func counts(l metrics.Ledger) []count {
	n := func(x uint64) string { return strconv.FormatUint(x, 10) }
	list := []count{
		{"Datagrams received", n(l.Datagrams)},
		{"Packets dropped by kernels", n(l.KernelDropped)},
		{"Connections refused", n(l.Refused)},
		{"Values taken in", n(l.Values)},
		{"Lines malformed", n(l.Malformed)},
		{"Values dropped", n(l.Dropped)},
		{"Seconds merged", n(l.Merged)},
		{"Frames sent", n(l.Sent)},
		{"Frames stored", n(l.Stored)},
		{"Frames broken", n(l.Broken)},
		{"Machines without their last frame", strconv.Itoa(l.Open)},
	}
	if l.LogLines+l.LogMalformed+l.LogLost+l.LogGaps == 0 {
		return list // no step has log metrics
	}
	return append(list,
		count{"Lines of output read", n(l.LogLines)},
		count{"Values that they gave", n(l.LogValues)},
		count{"Lines that fit and gave none", n(l.LogMalformed)},
		count{"Bytes of output lost unread", n(l.LogLost)},
		count{"Losses of output of unknown length", n(l.LogGaps)},
	)
}

func (p *Pages) abortForm(w http.ResponseWriter, r *http.Request) error {
	run, err := p.broker.Run(r.Context(), r.PathValue("uuid"))
	if err != nil {
		return err
	}
	return p.show(w, http.StatusOK, "abort.html", "Abort this run?", run)
}

// abort asks the run to end. One that is ending already just shows so.
func (p *Pages) abort(w http.ResponseWriter, r *http.Request) error {
	uuid := r.PathValue("uuid")
	if _, err := p.broker.Abort(r.Context(), uuid); err != nil {
		return err
	}
	http.Redirect(w, r, "/run/"+uuid, http.StatusSeeOther)
	return nil
}
