package main

import (
	"io"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/report"
)

// reportForms are the forms that the broker's reports come in.
func reportForms() map[string]api.ReportForm {
	return map[string]api.ReportForm{
		"html": {ContentType: "text/html; charset=utf-8", Write: report.HTML},
		"json": {ContentType: "application/json", Write: report.JSON},
		"csv":  {ContentType: "text/csv; charset=utf-8; header=present", Write: report.CSV},
		"md":   {ContentType: "text/markdown; charset=utf-8", Write: report.Markdown},
	}
}

// comparisonForms are the forms that the broker's comparisons come in.
func comparisonForms() map[string]api.ComparisonForm {
	form := func(content string, write report.ComparisonWriter) api.ComparisonForm {
		return api.ComparisonForm{ContentType: content, Write: func(w io.Writer, runs []broker.Dossier) error {
			return write(w, report.Compare(runs))
		}}
	}
	return map[string]api.ComparisonForm{
		"text": form("text/plain; charset=utf-8", report.ComparisonText),
		"json": form("application/json", report.ComparisonJSON),
		"md":   form("text/markdown; charset=utf-8", report.ComparisonMarkdown),
	}
}
