// Package strategies says what to run: projects, plans and steps.
//
// It is pure: it parses, validates, interpolates and times plans, and does no
// I/O of its own. Everything that runs a plan is in package broker.
package strategies

import "github.com/loads/loads/internal/source"

// A Project holds the plans for one service under test.
type Project struct {
	UUID     string `json:"uuid,omitempty" file:"-"`
	Name     string `json:"name" doc:"Name of the project; a file that is loaded again finds its project and plans by their names."`
	HomePage string `json:"home_page" doc:"Where to read about the project."`
	Plans    []Plan `json:"plans" doc:"The plans of the project."`
	// MaxCost is not in loads v2.
	MaxCost float64 `json:"max_cost,omitempty" doc:"What the machines of all runs of the project may cost together within 30 days, in USD, where they are rented; 0 is no limit."`
}

// A Plan is an ordered list of steps. Once it has been run its steps never
// change: Fork makes a changed copy.
type Plan struct {
	UUID        string `json:"uuid,omitempty" file:"-"`
	Name        string `json:"name" doc:"Short name, unique in its project."`
	Description string `json:"description" doc:"What the plan is for."`
	Enabled     bool   `json:"enabled" doc:"Free mark for the owner; the broker runs plans either way."`
	Steps       []Step `json:"steps" doc:"What to run, on how many machines, and when; 1 to 500 steps."`

	// What follows is not in loads v2.

	Criteria  []Criterion `json:"criteria,omitempty" doc:"What a run must fulfil to pass: expressions, or maps with expr and more."`
	OnInvalid OnInvalid   `json:"on_invalid,omitempty" doc:"What an instrument at fault means: fail, the verdict is INVALID, or warn, it is told only."`
	MaxSkewMS int         `json:"max_skew_ms,omitempty" doc:"Largest spread of a step's container starts, in ms, with which the result counts; 0 is 10000."`
	// MaxCPUPercent is for the machines of steps that make load; see Role.
	MaxCPUPercent int     `json:"max_cpu_percent,omitempty" doc:"How busy a generator's processors may be over 10 seconds, in percent, for the result to count; 0 is 95, 100 no limit."`
	MaxCost       float64 `json:"max_cost,omitempty" doc:"What the run's machines may cost at most, in USD, where they are rented; 0 is no limit."`
}

// Defaults of a step's fields, as in loads v2.
const (
	defaultRunMaxTime     = 600
	defaultInstanceRegion = "us-west-2"
	defaultInstanceType   = "t3.micro"
	defaultInstanceCount  = 1
	defaultStopTimeout    = 15
	defaultReadyTimeout   = 60
)

// StatsdPort is the port of every machine's statsd receiver.
const StatsdPort = 8125

// StatsdSocket is the path in containers of the receiver's Unix socket, which
// takes datagrams.
const StatsdSocket = "/run/loads/statsd.sock"

// A Step is one image on a number of machines for a time. Fields whose
// documentation says so are interpolated: they may hold $NAME and ${NAME}; see
// Step.Resolve.
type Step struct {
	UUID string `json:"uuid,omitempty" file:"-"`
	Name string `json:"name" doc:"Short name, unique in its plan."`

	RunDelay   int `json:"run_delay" doc:"Seconds from the start of the run to the start of this step."`
	RunMaxTime int `json:"run_max_time" doc:"Seconds the step may run, from its start; 0, no limit, is for the monitor step only."`

	InstanceRegion string `json:"instance_region" doc:"Region of the machines; the local engine does not care."`
	InstanceType   string `json:"instance_type" doc:"Type of the machines; the local engine does not care."`
	InstanceCount  int    `json:"instance_count" doc:"Number of machines, at most 10000."`

	ContainerName         string      `json:"container_name" doc:"Image, as name:tag. Interpolated."`
	ContainerURL          string      `json:"container_url" doc:"Tarball of the image, used instead of a registry: plain, gzip, bzip2 or zstd, from http:, https: or file:. Interpolated."`
	EnvironmentData       Environment `json:"environment_data" doc:"Environment of the containers: a map, or a list of NAME=VALUE. Values are interpolated."`
	AdditionalCommandArgs string      `json:"additional_command_args" doc:"Arguments after the image's entrypoint, split as a shell splits words. Interpolated."`

	DNSName       string `json:"dns_name" doc:"Round-robin name of the step's machines, for all containers of the plan."`
	PortMapping   string `json:"port_mapping" doc:"Published ports, container:host or container:host/udp, with commas between."`
	VolumeMapping string `json:"volume_mapping" doc:"Mounts, container:host[:ro|rw], with commas between; read-only unless said. The host part is interpolated."`
	DockerSeries  string `json:"docker_series" doc:"Tag type on the metrics of this step that come without one."`
	PruneRunning  bool   `json:"prune_running" doc:"Go on without machines that stop answering, instead of failing the step."`
	NodeDelay     int    `json:"node_delay" doc:"Seconds between starting one machine of the step and the next."`
	CaptureOutput string `json:"_capture_output" doc:"File, in the run's folder, that gets the containers' output."`
	Monitor       bool   `json:"monitor" doc:"True makes this a machine with an InfluxDB and a Grafana for the run alone; only name, instance_region, instance_type, dns_name and environment_data may be given with it."`

	// What follows is not in loads v2.

	Ulimits     map[string]Ulimit `json:"ulimits,omitempty" doc:"Limits of the containers by their names in ulimit, such as nofile: a number, the text soft:hard, or a map of both."`
	CPUs        float64           `json:"cpus,omitempty" doc:"Processors a container may use, also parts of one; 0 is no limit."`
	Memory      Bytes             `json:"memory,omitempty" doc:"Memory a container may use, in bytes or as 512m, 2g; at least 6m; 0 is no limit."`
	StopTimeout int               `json:"stop_timeout" doc:"Seconds between asking a container to stop and killing it."`
	Ready       *Ready            `json:"ready,omitempty" doc:"When the step counts as ready; later steps wait for it."`
	StartAfter  []StartAfter      `json:"start_after,omitempty" doc:"Steps whose readiness or end this one waits for."`
	LogMetrics  []LogMetric       `json:"log_metrics,omitempty" doc:"Metrics made of lines that the containers write; 50 at most."`
	Benchmark   *Benchmark        `json:"benchmark,omitempty" doc:"Benchmark file that the step's machines run as one, with loads/node: its name, or a map with file and params."`
	Quorum      int               `json:"quorum,omitempty" doc:"How many of the step's machines must last for the result to count; 0 is all."`
	Role        Role              `json:"role,omitempty" doc:"What the step is: generator, whose machines must not be out of processor time, or target, which may. When left out, a step that sends timers is a generator."`

	// What follows is for machines that are rented; all others pass it over.

	InstanceTypes []string `json:"instance_types,omitempty" doc:"Types to try, in this order, when none of instance_type can be had."`
	Spot          Spot     `json:"spot,omitempty" doc:"Whether spare machines will do, which cost less and can be taken away: prefer tries them first, only takes no others."`
	ImageID       string   `json:"image_id,omitempty" doc:"Image that the machines boot, such as ami-0abc; when left out, the pool's choice for the type."`
	VolumeSize    int      `json:"volume_size,omitempty" doc:"Size of a machine's disk in GiB; 0 is the pool's choice."`
	Lead          int      `json:"lead,omitempty" doc:"Seconds before run_delay that machines are asked for; 0 is the pool's choice, and one as long as run_delay has them from the beginning."`
}

// Ready says when a started step counts as ready. Exactly one of Port, Log and
// Health is given. Every machine of the step must be ready.
type Ready struct {
	Port    int    `json:"port,omitempty" doc:"TCP port that answers on the machine: a host port of port_mapping."`
	Log     string `json:"log,omitempty" doc:"Regular expression (RE2) that a line of the container's output matches."`
	Health  bool   `json:"health,omitempty" doc:"True waits for the image's own health check."`
	Timeout int    `json:"timeout" doc:"Seconds from the start of the step within which it must be ready, or it fails."`
}

// An Event is what start_after waits for.
type Event string

// The events of a step that another may wait for.
const (
	EventReady Event = "ready" // it is ready; without a Ready, it has started
	EventEnd   Event = "end"   // all its containers have ended
)

// StartAfter names a step, and the event of it to wait for. In a file a bare
// step name means its readiness.
type StartAfter struct {
	Step  string `json:"step" doc:"Name of the step to wait for."`
	Event Event  `json:"event" enum:"ready,end" doc:"What to wait for: ready, or end, when all its containers have ended."`
}

// Ulimit is a soft and a hard limit; -1 is unlimited.
type Ulimit struct {
	Soft int64 `json:"soft" doc:"What the containers get; -1 is unlimited."`
	Hard int64 `json:"hard" doc:"What they may raise it to; -1 is unlimited."`
}

// Bytes is a size in bytes.
type Bytes int64

// A Variable is one entry of an Environment.
type Variable struct {
	Name, Value string
}

// Environment is an ordered list of variables with distinct names. In JSON it
// is written as an object; it is read from an object or a list of NAME=VALUE.
type Environment []Variable

// Get returns the value of the variable and whether it is set.
func (e Environment) Get(name string) (string, bool) {
	for _, v := range e {
		if v.Name == name {
			return v.Value, true
		}
	}
	return "", false
}

// Map returns the variables as a map.
func (e Environment) Map() map[string]string {
	m := make(map[string]string, len(e))
	for _, v := range e {
		m[v.Name] = v.Value
	}
	return m
}

// A Port is one published port.
type Port struct {
	Container int    // port in the container
	Host      int    // port on the machine
	Protocol  string // "tcp" or "udp"
}

// A Volume is one mount of a machine's folder or file in a container.
type Volume struct {
	Container string // path in the container
	Host      string // path on the machine
	ReadOnly  bool
}

// A Fault is a mistake in an input, with its place.
type Fault = source.Fault

// Faults are all mistakes of one input, in the order of the input. It is an
// error; an empty Faults must be returned as a nil error.
type Faults = source.Faults
