package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// A planPage is what the page of a plan shows.
type planPage struct {
	Record broker.PlanRecord
	Text   string // as YAML, with secrets masked
	List   runList
	Form   startForm
	Rents  bool         // machines are rented, so that there is a cost to ask for
	Cost   *broker.Cost // when it was asked for
}

// A startForm is the form that starts a run, with what was given in it before.
type startForm struct {
	Inputs   []strategies.Input
	Given    map[string]string // by the variables' names; never those of secrets
	More     string
	Owner    string
	Problems []string // why the run can't be started
}

func (p *Pages) plan(w http.ResponseWriter, r *http.Request) error {
	return p.showPlan(w, r, http.StatusOK, startForm{})
}

func (p *Pages) showPlan(w http.ResponseWriter, r *http.Request, status int, form startForm) error {
	rec, err := p.broker.Plan(r.Context(), r.PathValue("uuid"))
	if err != nil {
		return err
	}
	list, err := p.runList(r, broker.RunFilter{PlanUUID: rec.Plan.UUID})
	if err != nil {
		return err
	}
	text, err := masked(rec.Plan, nil).YAML()
	if err != nil {
		return err
	}
	list.OfPlan = true
	form.Inputs = rec.Plan.Inputs()
	page := planPage{Record: rec, Text: string(text), List: list, Form: form, Rents: p.broker.Rents()}
	if page.Rents && r.URL.Query().Has("cost") {
		if page.Cost, err = p.broker.EstimatePlan(r.Context(), rec.Plan.UUID); err != nil {
			return err
		}
	}
	return p.show(w, status, "plan.html", rec.Plan.Name, page)
}

// masked is the plan without the secrets in its environments, and without those
// of env, which may be in them.
func masked(plan strategies.Plan, env strategies.Environment) strategies.Plan {
	plan = plan.Clone()
	for i := range plan.Steps {
		plan.Steps[i].EnvironmentData = plan.Steps[i].EnvironmentData.Masked(env...)
	}
	return plan
}

// inputPrefix is before the names of variables in the form that starts a run.
const inputPrefix = "env."

// start starts a run of a plan. What is wrong is shown with the form again.
func (p *Pages) start(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return broker.Errorf(broker.EInvalid, "The form can't be read: %v.", err)
	}
	rec, err := p.broker.Plan(r.Context(), r.PathValue("uuid"))
	if err != nil {
		return err
	}
	form := startForm{Given: map[string]string{}, More: r.PostForm.Get("more"), Owner: strings.TrimSpace(r.PostForm.Get("owner"))}
	var env strategies.Environment
	for _, in := range rec.Plan.Inputs() {
		value := r.PostForm.Get(inputPrefix + in.Name)
		if value == "" {
			continue
		}
		env = append(env, strategies.Variable{Name: in.Name, Value: value})
		if !in.Secret {
			form.Given[in.Name] = value
		}
	}
	env, form.Problems = moreVariables(env, form.More)
	if len(form.Problems) == 0 {
		run, err := p.broker.StartRun(r.Context(), broker.StartRequest{PlanUUID: rec.Plan.UUID, Owner: form.Owner, Environment: env})
		if err == nil {
			http.Redirect(w, r, "/run/"+run.UUID, http.StatusSeeOther)
			return nil
		}
		if form.Problems = problems(err); form.Problems == nil {
			return err
		}
	}
	return p.showPlan(w, r, http.StatusBadRequest, form)
}

// moreVariables adds those given as lines of NAME=VALUE, and says which are not.
func moreVariables(env strategies.Environment, text string) (strategies.Environment, []string) {
	var wrong []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		_, twice := env.Get(name)
		switch {
		case !ok || name == "":
			wrong = append(wrong, "More variables: a line is not NAME=VALUE.")
		case twice:
			wrong = append(wrong, "The variable "+name+" is given twice; give it once.")
		default:
			env = append(env, strategies.Variable{Name: name, Value: value})
		}
	}
	return env, wrong
}

// problems are what is wrong with the input that an error is about; nil when it
// is about something else.
func problems(err error) []string {
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != broker.EInvalid {
		return nil
	}
	var list []string
	for _, f := range e.Faults {
		list = append(list, f.String())
	}
	if list == nil {
		list = []string{e.Message}
	}
	return list
}
