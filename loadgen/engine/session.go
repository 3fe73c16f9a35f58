package engine

import (
	"fmt"

	"github.com/loads/loads/loadgen/loop"
)

// verdict is what a step says when it was run.
type verdict uint8

const (
	next verdict = iota // go on with the step after it
	wait                // run it again when something has happened
	jump                // go on where the step has set pc to
	over                // the sequence has ended
)

// step is one step of a sequence. One that says wait has done nothing that it
// must not do twice.
type step func(in *instance) verdict

// action is what handlers can do as well: it never waits.
type action func(in *instance)

// sequence is a compiled sequence.
type sequence struct {
	number      int
	name        string
	concurrency int
	steps       []step
	queue       *queueSpec // that feeds it
}

// Session is a user on their way through a scenario. Sessions are kept when they
// have ended, and used for other users: nothing is made for a user once there
// are enough of them.
type Session struct {
	w     *worker
	phase *phaseRun
	prog  *program
	id    int
	place int // among the busy sessions of the phase

	planned   loop.Instant // when the user was due
	vars      []value
	instances []*instance // that run, or whose requests are under way
	idle      []*instance
	requests  []*request // all that were made, busy or not
	busy      int        // requests under way
	delays    []loop.Instant
	cookies   jar
	cache     cache
	holds     []Hold // by endpoint
	lines     []*line

	current *request // whose answer is being handled
	running bool     // run is at work
	again   bool     // something has changed that somebody may wait for
	stopped bool
	waited  bool // it has waited for something
	queues  []queueState
	pace    *pace // of a closed phase with a rhythm
}

// instance is a sequence that runs in a session.
type instance struct {
	s     *Session
	seq   *sequence
	index int // among the instances of its sequence
	pc    int
	ended bool
	refs  int // requests under way that it has sent

	at      loop.Instant // since when the next step could have begun
	timer   loop.Timer
	until   loop.Instant // end of a pause, 0 if there is none
	pending *request     // that the sequence waits for
	watches []loop.Instant
	restart bool // go back to the first step
}

// maxSteps is how many steps an instance does in one turn: a scenario that never
// waits must not stop everything else.
const maxSteps = 2000

// begin starts the scenario for a user who was due at planned.
func (s *Session) begin(planned loop.Instant) {
	s.planned, s.stopped, s.waited = planned, false, false
	for _, seq := range s.prog.sequences[:s.prog.initial] {
		s.start(seq, -1, planned)
	}
	s.run()
}

// start starts an instance of a sequence, with an index or any free one if that
// is below 0. It returns false if as many run as may.
func (s *Session) start(seq *sequence, index int, at loop.Instant) bool {
	if index < 0 {
		if index = s.freeIndex(seq); index < 0 {
			return false
		}
	}
	if len(s.instances) >= s.prog.maxSequences {
		s.fail(fmt.Errorf("more than %d sequences run at once: set maxSequences", s.prog.maxSequences))
		return true
	}
	var in *instance
	if n := len(s.idle); n > 0 {
		in, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		in = newInstance(s)
	}
	in.seq, in.index, in.pc, in.at, in.ended = seq, index, 0, at, false
	in.until, in.pending, in.watches, in.restart = 0, nil, in.watches[:0], false
	s.instances = append(s.instances, in)
	s.again = true
	return true
}

func newInstance(s *Session) *instance {
	in := &instance{s: s}
	in.timer.Fire = in.wake
	return in
}

// freeIndex returns the lowest index that no instance of the sequence has, -1
// if there is none.
func (s *Session) freeIndex(seq *sequence) int {
	for index := range seq.concurrency {
		taken := false
		for _, in := range s.instances {
			if in.seq == seq && in.index == index {
				taken = true
				break
			}
		}
		if !taken {
			return index
		}
	}
	return -1
}

func (in *instance) wake() { in.s.run() }

// pauseUntil has the session run again at an instant.
func (in *instance) pauseUntil(at loop.Instant) { in.s.w.loop.Set(&in.timer, at) }

// run does all steps that can be done now.
func (s *Session) run() {
	if s.running {
		s.again = true
		return
	}
	s.running, s.again = true, true
	for s.again && !s.stopped {
		s.again = false
		for i := 0; i < len(s.instances) && !s.stopped; {
			in := s.instances[i]
			if !in.ended {
				in.run()
			}
			if in.ended && in.refs == 0 && !s.stopped {
				s.remove(i)
				s.again = len(s.instances) > 0
				continue
			}
			i++
		}
	}
	s.running = false
	if s.stopped || len(s.instances) == 0 {
		s.end()
		return
	}
	s.waited = true
}

// remove puts an instance aside.
func (s *Session) remove(i int) {
	in := s.instances[i]
	last := len(s.instances) - 1
	copy(s.instances[i:], s.instances[i+1:])
	s.instances = s.instances[:last]
	s.w.loop.Stop(&in.timer)
	s.idle = append(s.idle, in)
	if q := in.seq.queue; q != nil && !s.stopped {
		s.dequeue(q, in)
	}
}

// run does the instance's steps until one waits.
func (in *instance) run() {
	steps := in.seq.steps
	for range maxSteps {
		if in.restart {
			in.restart, in.pc = false, 0
		}
		if in.pc >= len(steps) {
			in.ended = true
			return
		}
		v := steps[in.pc](in)
		if in.s.stopped {
			return
		}
		switch v {
		case next:
			in.pc++
		case jump:
		case wait:
			return
		case over:
			in.ended = true
			return
		}
	}
	in.pauseUntil(in.s.w.loop.Now())
}

// stop ends the session; run, or whoever called, comes to its end.
func (s *Session) stop() { s.stopped = true }

// halt stops the session from outside of run.
func (s *Session) halt() {
	s.stopped = true
	if !s.running {
		s.end()
	}
}

// fail ends the session and makes the phase fail: the scenario asks for what
// can't be done.
func (s *Session) fail(err error) {
	if !s.stopped {
		s.phase.fail(err)
	}
	s.stop()
}

func (in *instance) fail(err error) { in.s.fail(fmt.Errorf("sequence %s: %w", in.seq.name, err)) }

// end cleans up after the user, and tells the phase.
func (s *Session) end() {
	if s.place < 0 || s.running {
		return // it has ended already, or is about to
	}
	s.stopped, s.running = true, true // for requests that end now
	for _, r := range s.requests {
		r.cancel()
	}
	for len(s.instances) > 0 {
		s.instances[len(s.instances)-1].refs = 0
		s.remove(len(s.instances) - 1)
	}
	for i := range s.vars {
		s.vars[i].forget()
	}
	clear(s.delays)
	clear(s.queues)
	s.cookies.reset()
	s.cache.clear()
	s.hangUp()
	for i, h := range s.holds {
		if h != nil {
			h.Release(s.w.e.endpoints[i].closes)
		}
	}
	s.running = false
	s.phase.ended(s)
}
