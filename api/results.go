package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

type seriesInput struct {
	UUID   string   `path:"uuid"`
	Metric string   `query:"metric" doc:"Name of a metric; empty is all."`
	By     string   `query:"by" enum:"step,machine" doc:"A line for each step, or for each machine; empty merges them."`
	From   int64    `query:"from" minimum:"0" doc:"Unix ms; 0 is the start."`
	To     int64    `query:"to" minimum:"0" doc:"Unix ms; 0 is the end."`
	Tag    []string `query:"tag,explode" doc:"name:value that the metric must bear; may be repeated."`
}

func (s *Server) resultRoutes() {
	tags := []string{"results"}
	register(s, huma.Operation{
		OperationID: "machines", Method: http.MethodGet, Path: "/api/run/{uuid}/machines", Tags: tags,
		Summary: "A run's machines, by step and index",
	}, s.machines)
	register(s, huma.Operation{
		OperationID: "summary", Method: http.MethodGet, Path: "/api/run/{uuid}/summary", Tags: tags,
		Summary: "A run with its metrics so far, merged over all machines, and their account",
	}, s.summary)
	register(s, huma.Operation{
		OperationID: "series", Method: http.MethodGet, Path: "/api/run/{uuid}/series", Tags: tags,
		Summary: "A run's metrics, second by second", RejectUnknownQueryParameters: true,
	}, s.series)
	register(s, huma.Operation{
		OperationID: "hosts", Method: http.MethodGet, Path: "/api/run/{uuid}/hosts", Tags: tags,
		Summary: "What a run's machines told of themselves and of their containers", RejectUnknownQueryParameters: true,
	}, s.hosts)
}

func (s *Server) machines(ctx context.Context, in *uuidInput) (machinesAnswer, error) {
	r, err := s.broker.Run(ctx, in.UUID)
	if err != nil {
		return machinesAnswer{}, err
	}
	machines, err := s.broker.Machines(ctx, in.UUID)
	return machinesAnswer{done(), machinesOf(r, machines)}, err
}

func (s *Server) summary(ctx context.Context, in *uuidInput) (reportAnswer, error) {
	r, err := s.broker.Report(ctx, in.UUID)
	if err != nil {
		return reportAnswer{}, err
	}
	if r.Summary.Metrics == nil {
		r.Summary.Metrics = []metrics.MetricSummary{}
	}
	influx, err := s.exported(ctx, in.UUID)
	return reportAnswer{done(), Report{
		SpentUSD: r.SpentUSD(time.Now()),
		Run:      runWithPlan(r.Run), Machines: machinesOf(r.Run, r.Machines), Summary: r.Summary, Hosts: r.Hosts, Ledger: r.Ledger,
		Influx: influx, Archive: r.Archive,
	}}, err
}

func (s *Server) series(ctx context.Context, in *seriesInput) (seriesAnswer, error) {
	q := metrics.Query{Metric: in.Metric, By: in.By, From: in.From, To: in.To}
	for _, text := range in.Tag {
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" {
			return seriesAnswer{}, broker.Errorf(broker.EInvalid, "The query parameter tag is wrong: %q is not name:value.", text)
		}
		q.Tags = append(q.Tags, metrics.Tag{Name: name, Value: value})
	}
	if q.To != 0 && q.From > q.To {
		return seriesAnswer{}, broker.Errorf(broker.EInvalid, "The query parameter from is later than to.")
	}
	lines, err := s.broker.Series(ctx, in.UUID, q)
	if lines == nil {
		lines = []metrics.Line{}
	}
	return seriesAnswer{done(), lines}, err
}
