package metrics

import (
	"maps"
	"slices"
)

// A HostSummary is what one machine told of itself over the whole run. What it
// did not tell is nil.
type HostSummary struct {
	Step    string `json:"step"`
	Machine int    `json:"machine"` // index in the step
	// CPU is the share of all processors' time that was used or stolen, in
	// percent, and Steal that which other virtual machines took.
	CPU   *Level `json:"cpu_percent,omitempty"`
	Steal *Level `json:"steal_percent,omitempty"`
	// Memory is the share in use, in percent.
	Memory *Level `json:"memory_percent,omitempty"`
	// Received and Sent are bytes of the network since the first frame.
	Received *float64 `json:"received_bytes,omitempty"`
	Sent     *float64 `json:"sent_bytes,omitempty"`
	// Containers are those of the plan, by id.
	Containers []ContainerSummary `json:"containers,omitempty"`
}

// A ContainerSummary is what a machine told of one of the plan's containers
// over the whole run. What it did not tell is nil.
type ContainerSummary struct {
	Name string `json:"name"`
	// CPU is in percent of one processor.
	CPU *Level `json:"cpu_percent,omitempty"`
	// Memory is in bytes.
	Memory   *Level   `json:"memory_bytes,omitempty"`
	Received *float64 `json:"received_bytes,omitempty"`
	Sent     *float64 `json:"sent_bytes,omitempty"`
	// OOMKills is how many of its processes were killed for want of memory.
	OOMKills *float64 `json:"oom_kills,omitempty"`
}

// A Level is a figure that goes up and down.
type Level struct {
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"` // of a second
}

// Hosts returns what the machines told of themselves, by step and machine;
// those that told nothing are left out.
func (s *Series) Hosts() []HostSummary {
	byMachine := make(map[machineKey]*HostSummary)
	var order []*HostSummary
	for _, key := range slices.SortedFunc(maps.Keys(s.hosts), compareHosts) {
		h := byMachine[key.machineKey]
		if h == nil {
			h = &HostSummary{Step: key.step, Machine: key.machine}
			byMachine[key.machineKey] = h
			order = append(order, h)
		}
		h.add(key, s.hosts[key])
	}
	all := make([]HostSummary, len(order))
	for i, h := range order {
		all[i] = *h
	}
	slices.SortFunc(all, func(a, b HostSummary) int {
		return compareHosts(hostKey{machineKey: machineKey{a.Step, a.Machine}}, hostKey{machineKey: machineKey{b.Step, b.Machine}})
	})
	return all
}

// add takes in one measurement.
func (h *HostSummary) add(key hostKey, t *hostTrack) {
	fields := t.whole(key.name).fields
	switch key.name {
	case "cpu":
		h.CPU, h.Steal = levelOf(fields["usage_active"]), levelOf(fields["usage_steal"])
	case "mem":
		h.Memory = levelOf(fields["used_percent"])
	case "net":
		h.Received, h.Sent = grown(fields["bytes_recv"]), grown(fields["bytes_sent"])
	case ContainerCPU:
		h.container(t.tags).CPU = levelOf(fields["usage_percent"])
	case ContainerMemory:
		c := h.container(t.tags)
		c.Memory, c.OOMKills = levelOf(fields["usage"]), last(fields["oom_kill"])
	case ContainerNetwork:
		c := h.container(t.tags)
		c.Received, c.Sent = last(fields["rx_bytes"]), last(fields["tx_bytes"])
	}
}

// container returns the summary of the container that the tags name.
func (h *HostSummary) container(tags []Tag) *ContainerSummary {
	name := ""
	for _, tag := range tags {
		if tag.Name == ContainerTag {
			name = tag.Value
		}
	}
	i := slices.IndexFunc(h.Containers, func(c ContainerSummary) bool { return c.Name == name })
	if i < 0 {
		i = len(h.Containers)
		h.Containers = append(h.Containers, ContainerSummary{Name: name})
	}
	return &h.Containers[i]
}

func levelOf(stats HostStats) *Level {
	if stats.Count == 0 {
		return nil
	}
	return &Level{Mean: significant(stats.Mean), Max: stats.Max}
}

// grown is how much a total grew from its first value to its last.
func grown(stats HostStats) *float64 {
	if stats.Count == 0 {
		return nil
	}
	return new(stats.Max - stats.Min)
}

// last is the last value of a total that began with the run.
func last(stats HostStats) *float64 {
	if stats.Count == 0 {
		return nil
	}
	return new(stats.Max)
}
