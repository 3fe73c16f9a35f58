package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

type plansInput struct {
	Project string `query:"project" doc:"Uuid of a project; empty is all."`
}

type uuidBodyInput struct {
	UUID    string `path:"uuid"`
	RawBody []byte
}

type validateInput struct {
	Name    string   `query:"name" doc:"Name of the file, for its faults."`
	Env     []string `query:"env,explode" doc:"NAME=VALUE, as given to a run; may be repeated."`
	RawBody []byte
}

func (s *Server) planRoutes() {
	tags := []string{"plans"}
	register(s, huma.Operation{
		OperationID: "plans", Method: http.MethodGet, Path: "/api/plan", Tags: tags,
		Summary: "Plans, the newest first", RejectUnknownQueryParameters: true,
	}, s.plans)
	register(s, huma.Operation{
		OperationID: "plan", Method: http.MethodGet, Path: "/api/plan/{uuid}", Tags: tags,
		Summary: "A plan with its runs",
	}, s.plan)
	register(s, huma.Operation{
		OperationID: "plan-cost", Method: http.MethodGet, Path: "/api/plan/{uuid}/cost", Tags: tags,
		Summary:     "What a run of a plan can cost at most",
		Description: "Asks the provider, and makes nothing. Answers a cost of null where machines are not rented.",
	}, s.planCost)
	registerBody(s, huma.Operation{
		OperationID: "replace-plan", Method: http.MethodPut, Path: "/api/plan/{uuid}", Tags: tags,
		Summary:     "Give a plan that has not been run new fields and steps",
		RequestBody: planBody("A plan, in JSON or YAML.", "FilePlan"),
	}, s.replacePlan)
	registerBody(s, huma.Operation{
		OperationID: "fork-plan", Method: http.MethodPost, Path: "/api/plan/{uuid}/fork", Tags: tags,
		Summary: "Make a changed copy of a plan", RequestBody: forkBody(),
	}, s.forkPlan)
	registerBody(s, huma.Operation{
		OperationID: "fork-run", Method: http.MethodPost, Path: "/api/run/{uuid}/fork", Tags: tags,
		Summary: "Make a changed copy of exactly the plan that a run used", RequestBody: forkBody(),
	}, s.forkRun)
	registerBody(s, huma.Operation{
		OperationID: "validate", Method: http.MethodPost, Path: "/api/validate", Tags: tags,
		Summary:     "Check a plan file without keeping it",
		Description: "Answers 200 also for a file with mistakes: the call did what was asked. See valid and faults.",
		RequestBody: planBody("A project file or a plan file, in JSON or YAML.", "FileProject"),

		RejectUnknownQueryParameters: true,
	}, s.validate)
}

func forkBody() *huma.RequestBody {
	return &huma.RequestBody{
		Description: "What differs from the parent; empty is nothing.",
		Content:     map[string]*huma.MediaType{contentJSON: {Schema: schemaRef("ForkRequest")}},
	}
}

func (s *Server) plans(ctx context.Context, in *plansInput) (plansAnswer, error) {
	records, err := s.broker.Plans(ctx, in.Project)
	if err != nil {
		return plansAnswer{}, err
	}
	list := make([]Plan, len(records))
	for i, rec := range records {
		list[i] = planOf(rec, nil)
	}
	return plansAnswer{done(), list}, nil
}

func (s *Server) plan(ctx context.Context, in *uuidInput) (planAnswer, error) {
	rec, err := s.broker.Plan(ctx, in.UUID)
	if err != nil {
		return planAnswer{}, err
	}
	runs, err := s.broker.Runs(ctx, broker.RunFilter{PlanUUID: in.UUID, Limit: projectRuns})
	return planAnswer{done(), planOf(rec, runs)}, err
}

func (s *Server) planCost(ctx context.Context, in *uuidInput) (costAnswer, error) {
	cost, err := s.broker.EstimatePlan(ctx, in.UUID)
	return costAnswer{done(), cost}, err
}

func (s *Server) replacePlan(ctx context.Context, in *uuidBodyInput) (planAnswer, error) {
	p, err := strategies.ParsePlan("", in.RawBody)
	if err != nil {
		return planAnswer{}, badPlan(err)
	}
	rec, err := s.broker.ReplacePlan(ctx, in.UUID, p)
	return planAnswer{done(), planOf(rec, nil)}, err
}

func (s *Server) forkPlan(ctx context.Context, in *uuidBodyInput) (planAnswer, error) {
	return fork(ctx, in, s.broker.ForkPlan)
}

func (s *Server) forkRun(ctx context.Context, in *uuidBodyInput) (planAnswer, error) {
	return fork(ctx, in, s.broker.ForkRun)
}

func fork(ctx context.Context, in *uuidBodyInput, make func(context.Context, string, broker.Edits) (broker.PlanRecord, error)) (planAnswer, error) {
	edits, err := readEdits(in.RawBody)
	if err != nil {
		return planAnswer{}, err
	}
	rec, err := make(ctx, in.UUID, edits)
	return planAnswer{done(), planOf(rec, nil)}, err
}

// readEdits reads a ForkRequest. The plan in it may be an object, or a string
// of YAML.
func readEdits(body []byte) (broker.Edits, error) {
	var f struct {
		Name string          `json:"name"`
		Set  map[string]any  `json:"set"`
		Plan json.RawMessage `json:"plan"`
	}
	if err := readObject(body, &f); err != nil {
		return broker.Edits{}, err
	}
	edits := broker.Edits{Name: f.Name, Set: f.Set}
	if len(f.Plan) == 0 || string(f.Plan) == "null" {
		return edits, nil
	}
	text := []byte(f.Plan)
	var yaml string
	if json.Unmarshal(f.Plan, &yaml) == nil {
		text = []byte(yaml)
	}
	p, err := strategies.ParsePlan("", text)
	if err != nil {
		return broker.Edits{}, badPlan(err)
	}
	edits.Plan = &p
	return edits, nil
}

// readObject reads a JSON object into v, which has a field for every key that
// may be there. An empty body is an empty object.
func readObject(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badJSON(err)
	}
	if d.More() {
		return broker.Errorf(broker.EInvalid, "The body has more after its JSON object; give one object.")
	}
	return nil
}

func badJSON(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return broker.Errorf(broker.EInvalid, "The body is not JSON: %v, at byte %d.", syntax, syntax.Offset)
	case errors.As(err, &kind) && kind.Field == "":
		return broker.Errorf(broker.EInvalid, "The body is a JSON %s; give an object.", kind.Value)
	case errors.As(err, &kind):
		return broker.Errorf(broker.EInvalid, "The body's %s is a %s; give a %s.", kind.Field, kind.Value, kind.Type.Kind())
	}
	return broker.Errorf(broker.EInvalid, "The body can't be read: %s.", strings.TrimPrefix(err.Error(), "json: "))
}

func (s *Server) validate(_ context.Context, in *validateInput) (validationAnswer, error) {
	env, err := environment(in.Env)
	if err != nil {
		return validationAnswer{}, err
	}
	a := validationAnswer{Envelope: done(), Validation: Validation{Faults: strategies.Faults{}}}
	err = strategies.Check(in.Name, in.RawBody, env)
	if errors.As(err, &a.Faults) {
		return a, nil
	}
	if err != nil {
		return validationAnswer{}, err
	}
	p, err := strategies.ParseFile(in.Name, in.RawBody)
	if err != nil {
		return validationAnswer{}, badPlan(err)
	}
	a.Valid, a.Plans = true, len(p.Plans)
	for _, plan := range p.Plans {
		a.Steps += len(plan.Steps)
	}
	return a, nil
}

// environment reads variables given as NAME=VALUE.
func environment(list []string) (strategies.Environment, error) {
	env := make(strategies.Environment, 0, len(list))
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, broker.Errorf(broker.EInvalid, "The query parameter env is wrong: %q is not NAME=VALUE.", text)
		}
		if _, twice := env.Get(name); twice {
			return nil, broker.Errorf(broker.EInvalid, "The query parameter env gives %s twice.", name)
		}
		env = append(env, strategies.Variable{Name: name, Value: value})
	}
	return env, nil
}
