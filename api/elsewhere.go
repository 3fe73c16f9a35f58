package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

// Elsewhere is what is known of runs in other programs: InfluxDB and Grafana.
// Unknown runs give ENotFound.
type Elsewhere interface {
	// Export says how far the run's metrics have come; nil when they go nowhere.
	Export(ctx context.Context, runUUID string) (*broker.Export, error)
	// DashboardURL is where the run's dashboard is, empty when it is nowhere.
	DashboardURL(ctx context.Context, runUUID string) (string, error)
	// DashboardJSON is the run's dashboard for Grafana to import.
	DashboardJSON(ctx context.Context, runUUID string) ([]byte, error)
}

func (s *Server) elsewhereRoutes() {
	tags := []string{"runs"}
	register(s, huma.Operation{
		OperationID: "links", Method: http.MethodGet, Path: "/api/run/{uuid}/links", Tags: tags,
		Summary: "Where to look at a run on this server",
	}, s.links)
	registerStream(s, huma.Operation{
		OperationID: "dashboard", Method: http.MethodGet, Path: "/dashboards/run/{uuid}/", Tags: tags,
		Summary:     "The run's dashboard",
		Description: "Redirects to Grafana when the dashboard is published there; else answers the JSON that Grafana imports.",
		Responses:   map[string]*huma.Response{"302": {Description: "The dashboard is at Location."}},
	}, map[string]string{contentJSON: ""}, s.dashboard)
}

func (s *Server) links(ctx context.Context, in *uuidInput) (linksAnswer, error) {
	r, err := s.broker.Run(ctx, in.UUID)
	if err != nil {
		return linksAnswer{}, err
	}
	links := map[string]string{"run": runPath(r.UUID), "dashboard": "/dashboards/run/" + r.UUID + "/"}
	for _, part := range []string{"summary", "series", "events", "logs", "machines", "plan"} {
		links[part] = runPath(r.UUID) + "/" + part
	}
	return linksAnswer{done(), Links{
		UUID: r.UUID, PlanName: r.PlanName, StateName: r.State.String(), Verdict: r.Verdict, Links: links,
	}}, nil
}

func (s *Server) dashboard(ctx context.Context, in *uuidInput) (func(*stream) error, error) {
	if _, err := s.broker.Run(ctx, in.UUID); err != nil {
		return nil, err
	}
	if s.elsewhere == nil {
		return nil, broker.Errorf(broker.ENotFound, "This broker makes no dashboards; see /api/run/%s/links.", in.UUID)
	}
	at, err := s.elsewhere.DashboardURL(ctx, in.UUID)
	if err != nil {
		return nil, err
	}
	if at != "" {
		return func(w *stream) error {
			w.Header().Set("Location", at)
			w.WriteHeader(http.StatusFound)
			return nil
		}, nil
	}
	text, err := s.elsewhere.DashboardJSON(ctx, in.UUID)
	if err != nil {
		return nil, err
	}
	return document(text), nil
}

// exported returns nil when the run's metrics go nowhere.
func (s *Server) exported(ctx context.Context, runUUID string) (*Exported, error) {
	if s.elsewhere == nil {
		return nil, nil
	}
	e, err := s.elsewhere.Export(ctx, runUUID)
	if err != nil || e == nil {
		return nil, err
	}
	return &Exported{Written: e.Written, Refused: e.Refused, Waiting: e.Waiting, Trouble: e.Trouble, Detail: e.Detail}, nil
}
