package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// timeLayout is ISO 8601 in UTC with microseconds, the precision of the records.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Time is a moment as it is written in answers: UTC, with microseconds and Z.
type Time struct{ time.Time }

// MarshalJSON writes the time in UTC with microseconds.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time.
func (t *Time) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &t.Time); err != nil {
		return fmt.Errorf("read time: %w", err)
	}
	t.Time = t.UTC()
	return nil
}

// Schema describes the time in the OpenAPI document.
func (t Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date-time",
		Description: "UTC, with microseconds and Z.",
		Examples:    []any{"2026-11-21T02:22:07.123456Z"},
	}
}

// Envelope is in every JSON answer.
type Envelope struct {
	Success bool `json:"success" doc:"Whether the call did what was asked."`
	Status  int  `json:"status" doc:"The HTTP status code."`
}

// Failure is the answer to a call that went wrong.
type Failure struct {
	Envelope
	Message string            `json:"message" doc:"A sentence that says what is wrong, and what to do."`
	Faults  strategies.Faults `json:"faults,omitempty" doc:"Every mistake of a plan, at once."`
}

// Project is a project with its plans.
type Project struct {
	UUID     string `json:"uuid"`
	Name     string `json:"name"`
	HomePage string `json:"home_page"`
	Plans    []Plan `json:"plans"`

	MaxCost float64 `json:"max_cost,omitempty" doc:"What rented machines of all its runs may cost together within 30 days, in USD; 0 is no limit."`
}

// BudgetRequest says what the runs of a project may cost together.
type BudgetRequest struct {
	MaxUSD float64 `json:"max_usd" doc:"In USD, within 30 days; 0 is no limit."`
}

// Plan is a plan with its steps and runs.
type Plan struct {
	UUID        string `json:"uuid"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
	Runs        []Run  `json:"runs" doc:"The newest first; of a project at most the last hundred."`
	Steps       []Step `json:"steps"`

	ProjectUUID string `json:"project_uuid,omitempty"`
	ProjectName string `json:"project_name,omitempty"`
	Parent      string `json:"parent,omitempty" doc:"The plan that this one was forked from."`
	ParentRun   string `json:"parent_run,omitempty" doc:"The run that this one was forked from."`
	CreatedAt   *Time  `json:"created_at,omitempty"`
	Frozen      bool   `json:"frozen" doc:"The plan has been run, so it never changes; fork it."`

	Criteria      []strategies.Criterion `json:"criteria,omitempty" doc:"What a run must fulfil to pass."`
	OnInvalid     strategies.OnInvalid   `json:"on_invalid,omitempty" doc:"fail, when empty, or warn."`
	MaxSkewMS     int                    `json:"max_skew_ms,omitempty" doc:"Limit of a step's start skew; 0 is 10000."`
	MaxCPUPercent int                    `json:"max_cpu_percent,omitempty" doc:"Limit of generators' processors; 0 is 95."`
	MaxCost       float64                `json:"max_cost,omitempty" doc:"What rented machines of a run may cost, in USD; 0 is no limit."`
}

// Step is a step as it is kept, with its executions.
type Step struct {
	strategies.Step
	// Monitor is there for monitor steps only: clients of loads v2 look
	// whether it is.
	Monitor     bool         `json:"monitor,omitempty"`
	PlanID      int64        `json:"plan_id"`
	StepRecords []StepRecord `json:"step_records"`
}

// StepRecord is one execution of a step in a run.
type StepRecord struct {
	UUID        string `json:"uuid"`
	RunID       int64  `json:"run_id"`
	StepID      int64  `json:"step_id"`
	Failed      bool   `json:"failed"`
	CreatedAt   Time   `json:"created_at"`
	CompletedAt *Time  `json:"completed_at"`
	StartedAt   *Time  `json:"started_at"`

	Name        string           `json:"name" doc:"The step's name."`
	Index       int              `json:"index" doc:"The step's place in the plan, from 0."`
	State       broker.StepState `json:"state"`
	Reason      string           `json:"reason,omitempty" doc:"Why it failed or was skipped."`
	StartAt     *Time            `json:"start_at,omitempty" doc:"The planned start of its first container."`
	ReadyAt     *Time            `json:"ready_at,omitempty"`
	SkewMS      *float64         `json:"skew_ms,omitempty" doc:"Spread of its containers' starts by the engines' clocks, in ms."`
	ImageDigest string           `json:"image_digest,omitempty"`
}

// Run is one execution of a plan.
type Run struct {
	UUID        string          `json:"uuid"`
	State       broker.RunState `json:"state" doc:"0 INITIALIZING, 1 RUNNING, 2 TERMINATING, 3 COMPLETED."`
	Aborted     bool            `json:"aborted"`
	StepRecords []StepRecord    `json:"step_records"`
	CreatedAt   Time            `json:"created_at"`
	CompletedAt *Time           `json:"completed_at"`
	StartedAt   *Time           `json:"started_at"`
	PlanID      int64           `json:"plan_id"`
	PlanName    string          `json:"plan_name"`
	Owner       string          `json:"owner"`

	StateName     string            `json:"state_name"`
	Verdict       broker.Verdict    `json:"verdict" doc:"PASS, FAIL, INVALID, ERROR, ABORTED, or empty while there is none."`
	Reason        string            `json:"reason,omitempty" doc:"Why the verdict is not PASS."`
	Cleanup       broker.Cleanup    `json:"cleanup" doc:"pending, done or failed; apart from the verdict."`
	CleanupDetail string            `json:"cleanup_detail,omitempty"`
	PlanUUID      string            `json:"plan_uuid"`
	ProjectName   string            `json:"project_name"`
	ProjectUUID   string            `json:"project_uuid"`
	Environment   map[string]string `json:"environment_data" doc:"Given at the trigger; secret values are masked."`
	Versions      map[string]string `json:"versions,omitempty"`
	Plan          *strategies.Plan  `json:"plan,omitempty" doc:"The plan exactly as it is run; only where one run is asked for."`

	Criteria   []broker.CriterionResult `json:"criteria,omitempty" doc:"What became of the plan's criteria, as far as they are judged."`
	Instrument []string                 `json:"instrument,omitempty" doc:"What was at fault with the instrument, if anything was."`

	Cost     *broker.Cost     `json:"cost,omitempty" doc:"What rented machines can cost at most, as it was known at the start."`
	Receipts []broker.Receipt `json:"receipts,omitempty" doc:"What the providers of rented machines said of them after their release."`

	Images []broker.ImageSpread `json:"images,omitempty" doc:"How images came to rented machines, and what the broker sent for it."`
}

// Completed reports whether the run is over.
func (r Run) Completed() bool { return r.State == broker.Completed }

// Machine is a machine of a run.
type Machine struct {
	Step          string              `json:"step" doc:"Name of the step."`
	StepIndex     int                 `json:"step_index"`
	Index         int                 `json:"index" doc:"Among the step's machines, from 0."`
	State         broker.MachineState `json:"state"`
	Reason        string              `json:"reason,omitempty"`
	Pool          string              `json:"pool"`
	ProviderID    string              `json:"provider_id"`
	Address       string              `json:"address"`
	PublicIP      string              `json:"public_ip"`
	Network       string              `json:"network,omitempty"`
	Engine        string              `json:"engine" doc:"Where its container engine is."`
	ClockOffsetMS float64             `json:"clock_offset_ms" doc:"Its clock less the broker's."`
	ClockErrorMS  float64             `json:"clock_error_ms" doc:"How far the offset may be off."`
	RelayID       string              `json:"relay_id,omitempty"`
	ContainerID   string              `json:"container_id,omitempty"`
	Environment   map[string]string   `json:"environment_data,omitempty" doc:"What its container got; secret values are masked."`
	StartedAt     *Time               `json:"started_at"`
	FinishedAt    *Time               `json:"finished_at"`
	ExitCode      *int                `json:"exit_code"`
	FrameSeq      uint64              `json:"frame_seq" doc:"Number of the last frame stored."`
	FramesFinal   bool                `json:"frames_final" doc:"The last frame came."`
	FramesBroken  uint64              `json:"frames_broken"`

	Region     string  `json:"region,omitempty" doc:"Of rented machines, as all that follows."`
	Type       string  `json:"type,omitempty" doc:"As had, perhaps one of the step's instance_types."`
	Spot       bool    `json:"spot,omitempty" doc:"The provider could take it back."`
	HourUSD    float64 `json:"usd_per_hour,omitempty"`
	LaunchedAt *Time   `json:"launched_at,omitempty"`
	ReleasedAt *Time   `json:"released_at,omitempty"`
}

// Instance is a machine as its pool sees it.
type Instance struct {
	ID           string            `json:"id"`
	Tags         map[string]string `json:"tags"`
	State        string            `json:"state"`
	InstanceType string            `json:"instance_type"`
	IPAddress    string            `json:"ip_address"`
	Placement    string            `json:"placement"`

	Name    string `json:"name,omitempty"`
	Kind    string `json:"kind,omitempty" doc:"What it is: a network, an instance, a container."`
	Pool    string `json:"pool,omitempty"`
	RunUUID string `json:"run_uuid,omitempty"`
	Region  string `json:"region,omitempty"`
	Idle    bool   `json:"idle,omitempty" doc:"Its pool keeps it for the next run, for a bounded time."`
}

// Kinds of events that are not in a run's history but travel beside it.
const (
	// EventMetrics carries the last complete second of the run's metrics.
	EventMetrics broker.EventKind = "metrics"
	// EventEnd is the last event of a stream: the run is completed.
	EventEnd broker.EventKind = "end"
)

// Event is one message of a run's event stream: an entry of its history, its
// live metrics, or its end.
type Event struct {
	Seq     int64            `json:"seq,omitempty" doc:"From 1 without gaps; 0 on metrics and end."`
	At      Time             `json:"at"`
	Kind    broker.EventKind `json:"kind" doc:"run, step, machine, note, criterion, metrics or end."`
	Step    string           `json:"step,omitempty"`
	Machine *int             `json:"machine,omitempty"`
	State   string           `json:"state,omitempty"`
	Text    string           `json:"text,omitempty"`
	Metrics *metrics.Summary `json:"metrics,omitempty" doc:"On metrics only."`
	Run     *Run             `json:"run,omitempty" doc:"On end only."`
}

// LogLine is one line of a container's output.
type LogLine struct {
	At      Time   `json:"at"`
	Step    string `json:"step"`
	Machine int    `json:"machine"`
	Stream  string `json:"stream" doc:"stdout or stderr."`
	Text    string `json:"text"`
}

// Report is a run with its metrics and its account.
type Report struct {
	Run      Run             `json:"run"`
	Machines []Machine       `json:"machines"`
	Summary  metrics.Summary `json:"summary"`
	// Hosts are what the machines told of themselves over the whole run.
	Hosts    []metrics.HostSummary `json:"hosts,omitempty"`
	Ledger   metrics.Ledger        `json:"ledger"`
	SpentUSD float64               `json:"spent_usd,omitempty" doc:"What rented machines have cost until now, by their pools' prices."`
	// Influx is set when the run's metrics go to InfluxDB too.
	Influx *Exported `json:"influx,omitempty"`
	// Archive is set when the run is archived, or is to be.
	Archive *broker.Archive `json:"archive,omitempty"`
}

// Exported says how far a run's metrics have come in InfluxDB.
type Exported struct {
	Written uint64         `json:"points_written"`
	Refused uint64         `json:"points_refused" doc:"InfluxDB will never take them."`
	Waiting uint64         `json:"frames_waiting" doc:"Frames whose points are still to be written."`
	Trouble broker.Trouble `json:"trouble,omitempty" doc:"unreachable or refused, while nothing can be written."`
	Detail  string         `json:"detail,omitempty" doc:"What InfluxDB said."`
}

// ForkRequest asks for a changed copy of a plan.
type ForkRequest struct {
	Name string         `json:"name,omitempty" doc:"Name of the fork; empty keeps the parent's."`
	Set  map[string]any `json:"set,omitempty" doc:"New values by path, for example steps.generator.instance_count."`
	Plan any            `json:"plan,omitempty" doc:"A whole plan that takes the place of the parent's before set."`
}

// Validation says whether a plan file is right.
type Validation struct {
	Valid  bool              `json:"valid"`
	Faults strategies.Faults `json:"faults" doc:"Every mistake, in the order of the file; empty when valid."`
	Plans  int               `json:"plans" doc:"Number of plans, when valid."`
	Steps  int               `json:"steps" doc:"Number of steps in all plans, when valid."`
}

// DeletedRun says what deleting a run did.
type DeletedRun struct {
	StoppedRunning bool     `json:"stopped_running" doc:"The run was in progress."`
	Terminated     []string `json:"terminated,omitzero" doc:"With terminate: the machines that were ended."`
	Purged         bool     `json:"purged,omitempty" doc:"With purge: the record is gone."`
}

// Links say where to look at a run.
type Links struct {
	UUID      string            `json:"uuid"`
	PlanName  string            `json:"plan_name"`
	StateName string            `json:"state_name"`
	Verdict   broker.Verdict    `json:"verdict"`
	Links     map[string]string `json:"links" doc:"Paths on this server, by what they show."`
}

// Info is what the broker says of itself, with its runs.
type Info struct {
	Version  string `json:"version"`
	BrokerID string `json:"broker_id" doc:"Labels all that the broker makes."`
	Runs     []Run  `json:"runs" doc:"In progress and past, the newest first."`
}
