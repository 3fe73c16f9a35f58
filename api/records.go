package api

import (
	"time"

	"github.com/loads/loads/broker"
)

// This file turns the broker's records into those of the wire.

func timeOf(t *time.Time) *Time {
	if t == nil {
		return nil
	}
	return &Time{*t}
}

func projectOf(rec broker.ProjectRecord, runs map[string][]broker.Run) Project {
	p := Project{
		UUID: rec.Project.UUID, Name: rec.Project.Name, HomePage: rec.Project.HomePage, MaxCost: rec.Project.MaxCost,
		Plans: make([]Plan, len(rec.Plans)),
	}
	for i, plan := range rec.Plans {
		p.Plans[i] = planOf(plan, runs[plan.Plan.UUID])
	}
	return p
}

// planOf makes a plan with its runs. A frozen plan never changes, so a step's
// place in it is the same in all its runs.
func planOf(rec broker.PlanRecord, runs []broker.Run) Plan {
	p := Plan{
		UUID: rec.Plan.UUID, Name: rec.Plan.Name, Description: rec.Plan.Description, Enabled: rec.Plan.Enabled,
		Runs:  make([]Run, len(runs)),
		Steps: make([]Step, len(rec.Plan.Steps)),

		ProjectUUID: rec.ProjectUUID, ProjectName: rec.ProjectName, Parent: rec.Parent, ParentRun: rec.ParentRun,
		CreatedAt: &Time{rec.CreatedAt}, Frozen: rec.Frozen,
		Criteria: rec.Plan.Criteria, OnInvalid: rec.Plan.OnInvalid, MaxSkewMS: rec.Plan.MaxSkewMS,
		MaxCPUPercent: rec.Plan.MaxCPUPercent, MaxCost: rec.Plan.MaxCost,
	}
	for i, step := range rec.Plan.Steps {
		p.Steps[i] = Step{Step: step, Monitor: step.Monitor, PlanID: rec.ID, StepRecords: []StepRecord{}}
	}
	for i, run := range runs {
		p.Runs[i] = runOf(run)
		for _, record := range p.Runs[i].StepRecords {
			if record.Index < len(p.Steps) {
				step := &p.Steps[record.Index]
				step.StepRecords = append(step.StepRecords, record)
			}
		}
	}
	return p
}

func runOf(r broker.Run) Run {
	return Run{
		UUID: r.UUID, State: r.State, Aborted: r.Aborted, StepRecords: stepRecordsOf(r),
		CreatedAt: Time{r.CreatedAt}, CompletedAt: timeOf(r.CompletedAt), StartedAt: timeOf(r.StartedAt),
		PlanID: r.PlanID, PlanName: r.PlanName, Owner: r.Owner,

		StateName: r.State.String(), Verdict: r.Verdict, Reason: r.Reason,
		Cleanup: r.Cleanup, CleanupDetail: r.CleanupDetail,
		PlanUUID: r.PlanUUID, ProjectName: r.ProjectName, ProjectUUID: r.ProjectUUID,
		Environment: r.Environment.Masked().Map(), Versions: r.Versions,

		Criteria: r.Judgement.Criteria, Instrument: r.Judgement.Instrument,
		Cost: r.Cost, Receipts: r.Receipts, Images: r.Images,
	}
}

// runWithPlan is for the calls that are about one run.
func runWithPlan(r broker.Run) Run {
	run := runOf(r)
	run.Plan = &r.Plan
	return run
}

func runsOf(runs []broker.Run) []Run {
	list := make([]Run, len(runs))
	for i, r := range runs {
		list[i] = runOf(r)
	}
	return list
}

func stepRecordsOf(r broker.Run) []StepRecord {
	list := make([]StepRecord, len(r.StepRecords))
	for i, s := range r.StepRecords {
		list[i] = StepRecord{
			UUID: s.UUID, RunID: s.RunID, StepID: s.StepID, Failed: s.Failed,
			CreatedAt: Time{s.CreatedAt}, CompletedAt: timeOf(s.CompletedAt), StartedAt: timeOf(s.StartedAt),

			Name: stepName(r, s.Index), Index: s.Index, State: s.State, Reason: s.Reason,
			StartAt: timeOf(s.StartAt), ReadyAt: timeOf(s.ReadyAt), SkewMS: s.SkewMS, ImageDigest: s.ImageDigest,
		}
	}
	return list
}

func stepName(r broker.Run, index int) string {
	if index < 0 || index >= len(r.Plan.Steps) {
		return ""
	}
	return r.Plan.Steps[index].Name
}

func machinesOf(r broker.Run, machines []broker.Machine) []Machine {
	list := make([]Machine, len(machines))
	for i, m := range machines {
		list[i] = machineOf(m, stepName(r, m.Step))
	}
	return list
}

// machineOf leaves out the paths of the endpoint's keys: they are the broker
// host's business.
func machineOf(m broker.Machine, step string) Machine {
	return Machine{
		Step: step, StepIndex: m.Step, Index: m.Index, State: m.State, Reason: m.Reason,
		Pool: m.Pool, ProviderID: m.ProviderID, Address: m.Address, PublicIP: m.PublicIP, Network: m.Network,
		Engine: m.Endpoint.Host, ClockOffsetMS: milliseconds(m.ClockOffset), ClockErrorMS: milliseconds(m.ClockError),
		RelayID: m.RelayID, ContainerID: m.ContainerID, Environment: m.Environment.Map(),
		StartedAt: timeOf(m.StartedAt), FinishedAt: timeOf(m.FinishedAt), ExitCode: m.ExitCode,
		FrameSeq: m.FrameSeq, FramesFinal: m.FramesFinal, FramesBroken: m.FramesBroken,
		Region: m.Region, Type: m.Type, Spot: m.Spot, HourUSD: m.HourUSD,
		LaunchedAt: timeOf(m.LaunchedAt), ReleasedAt: rentedUntil(m),
	}
}

// rentedUntil is when a rented machine was given back.
func rentedUntil(m broker.Machine) *Time {
	if m.LaunchedAt == nil {
		return nil
	}
	return timeOf(m.ReleasedAt)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func instanceOf(i broker.Instance) Instance {
	tags := i.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return Instance{
		ID: i.ProviderID, Tags: tags, State: i.State, InstanceType: i.Type, IPAddress: i.Address, Placement: i.Placement,
		Name: i.Name, Kind: i.Kind, Pool: i.Pool, RunUUID: i.RunUUID,
		Region: i.Region, Idle: i.Idle,
	}
}

func eventOf(e broker.Event) Event {
	return Event{
		Seq: e.Seq, At: Time{e.At}, Kind: e.Kind, Step: e.Step, Machine: e.Machine, State: e.State, Text: e.Text,
	}
}

func logLineOf(l broker.LogLine) LogLine {
	return LogLine{At: Time{l.At}, Step: l.Step, Machine: l.Machine, Stream: l.Stream, Text: l.Text}
}
