package metrics

import (
	"errors"
	"fmt"
)

// The measurements of the plan's containers, named as Telegraf's input docker
// names them, and the tag that tells containers apart.
const (
	ContainerCPU     = "docker_container_cpu"
	ContainerMemory  = "docker_container_mem"
	ContainerNetwork = "docker_container_net"
	ContainerTag     = "container_name"
)

// A HostPoint is what a machine itself did, apart from what the plan's
// containers sent, or what one of those containers did: one measurement with
// its fields, named as Telegraf's inputs cpu, mem, system, diskio, net, netstat
// and docker name them. Fields that count,
// such as bytes_recv of net, are totals since the machine started, so that
// nothing of them is lost with a frame.
type HostPoint struct {
	Name   string             `json:"n"`           // for example "cpu"
	Tags   []Tag              `json:"g,omitempty"` // sorted by name
	Fields map[string]float64 `json:"f"`           // for example "usage_user"
}

func (p *HostPoint) check() error {
	if p.Name == "" {
		return errors.New("name is missing")
	}
	if len(p.Fields) == 0 {
		return errors.New("fields are missing")
	}
	for name, value := range p.Fields {
		if name == "" || !finite(value) {
			return fmt.Errorf("field %q is %v, want a name and a finite number", name, value)
		}
	}
	return checkTags(p.Tags)
}
