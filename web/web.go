// Package web serves the pages: what Loads is in a browser. Pages are written
// by the server and are whole without script; the script, which make build
// bundles, adds charts and what is new.
//
// All that users, plans and containers have said is untrusted here: it goes
// through html/template, and the pages may load nothing from elsewhere.
package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// Broker is what the pages need of a broker. *broker.Broker has it; its
// methods say more.
type Broker interface {
	Projects(ctx context.Context) ([]broker.ProjectRecord, error)
	Project(ctx context.Context, uuid string) (broker.ProjectRecord, error)
	Import(ctx context.Context, p strategies.Project, update bool) (broker.ProjectRecord, error)
	ProjectBudget(ctx context.Context, projectUUID string) (*broker.Budget, error)
	Rents() bool
	EstimatePlan(ctx context.Context, planUUID string) (*broker.Cost, error)
	Plan(ctx context.Context, uuid string) (broker.PlanRecord, error)
	ForkPlan(ctx context.Context, uuid string, e broker.Edits) (broker.PlanRecord, error)
	ForkRun(ctx context.Context, uuid string, e broker.Edits) (broker.PlanRecord, error)
	StartRun(ctx context.Context, req broker.StartRequest) (broker.Run, error)
	Abort(ctx context.Context, uuid string) (bool, error)
	Run(ctx context.Context, uuid string) (broker.Run, error)
	Runs(ctx context.Context, f broker.RunFilter) ([]broker.Run, error)
	Report(ctx context.Context, runUUID string) (broker.Report, error)
	Monitor(ctx context.Context, runUUID string) (broker.Monitor, error)
	Summary(ctx context.Context, runUUID string) (broker.Run, metrics.Summary, error)
	Criteria(ctx context.Context, runUUID string) ([]broker.CriterionResult, error)
	Events(ctx context.Context, runUUID string, after int64) ([]broker.Event, error)
	Live(ctx context.Context, runUUID string) (metrics.Summary, error)
	Series(ctx context.Context, runUUID string, q metrics.Query) ([]metrics.Line, error)
	HostSeries(ctx context.Context, runUUID string, q metrics.HostQuery) ([]metrics.HostLine, error)
	Logs(ctx context.Context, runUUID string, q broker.LogQuery, yield func(broker.LogLine) error) error
}

// Config is what Pages are made of.
type Config struct {
	Broker Broker
	// SignIn says that browsers have to sign in, so that there is something to
	// sign out of.
	SignIn bool
	// Log takes what goes wrong inside; nil is nowhere.
	Log *slog.Logger
}

// Pages serve the pages. They may be used by many goroutines at once.
type Pages struct {
	broker Broker
	signIn bool
	log    *slog.Logger
	mux    *http.ServeMux
	pages  map[string]*template.Template // by name
	assets map[string]asset              // by name
}

// policy lets a page have what is from this server only, and none of it inline.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

//go:embed templates
var templates embed.FS

// New makes the pages.
func New(cfg Config) (*Pages, error) {
	if cfg.Broker == nil {
		return nil, errors.New("make pages: no broker given")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pages{
		broker: cfg.Broker, signIn: cfg.SignIn, log: cfg.Log.With("component", "web"), mux: http.NewServeMux(),
		pages: map[string]*template.Template{},
	}
	if err := p.readTemplates(); err != nil {
		return nil, fmt.Errorf("make pages: %w", err)
	}
	var err error
	if p.assets, err = readAssets(); err != nil {
		return nil, fmt.Errorf("make pages: %w", err)
	}
	p.routes()
	return p, nil
}

// readTemplates makes each page's template of its own file and the layout's.
func (p *Pages) readTemplates() error {
	layout, err := template.New("layout").Funcs(functions()).ParseFS(templates, "templates/layout.html")
	if err != nil {
		return fmt.Errorf("read layout: %w", err)
	}
	files, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		return fmt.Errorf("list templates: %w", err)
	}
	for _, file := range files {
		one, err := layout.Clone()
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if one, err = one.ParseFS(templates, file); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		p.pages[file[len("templates/"):]] = one
	}
	return nil
}

func (p *Pages) routes() {
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /{$}":                p.home,
		"GET /import":             p.importForm,
		"POST /import":            p.importPlans,
		"GET /project/{uuid}":     p.project,
		"GET /plan/{uuid}":        p.plan,
		"POST /plan/{uuid}/start": p.start,
		"GET /plan/{uuid}/fork":   p.forkForm,
		"POST /plan/{uuid}/fork":  p.fork,
		"GET /run/{uuid}":         p.run,
		"GET /run/{uuid}/chart":   p.chart,
		"GET /run/{uuid}/hosts":   p.hosts,
		"GET /run/{uuid}/logs":    p.logs,
		"GET /run/{uuid}/abort":   p.abortForm,
		"POST /run/{uuid}/abort":  p.abort,
		"GET /run/{uuid}/fork":    p.forkForm,
		"POST /run/{uuid}/fork":   p.fork,
		"GET /login":              p.login,
		"GET /assets/{name}":      p.asset,
	} {
		p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				p.fail(w, r, err)
			}
		})
	}
}

// ServeHTTP serves a page, or the page that says there is none.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Referrer-Policy", "same-origin")
	if _, pattern := p.mux.Handler(r); pattern == "" {
		p.fail(w, r, broker.Errorf(broker.ENotFound, "There is no page at %s.", r.URL.Path))
		return
	}
	p.mux.ServeHTTP(w, r)
}

// A view is what a template shows.
type view struct {
	Title string
	// SignedIn says that there is something to sign out of.
	SignedIn bool
	// Script says that the script was bundled.
	Script bool
	Body   any
}

// show writes a page. It is written whole before it is sent, so that a fault
// shows no half of it.
func (p *Pages) show(w http.ResponseWriter, status int, page, title string, body any) error {
	return p.showPart(w, status, page, "layout.html", title, body)
}

// showPart writes one of a page's templates.
func (p *Pages) showPart(w http.ResponseWriter, status int, page, part, title string, body any) error {
	var text bytes.Buffer
	v := view{Title: title, SignedIn: p.signIn && page != "login.html", Script: p.bundled(), Body: body}
	if err := p.pages[page].ExecuteTemplate(&text, part, v); err != nil {
		return fmt.Errorf("write page %s: %w", page, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // a browser that went away needs no page
	return nil
}

// statuses are those of codes; others are internal.
var statuses = map[broker.Code]int{
	broker.EInvalid:     http.StatusBadRequest,
	broker.ENotFound:    http.StatusNotFound,
	broker.EConflict:    http.StatusConflict,
	broker.EUnavailable: http.StatusServiceUnavailable,
}

// A failure is what the page of an error says.
type failure struct {
	Status  int
	Message string
}

// fail shows an error. An internal one is logged here, and nowhere else; the
// reader does not see it.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failure{Status: http.StatusInternalServerError, Message: "Something went wrong inside; the broker's log has it."}
	var e *broker.Error
	status, known := statuses[broker.CodeOf(err)]
	switch {
	case known && errors.As(err, &e):
		f = failure{Status: status, Message: e.Message}
	case r.Context().Err() != nil:
		return // nobody is there to read it
	default:
		p.log.Error("internal error", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	title := "Something went wrong"
	if f.Status == http.StatusNotFound {
		title = "Nothing here"
	}
	if err := p.show(w, f.Status, "failure.html", title, f); err != nil {
		p.log.Error("show failure", "error", err)
		http.Error(w, f.Message, f.Status)
	}
}

// login shows the form that signs in. The server takes its answer.
func (p *Pages) login(w http.ResponseWriter, r *http.Request) error {
	if !p.signIn {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	return p.show(w, http.StatusOK, "login.html", "Sign in", struct {
		Wrong bool
		Next  string
	}{r.URL.Query().Get("wrong") != "", r.URL.Query().Get("next")})
}
