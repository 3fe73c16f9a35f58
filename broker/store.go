package broker

import (
	"context"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// PlanRecord is a plan as it is kept.
type PlanRecord struct {
	ID          int64
	ProjectUUID string
	ProjectName string
	// Parent is the uuid of the plan this one was forked from, ParentRun that
	// of the run; both empty when it was not forked.
	Parent    string
	ParentRun string
	CreatedAt time.Time
	// Frozen says that the plan has been run, so its steps never change.
	Frozen bool
	Plan   strategies.Plan
}

// ProjectRecord is a project as it is kept; its Project.Plans is empty.
type ProjectRecord struct {
	ID      int64
	Project strategies.Project
	Plans   []PlanRecord
}

// RunFilter selects runs; zero fields select all. The newest come first.
type RunFilter struct {
	States      []RunState
	PlanUUID    string
	ProjectUUID string
	Owner       string
	Cleanup     Cleanup
	Limit       int // 0 is no limit
	Offset      int
}

// Event is one entry of a run's history, in the order of Seq.
type Event struct {
	Seq     int64     `db:"seq" json:"seq"` // from 1, per run, without gaps
	At      time.Time `db:"-" json:"at"`
	Kind    EventKind `db:"kind" json:"kind"`
	Step    string    `db:"step" json:"step,omitempty"`       // name of the step, if it is about one
	Machine *int      `db:"machine" json:"machine,omitempty"` // index in the step, if it is about one
	State   string    `db:"state" json:"state,omitempty"`     // new state of what it is about
	Text    string    `db:"text" json:"text"`                 // a sentence for people
}

// EventKind is what an event is about.
type EventKind string

// The kinds of events.
const (
	EventRun     EventKind = "run"
	EventStep    EventKind = "step"
	EventMachine EventKind = "machine"
	EventNote    EventKind = "note" // something to know, for example a recovery
	// EventCriterion is a criterion that was judged.
	EventCriterion EventKind = "criterion"
)

// StoredFrame is one frame of one machine, encoded by metrics.Encode.
type StoredFrame struct {
	MachineID int64
	Seq       uint64
	At        int64 // Frame.Time, Unix ms
	Final     bool
	Body      []byte
	Words     []metrics.Word // that are in it, to be stored also by themselves; only written
}

// MachineWord is what a machine, by its index in the step, has told.
type MachineWord struct {
	Machine int
	metrics.Word
}

// Store keeps all records. It may be used by many goroutines at once. Each
// method is one transaction. Unknown ids give ENotFound, records whose state
// forbids the change EConflict.
type Store interface {
	PlanStore
	RunStore
	FrameStore
	MonitorStore
	// BrokerID returns this database's own id, made when it was created. It
	// labels all that this broker makes.
	BrokerID(ctx context.Context) (string, error)
}

// PlanStore keeps projects and plans.
type PlanStore interface {
	Projects(ctx context.Context) ([]ProjectRecord, error)
	Project(ctx context.Context, uuid string) (ProjectRecord, error)
	ProjectByName(ctx context.Context, name string) (ProjectRecord, error) // the oldest of that name
	// SetMaxCost sets Project.MaxCost.
	SetMaxCost(ctx context.Context, projectUUID string, usd float64) error
	// CreateProject stores the project and all its plans, giving new uuids.
	CreateProject(ctx context.Context, p strategies.Project) (ProjectRecord, error)
	// DeleteProject deletes the project with its plans and their runs;
	// EConflict while a run of it is not completed.
	DeleteProject(ctx context.Context, uuid string) error

	// Plans returns all plans, the newest first, of one project unless empty.
	Plans(ctx context.Context, projectUUID string) ([]PlanRecord, error)
	Plan(ctx context.Context, uuid string) (PlanRecord, error)
	// CreatePlan stores rec.Plan in the project rec.ProjectUUID with rec's
	// parents, giving new uuids.
	CreatePlan(ctx context.Context, rec PlanRecord) (PlanRecord, error)
	// ReplacePlan replaces the plan's fields and steps; EConflict if frozen.
	ReplacePlan(ctx context.Context, uuid string, p strategies.Plan) (PlanRecord, error)
}

// RunStore keeps runs, their step records, machines and events.
type RunStore interface {
	// CreateRun stores the run, with its step records, for the plan
	// run.PlanUUID, which it freezes. run.UUID is kept when given; EConflict if
	// there is a run of that uuid. The run's Plan is copied from the plan
	// stored.
	CreateRun(ctx context.Context, run Run) (Run, error)
	Run(ctx context.Context, uuid string) (Run, error)
	Runs(ctx context.Context, f RunFilter) ([]Run, error)
	// DeleteRun removes a completed run and all that belongs to it; EConflict
	// when it is not completed.
	DeleteRun(ctx context.Context, uuid string) error
	// RequestAbort sets Aborted; it returns false when the run is already
	// terminating or completed.
	RequestAbort(ctx context.Context, uuid string) (bool, error)

	// SaveRun stores the run's changeable columns (state, times, verdict,
	// reason, judgement, cleanup, receipts, versions; never Aborted) and, in the same transaction,
	// the events, whose Seq it sets. When the state is Completed, secret values
	// of the environment are masked for good.
	SaveRun(ctx context.Context, run *Run, events ...Event) error
	// SaveStep stores the step record's changeable columns and the events.
	SaveStep(ctx context.Context, run *Run, step *StepRecord, events ...Event) error
	// SaveMachine inserts the machine (ID 0, setting ID) or stores its
	// changeable columns, except those of frames, and the events.
	SaveMachine(ctx context.Context, run *Run, m *Machine, events ...Event) error
	// AddEvents stores events alone.
	AddEvents(ctx context.Context, run *Run, events ...Event) error

	Machines(ctx context.Context, runUUID string) ([]Machine, error) // by step and index
	// MachinesIn returns the machines of all runs in any of the states.
	MachinesIn(ctx context.Context, states ...MachineState) ([]Machine, error)
	// PreparedIn returns how long machines of the region and type take from when
	// they are asked for until they are prepared, by what earlier ones took; 0 when
	// that is not known.
	PreparedIn(ctx context.Context, region, kind string) (time.Duration, error)
	// ProjectMachines returns the rented machines of the project's runs that cost
	// anything after the time.
	ProjectMachines(ctx context.Context, projectUUID string, since time.Time) ([]Machine, error)
	// Events returns the run's events with Seq > after.
	Events(ctx context.Context, runUUID string, after int64) ([]Event, error)
}

// FrameStore keeps the frames of runs.
type FrameStore interface {
	// AddFrames stores frames of a run's machines, with their words, ignoring those it has, and
	// updates the machines' FrameSeq, FrameTime and FramesFinal. broken is the
	// number of broken lines by machine id, added to FramesBroken.
	AddFrames(ctx context.Context, frames []StoredFrame, broken map[int64]uint64) error
	// Agreement returns what the step's machines have told, and what was decided
	// by it, in that order.
	Agreement(ctx context.Context, runUUID string, step int) ([]MachineWord, []agreement.Decision, error)
	// AddDecisions stores what was decided for the step's machines, and the events;
	// EConflict when one of it was decided before.
	AddDecisions(ctx context.Context, run *Run, step int, decided []agreement.Decision, events ...Event) error
	// Frames calls yield for each frame of the run that is not condensed, by
	// machine and number. An error of yield ends it and is returned.
	Frames(ctx context.Context, runUUID string, yield func(StoredFrame) error) error
	// Ledger returns the account of the run's frames. The counts of Received
	// are sums over the machines' last frames.
	Ledger(ctx context.Context, runUUID string) (metrics.Ledger, error)
	// Condense replaces frames up to the time until (Unix ms) by what
	// metrics.Series.Condense makes of them. Each machine's newest frame stays.
	// Condensed frames count as stored, and are known when they are added again.
	Condense(ctx context.Context, runUUID string, until int64) error
	// Uncondensed returns the completed runs that Condense has something to do
	// for, the oldest first.
	Uncondensed(ctx context.Context) (runUUIDs []string, err error)
	// ReadSeries makes the run's series from frames and what is condensed.
	ReadSeries(ctx context.Context, runUUID string) (*metrics.Series, error)
	// ReadTotals makes a series with the right Summary and Hosts only, and quickly.
	ReadTotals(ctx context.Context, runUUID string) (*metrics.Series, error)
}
