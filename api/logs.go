package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

type logsInput struct {
	UUID    string `path:"uuid"`
	Step    string `query:"step" doc:"Name of a step; empty is all."`
	Machine int    `query:"machine" minimum:"-1" default:"-1" doc:"Index of a machine in its step; -1 is all."`
	Relay   bool   `query:"relay" doc:"The relays' own logs in place of the containers'."`
	Tail    int    `query:"tail" minimum:"0" doc:"Last lines of each; 0 is all."`
	Follow  bool   `query:"follow" doc:"Go on until the containers have ended."`
}

func (s *Server) logRoutes() {
	registerStream(s, huma.Operation{
		OperationID: "logs", Method: http.MethodGet, Path: "/api/run/{uuid}/logs", Tags: []string{"results"},
		Summary: "Output of a run's containers, live with follow",
		Description: "Plain text, or, when Accept names it, NDJSON with a LogLine a line. A log in NDJSON that can't " +
			"be read to its end has a Failure as its last line.",
		RejectUnknownQueryParameters: true,
	}, map[string]string{contentText: "", contentNDJSON: "LogLine"}, s.logs)
}

const contentText = "text/plain"

func (s *Server) logs(ctx context.Context, in *logsInput) (func(*stream) error, error) {
	run, err := s.broker.Run(ctx, in.UUID)
	if err != nil {
		return nil, err
	}
	q := broker.LogQuery{Step: in.Step, Relay: in.Relay, Follow: in.Follow, Tail: in.Tail}
	if in.Machine >= 0 {
		q.Machine = &in.Machine
	}
	if err := checkLogQuery(run, q); err != nil {
		return nil, err
	}
	return func(w *stream) error { return s.writeLogs(w, run.UUID, q) }, nil
}

// checkLogQuery refuses steps and machines that the run does not have.
func checkLogQuery(run broker.Run, q broker.LogQuery) error {
	var names []string
	for _, step := range run.Plan.Steps {
		names = append(names, step.Name)
		if (q.Step == "" || q.Step == step.Name) && (q.Machine == nil || *q.Machine < step.InstanceCount) {
			return nil
		}
	}
	if q.Step != "" && !slices.Contains(names, q.Step) {
		return broker.Errorf(broker.ENotFound, "The run has no step %s; it has %s.", q.Step, strings.Join(names, ", "))
	}
	return broker.Errorf(broker.ENotFound, "There is no machine %d; machines of a step are counted from 0.", *q.Machine)
}

// writeLogs writes the lines in the form that the caller accepts.
func (s *Server) writeLogs(w *stream, run string, q broker.LogQuery) error {
	write, content := textLine, contentText+"; charset=utf-8"
	ndjson := strings.Contains(w.accept, contentNDJSON)
	if ndjson {
		write, content = jsonLine, contentNDJSON
	}
	w.begin(content)
	if q.Follow {
		if err := w.flush(); err != nil {
			return err
		}
	}
	err := s.broker.Logs(w.ctx, run, q, func(l broker.LogLine) error {
		if err := write(w, l); err != nil || !q.Follow {
			return err
		}
		return w.flush()
	})
	if err == nil || w.ctx.Err() != nil || w.deaf || !ndjson {
		return err
	}
	return json.NewEncoder(w).Encode(s.failure(w.ctx, "logs", err))
}

func textLine(w *stream, l broker.LogLine) error {
	_, err := fmt.Fprintf(w, "%s %s/%d %s\n", l.At.UTC().Format(timeLayout), l.Step, l.Machine, l.Text)
	return err
}

func jsonLine(w *stream, l broker.LogLine) error {
	return json.NewEncoder(w).Encode(logLineOf(l))
}
