package broker

import (
	"context"
	"io"
	"time"

	"github.com/loads/loads/images/order"
)

// Labels on everything that a broker makes in an engine.
const (
	LabelBroker  = "loads.broker"  // id of the broker
	LabelRun     = "loads.run"     // uuid of the run
	LabelStep    = "loads.step"    // index of the step
	LabelMachine = "loads.machine" // index of the machine in the step
	LabelRole    = "loads.role"    // RoleRelay, RolePlan or RoleMonitor, on containers and their volumes
	LabelStartAt = "loads.start"   // planned start, Unix ms, on plan containers
)

// Values of LabelRole.
const (
	RoleRelay = "relay"
	RolePlan  = "plan"
	// RoleMonitor is on the InfluxDB and the Grafana of a monitor step.
	RoleMonitor = "monitor"
)

// NodeImage is the image of our node program. Engines never pull it: it is
// made by Engine.EnsureNodeImage.
const NodeImage = "loads/node"

// EmptyImage is an image of nothing, for containers that are never started, but
// have files put through their mounts. It is made by Engine.EnsureEmptyImage.
const EmptyImage = "loads/empty"

// EngineInfo says what an engine is.
type EngineInfo struct {
	Version      string // of the engine
	Architecture string // amd64 or arm64
	RootDir      string // where on the machine it keeps its containers; may be empty
	// Offset is the engine's clock less ours; Error is half the round trip it
	// was measured with.
	Offset, Error time.Duration
}

// ContainerSpec describes a container to create.
type ContainerSpec struct {
	Name     string // unique on the engine; creating it again finds the first
	Image    string
	Command  []string // appended to the entrypoint
	Env      []string // NAME=VALUE
	Labels   map[string]string
	Network  string   // network name, "host", or empty for the default
	DNS      []string // addresses of name servers, empty for the engine's own
	Ports    []PortBinding
	Volumes  []VolumeBinding
	Shared   []SharedVolume
	Ulimits  map[string][2]int64 // soft and hard
	NanoCPUs int64               // 0 is no limit
	Memory   int64               // bytes, 0 is no limit
	// Sysctls are settings of the kernel for the container's network namespace, by
	// their names, all of which the kernel must have.
	Sysctls     map[string]string
	StopTimeout time.Duration
	Log         LogLimit
	// Files are put into the container before it starts, by absolute path.
	Files map[string][]byte
}

// LogLimit bounds what the engine keeps of a container's output, which is in
// files of one JSON object a line. Zeroes are the engine's own choice.
type LogLimit struct {
	Size  int64 // bytes of a file, beyond which another is begun
	Files int   // that are kept
}

// PortBinding publishes a container's port on an address of the machine.
type PortBinding struct {
	Container, Host int    // a Host of 0 is any free port
	Protocol        string // "tcp" or "udp"
	Address         string // empty is every address
}

// VolumeBinding mounts a path of the machine, which is made, as a folder, when
// it is not there.
type VolumeBinding struct {
	Container, Host string
	ReadOnly        bool
}

// SharedVolume mounts a volume of the engine, which containers have in common.
// One that is not there is made, with the labels of the container.
type SharedVolume struct {
	Name, Container string
	ReadOnly        bool
}

// Volume is what an engine says of a volume.
type Volume struct {
	Name   string
	Labels map[string]string
}

// Container is what an engine says of a container.
type Container struct {
	ID         string
	Name       string
	Labels     map[string]string
	Image      string    // id of the image (sha256:…)
	State      string    // created, running, paused, restarting, exited, dead
	StartedAt  time.Time // by the engine's clock; zero if never
	FinishedAt time.Time // likewise
	ExitCode   int
	OOMKilled  bool
	Health     string // "", starting, healthy, unhealthy
	Error      string // why it could not start
	// Ports are those that are published, while it runs.
	Ports []PortBinding
}

// Started reports whether the container was ever started.
func (c Container) Started() bool { return !c.StartedAt.IsZero() }

// Running reports whether the container runs now.
func (c Container) Running() bool { return c.State == "running" || c.State == "paused" }

// LogOptions selects a container's output.
type LogOptions struct {
	Since      time.Time // by the engine's clock; zero is the start
	Follow     bool      // go on until the container ends
	Timestamps bool      // each line begins with its RFC 3339 time and a space
	Tail       int       // last lines only; 0 is all
}

// An Engine runs containers on one machine. Its methods may be called at once
// from many goroutines, and each may be called again after a failure that left
// its outcome unknown. A container, image, network or volume that does not exist gives
// ENotFound (but removing it succeeds); an engine that can't be reached, or is
// too slow, gives EUnavailable.
type Engine interface {
	// Info asks the engine, and measures its clock.
	Info(ctx context.Context) (EngineInfo, error)

	// EnsureNodeImage makes NodeImage for the engine's architecture and loads
	// it, unless the engine has it, and returns its id.
	EnsureNodeImage(ctx context.Context) (string, error)
	// EnsureEmptyImage makes EmptyImage and loads it, unless the engine has it.
	EnsureEmptyImage(ctx context.Context) error
	// EnsureImage pulls the image ref, always for the tag latest and for none,
	// else when the engine doesn't have it, or loads it from the tarball at url
	// when url is not empty. It returns the image's id. NodeImage goes to
	// EnsureNodeImage. An image of tag latest that the engine has is used when
	// the registry can't be reached.
	EnsureImage(ctx context.Context, ref, url string) (string, error)

	// Create makes a container without starting it and returns its id. A
	// container of that name and with the same labels is returned as it is.
	Create(ctx context.Context, spec ContainerSpec) (string, error)
	// PutFiles puts files into a container, by absolute path, whether it runs or
	// not. Files that are there are replaced; whoever reads them meanwhile may
	// find none for a moment, or half of one.
	PutFiles(ctx context.Context, id string, files map[string][]byte) error
	// Start starts it; one that runs or has ended already is left alone.
	Start(ctx context.Context, id string) error
	// StartAt is Start at a time by this computer's clock: it is called before
	// that, and does all that can be done before.
	StartAt(ctx context.Context, id string, at time.Time) error
	Inspect(ctx context.Context, id string) (Container, error)
	// List returns the containers that carry all the labels, running or not.
	List(ctx context.Context, labels map[string]string) ([]Container, error)
	// Wait returns when the container has ended, or ctx is done.
	Wait(ctx context.Context, id string) error
	// Stop asks the container to end and kills it after the timeout.
	Stop(ctx context.Context, id string, timeout time.Duration) error
	// Remove removes the container, killing it if it runs.
	Remove(ctx context.Context, id string) error
	// Logs copies the container's output to the writers, either of which may be
	// nil, until its end (or the container's, when following).
	Logs(ctx context.Context, id string, opts LogOptions, stdout, stderr io.Writer) error

	// Volumes returns the volumes that carry all the labels.
	Volumes(ctx context.Context, labels map[string]string) ([]Volume, error)
	// RemoveVolume removes the volume; EConflict says that a container has it.
	RemoveVolume(ctx context.Context, name string) error

	// Close frees the connections.
	Close() error
}

// A Network is a bridge network of an engine; pools make one a machine where
// one engine plays several.
type Network struct {
	ID      string
	Name    string
	Gateway string // the engine's own address on it
	Subnet  string // in CIDR notation
	Labels  map[string]string
	Created time.Time // by the engine's clock
}

// Dialer opens the engine at an endpoint. It does not need to connect.
type Dialer func(Endpoint) (Engine, error)

// A Spreader is an Engine to which images can come from other machines, past
// the broker. It may be used as an Engine is.
type Spreader interface {
	Engine
	// HasImage returns the id of the image, if neither EnsureImage nor, for
	// NodeImage, EnsureNodeImage would bring it; else ENotFound.
	HasImage(ctx context.Context, ref, url string) (string, error)
	// NodeRecipe says what NodeImage for the engine's architecture is made of.
	NodeRecipe(ctx context.Context) (order.Recipe, error)
	// ImageName is the name, with its tag, that EnsureImage would look for in the
	// tarball at url; empty if ref is.
	ImageName(ref, url string) (string, error)
	// MaxArchive is how many bytes a tarball may have, unpacked.
	MaxArchive() int64
	// RegistryOrder says how the engine's machine can get the image ref from its
	// registry by itself, with the broker's login.
	RegistryOrder(ctx context.Context, ref string) (order.Registry, error)
	// PutArchive puts the tarball at url, as compressed as it is, into a folder
	// that a container mounts, as the file.
	PutArchive(ctx context.Context, id, file, url string) error
	// ImportLayer has the engine fetch a layer from url, of which it makes an
	// image without a configuration, and returns its id. What has another digest
	// is removed.
	ImportLayer(ctx context.Context, url, digest string) (string, error)
	// PullLocal pulls the image whose manifest has the digest from a registry at
	// an address on the engine's own machine, gives it the names that it would
	// have by EnsureImage, and returns its id.
	PullLocal(ctx context.Context, address, digest, ref, url string) (string, error)
	// Sent is how many bytes of images this broker has sent to the engine.
	Sent() int64
}
