package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

type instanceInput struct {
	ID string `path:"id"`
}

func (s *Server) instanceRoutes() {
	tags := []string{"instances"}
	register(s, huma.Operation{
		OperationID: "instances", Method: http.MethodGet, Path: "/api/instances", Tags: tags,
		Summary: "All machines, by their ids",
	}, s.instances)
	register(s, huma.Operation{
		OperationID: "delete-instances", Method: http.MethodDelete, Path: "/api/instances", Tags: tags,
		Summary: "End all machines, those of runs in progress too",
	}, s.deleteInstances)
	register(s, huma.Operation{
		OperationID: "instance", Method: http.MethodGet, Path: "/api/instances/{id}", Tags: tags,
		Summary: "One machine",
	}, s.instance)
	register(s, huma.Operation{
		OperationID: "delete-instance", Method: http.MethodDelete, Path: "/api/instances/{id}", Tags: tags,
		Summary: "End one machine",
	}, s.deleteInstance)
}

func (s *Server) instances(ctx context.Context, _ *noInput) (instancesAnswer, error) {
	list, err := s.broker.Instances(ctx)
	if err != nil {
		return instancesAnswer{}, err
	}
	byID := make(map[string]Instance, len(list))
	for _, i := range list {
		byID[i.ProviderID] = instanceOf(i)
	}
	return instancesAnswer{done(), byID}, nil
}

func (s *Server) instance(ctx context.Context, in *instanceInput) (instanceAnswer, error) {
	i, err := s.broker.Instance(ctx, in.ID)
	return instanceAnswer{done(), instanceOf(i)}, err
}

func (s *Server) deleteInstance(ctx context.Context, in *instanceInput) (terminatedAnswer, error) {
	return terminatedAnswer{done(), []string{in.ID}}, s.broker.DeleteInstance(ctx, in.ID)
}

// deleteInstances goes on past machines that can't be ended, so that one of
// them does not save the others.
func (s *Server) deleteInstances(ctx context.Context, _ *noInput) (terminatedAnswer, error) {
	list, err := s.broker.Instances(ctx)
	a := terminatedAnswer{done(), []string{}}
	failed := []error{err} // of pools that can't be asked, if any
	for _, i := range list {
		err := s.broker.DeleteInstance(ctx, i.ProviderID)
		switch broker.CodeOf(err) {
		case "":
			a.Terminated = append(a.Terminated, i.ProviderID)
		case broker.ENotFound: // gone meanwhile
		default:
			failed = append(failed, err)
		}
	}
	return a, errors.Join(failed...)
}
