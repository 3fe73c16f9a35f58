package broker

import "context"

// MachineRequest asks a pool for one machine.
type MachineRequest struct {
	BrokerID string // labels what the pool makes
	RunUUID  string
	PlanName string
	Owner    string
	Step     int // index of the step
	StepName string
	Index    int    // among the step's machines
	Token    string // the same for the same machine, however often it is asked for
	Region   string
	Type     string
}

// A Pool lends machines. Its methods may be called at once from many
// goroutines.
type Pool interface {
	// Name is the pool's name, as in Machine.Pool.
	Name() string
	// Acquire gets machines for the requests, which are all of one step. Asked
	// again with the same token it gives the same machine, also after a restart.
	// It fills the fields from Pool to Endpoint of each Machine, in the order of
	// the requests. When some can't be had, their Machine has an empty
	// ProviderID, and the error says why in a sentence for users.
	Acquire(ctx context.Context, reqs []MachineRequest) ([]Machine, error)
	// Release gives a machine back. The broker has removed its containers. It
	// may be called again for a machine already released, and for one whose
	// Acquire was never answered (ProviderID is empty, Token is set).
	Release(ctx context.Context, m Machine) error
	// Owned lists all the pool knows to exist with this broker's label: the
	// provider's list, not a memory.
	Owned(ctx context.Context, brokerID string) ([]Owned, error)
	// Discard ends something that Owned has listed.
	Discard(ctx context.Context, o Owned) error
}

// Owned is something that exists at a pool and carries a broker's label: a
// machine or a part of one.
type Owned struct {
	ProviderID string // the pool's id of it
	Kind       string // "network", "instance", "container", …
	RunUUID    string // of the run it was made for
	Name       string
	Address    string
	State      string // the provider's word
	Type       string
	Placement  string
	Tags       map[string]string
}
