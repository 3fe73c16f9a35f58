package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// Bounds of a connection. There is none on a whole answer, since streams last
// as long as runs do: each write is bounded instead.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	graceTimeout  = 10 * time.Second
	maxHeader     = 64 << 10
)

// Config is what a Server is made of.
type Config struct {
	Broker *broker.Broker
	// Tokens are accepted, and one is demanded, when it is not nil. Without
	// them the server serves programs on its own machine only.
	Tokens *Tokens
	// Elsewhere knows of runs in other programs; nil knows nothing.
	Elsewhere Elsewhere
	// Log takes what goes wrong inside; nil is nowhere.
	Log *slog.Logger
	// Reports and Comparisons are the forms that can be had, by their names. A
	// verdict in JUnit's XML can always be had.
	Reports     map[string]ReportForm
	Comparisons map[string]ComparisonForm
	// Pages serves all that is not of the API; nil serves nothing there. With
	// Tokens its /login shows the form that signs browsers in, whose answer the
	// server takes, as that of the form which posts to /logout.
	Pages http.Handler
}

// A Server serves the broker over HTTP.
type Server struct {
	broker    *broker.Broker
	elsewhere Elsewhere
	tokens    *Tokens
	log       *slog.Logger
	api       huma.API
	mux       *http.ServeMux

	reports     map[string]ReportForm
	comparisons map[string]ComparisonForm

	pages    http.Handler // nil is none
	sessions *sessions

	openAPI []byte // made once, when all operations are known
	schema  []byte // of plan files

	// draining ends streams and waits when the server stops; drain ends it.
	draining context.Context
	drain    context.CancelFunc

	heartbeat time.Duration // of event streams; shorter in tests
	grace     time.Duration // for calls under way when the server stops; longer in tests
}

// NewServer makes a server. It listens once Serve is called.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Broker == nil {
		return nil, errors.New("make server: no broker given")
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		broker: cfg.Broker, elsewhere: cfg.Elsewhere, tokens: cfg.Tokens, log: log.With("component", "api"),
		mux: http.NewServeMux(), heartbeat: heartbeat, grace: graceTimeout,
		reports: cfg.Reports, comparisons: cfg.Comparisons,
		pages: cfg.Pages, sessions: newSessions(),
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.api = newAPI(s.mux, cfg.Broker.Version())
	s.routes()
	if err := s.describe(); err != nil {
		return nil, fmt.Errorf("make server: %w", err)
	}
	return s, nil
}

// routes adds all operations.
func (s *Server) routes() {
	s.infoRoutes()
	s.projectRoutes()
	s.planRoutes()
	s.runRoutes()
	s.resultRoutes()
	s.elsewhereRoutes()
	s.monitorRoutes()
	s.eventRoutes()
	s.logRoutes()
	s.junitRoutes()
	s.reportRoutes()
	s.instanceRoutes()
}

// describe makes the documents that do not change while the server lives.
func (s *Server) describe() error {
	doc := s.api.OpenAPI()
	schemas := doc.Components.Schemas
	for _, t := range []reflect.Type{
		reflect.TypeFor[Failure](), reflect.TypeFor[ForkRequest](), reflect.TypeFor[BudgetRequest](), reflect.TypeFor[LogLine](), reflect.TypeFor[Event](),
		reflect.TypeFor[strategies.Project](), reflect.TypeFor[strategies.Plan](),
	} {
		schemas.Schema(t, true, t.Name())
	}
	// The framework registers its own error, which asFailure never lets out.
	delete(schemas.Map(), "ErrorModel")
	delete(schemas.Map(), "ErrorDetail")
	if s.tokens != nil {
		doc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
		doc.Security = []map[string][]string{{"token": {}}}
	}
	var err error
	if s.openAPI, err = json.MarshalIndent(doc, "", "  "); err != nil {
		return fmt.Errorf("write OpenAPI document: %w", err)
	}
	if s.schema, err = strategies.Schema(); err != nil {
		return fmt.Errorf("write schema of plan files: %w", err)
	}
	return nil
}

// Handler returns the handler of all paths, with the guards before it.
func (s *Server) Handler() http.Handler {
	var h http.Handler = http.HandlerFunc(s.route)
	h = s.limitBody(h)
	h = s.guard(h)
	h = s.recovered(h)
	return h
}

// Serve answers calls on ln until ctx is done, and closes ln. Then it ends the
// streams, lets other calls finish for a short time, cuts what is left, and
// returns nil. It may be called once. It gives EInvalid for a listener that
// CheckListen would refuse, also when only its name was of this machine.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if err := CheckListen(ln.Addr().String(), s.tokens); err != nil {
		return errors.Join(err, ln.Close())
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		s.drain()
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.drain()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = srv.Close()
	}
	<-served
	if err != nil {
		return fmt.Errorf("stop serving %s: %w", ln.Addr(), err)
	}
	return nil
}
