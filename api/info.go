package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

// pageInput is one page of a list.
type pageInput struct {
	Limit  int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most."`
	Offset int `query:"offset" minimum:"0" default:"0" doc:"How many to leave out first."`
}

type noInput struct{}

func (s *Server) infoRoutes() {
	register(s, huma.Operation{
		OperationID: "info", Method: http.MethodGet, Path: "/api", Tags: []string{"broker"},
		Summary: "The broker's version, and runs, in progress and past",
	}, s.info)
	registerStream(s, huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: "/api/openapi.json", Tags: []string{"broker"},
		Summary: "This document",
	}, map[string]string{contentJSON: ""}, func(context.Context, *noInput) (func(*stream) error, error) {
		return document(s.openAPI), nil
	})
	registerStream(s, huma.Operation{
		OperationID: "schema", Method: http.MethodGet, Path: "/api/schema.json", Tags: []string{"broker"},
		Summary: "The JSON Schema of plan files, for editors",
	}, map[string]string{contentJSON: ""}, func(context.Context, *noInput) (func(*stream) error, error) {
		return document(s.schema), nil
	})
}

func (s *Server) info(ctx context.Context, in *pageInput) (infoAnswer, error) {
	runs, err := s.broker.Runs(ctx, broker.RunFilter{Limit: in.Limit, Offset: in.Offset})
	if err != nil {
		return infoAnswer{}, err
	}
	return infoAnswer{done(), Info{
		Version: s.broker.Version(), BrokerID: s.broker.ID(), Runs: runsOf(runs),
	}}, nil
}

// document writes a document that was made before.
func document(text []byte) func(*stream) error {
	return func(w *stream) error {
		w.begin(contentJSON)
		_, err := w.Write(text)
		return err
	}
}
