package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
)

// terminateTimeout is how long deleting a run with its machines waits for the
// run's end.
const terminateTimeout = 5 * time.Minute

// runsInput has the fields of pageInput: the framework does not look into an
// embedded struct that is not exported.
type runsInput struct {
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most."`
	Offset  int    `query:"offset" minimum:"0" default:"0" doc:"How many to leave out first."`
	State   string `query:"state" doc:"States, by name or number, with commas between them; active is all but COMPLETED."`
	Plan    string `query:"plan" doc:"Uuid of a plan."`
	Project string `query:"project" doc:"Uuid of a project."`
	Owner   string `query:"owner"`
}

type deleteRunInput struct {
	UUID      string `path:"uuid"`
	Purge     bool   `query:"purge" doc:"Wait for the run's end and delete its record."`
	Terminate bool   `query:"terminate" doc:"Wait for the run's end and end its machines."`
}

type waitInput struct {
	UUID    string  `path:"uuid"`
	Timeout float64 `query:"timeout" minimum:"0" maximum:"600" default:"30" doc:"Seconds."`
}

func (s *Server) runRoutes() {
	s.orchestrateRoutes()
	tags := []string{"runs"}
	register(s, huma.Operation{
		OperationID: "runs", Method: http.MethodGet, Path: "/api/run", Tags: tags,
		Summary: "Runs, the newest first", RejectUnknownQueryParameters: true,
	}, s.runs)
	register(s, huma.Operation{
		OperationID: "run", Method: http.MethodGet, Path: "/api/run/{uuid}", Tags: tags,
		Summary: "A run with its step records and the plan as it is run",
	}, s.run)
	register(s, huma.Operation{
		OperationID: "delete-run", Method: http.MethodDelete, Path: "/api/run/{uuid}", Tags: tags,
		Summary: "Stop a run, and end its machines or delete its record",
	}, s.deleteRun)
	register(s, huma.Operation{
		OperationID: "wait", Method: http.MethodGet, Path: "/api/run/{uuid}/wait", Tags: tags,
		Summary:     "Wait for the end of a run",
		Description: "Answers 200 as soon as the run is completed, and 202 when it is not after the timeout.",
		Responses:   map[string]*huma.Response{"202": {Description: "Not completed yet; the run as it is."}},

		RejectUnknownQueryParameters: true,
	}, s.wait)
	register(s, huma.Operation{
		OperationID: "run-plan", Method: http.MethodGet, Path: "/api/run/{uuid}/plan", Tags: tags,
		Summary: "The plan exactly as the run used it",
	}, s.runPlan)
}

func (s *Server) runs(ctx context.Context, in *runsInput) (runsAnswer, error) {
	states, err := parseStates(in.State)
	if err != nil {
		return runsAnswer{}, err
	}
	runs, err := s.broker.Runs(ctx, broker.RunFilter{
		States: states, PlanUUID: in.Plan, ProjectUUID: in.Project, Owner: in.Owner,
		Limit: in.Limit, Offset: in.Offset,
	})
	return runsAnswer{done(), runsOf(runs)}, err
}

// parseStates reads a list of states; empty is no filter.
func parseStates(list string) ([]broker.RunState, error) {
	var states []broker.RunState
	for word := range strings.SplitSeq(list, ",") {
		word = strings.ToUpper(strings.TrimSpace(word))
		switch {
		case word == "":
			continue
		case word == "ACTIVE":
			states = append(states, broker.Initializing, broker.Running, broker.Terminating)
			continue
		}
		i := slices.IndexFunc(allStates(), func(s broker.RunState) bool {
			return s.String() == word || strconv.Itoa(int(s)) == word
		})
		if i < 0 {
			return nil, broker.Errorf(broker.EInvalid,
				"The query parameter state is wrong: %q; give initializing, running, terminating, completed or active.", strings.ToLower(word))
		}
		states = append(states, allStates()[i])
	}
	return states, nil
}

func allStates() []broker.RunState {
	return []broker.RunState{broker.Initializing, broker.Running, broker.Terminating, broker.Completed}
}

func (s *Server) run(ctx context.Context, in *uuidInput) (runAnswer, error) {
	r, err := s.broker.Run(ctx, in.UUID)
	return runAnswer{done(), runWithPlan(r)}, err
}

func (s *Server) runPlan(ctx context.Context, in *uuidInput) (runPlanAnswer, error) {
	r, err := s.broker.Run(ctx, in.UUID)
	return runPlanAnswer{done(), r.Plan}, err
}

func (s *Server) wait(ctx context.Context, in *waitInput) (runAnswer, error) {
	limit, cancel := context.WithTimeout(ctx, time.Duration(in.Timeout*float64(time.Second)))
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	r, err := s.broker.Wait(limit, in.UUID)
	if err == nil {
		return runAnswer{done(), runWithPlan(r)}, nil
	}
	if limit.Err() == nil || ctx.Err() != nil {
		return runAnswer{}, err
	}
	// The wait is over; the run may have ended in the same moment.
	r, err = s.broker.Run(ctx, in.UUID)
	a := runAnswer{done(), runWithPlan(r)}
	if r.State != broker.Completed {
		a.Status = http.StatusAccepted
	}
	return a, err
}

func (s *Server) deleteRun(ctx context.Context, in *deleteRunInput) (deletedRunAnswer, error) {
	a := deletedRunAnswer{Envelope: done()}
	r, err := s.broker.Run(ctx, in.UUID)
	if err != nil {
		return a, noSuchRun(err)
	}
	if r.State == broker.Completed && !in.Purge {
		return a, newFailure(http.StatusBadRequest, "Already terminated")
	}
	held, err := s.heldMachines(ctx, in.UUID)
	if err != nil {
		return a, err
	}
	if a.StoppedRunning, err = s.broker.Abort(ctx, in.UUID); err != nil {
		return a, noSuchRun(err)
	}
	if in.Terminate {
		if a.Terminated, err = s.terminate(ctx, in.UUID, held); err != nil {
			return a, err
		}
	}
	if in.Purge {
		a.Purged = true
		err = s.broker.DeleteRun(ctx, in.UUID)
	}
	return a, err
}

// heldMachines returns the ids of the machines that a run has and has not
// given back, and of those that are still being made for it. Pools that can't
// be asked now must not keep a run from being stopped.
func (s *Server) heldMachines(ctx context.Context, run string) ([]string, error) {
	machines, err := s.broker.Machines(ctx, run)
	if err != nil {
		return nil, err
	}
	ids := []string{}
	existing, _ := s.broker.Instances(ctx)
	for _, i := range existing {
		if i.RunUUID == run && i.Kind != "container" {
			ids = append(ids, i.ProviderID)
		}
	}
	for _, m := range machines {
		if m.ProviderID != "" && m.State != broker.MachineReleased {
			ids = append(ids, m.ProviderID)
		}
	}
	return ids, nil
}

// terminate waits until the run has given its machines back, then ends those
// that still exist: pools may keep machines for a next run. It returns the ids
// of all that are gone.
func (s *Server) terminate(ctx context.Context, run string, held []string) ([]string, error) {
	limit, cancel := context.WithTimeout(ctx, terminateTimeout)
	defer cancel()
	if _, err := s.broker.Wait(limit, run); err != nil {
		if limit.Err() != nil && ctx.Err() == nil {
			return nil, broker.Errorf(broker.EUnavailable,
				"The run has not ended after %s; its machines are still being ended.", terminateTimeout)
		}
		return nil, err
	}
	existing, err := s.broker.Instances(ctx)
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(held)
	for _, i := range existing {
		if i.RunUUID != run && !slices.Contains(held, i.ProviderID) {
			continue
		}
		if err := s.broker.DeleteInstance(ctx, i.ProviderID); err != nil && broker.CodeOf(err) != broker.ENotFound {
			return nil, err
		}
		ids = append(ids, i.ProviderID)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
