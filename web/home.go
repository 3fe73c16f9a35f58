package web

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/loads/loads/broker"
)

// pageSize is how many runs a page lists.
const pageSize = 25

// A runList is one page of runs.
type runList struct {
	Runs         []broker.Run
	Newer, Older string // addresses of the pages beside; empty where there is none
	From         int    // number of the first run of the page, from 1
	OfPlan       bool   // it is a plan's own list
}

// home lists projects with their plans, and runs.
func (p *Pages) home(w http.ResponseWriter, r *http.Request) error {
	ctx, q := r.Context(), r.URL.Query()
	projects, err := p.broker.Projects(ctx)
	if err != nil {
		return err
	}
	body := struct {
		Projects    []broker.ProjectRecord
		State, Plan string
		List        runList
	}{Projects: projects, State: q.Get("state"), Plan: q.Get("plan")}
	filter := broker.RunFilter{PlanUUID: body.Plan}
	switch body.State {
	case "active":
		filter.States = []broker.RunState{broker.Initializing, broker.Running, broker.Terminating}
	case "completed":
		filter.States = []broker.RunState{broker.Completed}
	}
	if body.List, err = p.runList(r, filter); err != nil {
		return err
	}
	if q.Get("part") != "" {
		return p.showPart(w, http.StatusOK, "home.html", "runs", "", body)
	}
	return p.show(w, http.StatusOK, "home.html", "Runs", body)
}

// runList reads the page of runs that the address asks for.
func (p *Pages) runList(r *http.Request, f broker.RunFilter) (runList, error) {
	offset, err := strconv.Atoi(r.URL.Query().Get("offset"))
	if err != nil || offset < 0 {
		offset = 0
	}
	f.Limit, f.Offset = pageSize+1, offset
	runs, err := p.broker.Runs(r.Context(), f)
	if err != nil {
		return runList{}, err
	}
	l := runList{Runs: runs[:min(pageSize, len(runs))], From: offset + 1}
	at := func(offset int) string {
		q := r.URL.Query()
		q.Del("part")
		q.Set("offset", strconv.Itoa(offset))
		return (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String()
	}
	if offset > 0 {
		l.Newer = at(max(0, offset-pageSize))
	}
	if len(runs) > pageSize {
		l.Older = at(offset + pageSize)
	}
	return l, nil
}

// project shows a project with its plans and runs.
func (p *Pages) project(w http.ResponseWriter, r *http.Request) error {
	rec, err := p.broker.Project(r.Context(), r.PathValue("uuid"))
	if err != nil {
		return err
	}
	list, err := p.runList(r, broker.RunFilter{ProjectUUID: rec.Project.UUID})
	if err != nil {
		return err
	}
	budget, err := p.broker.ProjectBudget(r.Context(), rec.Project.UUID)
	if err != nil {
		return err
	}
	return p.show(w, http.StatusOK, "project.html", rec.Project.Name, struct {
		Record broker.ProjectRecord
		Budget *broker.Budget
		List   runList
	}{rec, budget, list})
}
