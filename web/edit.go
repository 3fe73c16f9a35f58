package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// An editPage is the form for a plan's text, with what is wrong with it.
type editPage struct {
	Title  string
	Back   string // address of what is forked
	Note   string
	Submit string
	Named  bool // has a field for the name
	Name   string
	Text   string
	Faults []faultLine
}

// A faultLine is one mistake, with the line of the text that it is in.
type faultLine struct {
	strategies.Fault
	Source string
}

// A source is what is to be forked.
type source struct {
	back, title string
	plan        strategies.Plan
	env         strategies.Environment // of the run
	fork        func(context.Context, string, broker.Edits) (broker.PlanRecord, error)
}

// source reads the plan or the run that the address names.
func (p *Pages) source(r *http.Request) (source, error) {
	uuid := r.PathValue("uuid")
	if strings.HasPrefix(r.URL.Path, "/run/") {
		run, err := p.broker.Run(r.Context(), uuid)
		return source{
			back: "/run/" + uuid, title: "Fork what a run of " + run.PlanName + " used",
			plan: run.Plan, env: run.Environment, fork: p.broker.ForkRun,
		}, err
	}
	rec, err := p.broker.Plan(r.Context(), uuid)
	return source{back: "/plan/" + uuid, title: "Fork " + rec.Plan.Name, plan: rec.Plan, fork: p.broker.ForkPlan}, err
}

func (s source) page() editPage {
	return editPage{
		Title: s.title, Back: s.back, Submit: "Save as a new plan", Named: true,
		Note: "A fork is a new plan of the same project. The plan that it comes from stays as it is.",
	}
}

func (p *Pages) forkForm(w http.ResponseWriter, r *http.Request) error {
	s, err := p.source(r)
	if err != nil {
		return err
	}
	text, err := masked(s.plan, s.env).YAML()
	if err != nil {
		return err
	}
	page := s.page()
	page.Text = string(text)
	return p.show(w, http.StatusOK, "edit.html", page.Title, page)
}

// fork stores the changed plan, or shows all that is wrong with it.
func (p *Pages) fork(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return broker.Errorf(broker.EInvalid, "The form can't be read: %v.", err)
	}
	s, err := p.source(r)
	if err != nil {
		return err
	}
	page := s.page()
	page.Name, page.Text = strings.TrimSpace(r.PostForm.Get("name")), plainText(r.PostForm.Get("text"))
	plan, err := strategies.ParsePlan("", []byte(page.Text))
	if err == nil {
		unmask(&plan, s)
		var rec broker.PlanRecord
		rec, err = s.fork(r.Context(), r.PathValue("uuid"), broker.Edits{Name: page.Name, Plan: &plan})
		if err == nil {
			http.Redirect(w, r, "/plan/"+rec.Plan.UUID, http.StatusSeeOther)
			return nil
		}
	}
	return p.showFaults(w, page, err)
}

// unmask puts back the values that the form had masked and that were left so.
func unmask(plan *strategies.Plan, s source) {
	for i := range plan.Steps {
		step := &plan.Steps[i]
		for _, before := range s.plan.Steps {
			if before.Name != step.Name {
				continue
			}
			shown := before.EnvironmentData.Masked(s.env...)
			for k, v := range step.EnvironmentData {
				if was, ok := shown.Get(v.Name); ok && was == v.Value {
					step.EnvironmentData[k].Value, _ = before.EnvironmentData.Get(v.Name)
				}
			}
		}
	}
}

// plainText has the line ends that browsers change as they were.
func plainText(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// showFaults shows the form again with what is wrong; other errors it returns.
func (p *Pages) showFaults(w http.ResponseWriter, page editPage, err error) error {
	var faults strategies.Faults
	var e *broker.Error
	if errors.As(err, &e) && e.Code == broker.EInvalid {
		faults = e.Faults
		if len(faults) == 0 {
			faults = strategies.Faults{{What: e.Message}}
		}
	}
	if len(faults) == 0 && !errors.As(err, &faults) {
		return err
	}
	lines := strings.Split(page.Text, "\n")
	for _, f := range faults {
		line := faultLine{Fault: f}
		if f.Line > 0 && f.Line <= len(lines) {
			line.Source = lines[f.Line-1]
		}
		page.Faults = append(page.Faults, line)
	}
	return p.show(w, http.StatusBadRequest, "edit.html", page.Title, page)
}

func importPage() editPage {
	return editPage{
		Title: "Import plans", Back: "/", Submit: "Import",
		Note: "Give a project file or the file of one plan. Plans are matched by name: one that has been run is kept, and what is given becomes a fork of it.",
	}
}

func (p *Pages) importForm(w http.ResponseWriter, _ *http.Request) error {
	page := importPage()
	return p.show(w, http.StatusOK, "edit.html", page.Title, page)
}

// importPlans stores the plans of a file, or shows all that is wrong with it.
func (p *Pages) importPlans(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return broker.Errorf(broker.EInvalid, "The form can't be read: %v.", err)
	}
	page := importPage()
	page.Text = plainText(r.PostForm.Get("text"))
	project, err := strategies.ParseFile("", []byte(page.Text))
	if err == nil {
		var rec broker.ProjectRecord
		if rec, err = p.broker.Import(r.Context(), project, true); err == nil {
			to := "/project/" + rec.Project.UUID
			if len(rec.Plans) == 1 {
				to = "/plan/" + rec.Plans[0].Plan.UUID
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return nil
		}
	}
	return p.showFaults(w, page, err)
}
