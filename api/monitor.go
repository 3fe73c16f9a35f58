package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Monitor is a run's own InfluxDB and Grafana.
type Monitor struct {
	InfluxURL    string `json:"influx_url" doc:"Empty as long as it is not ready."`
	GrafanaURL   string `json:"grafana_url" doc:"Empty when there is none."`
	DashboardURL string `json:"dashboard_url" doc:"The run's dashboard, once it is published."`
	User         string `json:"user"`
	Password     string `json:"password" doc:"For both, and the token of InfluxDB 2; empty once the run is over."`
	Certificate  string `json:"certificate" doc:"By which both are known, as PEM."`
}

func (s *Server) monitorRoutes() {
	register(s, huma.Operation{
		OperationID: "monitor", Method: http.MethodGet, Path: "/api/run/{uuid}/monitor", Tags: []string{"runs"},
		Summary:     "A run's own InfluxDB and Grafana, and how to sign in to them",
		Description: "404 for a run that has no monitor.",
	}, s.monitor)
}

func (s *Server) monitor(ctx context.Context, in *uuidInput) (monitorAnswer, error) {
	if _, err := s.broker.Run(ctx, in.UUID); err != nil {
		return monitorAnswer{}, err
	}
	m, err := s.broker.Monitor(ctx, in.UUID)
	return monitorAnswer{done(), Monitor{
		InfluxURL: m.InfluxURL, GrafanaURL: m.GrafanaURL, DashboardURL: m.DashboardURL,
		User: m.User, Password: m.Secret, Certificate: m.Cert,
	}}, err
}

// Monitor returns the run's own InfluxDB and Grafana, and how to sign in.
func (c *Client) Monitor(ctx context.Context, run string) (Monitor, error) {
	var a monitorAnswer
	err := c.call(ctx, get(runPath(run)+"/monitor", nil), &a)
	return a.Monitor, err
}
