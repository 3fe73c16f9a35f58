package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/loads/loads/broker"
)

// Info returns the broker's version and its runs, the newest first. A limit of
// 0 leaves the number to the broker.
func (c *Client) Info(ctx context.Context, limit, offset int) (Info, error) {
	var a infoAnswer
	err := c.call(ctx, get("/api", page(url.Values{}, limit, offset)), &a)
	return a.Info, err
}

// page adds a page to a query.
func page(q url.Values, limit, offset int) url.Values {
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if offset != 0 {
		q.Set("offset", strconv.Itoa(offset))
	}
	return q
}

// Projects returns all projects with their plans.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	var a projectsAnswer
	err := c.call(ctx, get("/api/project", nil), &a)
	return a.Projects, err
}

// Project returns one project with its plans.
func (c *Client) Project(ctx context.Context, uuid string) (Project, error) {
	var a struct{ Project Project }
	err := c.call(ctx, get("/api/project/"+url.PathEscape(uuid), nil), &a)
	return a.Project, err
}

// CreateProject makes a project of a project file, in YAML or JSON.
func (c *Client) CreateProject(ctx context.Context, data []byte) (Project, error) {
	var a createdProject
	err := c.call(ctx, textRequest(http.MethodPost, "/api/project", nil, data), &a)
	return a.Project, err
}

// DeleteProject deletes a project with its plans and their runs.
func (c *Client) DeleteProject(ctx context.Context, uuid string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/api/project/" + url.PathEscape(uuid)}, nil)
}

// Import brings a project file, or a file of one plan, to the broker. Projects
// and plans are matched by name. With update, a plan that differs is replaced,
// or forked when it has been run. The Plans of the result are those of the file,
// in its order. Faults name the file as name says.
func (c *Client) Import(ctx context.Context, name string, data []byte, update bool) (Project, error) {
	q := url.Values{}
	if name != "" {
		q.Set("name", name)
	}
	if update {
		q.Set("update", "1")
	}
	var a struct{ Project Project }
	err := c.call(ctx, textRequest(http.MethodPost, "/api/import", q, data), &a)
	return a.Project, err
}

// Validate checks a plan file without keeping it. env is the environment that a
// run of it would be given, as NAME=VALUE. Faults name the file as name says.
func (c *Client) Validate(ctx context.Context, name string, data []byte, env []string) (Validation, error) {
	q := url.Values{"env": env}
	if name != "" {
		q.Set("name", name)
	}
	var a validationAnswer
	err := c.call(ctx, textRequest(http.MethodPost, "/api/validate", q, data), &a)
	return a.Validation, err
}

// Plans returns the plans of a project, or all when project is empty, the
// newest first.
func (c *Client) Plans(ctx context.Context, project string) ([]Plan, error) {
	q := url.Values{}
	if project != "" {
		q.Set("project", project)
	}
	var a plansAnswer
	err := c.call(ctx, get("/api/plan", q), &a)
	return a.Plans, err
}

// Plan returns one plan with its runs.
func (c *Client) Plan(ctx context.Context, uuid string) (Plan, error) {
	var a planAnswer
	err := c.call(ctx, get(planPath(uuid), nil), &a)
	return a.Plan, err
}

// PlanCost returns what a run of the plan can cost; nil where machines are not
// rented.
func (c *Client) PlanCost(ctx context.Context, uuid string) (*broker.Cost, error) {
	var a costAnswer
	r := get(planPath(uuid)+"/cost", nil)
	r.forever = true // the broker asks the provider, which may take its time
	err := c.call(ctx, r, &a)
	return a.Cost, err
}

// ProjectBudget returns what the runs of a project may cost together; nil when
// that has no limit.
func (c *Client) ProjectBudget(ctx context.Context, project string) (*broker.Budget, error) {
	var a budgetAnswer
	err := c.call(ctx, get(budgetPath(project), nil), &a)
	return a.Budget, err
}

// SetMaxCost sets what the runs of a project may cost together, in USD; 0 is no
// limit.
func (c *Client) SetMaxCost(ctx context.Context, project string, usd float64) (*broker.Budget, error) {
	r, err := jsonRequest(http.MethodPut, budgetPath(project), BudgetRequest{MaxUSD: usd})
	if err != nil {
		return nil, err
	}
	var a budgetAnswer
	err = c.call(ctx, r, &a)
	return a.Budget, err
}

func budgetPath(project string) string { return "/api/project/" + url.PathEscape(project) + "/budget" }

// ReplacePlan gives a plan new fields and steps, from a plan in YAML or JSON.
// A plan that has been run gives EConflict.
func (c *Client) ReplacePlan(ctx context.Context, uuid string, data []byte) (Plan, error) {
	var a planAnswer
	err := c.call(ctx, textRequest(http.MethodPut, planPath(uuid), nil, data), &a)
	return a.Plan, err
}

// ForkPlan makes a changed copy of a plan.
func (c *Client) ForkPlan(ctx context.Context, uuid string, f ForkRequest) (Plan, error) {
	return c.fork(ctx, planPath(uuid)+"/fork", f)
}

// ForkRun makes a changed copy of exactly the plan that a run used.
func (c *Client) ForkRun(ctx context.Context, run string, f ForkRequest) (Plan, error) {
	return c.fork(ctx, runPath(run)+"/fork", f)
}

func (c *Client) fork(ctx context.Context, path string, f ForkRequest) (Plan, error) {
	r, err := jsonRequest(http.MethodPost, path, f)
	if err != nil {
		return Plan{}, err
	}
	var a planAnswer
	err = c.call(ctx, r, &a)
	return a.Plan, err
}

func planPath(uuid string) string { return "/api/plan/" + url.PathEscape(uuid) }

// Instances returns the machines of all pools by their ids.
func (c *Client) Instances(ctx context.Context) (map[string]Instance, error) {
	var a instancesAnswer
	err := c.call(ctx, get("/api/instances", nil), &a)
	return a.Instances, err
}

// Instance returns one machine.
func (c *Client) Instance(ctx context.Context, id string) (Instance, error) {
	var a instanceAnswer
	err := c.call(ctx, get("/api/instances/"+url.PathEscape(id), nil), &a)
	return a.Instance, err
}

// DeleteInstance ends one machine.
func (c *Client) DeleteInstance(ctx context.Context, id string) error {
	return c.call(ctx, request{
		method: http.MethodDelete, path: "/api/instances/" + url.PathEscape(id), forever: true,
	}, nil)
}

// DeleteInstances ends all machines and returns their ids.
func (c *Client) DeleteInstances(ctx context.Context) ([]string, error) {
	var a terminatedAnswer
	err := c.call(ctx, request{method: http.MethodDelete, path: "/api/instances", forever: true}, &a)
	return a.Terminated, err
}
