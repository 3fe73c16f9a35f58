package ec2sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/aws/ec2sim/catalog"
)

// A Drill is how a simulator behaves: how slow it is, what it limits and what
// goes wrong. The same drill with the same calls in the same order gives the
// same answers.
type Drill struct {
	Seed   uint64  `yaml:"seed"`
	Delays Delays  `yaml:"delays"`
	Limits Limits  `yaml:"limits"`
	Faults []Fault `yaml:"faults"`
}

// Delays are how long things take.
type Delays struct {
	Pending     Delay `yaml:"pending"`     // from asked for, or started, to running
	Stopping    Delay `yaml:"stopping"`    // from stopping to stopped, beyond what the machine takes
	Terminating Delay `yaml:"terminating"` // from shutting-down to terminated, likewise
	Checks      Delay `yaml:"checks"`      // from running until the status checks are passed
	Visible     Delay `yaml:"visible"`     // until what was made is found by its id, and in lists
	Lag         Delay `yaml:"lag"`         // until a change of state is seen in answers
	// Listed is for how long a terminated instance is still listed.
	Listed Delay `yaml:"listed"`
	// Notice is how long before it is taken a spot machine is told.
	Notice Delay `yaml:"notice"`
}

// Limits are what can be had.
type Limits struct {
	// Throttle is whether calls are limited as AWS documents it.
	Throttle bool `yaml:"throttle"`
	// OnDemandVCPUs and SpotVCPUs are the quotas of standard instances in each
	// region.
	OnDemandVCPUs int `yaml:"on_demand_vcpus"`
	SpotVCPUs     int `yaml:"spot_vcpus"`
	// Capacity says where there is not room without end.
	Capacity []Capacity `yaml:"capacity"`
}

// A Capacity is room for so many machines. What isn't given is any.
type Capacity struct {
	Region    string `yaml:"region"`
	Zone      string `yaml:"zone"`
	Type      string `yaml:"type"`
	Instances int    `yaml:"instances"`
}

// DefaultDrill is a quick cloud in which nothing goes wrong.
func DefaultDrill() Drill {
	return Drill{
		Seed: 1,
		Delays: Delays{
			Pending: Fixed(time.Second), Stopping: Fixed(time.Second), Terminating: Fixed(time.Second),
			Checks: Fixed(10 * time.Second), Listed: Fixed(time.Hour), Notice: Fixed(2 * time.Minute),
		},
		Limits: Limits{Throttle: true, OnDemandVCPUs: 1920, SpotVCPUs: 1920},
	}
}

// LoadDrill reads a drill from a file, YAML or JSON. What it doesn't say is as
// in DefaultDrill. The error names all faults of the file.
func LoadDrill(file string) (Drill, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Drill{}, fmt.Errorf("read drill: %w", err)
	}
	d, err := ParseDrill(data)
	if err != nil {
		return Drill{}, fmt.Errorf("drill %s: %w", file, err)
	}
	return d, nil
}

// What the decoder says in Go's words, and what people understand.
var (
	unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongKind  = regexp.MustCompile("cannot construct !!\\S+ `([^`]*)` into \\S+")
)

// inWords lists what the decoder found wrong, one a line.
func inWords(err error) error {
	var found *yaml.LoadErrors
	if !errors.As(err, &found) {
		return err
	}
	var all []error
	for _, e := range found.Errors {
		text := unknownKey.ReplaceAllString(e.Message, "$1 is no key of a drill here")
		text = wrongKind.ReplaceAllString(text, "$1 is not the kind of value that is wanted here")
		all = append(all, fmt.Errorf("line %d: %s", e.Mark.Line, text))
	}
	return errors.Join(all...)
}

// ParseDrill reads a drill; see LoadDrill.
func ParseDrill(data []byte) (Drill, error) {
	d := DefaultDrill()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return Drill{}, inWords(err)
	}
	var faults []string
	for i, f := range d.Faults {
		for _, text := range f.check() {
			faults = append(faults, fmt.Sprintf("faults[%d]: %s", i, text))
		}
	}
	for i, c := range d.Limits.Capacity {
		if c.Instances < 0 {
			faults = append(faults, fmt.Sprintf("limits.capacity[%d]: instances can't be negative", i))
		}
		if _, ok := catalog.FindType(c.Type); c.Type != "" && !ok {
			faults = append(faults, fmt.Sprintf("limits.capacity[%d]: type %q is not one that is offered", i, c.Type))
		}
		if _, ok := catalog.FindRegion(c.Region); c.Region != "" && !ok {
			faults = append(faults, fmt.Sprintf("limits.capacity[%d]: region %q is not known", i, c.Region))
		}
	}
	if len(faults) > 0 {
		return Drill{}, errors.New(strings.Join(faults, "\n"))
	}
	return d, nil
}
