package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// Bounds of a page of logs.
const (
	defaultTail = 200
	maxTail     = 5000
	maxLines    = 5000 // of all containers together
	fewMachines = 8    // of a step, that are shown together unless one is chosen
)

// A logPage is the end of the output of a step's machines.
type logPage struct {
	Run      broker.Run
	Step     string
	Steps    []string
	Machine  string // its index in the step; empty is all
	Machines []int  // of the step
	Tail     int
	Lines    []broker.LogLine
	Cut      bool   // there were more lines than a page has
	Fault    string // why they could not be read to the end
	Follow   string // address of the lines as they come; empty when there are none to come
}

// logs shows the ends of logs, of one step and of one of its machines.
func (p *Pages) logs(w http.ResponseWriter, r *http.Request) error {
	run, err := p.broker.Run(r.Context(), r.PathValue("uuid"))
	if err != nil {
		return err
	}
	page := logPage{Run: run, Step: r.URL.Query().Get("step"), Tail: defaultTail}
	for _, step := range run.Plan.Steps {
		if !step.Monitor {
			page.Steps = append(page.Steps, step.Name)
		}
	}
	if page.Step == "" && len(page.Steps) > 0 {
		page.Step = page.Steps[0]
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("tail")); err == nil && n > 0 {
		page.Tail = min(n, maxTail)
	}
	i := slices.IndexFunc(run.Plan.Steps, func(s strategies.Step) bool { return s.Name == page.Step })
	if i < 0 {
		return broker.Errorf(broker.ENotFound, "The run has no step %s.", page.Step)
	}
	query, err := page.choose(r.URL.Query(), run.Plan.Steps[i].InstanceCount)
	if err != nil {
		return err
	}
	if err := p.readLogs(r, &page, query); err != nil {
		return err
	}
	if run.State != broker.Completed {
		q := url.Values{"step": {page.Step}, "tail": {strconv.Itoa(page.Tail)}, "follow": {"true"}}
		if page.Machine != "" {
			q.Set("machine", page.Machine)
		}
		page.Follow = "/api/run/" + url.PathEscape(run.UUID) + "/logs?" + q.Encode()
	}
	return p.show(w, http.StatusOK, "logs.html", "Logs of "+run.PlanName, page)
}

// choose takes the machine from the address; without one, all machines of a
// small step, and the first of a large one.
func (l *logPage) choose(q url.Values, machines int) (broker.LogQuery, error) {
	for i := range machines {
		l.Machines = append(l.Machines, i)
	}
	l.Machine = q.Get("machine")
	if _, given := q["machine"]; !given && machines > fewMachines {
		l.Machine = "0"
	}
	query := broker.LogQuery{Step: l.Step, Tail: l.Tail}
	if l.Machine == "" {
		return query, nil
	}
	n, err := strconv.Atoi(l.Machine)
	if err != nil || n < 0 || n >= machines {
		return query, broker.Errorf(broker.ENotFound, "The step %s has no machine %s.", l.Step, l.Machine)
	}
	query.Machine = &n
	return query, nil
}

// errEnough ends the reading of logs.
var errEnough = errors.New("enough lines")

// readLogs reads the lines. A log that can't be read, as its machine is gone,
// is no error: the page says so.
func (p *Pages) readLogs(r *http.Request, page *logPage, q broker.LogQuery) error {
	err := p.broker.Logs(r.Context(), page.Run.UUID, q, func(l broker.LogLine) error {
		if len(page.Lines) >= maxLines {
			return errEnough
		}
		page.Lines = append(page.Lines, l)
		return nil
	})
	switch {
	case err == nil:
	case errors.Is(err, errEnough):
		page.Cut = true
	case r.Context().Err() != nil:
		return err
	case broker.CodeOf(err) == broker.ENotFound: // it has no machines yet
	case broker.CodeOf(err) == broker.EInternal:
		p.log.Warn("read logs", "run", page.Run.UUID, "error", err)
		page.Fault = "a machine's output can't be read; the broker's log says why"
	default:
		page.Fault = err.Error()
	}
	return nil
}
