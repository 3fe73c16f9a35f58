// Package broker is how a plan is run: Run, StepRecord, Machine, Verdict; the
// state machine that drives them, recovery after a crash, and the interfaces
// it needs of databases, machine pools and container engines.
//
// Rules that hold everywhere in it: an intent is on disk before the act and
// the outcome after it; the state column is the program counter; every act can
// be repeated.
package broker

import (
	"time"

	"github.com/loads/loads/strategies"
)

// RunState is where a run stands. The numbers are those of loads v2.
type RunState int

// The states of a run, in their order.
const (
	Initializing RunState = iota // machines are asked for, images loaded
	Running                      // steps start and end
	Terminating                  // what runs is stopped, machines are released
	Completed                    // over; the verdict stands
)

// String returns the state's name in upper case, as in loads v2.
func (s RunState) String() string {
	switch s {
	case Initializing:
		return "INITIALIZING"
	case Running:
		return "RUNNING"
	case Terminating:
		return "TERMINATING"
	case Completed:
		return "COMPLETED"
	}
	return "UNKNOWN"
}

// Verdict is the judgement on a run; empty while there is none.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "PASS"
	Fail    Verdict = "FAIL"    // a criterion failed
	Invalid Verdict = "INVALID" // the instrument was at fault
	Errored Verdict = "ERROR"   // the plan could not be run as planned
	Aborted Verdict = "ABORTED" // somebody stopped the run
)

// Cleanup says whether a run left anything behind. It never changes the verdict.
type Cleanup string

// The states of a run's cleanup.
const (
	CleanupPending Cleanup = "pending" // not done yet
	CleanupDone    Cleanup = "done"    // the pools confirm that nothing is left
	CleanupFailed  Cleanup = "failed"  // something is left; it is tried again
)

// A Run is one execution of a plan.
type Run struct {
	ID          int64    `db:"id"`
	UUID        string   `db:"uuid"`
	State       RunState `db:"state"`
	PlanID      int64    `db:"plan_id"`
	PlanUUID    string   `db:"plan_uuid"`
	PlanName    string   `db:"plan_name"`
	ProjectName string   `db:"project_name"`
	ProjectUUID string   `db:"project_uuid"`
	Owner       string   `db:"owner"`
	// Plan is the plan exactly as it is run, kept with the run.
	Plan strategies.Plan `db:"-"`
	// Environment was given at the trigger. Values of secret names are kept
	// only until the run is completed, and are masked after that.
	Environment strategies.Environment `db:"-"`
	CreatedAt   time.Time              `db:"-"`
	StartedAt   *time.Time             `db:"-"` // the T0 of all run_delays
	CompletedAt *time.Time             `db:"-"`
	// Aborted is set, on disk, the moment an abort is asked.
	Aborted bool    `db:"aborted"`
	Verdict Verdict `db:"verdict"`
	// Reason is one sentence on why the verdict is not PASS.
	Reason        string  `db:"reason"`
	Cleanup       Cleanup `db:"cleanup"`
	CleanupDetail string  `db:"cleanup_detail"`
	// Versions are those of the broker, the engines and the node image.
	Versions map[string]string `db:"-"`
	// Judgement is what the verdict rests on, as far as it is known.
	Judgement Judgement `db:"-"`
	// Cost is what the machines could cost at most, as it was known when the run
	// was asked for; nil when none is rented.
	Cost *Cost `db:"-"`
	// Receipts are what the providers of rented machines said of them after
	// their release, the newest of each pool.
	Receipts []Receipt `db:"-"`
	// Images are how images came to rented machines.
	Images      []ImageSpread `db:"-"`
	StepRecords []StepRecord  `db:"-"` // in the order of Plan.Steps
}

// StepState is where a step of a run stands.
type StepState string

// The states of a step record.
const (
	StepPending  StepState = "pending"  // not due yet
	StepArming   StepState = "arming"   // StartAt is fixed, containers are being created
	StepStarting StepState = "starting" // all are created and checked; they start at StartAt
	StepStarted  StepState = "started"  // running, not ready yet
	StepReady    StepState = "ready"    // running and ready
	StepStopping StepState = "stopping" // asked to stop
	StepEnded    StepState = "ended"    // over, as planned
	StepFailed   StepState = "failed"   // over, not as planned
	StepSkipped  StepState = "skipped"  // never started
)

// Over reports whether the step has come to its end.
func (s StepState) Over() bool {
	return s == StepEnded || s == StepFailed || s == StepSkipped
}

// A StepRecord is one execution of a step in a run.
type StepRecord struct {
	ID          int64      `db:"id"`
	UUID        string     `db:"uuid"`
	RunID       int64      `db:"run_id"`
	StepID      int64      `db:"step_id"`
	Index       int        `db:"idx"` // in Run.Plan.Steps
	State       StepState  `db:"state"`
	Failed      bool       `db:"failed"`
	Reason      string     `db:"reason"` // why it failed or was skipped
	CreatedAt   time.Time  `db:"-"`
	StartAt     *time.Time `db:"-"` // planned start of the first container
	StartedAt   *time.Time `db:"-"`
	ReadyAt     *time.Time `db:"-"`
	CompletedAt *time.Time `db:"-"`
	// SkewMS is the spread between the first and the last start of the step's
	// containers less their planned distance, in ms, by the engines' clocks
	// corrected for their offsets; nil before all have started.
	SkewMS *float64 `db:"skew_ms"`
	// ImageDigest is the id of the image that ran (sha256:…).
	ImageDigest string `db:"image_digest"`
}

// MachineState is where a machine of a run stands.
type MachineState string

// The states of a machine.
const (
	MachineRequested MachineState = "requested" // the pool is asked, or about to be
	MachineReady     MachineState = "ready"     // it answers
	MachinePrepared  MachineState = "prepared"  // images are loaded, its relay runs
	MachineLost      MachineState = "lost"      // it stopped answering, or never did
	MachineReleasing MachineState = "releasing" // the pool is asked to take it back
	MachineReleased  MachineState = "released"  // the pool took it back
)

// Endpoint is how to reach a machine's container engine.
type Endpoint struct {
	Host string `json:"host"`           // unix:///…, tcp://…, ssh://…
	CA   string `json:"ca,omitempty"`   // PEM files for mutual TLS: paths on the broker's host
	Cert string `json:"cert,omitempty"` //
	Key  string `json:"key,omitempty"`  //
	// ServerName is the name that the engine's certificate must have; empty is
	// the host's own name or address.
	ServerName string `json:"server_name,omitempty"`
}

// A Machine is one container engine that a run uses: one of a step's
// instance_count.
type Machine struct {
	ID      int64        `db:"id"`
	RunID   int64        `db:"run_id"`
	RunUUID string       `db:"run_uuid"`
	Step    int          `db:"step_idx"` // index of the step
	Index   int          `db:"idx"`      // among the step's machines, from 0
	State   MachineState `db:"state"`
	Reason  string       `db:"reason"`
	// Replaced says that it was of no use, and that another machine has its place.
	Replaced bool `db:"replaced"`
	// Token makes asking for the machine idempotent; it is stored first.
	Token string `db:"token"`

	Pool       string   `db:"pool"`        // name of the pool that gave it
	ProviderID string   `db:"provider_id"` // the pool's own id of it
	Address    string   `db:"address"`     // private address: $PRIVATE_IP and $STATSD_HOST
	PublicIP   string   `db:"public_ip"`   // $HOST_IP
	Network    string   `db:"network"`     // engine network of the plan's containers; empty is the engine's default
	Endpoint   Endpoint `db:"-"`

	// What follows, up to ReleasedAt, is of rented machines only.
	Region  string  `db:"region"`
	Type    string  `db:"type"`     // as had, perhaps one of the step's alternatives
	Spot    bool    `db:"spot"`     // the provider may take it back
	Reused  bool    `db:"reused"`   // its pool had it before it was asked for
	HourUSD float64 `db:"hour_usd"` // price with its disk and address, in USD an hour
	// RequestedAt is when its pool was asked for it, PreparedAt when it was ready for
	// its container.
	RequestedAt *time.Time `db:"-"`
	PreparedAt  *time.Time `db:"-"`
	// LaunchedAt is when it began to cost; ReleasedAt when it was given back.
	LaunchedAt *time.Time `db:"-"`
	ReleasedAt *time.Time `db:"-"`

	// ClockOffset is the engine's clock less the broker's; ClockError is half
	// the round trip it was measured with.
	ClockOffset time.Duration `db:"clock_offset"`
	ClockError  time.Duration `db:"clock_error"`

	RelayID     string `db:"relay_id"`     // container id of the relay
	ContainerID string `db:"container_id"` // container id of the plan's container
	// ImageID is what the plan's container is made from (sha256:…): a name may
	// come to mean another image between loading it and using it.
	ImageID string `db:"image_id"`
	// Environment is what the plan's container got, in the order it got it;
	// stores keep secret values masked.
	Environment strategies.Environment `db:"-"`
	StartedAt   *time.Time             `db:"-"` // by the engine's clock
	FinishedAt  *time.Time             `db:"-"` // by the engine's clock
	ExitCode    *int                   `db:"exit_code"`
	// FrameSeq and FrameTime are those of the last frame stored. FramesFinal
	// says that the relay's last frame came.
	FrameSeq     uint64 `db:"frame_seq"`
	FrameTime    int64  `db:"frame_time"`
	FramesFinal  bool   `db:"frames_final"`
	FramesBroken uint64 `db:"frames_broken"`
}
