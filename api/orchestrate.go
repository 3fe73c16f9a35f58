package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

type orchestrateInput struct {
	UUID    string `path:"uuid" doc:"Of the plan."`
	Owner   string `query:"owner" doc:"Whose run it is; may be in the body as well."`
	RawBody []byte
}

func (s *Server) orchestrateRoutes() {
	registerBody(s, huma.Operation{
		OperationID: "start", Method: http.MethodPost, Path: "/api/orchestrate/{uuid}", Tags: []string{"runs"},
		Summary: "Start a run of a plan",
		Description: "The body is an object of the environment, for interpolation and for the containers. run_uuid in it fixes the run's id, " +
			"owner says whose run it is. Values that are null are left out.",
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{contentJSON: {
			Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true},
		}}},
	}, s.start)
	register(s, huma.Operation{
		OperationID: "abort", Method: http.MethodDelete, Path: "/api/orchestrate/{uuid}", Tags: []string{"runs"},
		Summary: "Abort a run; success says whether it was running",
	}, s.abort)
}

func (s *Server) start(ctx context.Context, in *orchestrateInput) (startedAnswer, error) {
	values, err := readValues(in.RawBody)
	if err != nil {
		return startedAnswer{}, err
	}
	req := broker.StartRequest{PlanUUID: in.UUID, Owner: in.Owner, RunUUID: values["run_uuid"]}
	if owner := values["owner"]; owner != "" {
		req.Owner = owner
	}
	if req.RunUUID != "" && !runName().MatchString(req.RunUUID) {
		return startedAnswer{}, broker.Errorf(broker.EInvalid,
			"The run_uuid %q can't name a run; give 1 to 64 letters, digits, dots, hyphens or underscores, beginning with a letter or digit.", req.RunUUID)
	}
	delete(values, "run_uuid")
	delete(values, "owner")
	for _, name := range slices.Sorted(maps.Keys(values)) {
		req.Environment = append(req.Environment, strategies.Variable{Name: name, Value: values[name]})
	}
	run, err := s.broker.StartRun(ctx, req)
	if broker.CodeOf(err) == broker.ENotFound {
		return startedAnswer{}, newFailure(http.StatusNotFound, "No such strategy.")
	}
	return startedAnswer{done(), run.UUID}, err
}

// runName is what a caller may call a run: it goes into paths and labels.
func runName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) }

// readValues reads the environment of a run: an object of scalars. An empty
// body is an empty object.
func readValues(body []byte) (map[string]string, error) {
	values := map[string]string{}
	if len(bytes.TrimSpace(body)) == 0 {
		return values, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, badJSON(err)
	}
	if object == nil || d.More() {
		return nil, broker.Errorf(broker.EInvalid, "The body is not one JSON object; give one.")
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		text, ok, err := scalar(name, object[name])
		if err != nil {
			return nil, err
		}
		if ok {
			values[name] = text
		}
	}
	return values, nil
}

// scalar writes a value as loads v2 did, by Python's str: true is True. It
// returns false for null.
func scalar(name string, v any) (string, bool, error) {
	switch v := v.(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	case json.Number:
		return v.String(), true, nil
	case bool:
		if v {
			return "True", true, nil
		}
		return "False", true, nil
	}
	return "", false, broker.Errorf(broker.EInvalid,
		"The value of %s is %s; give a string, a number, true, false or null.", name, kindOf(v))
}

func kindOf(v any) string {
	switch v.(type) {
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", v)
}

// abortAnswer has a message when there was nothing to abort.
type abortAnswer struct {
	Envelope
	Message string `json:"message,omitempty"`
}

func (s *Server) abort(ctx context.Context, in *uuidInput) (abortAnswer, error) {
	running, err := s.broker.Abort(ctx, in.UUID)
	if err != nil {
		return abortAnswer{}, noSuchRun(err)
	}
	a := abortAnswer{Envelope: Envelope{Success: running, Status: http.StatusOK}}
	if !running {
		a.Message = "The run was not running."
	}
	return a, nil
}

// noSuchRun says it in the words of loads v2.
func noSuchRun(err error) error {
	if broker.CodeOf(err) == broker.ENotFound {
		return newFailure(http.StatusNotFound, "No such run")
	}
	return err
}
