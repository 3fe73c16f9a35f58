package broker

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// Config is what a Broker is made of.
type Config struct {
	Store Store
	// Pools lend the machines; the first is the default.
	Pools []Pool
	Dial  Dialer
	// Dir is where the logs and captured outputs of runs are kept.
	Dir     string
	Log     *slog.Logger
	Version string
}

// A Broker runs plans. All its methods may be called by many goroutines at
// once, between Start and Close.
type Broker struct {
	cfg  Config
	id   string
	hub  *hub
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	ctx  context.Context // of all runs; ended by Close
	runs map[string]*execution
}

// StartRequest asks for a run.
type StartRequest struct {
	PlanUUID    string
	RunUUID     string // fixed id of the run; empty makes one
	Owner       string
	Environment strategies.Environment // for interpolation; wins over the steps'
}

// Edits change a plan on its way to a fork.
type Edits struct {
	// Name of the fork; empty keeps the parent's.
	Name string
	// Set gives new values by path, for example steps.generator.instance_count
	// or description; a step is named by its name or its index.
	Set map[string]any
	// Plan, when not nil, takes the place of the whole plan before Set.
	Plan *strategies.Plan
}

// A LogQuery selects logs of a run.
type LogQuery struct {
	Step    string // step name; empty is all
	Machine *int   // index in the step; nil is all
	Relay   bool   // the relay's own log in place of the plan's containers'
	Follow  bool
	Tail    int // last lines of each; 0 is all
}

// A LogLine is one line of a container's output.
type LogLine struct {
	At      time.Time `json:"at"`
	Step    string    `json:"step"`
	Machine int       `json:"machine"`
	Stream  string    `json:"stream"` // stdout or stderr
	Text    string    `json:"text"`
}

// An Instance is a machine as its pool sees it.
type Instance struct {
	Owned
	Pool string
}

// Report is a run with its metrics and its account.
type Report struct {
	Run      Run
	Machines []Machine
	Summary  metrics.Summary
	Ledger   metrics.Ledger
}

var _ io.Closer = (*Broker)(nil)
