package api

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

const contentXML = "application/xml"

func (s *Server) junitRoutes() {
	registerStream(s, huma.Operation{
		OperationID: "junit", Method: http.MethodGet, Path: "/api/run/{uuid}/junit", Tags: []string{"results"},
		Summary: "A run's verdict in JUnit's XML, for CI",
		Description: "One test case for the run itself, and one for each criterion. Criteria of a run whose figures prove " +
			"nothing (INVALID, ERROR, ABORTED) are skipped. A run that is not over yet is a 409.",
		RejectUnknownQueryParameters: true,
	}, map[string]string{contentXML: ""}, s.junit)
}

func (s *Server) junit(ctx context.Context, in *uuidInput) (func(*stream) error, error) {
	run, err := s.broker.Run(ctx, in.UUID)
	if err != nil {
		return nil, err
	}
	if run.State != broker.Completed {
		return nil, broker.Errorf(broker.EConflict, "Run %s is not over, so it has no verdict yet.", run.UUID)
	}
	return func(w *stream) error {
		w.begin(contentXML + "; charset=utf-8")
		return WriteJUnit(w, runWithPlan(run))
	}, nil
}

// JUnit returns the verdict of a run that is over in JUnit's XML.
func (c *Client) JUnit(ctx context.Context, run string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.open(ctx, get(runPath(run)+"/junit", nil))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.unreadable(ctx, err)
	}
	return text, nil
}

// The elements follow the schema that Jenkins' JUnit plugin publishes
// (junit-10.xsd), with nothing beyond what other readers know, too.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		ID         string          `xml:"id,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string      `xml:"name,attr"`
		ClassName string      `xml:"classname,attr"`
		Time      string      `xml:"time,attr"`
		Skipped   *junitFault `xml:"skipped"`
		Error     *junitFault `xml:"error"`
		Failure   *junitFault `xml:"failure"`
		Out       string      `xml:"system-out,omitempty"`
	}
	junitFault struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the verdict of a run that is over as a JUnit test suite:
// a case for the run itself, with an error unless the run was carried out by a
// sound instrument, and a case for each criterion, with a failure when it does
// not hold.
func WriteJUnit(w io.Writer, run Run) error {
	class := plain(run.ProjectName + "." + run.PlanName)
	length := seconds(run)
	suite := junitSuite{
		Name: class, Time: length, ID: run.UUID, Timestamp: run.CreatedAt.UTC().Format("2006-01-02T15:04:05"),
		Properties: []junitProperty{
			{"run", run.UUID},
			{"verdict", string(run.Verdict)},
			{"owner", plain(run.Owner)},
			{"loads", plain(run.Versions["loads"])},
		},
		Cases: []junitCase{runCase(run, class, length)},
	}
	for _, r := range run.Criteria {
		suite.Cases = append(suite.Cases, criterionCase(run, r, class))
	}
	for _, c := range suite.Cases {
		suite.Tests++
		switch {
		case c.Error != nil:
			suite.Errors++
		case c.Failure != nil:
			suite.Failures++
		case c.Skipped != nil:
			suite.Skipped++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func runCase(run Run, class, length string) junitCase {
	c := junitCase{Name: "the run and its instrument", ClassName: class, Time: length}
	if proves(run) {
		c.Out = plain(strings.Join(run.Instrument, "\n"))
		return c
	}
	reason := plain(cmp.Or(run.Reason, "The run has no verdict."))
	c.Error = &junitFault{Message: reason, Type: cmp.Or(string(run.Verdict), "ERROR"), Text: reason}
	return c
}

// proves reports whether the run's figures count.
func proves(run Run) bool { return run.Verdict == broker.Pass || run.Verdict == broker.Fail }

func criterionCase(run Run, r broker.CriterionResult, class string) junitCase {
	c := junitCase{Name: plain(r.Name), ClassName: class, Time: "0.000"}
	text := plain(r.String())
	switch {
	case !proves(run):
		c.Skipped = &junitFault{Message: fmt.Sprintf("The run is %s, so this proves nothing. %s", run.Verdict, text)}
	case r.State != broker.CriterionHeld:
		c.Failure = &junitFault{Message: text, Type: "FAIL", Text: plain(r.Expr) + "\n" + text}
	default:
		c.Out = text
	}
	return c
}

// seconds is how long the run took, as JUnit writes times.
func seconds(run Run) string {
	length := time.Duration(0)
	if run.CompletedAt != nil {
		length = run.CompletedAt.Sub(run.CreatedAt.Time)
	}
	return strconv.FormatFloat(length.Seconds(), 'f', 3, 64)
}

// plain takes out what XML 1.0 can't hold.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, text)
}
