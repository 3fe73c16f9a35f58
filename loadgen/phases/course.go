package phases

import (
	"slices"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
)

// Status is how far a phase is. It only ever grows.
type Status int

// The statuses of a phase. Those ending in -ing have been ordered, and wait for
// all machines to report them done. A cancelled phase has never run.
const (
	NotStarted Status = iota
	Starting
	Running
	Finishing
	Finished // no more users start
	Terminating
	Terminated // no user is left
	Cancelled
)

// String returns the status as reports write it.
func (s Status) String() string {
	return [...]string{"not started", "starting", "running", "finishing", "finished", "terminating", "terminated", "cancelled"}[s]
}

func (s Status) isOver() bool { return s == Terminated || s == Cancelled }

// Course is how far a run is. It is a value: Next returns another and leaves
// the one it gets alone.
type Course struct {
	Phases  []PhaseCourse
	Failed  bool // a phase has failed
	Killed  bool
	Stopped bool // all phases are over, and Stop has been ordered
}

// PhaseCourse is how far a phase is.
type PhaseCourse struct {
	Status   Status
	Start    time.Duration // since the start of the run, when it was ordered to run
	Failed   bool
	asked    bool     // TryTerminate has been ordered
	machines []Status // as each machine has reported last
}

// NewCourse is the course of a run before its start.
func NewCourse(list []Phase, machines int) Course {
	c := Course{Phases: make([]PhaseCourse, len(list))}
	for i, p := range list {
		if p.Kind != benchmark.Noop {
			c.Phases[i].machines = make([]Status, machines)
		}
	}
	return c
}

// EventKind is what has happened.
type EventKind int

// The kinds of events.
const (
	Tick        EventKind = iota // time has passed
	Report                       // a machine has reached a status in a phase: Running, Finished or Terminated
	PhaseFailed                  // a phase has failed
	MachineLost                  // a machine will report no more
	Kill                         // the run is to end now
)

// Event is something that has happened.
type Event struct {
	Kind    EventKind
	At      time.Duration // since the start of the run
	Machine int           // of Report and MachineLost
	Phase   int           // of Report and PhaseFailed
	Status  Status        // of Report
}

// OrderKind is what machines are told to do.
type OrderKind int

// The kinds of orders.
const (
	Run          OrderKind = iota // start the phase
	Finish                        // start no more users
	TryTerminate                  // end once no user is busy
	Terminate                     // stop the users that are busy
	Stop                          // all phases are over
)

// String names the order.
func (k OrderKind) String() string {
	return [...]string{"run", "finish", "try to terminate", "terminate", "stop"}[k]
}

// Order is what all machines are told to do. Phase is -1 for Stop.
type Order struct {
	Kind  OrderKind
	Phase int
}

// Next returns the course after an event, and what is to be ordered because of
// it. Events that come twice or too late change nothing. When a phase has
// failed, policy says whether those that have not started are cancelled.
func Next(list []Phase, c Course, policy benchmark.FailurePolicy, e Event) (Course, []Order) {
	c = c.clone()
	s := &stepper{list: list, Course: &c, now: e.At}
	s.apply(e, policy)
	for s.changed = true; s.changed; {
		s.changed = false
		for i := range list {
			s.advance(i)
		}
	}
	over := func(p PhaseCourse) bool { return !p.Status.isOver() }
	if !c.Stopped && !slices.ContainsFunc(c.Phases, over) {
		c.Stopped = true
		s.orders = append(s.orders, Order{Stop, -1})
	}
	return c, s.orders
}

func (c Course) clone() Course {
	c.Phases = slices.Clone(c.Phases)
	for i := range c.Phases {
		c.Phases[i].machines = slices.Clone(c.Phases[i].machines)
	}
	return c
}

// stepper works out one event.
type stepper struct {
	*Course
	list    []Phase
	now     time.Duration
	orders  []Order
	changed bool
}

func (s *stepper) apply(e Event, policy benchmark.FailurePolicy) {
	switch e.Kind {
	case Report:
		// An answer to an order can't overtake it, so none counts before.
		if p := &s.Phases[e.Phase]; e.Machine < len(p.machines) && p.Status != NotStarted {
			p.machines[e.Machine] = max(p.machines[e.Machine], e.Status)
		}
	case PhaseFailed:
		s.Phases[e.Phase].Failed, s.Failed = true, true
		if policy != benchmark.Continue {
			s.cancel()
		}
	case MachineLost:
		for i := range s.Phases {
			if m := s.Phases[i].machines; e.Machine < len(m) {
				m[e.Machine] = Terminated
			}
		}
		s.kill()
	case Kill:
		s.kill()
	}
}

// cancel cancels the phases that have not started. An umbrella whose parts
// have begun stays, to end with them.
func (s *stepper) cancel() {
	for i := range s.Phases {
		if s.Phases[i].Status == NotStarted && !s.hasBegun(i) {
			s.Phases[i].Status = Cancelled
		}
	}
}

func (s *stepper) hasBegun(umbrella int) bool {
	p := s.list[umbrella]
	return p.Umbrella && slices.ContainsFunc(p.EndAfter, func(at int) bool {
		status := s.Phases[at].Status
		return status != NotStarted && status != Cancelled || status == NotStarted && s.hasBegun(at)
	})
}

func (s *stepper) kill() {
	s.Killed = true
	for i := range s.Phases {
		switch p := &s.Phases[i]; {
		case p.Status == NotStarted:
			p.Status = Cancelled
		case s.list[i].Kind == benchmark.Noop:
			p.Status = Terminated
		case p.Status < Terminating:
			s.order(i, Terminate, Terminating)
		}
	}
}

func (s *stepper) order(i int, kind OrderKind, status Status) {
	s.orders = append(s.orders, Order{kind, i})
	s.set(i, status)
}

func (s *stepper) set(i int, status Status) {
	if status > s.Phases[i].Status {
		s.Phases[i].Status, s.changed = status, true
	}
}

// advance brings a phase as far as it can be now.
func (s *stepper) advance(i int) {
	p, c := &s.list[i], &s.Phases[i]
	if c.Status == Cancelled || c.Status == Terminated {
		return
	}
	if c.Status == NotStarted {
		if s.mayStart(p) {
			c.Start = s.now
			if p.Kind == benchmark.Noop {
				s.set(i, Running)
			} else {
				s.order(i, Run, Starting)
			}
		}
		return
	}
	if p.Kind == benchmark.Noop {
		s.advanceNoop(i)
		return
	}
	s.set(i, slices.Min(c.machines))
	elapsed := s.now - c.Start
	switch {
	case c.Status == Terminated:
	case p.MaxDuration > 0 && elapsed >= p.MaxDuration && c.Status < Terminating:
		s.order(i, Terminate, Terminating)
	case p.Duration > 0 && elapsed >= p.Duration && c.Status < Finishing:
		s.order(i, Finish, Finishing)
	case c.Status == Finished && !c.asked:
		// It stays finished until the last user has ended on all machines.
		c.asked = true
		s.orders = append(s.orders, Order{TryTerminate, i})
	}
}

// advanceNoop is for phases that machines have no part in.
func (s *stepper) advanceNoop(i int) {
	p, c := &s.list[i], &s.Phases[i]
	if s.now-c.Start >= p.Duration {
		s.set(i, Finished)
	}
	if c.Status == Finished && s.all(p.EndAfter, Terminated) {
		s.set(i, Terminated)
	}
}

func (s *stepper) mayStart(p *Phase) bool {
	if s.now < p.StartTime || !s.all(p.StartAfter, Finished) || !s.all(p.StartStrict, Terminated) {
		return false
	}
	if p.StartWith < 0 {
		return true
	}
	with := s.Phases[p.StartWith]
	return with.Status != NotStarted && with.Status != Cancelled && s.now >= with.Start+p.Delay
}

// all reports whether the phases have the status, or are further. Those that
// were cancelled have.
func (s *stepper) all(list []int, status Status) bool {
	return !slices.ContainsFunc(list, func(i int) bool { return s.Phases[i].Status < status })
}

// Due returns when a Tick will next change something though no other event
// comes, and false if none will.
func Due(list []Phase, c Course) (at time.Duration, ok bool) {
	consider := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	s := &stepper{list: list, Course: &c, now: 1<<63 - 1}
	for i := range list {
		p, phase := &list[i], c.Phases[i]
		switch {
		case phase.Status == NotStarted && s.mayStart(p):
			t := p.StartTime
			if p.StartWith >= 0 {
				t = max(t, c.Phases[p.StartWith].Start+p.Delay)
			}
			consider(t)
		case phase.Status == NotStarted || phase.Status.isOver():
		case p.Kind == benchmark.Noop && phase.Status < Finished:
			consider(phase.Start + p.Duration)
		case p.Kind == benchmark.Noop:
		default:
			if p.Duration > 0 && phase.Status < Finishing {
				consider(phase.Start + p.Duration)
			}
			if p.MaxDuration > 0 && phase.Status < Terminating {
				consider(phase.Start + p.MaxDuration)
			}
		}
	}
	return at, ok
}
