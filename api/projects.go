package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// projectRuns is how many of a project's runs are shown with its plans; GET
// /api/run has them all.
const projectRuns = 100

type uuidInput struct {
	UUID string `path:"uuid"`
}

type bodyInput struct {
	RawBody []byte
}

type importInput struct {
	Name    string `query:"name" doc:"Name of the file, for its faults."`
	Update  bool   `query:"update" doc:"Replace plans of the same name that differ; fork those that have been run."`
	RawBody []byte
}

// missingProject is the answer for an unknown project: a failure that has the
// project, as null, for the clients of loads v2.
type missingProject struct {
	Failure
	Project *Project `json:"project"`
}

func (s *Server) projectRoutes() {
	tags := []string{"projects"}
	register(s, huma.Operation{
		OperationID: "projects", Method: http.MethodGet, Path: "/api/project", Tags: tags,
		Summary: "All projects with their plans",
	}, s.projects)
	registerBody(s, huma.Operation{
		OperationID: "create-project", Method: http.MethodPost, Path: "/api/project", Tags: tags,
		Summary:     "Make a project of a project file",
		RequestBody: planBody("A project file, in JSON or YAML.", "FileProject"),
	}, s.createProject)
	register(s, huma.Operation{
		OperationID: "project", Method: http.MethodGet, Path: "/api/project/{uuid}", Tags: tags,
		Summary: "A project with its plans",
	}, s.project)
	register(s, huma.Operation{
		OperationID: "delete-project", Method: http.MethodDelete, Path: "/api/project/{uuid}", Tags: tags,
		Summary: "Delete a project with its plans and their runs",
	}, s.deleteProject)
	register(s, huma.Operation{
		OperationID: "project-budget", Method: http.MethodGet, Path: "/api/project/{uuid}/budget", Tags: tags,
		Summary:     "What the runs of a project may cost together within 30 days, and have cost",
		Description: "Answers a budget of null where there is no limit.",
	}, s.projectBudget)
	registerBody(s, huma.Operation{
		OperationID: "set-project-budget", Method: http.MethodPut, Path: "/api/project/{uuid}/budget", Tags: tags,
		Summary: "Set what the runs of a project may cost together within 30 days",
		RequestBody: &huma.RequestBody{
			Description: "max_usd, in USD; 0 is no limit. It holds for runs under way, too.",
			Content:     map[string]*huma.MediaType{contentJSON: {Schema: schemaRef("BudgetRequest")}},
		},
	}, s.setProjectBudget)
	registerBody(s, huma.Operation{
		OperationID: "import", Method: http.MethodPost, Path: "/api/import", Tags: tags,
		Summary: "Bring a project file, or a file of one plan; projects and plans are matched by name",
		Description: "Without update, plans of a name that the project has stay as they are. " +
			"The plans answered are those of the file, in its order.",
		RequestBody:                  planBody("A project file or a plan file, in JSON or YAML.", "FileProject"),
		RejectUnknownQueryParameters: true,
	}, s.importProject)
}

func (s *Server) projects(ctx context.Context, _ *noInput) (projectsAnswer, error) {
	records, err := s.broker.Projects(ctx)
	if err != nil {
		return projectsAnswer{}, err
	}
	list := make([]Project, len(records))
	for i, rec := range records {
		if list[i], err = s.withRuns(ctx, rec); err != nil {
			return projectsAnswer{}, err
		}
	}
	return projectsAnswer{done(), list}, nil
}

func (s *Server) project(ctx context.Context, in *uuidInput) (projectAnswer, error) {
	rec, err := s.broker.Project(ctx, in.UUID)
	if broker.CodeOf(err) == broker.ENotFound {
		return projectAnswer{}, &missingProject{Failure: *newFailure(http.StatusNotFound, "There is no project %s.", in.UUID)}
	}
	if err != nil {
		return projectAnswer{}, err
	}
	p, err := s.withRuns(ctx, rec)
	return projectAnswer{done(), &p}, err
}

// withRuns adds a project's runs to its record.
func (s *Server) withRuns(ctx context.Context, rec broker.ProjectRecord) (Project, error) {
	runs, err := s.broker.Runs(ctx, broker.RunFilter{ProjectUUID: rec.Project.UUID, Limit: projectRuns})
	if err != nil {
		return Project{}, err
	}
	byPlan := map[string][]broker.Run{}
	for _, r := range runs {
		byPlan[r.PlanUUID] = append(byPlan[r.PlanUUID], r)
	}
	return projectOf(rec, byPlan), nil
}

func (s *Server) createProject(ctx context.Context, in *bodyInput) (createdProject, error) {
	p, err := strategies.Parse("", in.RawBody)
	if err != nil {
		return createdProject{}, badPlan(err)
	}
	rec, err := s.broker.CreateProject(ctx, p)
	if err != nil {
		return createdProject{}, err
	}
	return createdProject{done(), projectOf(rec, nil)}, nil
}

func (s *Server) deleteProject(ctx context.Context, in *uuidInput) (Envelope, error) {
	return done(), s.broker.DeleteProject(ctx, in.UUID)
}

func (s *Server) projectBudget(ctx context.Context, in *uuidInput) (budgetAnswer, error) {
	budget, err := s.broker.ProjectBudget(ctx, in.UUID)
	return budgetAnswer{done(), budget}, err
}

func (s *Server) setProjectBudget(ctx context.Context, in *uuidBodyInput) (budgetAnswer, error) {
	var req struct {
		MaxUSD *float64 `json:"max_usd"`
	}
	if err := readObject(in.RawBody, &req); err != nil {
		return budgetAnswer{}, err
	}
	if req.MaxUSD == nil {
		return budgetAnswer{}, broker.Errorf(broker.EInvalid, "The body has no max_usd; give USD, or 0 for no limit.")
	}
	if _, err := s.broker.SetMaxCost(ctx, in.UUID, *req.MaxUSD); err != nil {
		return budgetAnswer{}, err
	}
	budget, err := s.broker.ProjectBudget(ctx, in.UUID)
	return budgetAnswer{done(), budget}, err
}

func (s *Server) importProject(ctx context.Context, in *importInput) (projectAnswer, error) {
	p, err := strategies.ParseFile(in.Name, in.RawBody)
	if err != nil {
		return projectAnswer{}, badPlan(err)
	}
	rec, err := s.broker.Import(ctx, p, in.Update)
	if err != nil {
		return projectAnswer{}, err
	}
	full, err := s.withRuns(ctx, rec)
	return projectAnswer{done(), &full}, err
}
