package api

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

// A ReportForm is one form that reports of runs come in. Write is called by
// many goroutines at once.
type ReportForm struct {
	ContentType string
	Write       func(io.Writer, broker.Dossier) error
}

// A ComparisonForm is one form that comparisons of runs come in; the first run
// is the one that the others are set against. Write is called by many
// goroutines at once.
type ComparisonForm struct {
	ContentType string
	Write       func(io.Writer, []broker.Dossier) error
}

// Bounds on what one call may ask for.
const (
	maxCompared = 10
	contentCSV  = "text/csv"
	contentMD   = "text/markdown"
	contentHTML = "text/html"
)

// pagePolicy keeps a page of a report from doing anything but being shown.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

type reportInput struct {
	UUID   string `path:"uuid"`
	Format string `query:"format" enum:"html,json,csv,md,junit" default:"html" doc:"Form of the report."`
	Tail   int    `query:"tail" minimum:"0" maximum:"1000" default:"50" doc:"Last lines of each container's output, for html and json; 0 is none."`
}

type compareInput struct {
	Run    []string `query:"run,explode" doc:"Uuids of runs, two to ten; the others are set against the first."`
	Format string   `query:"format" enum:"text,json,md" default:"json" doc:"Form of the comparison."`
}

func (s *Server) reportRoutes() {
	tags := []string{"results"}
	registerStream(s, huma.Operation{
		OperationID: "report", Method: http.MethodGet, Path: "/api/run/{uuid}/report", Tags: tags,
		Summary: "A run's report, for people or other programs",
		Description: "html is one page that holds all it needs, json has everything, csv the metrics second by second, md what " +
			"fits a comment, junit what /junit answers. A run that goes on is reported as far as it has come; junit answers it with a 409.",
		RejectUnknownQueryParameters: true,
	}, map[string]string{contentHTML: "", contentJSON: "", contentCSV: "", contentMD: "", contentXML: ""}, s.report)
	registerStream(s, huma.Operation{
		OperationID: "compare", Method: http.MethodGet, Path: "/api/compare", Tags: tags,
		Summary:                      "Runs set against the first of them, metric by metric",
		Description:                  "Says of each difference whether it is more than noise, and by which method.",
		RejectUnknownQueryParameters: true,
	}, map[string]string{contentJSON: "", contentText: "", contentMD: ""}, s.compare)
}

func (s *Server) report(ctx context.Context, in *reportInput) (func(*stream) error, error) {
	if in.Format == "junit" {
		return s.junit(ctx, &uuidInput{UUID: in.UUID})
	}
	form, ok := s.reports[in.Format]
	if !ok {
		return nil, noForm(in.Format, slices.Sorted(maps.Keys(s.reports)))
	}
	tail := 0
	if in.Format == "html" || in.Format == "json" {
		tail = in.Tail
	}
	d, err := s.broker.Dossier(ctx, in.UUID, tail)
	if err != nil {
		return nil, err
	}
	return func(w *stream) error {
		if strings.HasPrefix(form.ContentType, contentHTML) {
			w.Header().Set("Content-Security-Policy", pagePolicy)
		}
		w.begin(form.ContentType)
		return form.Write(w, d)
	}, nil
}

func (s *Server) compare(ctx context.Context, in *compareInput) (func(*stream) error, error) {
	if n := len(in.Run); n < 2 || n > maxCompared {
		return nil, broker.Errorf(broker.EInvalid, "%d runs are given; a comparison needs two to %d, as run=UUID&run=UUID.", n, maxCompared)
	}
	form, ok := s.comparisons[in.Format]
	if !ok {
		return nil, noForm(in.Format, slices.Sorted(maps.Keys(s.comparisons)))
	}
	runs := make([]broker.Dossier, len(in.Run))
	for i, uuid := range in.Run {
		if slices.Contains(in.Run[:i], uuid) {
			return nil, broker.Errorf(broker.EInvalid, "Run %s is given twice.", uuid)
		}
		var err error
		if runs[i], err = s.broker.Dossier(ctx, uuid, 0); err != nil {
			return nil, err
		}
	}
	return func(w *stream) error {
		w.begin(form.ContentType)
		return form.Write(w, runs)
	}, nil
}

func noForm(name string, have []string) error {
	return broker.Errorf(broker.EInvalid, "This broker writes no %s; it has: %s.", name, strings.Join(have, ", "))
}

// WriteReport copies the run's report in the form (html, json, csv, md or
// junit) to w.
func (c *Client) WriteReport(ctx context.Context, run, format string, w io.Writer) error {
	return c.copyTo(ctx, get(runPath(run)+"/report", url.Values{"format": {format}}), w)
}

// WriteComparison copies the comparison of the runs with the first of them, in
// the form (text, json or md), to w.
func (c *Client) WriteComparison(ctx context.Context, runs []string, format string, w io.Writer) error {
	return c.copyTo(ctx, get("/api/compare", url.Values{"run": runs, "format": {format}}), w)
}

// copyTo copies the body of an answer.
func (c *Client) copyTo(ctx context.Context, r request, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return c.unreadable(ctx, err)
	}
	return nil
}
