package broker

import (
	"context"
	"time"

	"github.com/loads/loads/strategies"
)

// MachineRequest asks a pool for one machine. What local pools have no use for,
// from Region on, means nothing to them: a plan runs unchanged on all.
type MachineRequest struct {
	BrokerID string // labels what the pool makes
	RunUUID  string
	PlanUUID string
	PlanName string
	Owner    string
	Step     int // index of the step
	StepUUID string
	StepName string
	Index    int    // among the step's machines
	Token    string // the same for the same machine, however often it is asked for

	Region string
	Type   string
	// Alternatives are the types to try, in this order, when there is no
	// capacity for Type.
	Alternatives []string
	// Spot says whether the machine may be one that the provider can take back.
	Spot strategies.Spot
	// Image is the provider's id of the image to boot; empty is the pool's
	// choice.
	Image string
	// VolumeGB is the size of the machine's disk, in GiB; 0 is the pool's choice.
	VolumeGB int
	// Ports are those that the step publishes: the run's own machines must
	// reach them, and the broker, which looks whether the step is ready; nobody
	// else.
	Ports []strategies.Port
	// Container is the image that the step's container is of, and ContainerURL
	// where it is loaded from, if not from a registry: what a pool may load ahead
	// on machines that wait. Empty where the plan alone doesn't tell.
	Container, ContainerURL string
	// Private are TCP ports that the broker and the users that it was told of must
	// reach, and nobody else, not even machines of the run.
	Private []int
	// Life is how long the machine may live for this use, however often its
	// lease is renewed, from when it is up: until the run must be over, and some
	// time for its end. It is the END of the lease's first term, or of the next
	// one of a machine that is used again.
	Life time.Duration
}

// A Pool lends machines. Its methods may be called at once from many
// goroutines.
type Pool interface {
	// Name is the pool's name, as in Machine.Pool.
	Name() string
	// Acquire gets machines for the requests, which are all of one step. Asked
	// again with the same token it gives the same machine, also after a restart.
	// It fills the fields from Pool to Endpoint of each Machine, and if it rents
	// them those from Region to HourUSD and LaunchedAt, which is when the machine
	// began to cost this run, in the order of the requests. When
	// some can't be had, their Machine has an empty ProviderID, and the error
	// says why in a sentence for users.
	Acquire(ctx context.Context, reqs []MachineRequest) ([]Machine, error)
	// Release gives a machine back, to be ended or kept for another run; one with
	// a Reason was of no use to this one. The broker has removed its containers; one
	// that is rented and did not answer may have some yet. It may be called again
	// for a machine already released, and for one whose Acquire was never answered
	// (ProviderID is empty, Token is set).
	Release(ctx context.Context, m Machine) error
	// Owned lists all the pool knows to exist with this broker's label: the
	// provider's list, not a memory. Of a Renter an empty brokerID lists what
	// any broker has made in the account, found with nothing but the
	// credentials.
	Owned(ctx context.Context, brokerID string) ([]Owned, error)
	// Discard ends something that Owned has listed.
	Discard(ctx context.Context, o Owned) error
}

// Owned is something that exists at a pool and carries a broker's label: a
// machine or a part of one.
type Owned struct {
	ProviderID string // the pool's id of it
	Kind       string // "network", "instance", "container", …
	BrokerID   string // of the broker that made it; empty where pools list only their own
	RunUUID    string // of the run it was made for
	// Idle says that the pool keeps it for the next run, on purpose and for a
	// bounded time: the reaper passes it over.
	Idle      bool
	Region    string
	Name      string
	Address   string
	State     string // the provider's word
	Type      string
	Placement string
	Tags      map[string]string
}

// A Renter is a Pool whose machines cost money, and live on a lease that the
// broker renews. Its methods may be called at once from many goroutines.
//
// It keeps what each machine's next renewal needs, over restarts. Until
// Acquire has returned a machine, and from Release on, its lease is the pool's
// own matter.
type Renter interface {
	Pool
	// LeaseEvery is the time between two renewals of a machine's lease: so much
	// less than the lease that two may fail.
	LeaseEvery() time.Duration
	// Renew renews the machine's lease through its engine, which may not have
	// any image yet. life is how long the machine may live from now on,
	// whatever is renewed later: a life that ends later than one given before
	// leaves the end where it was. EUnavailable says that the engine does not
	// answer; renewing may be tried again after any error.
	Renew(ctx context.Context, m Machine, e Engine, life time.Duration) error
	// Admit has the machines, which are all that a run has, reach the ports that
	// their steps publish, wherever the others are: a pool can know who they are
	// only when they are there. It is called again when more have come, after a
	// restart, and when a machine does not answer: then the broker may have another
	// address than before, and is to be admitted, too.
	Admit(ctx context.Context, machines []Machine) error
	// Notices says which of the machines the provider takes back, or has taken;
	// with an error, those that it knows of nevertheless.
	Notices(ctx context.Context, machines []Machine) ([]Notice, error)
	// Quote says what machines for the requests, which are of all steps of one
	// run, would cost, and whether they can be had. It makes nothing. What is
	// wrong with the requests is in Quote.Faults; an error says that the provider
	// could not be asked.
	Quote(ctx context.Context, reqs []MachineRequest) (Quote, error)
	// Receipt asks the provider what became of all that was made for the run,
	// and what is left of it. It may be asked again at any time later.
	Receipt(ctx context.Context, runUUID string) (Receipt, error)
}

// A Notice says that the provider takes a machine back.
type Notice struct {
	ProviderID string
	At         time.Time // when, as far as is known
}

// A Quote is what the machines of a run would cost, before any exists.
type Quote struct {
	Lines  []QuoteLine `json:"lines"`            // one a step, in the order of steps
	Quotas []Quota     `json:"quotas,omitempty"` // those that the machines count against
	// Notes are sentences on what to know, such as why a price is not known.
	Notes []string `json:"notes,omitempty"`
	// Faults are sentences, each on why the machines can't be had as asked and
	// what would be right.
	Faults []string `json:"faults,omitempty"`
}

// A QuoteLine is about the machines of one step.
type QuoteLine struct {
	Step   int    `json:"-"`    // index of the step
	Name   string `json:"step"` // name of the step
	Region string `json:"region"`
	Type   string `json:"type"` // the first one tried
	// Alternatives are the types tried after it, in their order.
	Alternatives []string `json:"alternatives,omitempty"`
	Count        int      `json:"count"` // of machines
	Image        string   `json:"image"` // what they boot
	// Architecture is that of the type, as Docker calls it: amd64 or arm64.
	Architecture string          `json:"architecture"`
	Spot         strategies.Spot `json:"spot"`
	// Zones of the region that offer the type.
	Zones []string `json:"zones"`
	// LowUSD and HighUSD bound the price of one machine with its disk and
	// address, in USD an hour: HighUSD is the most that any type and way of
	// buying it which may be tried can cost.
	LowUSD  float64 `json:"low_usd_per_hour"`
	HighUSD float64 `json:"high_usd_per_hour"`
	// Beyond is how much longer than MachineRequest.Life a machine can be paid
	// for, whatever fails: until it is up or given up, and while it ends.
	Beyond time.Duration `json:"-"`
	// Up is how long it takes until all of the machines are up, as measured or by
	// experience.
	Up time.Duration `json:"-"`
}

// A Quota is a limit of the account.
type Quota struct {
	Name   string  `json:"name"` // the provider's name for it
	Region string  `json:"region"`
	Limit  float64 `json:"limit"`
	Used   float64 `json:"used"`
	Needed float64 `json:"needed"` // by the machines of the quote
	Unit   string  `json:"unit"`   // what is counted, such as vCPU
}

// A Receipt is the provider's own account of what was made for a run.
type Receipt struct {
	At         time.Time `json:"at"` // when the provider was asked
	Pool       string    `json:"pool"`
	Launched   int       `json:"launched"`   // machines
	Reused     int       `json:"reused"`     // machines that another run had before
	Terminated int       `json:"terminated"` // of both, or ending
	Kept       int       `json:"kept"`       // of both, idle for the next run, or in use by it
	// Left is what still exists of the run and isn't kept on purpose.
	Left []Remainder `json:"left"`
	// Notes are sentences on what the provider can't say any more.
	Notes []string `json:"notes,omitempty"`
	// Fault says why the provider could not be asked; then the rest is empty.
	// The broker sets it, and Pool.
	Fault string `json:"fault,omitempty"`
}

// A Remainder is something that is left of a run.
type Remainder struct {
	Kind   string `json:"kind"` // "instance", "volume", "interface", …
	ID     string `json:"id"`
	Region string `json:"region"`
	State  string `json:"state"` // the provider's word
}
