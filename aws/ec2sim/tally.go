package ec2sim

import (
	"cmp"
	"slices"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// The codes under which calls are counted that gave no error.
const (
	codeOK   = "OK"
	codeLost = "answer lost"
)

type callKey struct{ service, region, action, code string }

// Calls are how often an action had an outcome.
type Calls struct {
	Service string `json:"service"`
	Region  string `json:"region"`
	Action  string `json:"action"`
	Code    string `json:"code"` // of the error, or OK
	N       int    `json:"n"`
}

// A Tally is how many of a kind were made, and how many of them are left.
type Tally struct {
	Made int `json:"made"`
	Left int `json:"left"`
}

// The kinds of things that are counted.
const (
	kindInstance  = "instances"
	kindVolume    = "volumes"
	kindInterface = "network-interfaces"
	kindGroup     = "security-groups"
	kindSpot      = "spot-requests"
)

func (s *Sim) made(kind string) {
	if s.tally[kind] == nil {
		s.tally[kind] = &Tally{}
	}
	s.tally[kind].Made++
	s.tally[kind].Left++
}

func (s *Sim) gone(kind string) { s.tally[kind].Left-- }

// count counts a call.
func (s *Sim) count(service, region, action, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[callKey{service, region, action, code}]++
}

// counted counts a call with the lock held.
func (s *Sim) counted(c *call, region string, lost bool, fault *wire.Error) {
	code := codeOK
	switch {
	case fault != nil:
		code = fault.Code
	case lost:
		code = codeLost
	}
	s.calls[callKey{c.service, region, c.action, code}]++
}

// State is what a Sim has done so far.
type State struct {
	Launched int            `json:"launched"` // instances ever made
	Alive    int            `json:"alive"`    // of them, those not terminated
	ByState  map[string]int `json:"by_state"` // of those still listed
	Calls    []Calls        `json:"calls"`
	Receipt  Receipt        `json:"receipt"`
}

// A Receipt is what was ever made and what is left of it, by kind. Security
// groups are those somebody made; spot requests are left while they are active.
type Receipt map[string]Tally

// State tells what has happened.
func (s *Sim) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{ByState: map[string]int{}, Receipt: Receipt{}, Calls: []Calls{}}
	for _, kind := range []string{kindInstance, kindVolume, kindInterface, kindGroup, kindSpot} {
		state.Receipt[kind] = Tally{}
		if t := s.tally[kind]; t != nil {
			state.Receipt[kind] = *t
		}
	}
	for kind, counts := range s.store.Counts() {
		state.Receipt[kind] = Tally{Made: counts[0], Left: counts[1]}
	}
	state.Launched, state.Alive = state.Receipt[kindInstance].Made, state.Receipt[kindInstance].Left
	for _, r := range s.regions {
		for _, in := range r.instances {
			state.ByState[in.state.Name]++
		}
	}
	for key, n := range s.calls {
		state.Calls = append(state.Calls, Calls{key.service, key.region, key.action, key.code, n})
	}
	slices.SortFunc(state.Calls, func(a, b Calls) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Region, b.Region),
			cmp.Compare(a.Action, b.Action), cmp.Compare(a.Code, b.Code))
	})
	return state
}
