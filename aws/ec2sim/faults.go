package ec2sim

import (
	"fmt"
	"slices"
	"time"
)

// A FaultName names what goes wrong.
type FaultName string

// What can go wrong: first with calls, then with machines.
const (
	NoCapacity FaultName = "no-capacity"          // RunInstances finds no room in the zone, or too little
	Throttled  FaultName = "throttled"            // the call is refused for coming too soon
	ErrorAfter FaultName = "error-after-doing-it" // the call is done, and answered with status 500
	AnswerLost FaultName = "answer-lost"          // the call is done, and the connection cut

	NeverBoots FaultName = "never-boots"          // EC2 says it runs, but nothing does
	NoDocker   FaultName = "boots-without-docker" // everything but the Docker engine comes up
	Dies       FaultName = "dies"                 // the machine is lost, and EC2 ends it
	SpotTaken  FaultName = "spot-taken"           // two minutes' notice, then the machine is ended
	NetworkCut FaultName = "network-cut"          // the machine goes on, and can't be reached
	ClockWrong FaultName = "clock-wrong"          // the machine's clock is off
	DiskFull   FaultName = "disk-full"            // the machine has no free disk
)

// callFaults are the faults of calls; the others are of machines.
var callFaults = []FaultName{NoCapacity, Throttled, ErrorAfter, AnswerLost}

// timedFaults are the faults that come upon a machine while it runs.
var timedFaults = []FaultName{Dies, SpotTaken, NetworkCut}

var allFaults = []FaultName{
	NoCapacity, Throttled, ErrorAfter, AnswerLost,
	NeverBoots, NoDocker, Dies, SpotTaken, NetworkCut, ClockWrong, DiskFull,
}

// A Fault is something that goes wrong: what, when, and how often. Without a
// selector it meets every call, or every machine.
type Fault struct {
	Name FaultName `yaml:"fault" json:"fault"`

	// The selector: all that is given has to match.

	Action string            `yaml:"action,omitempty" json:"action,omitempty"` // of faults of calls: RunInstances
	Region string            `yaml:"region,omitempty" json:"region,omitempty"`
	Zone   string            `yaml:"zone,omitempty" json:"zone,omitempty"`
	Type   string            `yaml:"type,omitempty" json:"type,omitempty"`
	Tags   map[string]string `yaml:"tags,omitempty" json:"tags,omitempty"`

	// Nth is which of the matching ones is met, from 1; 0 is any.
	Nth int `yaml:"nth,omitempty" json:"nth,omitempty"`
	// Count is how many are met at most; 0 is any number.
	Count int `yaml:"count,omitempty" json:"count,omitempty"`
	// Rate is the share of the matching ones that is met; 0 is all.
	Rate float64 `yaml:"rate,omitempty" json:"rate,omitempty"`

	// Room is how many machines that match there is room for all the same: of
	// no-capacity. A call for more gets as many as there is room for, if that is
	// enough for it.
	Room int `yaml:"room,omitempty" json:"room,omitempty"`
	// At is how long after the machine began to run it dies, is cut off, or is
	// given notice.
	At Delay `yaml:"at,omitempty" json:"at,omitzero"`
	// For is how long the network is cut; 0 is for good.
	For Duration `yaml:"for,omitempty" json:"for,omitzero"`
	// By is how wrong the clock is.
	By Duration `yaml:"by,omitempty" json:"by,omitzero"`
}

// A Duration is written as text: 1m30s.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration; write it like 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// check returns what is wrong with a fault.
func (f Fault) check() []string {
	var faults []string
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	ofCall := slices.Contains(callFaults, f.Name)
	switch {
	case f.Name == "":
		wrong("fault is missing; it is one of %v", allFaults)
		return faults
	case !slices.Contains(allFaults, f.Name):
		wrong("fault %q is not known; it is one of %v", f.Name, allFaults)
		return faults
	}
	if f.Action != "" && (!ofCall || f.Name == NoCapacity) {
		wrong("action: %s isn't met by calls of one action; leave it out", f.Name)
	}
	if f.Rate < 0 || f.Rate > 1 {
		wrong("rate %g is not from 0 to 1", f.Rate)
	}
	if f.Nth < 0 || f.Count < 0 {
		wrong("nth and count can't be negative")
	}
	if f.Room < 0 || f.Room > 0 && f.Name != NoCapacity {
		wrong("room: it goes with %s, and is not negative", NoCapacity)
	}
	if f.At != (Delay{}) && !slices.Contains(timedFaults, f.Name) {
		wrong("at: only %v have a time", timedFaults)
	}
	if f.For != 0 && f.Name != NetworkCut {
		wrong("for: only %s has a length", NetworkCut)
	}
	if (f.By != 0) != (f.Name == ClockWrong) {
		wrong("by: it goes with %s, which needs it", ClockWrong)
	}
	return faults
}

// An occasion is a call or a machine that a fault may meet.
type occasion struct {
	action, region, zone, typ string
	tags                      map[string]string
}

func (f Fault) matches(o occasion) bool {
	for _, pair := range [][2]string{{f.Action, o.action}, {f.Region, o.region}, {f.Zone, o.zone}, {f.Type, o.typ}} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	return o.carries(f.Tags)
}

// carries reports whether the occasion has all these tags.
func (o occasion) carries(tags map[string]string) bool {
	for key, value := range tags {
		if o.tags[key] != value {
			return false
		}
	}
	return true
}

// An armed fault is one that waits for its occasions.
type armed struct {
	Fault
	ID   int `json:"id"`
	Seen int `json:"seen"` // occasions that matched
	Hits int `json:"hits"` // of them, those it met
}

// meets reports whether the fault meets the occasion, and counts.
func (a *armed) meets(o occasion, dice *draws) bool {
	if !a.matches(o) {
		return false
	}
	a.Seen++
	drawn := dice.next(fmt.Sprintf("fault %d", a.ID)).Float64()
	hit := (a.Nth == 0 || a.Seen == a.Nth) &&
		(a.Count == 0 || a.Hits < a.Count) &&
		(a.Rate == 0 || drawn < a.Rate)
	if hit {
		a.Hits++
	}
	return hit
}

// met returns the first armed fault of this name that meets the occasion, or
// nil.
func (s *Sim) met(name FaultName, o occasion) *armed {
	for _, a := range s.faults {
		if a.Name == name && a.meets(o, s.dice) {
			return a
		}
	}
	return nil
}

// arm adds a fault.
func (s *Sim) arm(f Fault) *armed {
	s.lastFault++
	a := &armed{Fault: f, ID: s.lastFault}
	s.faults = append(s.faults, a)
	return a
}
