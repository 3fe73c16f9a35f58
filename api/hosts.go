package api

import (
	"context"
	"net/url"
	"strconv"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

type hostsInput struct {
	UUID        string `path:"uuid"`
	Measurement string `query:"measurement" doc:"For example cpu; empty is all."`
	Field       string `query:"field" doc:"For example usage_active; empty is all."`
	From        int64  `query:"from" minimum:"0" doc:"Unix ms; 0 is the start."`
	To          int64  `query:"to" minimum:"0" doc:"Unix ms; 0 is the end."`
}

type hostsAnswer struct {
	Envelope
	Hosts []metrics.HostLine `json:"hosts"`
}

func (s *Server) hosts(ctx context.Context, in *hostsInput) (hostsAnswer, error) {
	if in.To != 0 && in.From > in.To {
		return hostsAnswer{}, broker.Errorf(broker.EInvalid, "The query parameter from is later than to.")
	}
	lines, err := s.broker.HostSeries(ctx, in.UUID,
		metrics.HostQuery{Measurement: in.Measurement, Field: in.Field, From: in.From, To: in.To})
	if lines == nil {
		lines = []metrics.HostLine{}
	}
	return hostsAnswer{done(), lines}, err
}

// HostSeries returns what the run's machines told of themselves second by
// second.
func (c *Client) HostSeries(ctx context.Context, run string, q metrics.HostQuery) ([]metrics.HostLine, error) {
	v := url.Values{}
	for name, value := range map[string]string{"measurement": q.Measurement, "field": q.Field} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, value := range map[string]int64{"from": q.From, "to": q.To} {
		if value != 0 {
			v.Set(name, strconv.FormatInt(value, 10))
		}
	}
	var a hostsAnswer
	err := c.call(ctx, get(runPath(run)+"/hosts", v), &a)
	return a.Hosts, err
}
