package strategies

// Limits of what a plan may ask for. They are far beyond what is useful, and
// keep a slip of the pen from becoming an outage.
const (
	maxName      = 100
	maxPlans     = 1000
	maxSteps     = 500
	maxInstances = 10_000
	maxSeconds   = 366 * 24 * 60 * 60
	maxVariables = 1000
	maxCPUs      = 1024
	maxVolume    = 16384 // GiB; the most that EC2 has
	maxTypes     = 20
	maxCost      = 1_000_000
	minMemory    = 6 << 20 // the least that Docker accepts
	maxBytes     = 1 << 50 // of any size: a petabyte, far from overflow
)

// maxFaults is how many faults of one input are looked for: enough for any
// file that people write, and a bound for what they can be made to cost.
const maxFaults = 1000

// bounds are what a whole number may be, both included.
type bounds struct {
	least, most int
	unit        string
}

// boundsOf returns the bounds of a plan's, a step's or a Ready's field, and whether it
// has any.
func boundsOf(name string) (bounds, bool) {
	switch name {
	case "run_delay", "node_delay", "stop_timeout", "lead":
		return bounds{0, maxSeconds, "seconds"}, true
	case "run_max_time", "timeout":
		return bounds{1, maxSeconds, "seconds"}, true
	case "instance_count":
		return bounds{1, maxInstances, "machines"}, true
	case "port":
		return bounds{1, 65535, "a port"}, true
	case "quorum":
		return bounds{0, maxInstances, "machines"}, true
	case "max_skew_ms":
		return bounds{0, maxSeconds * 1000, "milliseconds"}, true
	case "max_cpu_percent":
		return bounds{0, 100, "percent"}, true
	case "volume_size":
		return bounds{0, maxVolume, "GiB"}, true
	case "max_cost":
		return bounds{0, maxCost, "USD"}, true
	case "cpus":
		return bounds{0, maxCPUs, "processors"}, true
	}
	return bounds{}, false
}

// ulimitNames lists the limits that Docker knows.
func ulimitNames() []string {
	return []string{
		"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
		"rtprio", "rttime", "sigpending", "stack",
	}
}

// monitorFields lists what may be given on the monitor step; all else about it
// is fixed.
func monitorFields() []string {
	return []string{"monitor", "name", "instance_region", "instance_type", "dns_name", "environment_data"}
}
