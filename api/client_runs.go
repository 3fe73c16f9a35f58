package api

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// StartOptions are what a run is given at its start.
type StartOptions struct {
	// RunUUID fixes the run's id; empty lets the broker make one.
	RunUUID string
	Owner   string
	// Environment is for interpolation; it wins over the steps'.
	Environment map[string]string
}

// Start starts a run of a plan and returns the run's uuid.
func (c *Client) Start(ctx context.Context, plan string, o StartOptions) (string, error) {
	body := maps.Clone(o.Environment)
	if body == nil {
		body = map[string]string{}
	}
	for name, value := range map[string]string{"run_uuid": o.RunUUID, "owner": o.Owner} {
		if value != "" {
			body[name] = value
		}
	}
	r, err := jsonRequest(http.MethodPost, "/api/orchestrate/"+url.PathEscape(plan), body)
	if err != nil {
		return "", err
	}
	var a startedAnswer
	err = c.call(ctx, r, &a)
	return a.RunID, err
}

// Abort asks a run to stop and returns at once. False means that it was not
// running.
func (c *Client) Abort(ctx context.Context, run string) (bool, error) {
	var a Envelope
	err := c.call(ctx, request{method: http.MethodDelete, path: "/api/orchestrate/" + url.PathEscape(run)}, &a)
	return a.Success, err
}

// Run returns one run, with the plan as it is run.
func (c *Client) Run(ctx context.Context, run string) (Run, error) {
	var a runAnswer
	err := c.call(ctx, get(runPath(run), nil), &a)
	return a.Run, err
}

// RunQuery selects runs; zero fields select all.
type RunQuery struct {
	// State is a list of names or numbers with commas between them; active is
	// all but completed.
	State   string
	Plan    string // uuid
	Project string // uuid
	Owner   string
	Limit   int // 0 leaves it to the broker: 100
	Offset  int
}

// Runs returns runs, the newest first.
func (c *Client) Runs(ctx context.Context, q RunQuery) ([]Run, error) {
	v := url.Values{}
	for name, value := range map[string]string{
		"state": q.State, "plan": q.Plan, "project": q.Project, "owner": q.Owner,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	var a runsAnswer
	err := c.call(ctx, get("/api/run", page(v, q.Limit, q.Offset)), &a)
	return a.Runs, err
}

// DeleteRun stops a run. With terminate it waits for the end of the run and
// ends its machines; with purge it waits for the end and deletes the record. A
// run that is completed gives EInvalid unless purge is set.
func (c *Client) DeleteRun(ctx context.Context, run string, purge, terminate bool) (DeletedRun, error) {
	q := url.Values{}
	if purge {
		q.Set("purge", "1")
	}
	if terminate {
		q.Set("terminate", "1")
	}
	var a deletedRunAnswer
	err := c.call(ctx, request{
		method: http.MethodDelete, path: runPath(run), query: q, forever: true,
	}, &a)
	return a.DeletedRun, err
}

// Wait returns when the run is completed (true), or the timeout is over
// (false). A timeout of 0 is no limit.
func (c *Client) Wait(ctx context.Context, run string, timeout time.Duration) (Run, bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		poll := maxWait
		if timeout > 0 {
			poll = min(poll, max(0, time.Until(deadline)))
		}
		r, err := c.waitOnce(ctx, run, poll)
		if err != nil || r.Completed() {
			return r, r.Completed(), err
		}
		if timeout > 0 && time.Until(deadline) <= 0 {
			return r, false, nil
		}
	}
}

// maxWait is the longest that one call waits for a run.
const maxWait = 60 * time.Second

func (c *Client) waitOnce(ctx context.Context, run string, timeout time.Duration) (Run, error) {
	q := url.Values{"timeout": {strconv.FormatFloat(timeout.Seconds(), 'f', 3, 64)}}
	r := get(runPath(run)+"/wait", q)
	r.forever = true
	var a runAnswer
	err := c.call(ctx, r, &a)
	return a.Run, err
}

// RunPlan returns the plan exactly as the run used it.
func (c *Client) RunPlan(ctx context.Context, run string) (strategies.Plan, error) {
	var a runPlanAnswer
	err := c.call(ctx, get(runPath(run)+"/plan", nil), &a)
	return a.Plan, err
}

// Machines returns the run's machines, by step and index.
func (c *Client) Machines(ctx context.Context, run string) ([]Machine, error) {
	var a machinesAnswer
	err := c.call(ctx, get(runPath(run)+"/machines", nil), &a)
	return a.Machines, err
}

// Report returns the run with its metrics so far and its account.
func (c *Client) Report(ctx context.Context, run string) (Report, error) {
	var a reportAnswer
	err := c.call(ctx, get(runPath(run)+"/summary", nil), &a)
	return a.Report, err
}

// Series returns the run's metrics second by second.
func (c *Client) Series(ctx context.Context, run string, q metrics.Query) ([]metrics.Line, error) {
	v := url.Values{}
	for name, value := range map[string]string{"metric": q.Metric, "by": q.By} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, value := range map[string]int64{"from": q.From, "to": q.To} {
		if value != 0 {
			v.Set(name, strconv.FormatInt(value, 10))
		}
	}
	for _, tag := range q.Tags {
		v.Add("tag", tag.Name+":"+tag.Value)
	}
	var a seriesAnswer
	err := c.call(ctx, get(runPath(run)+"/series", v), &a)
	return a.Series, err
}

// Links says where to look at the run.
func (c *Client) Links(ctx context.Context, run string) (Links, error) {
	var a linksAnswer
	err := c.call(ctx, get(runPath(run)+"/links", nil), &a)
	return a.Links, err
}

func runPath(run string) string { return "/api/run/" + url.PathEscape(run) }
