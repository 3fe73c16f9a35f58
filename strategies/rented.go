package strategies

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/loads/loads/internal/source"
)

// Spot says whether a step's machines may be spare ones, which cost less and
// which the provider may take back at any time.
type Spot string

// What a step may say of spare machines.
const (
	SpotNever  Spot = ""       // none
	SpotPrefer Spot = "prefer" // spare ones first, others when there are none
	SpotOnly   Spot = "only"   // no others
)

// rented checks what the step asks of machines that are rented.
func (c *checker) rented(at string, s Step) {
	c.bounded(at, "volume_size", s.VolumeSize)
	c.bounded(at, "lead", s.Lead)
	if s.Spot != SpotNever && s.Spot != SpotPrefer && s.Spot != SpotOnly {
		c.add(child(at, "spot"), source.Show(string(s.Spot)), "is not known", "give prefer or only, or leave it out")
	}
	if s.ImageID != "" {
		c.word(child(at, "image_id"), s.ImageID, "give an image such as ami-0123456789abcdef0")
	}
	list := child(at, "instance_types")
	if len(s.InstanceTypes) > maxTypes {
		c.add(list, strconv.Itoa(len(s.InstanceTypes)), "are too many types", fmt.Sprintf("%d are the most", maxTypes))
		return
	}
	for i, name := range s.InstanceTypes {
		field := element(list, i)
		c.word(field, name, "give a type such as "+defaultInstanceType)
		if name != "" && (name == s.InstanceType || slices.Contains(s.InstanceTypes[:i], name)) {
			c.add(field, source.Show(name), "is there already", "leave it out; instance_type is tried first")
		}
	}
}

// Ports are those that the step publishes; entries that can't be read, which
// Validate declines, are left out.
func (s Step) Ports() []Port {
	var ports []Port
	for _, entry := range splitList(s.PortMapping) {
		if p, what := parsePort(entry); what == "" {
			ports = append(ports, p)
		}
	}
	return ports
}

// Longest is how long a run of the plan can take from its start until every
// step is over, if each takes all the time that it may: to be ready, to run and
// to stop.
func (p Plan) Longest() time.Duration {
	l := longest{plan: p, waits: p.waits(), ends: make([]int, len(p.Steps))}
	most := 0
	for i, s := range p.Steps {
		if !s.Monitor {
			most = max(most, l.end(i))
		}
	}
	return time.Duration(min(most, maxSeconds)) * time.Second
}

// longest finds the latest moments of a plan's steps, in seconds from its
// start.
type longest struct {
	plan  Plan
	waits [][]wait
	ends  []int // by step; 0 while it is not known, -1 while it is looked for
}

func (l *longest) end(i int) int {
	if l.ends[i] == 0 {
		l.ends[i] = -1 // a circle, which Validate declines, counts as nothing
		s := l.plan.Steps[i]
		l.ends[i] = l.start(i) + s.RunMaxTime + s.StopTimeout
	}
	return max(l.ends[i], 0)
}

// start is the latest start of the step: those that it waits for are as late as
// they can be.
func (l *longest) start(i int) int {
	at := l.plan.Steps[i].RunDelay
	for _, w := range l.waits[i] {
		s := l.plan.Steps[w.step]
		end := l.end(w.step)
		begin := end - s.RunMaxTime - s.StopTimeout
		switch {
		case w.event == EventEnd:
			at = max(at, end)
		case s.Ready != nil:
			at = max(at, begin+s.Ready.Timeout)
		default:
			at = max(at, begin)
		}
	}
	return at
}
