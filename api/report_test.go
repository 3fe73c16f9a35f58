package api

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/report"
)

func reportForms() map[string]ReportForm {
	return map[string]ReportForm{
		"html": {ContentType: contentHTML, Write: report.HTML},
		"json": {ContentType: contentJSON, Write: report.JSON},
		"csv":  {ContentType: contentCSV, Write: report.CSV},
		"md":   {ContentType: contentMD, Write: report.Markdown},
	}
}

func comparisonForms() map[string]ComparisonForm {
	forms := map[string]ComparisonForm{}
	for name, write := range map[string]report.ComparisonWriter{
		"text": report.ComparisonText, "json": report.ComparisonJSON, "md": report.ComparisonMarkdown,
	} {
		forms[name] = ComparisonForm{ContentType: contentText, Write: func(w io.Writer, runs []broker.Dossier) error {
			return write(w, report.Compare(runs))
		}}
	}
	return forms
}

func TestReportComesInEveryForm(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStore(b.mustPlan())
	b.complete(&run)
	for format, want := range map[string]string{
		"html": "<!doctype html>", "json": `"uuid": "` + run.UUID, "csv": "run,metric,kind", "md": "## Steps", "junit": "<testsuites>",
	} {
		t.Run(format, func(t *testing.T) {
			var got bytes.Buffer
			if err := b.client().WriteReport(t.Context(), run.UUID, format, &got); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.String(), want) {
				t.Errorf("got %s, want it to have %s", &got, want)
			}
		})
	}
	page := b.do("GET", "/api/run/"+run.UUID+"/report", "")
	if page.status != 200 || page.header.Get("Content-Type") != contentHTML || page.header.Get("Content-Security-Policy") != pagePolicy {
		t.Errorf("got %d %v, want a page that may only be shown", page.status, page.header)
	}
}

func TestReportOfARunUnderWayHasNoJUnit(t *testing.T) {
	b := mustServe(t, nil)
	run := b.mustStart(b.mustPlan())
	var got bytes.Buffer
	if err := b.client().WriteReport(t.Context(), run, "md", &got); err != nil {
		t.Errorf("md: %v", err)
	}
	err := b.client().WriteReport(t.Context(), run, "junit", &got)
	if broker.CodeOf(err) != broker.EConflict {
		t.Errorf("junit: got %v, want EConflict", err)
	}
}

func TestCompareSetsRunsAgainstTheFirst(t *testing.T) {
	b := mustServe(t, nil)
	plan := b.mustPlan()
	first, second := b.mustStore(plan), b.mustStore(plan)
	b.complete(&first)
	b.complete(&second)
	var got bytes.Buffer
	if err := b.client().WriteComparison(t.Context(), []string{first.UUID, second.UUID}, "json", &got); err != nil {
		t.Fatal(err)
	}
	var c report.Comparison
	if err := json.Unmarshal(got.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Runs) != 2 || c.Runs[0].UUID != first.UUID || c.Runs[1].UUID != second.UUID {
		t.Errorf("got %+v, want both runs in order", c.Runs)
	}
	for query, want := range map[string]string{
		"":                  "0 runs are given",
		"run=" + first.UUID: "1 runs are given",
		"run=" + first.UUID + "&run=" + first.UUID: "given twice",
		"run=" + first.UUID + "&run=x":             "",
		"run=" + first.UUID + "&format=pdf":        "format",
	} {
		answer := b.do("GET", "/api/compare?"+query, "")
		if answer.status < 400 || answer.status > 499 || !strings.Contains(answer.body, want) {
			t.Errorf("%q: got %d %s, want a refusal with %q", query, answer.status, answer.body, want)
		}
	}
}
