package engine

import (
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
)

// compensation has the users of a closed phase begin anew in a rhythm, and
// measures requests from it as well: what a user would have seen who had not
// waited for an answer to the request before.
type compensation struct {
	rate benchmark.Rate // users a second, of all machines
}

// pace is the rhythm of a session: it begins its scenario at first, and every
// period after that, or as soon as it can.
type pace struct {
	timer loop.Timer
	first loop.Instant
	turns int64
	due   loop.Instant
}

func (c *compiler) compensate(r *requestStep, s *benchmark.HTTPRequest) {
	r.compensated = -1
	if s.Compensation == nil {
		return
	}
	c.prog.compensation = &compensation{s.Compensation.TargetRate}
	r.compensated, r.compensatedName = c.prog.metrics, append([]byte("compensated-"), r.name...)
	c.prog.metrics++
	if m := s.Compensation.Metric; len(m) > 0 {
		if m[0].RE.Regexp != nil {
			c.fault("has compensation with a metric whose name depends on the path", "give one name")
		}
		r.compensatedName = []byte(m[0].Name)
	}
}

// periodOf is the time from one turn of a session to its next; 0 is no rhythm.
func (p *phaseRun) periodOf() time.Duration {
	c, phase := p.prog.compensation, p.share.Phase
	if c == nil || phase.Kind != benchmark.AlwaysBusy {
		return 0
	}
	users := phase.Users + phase.PerMachine*p.w.e.cfg.Machines + phase.PerThread*p.w.e.cfg.Machines*p.w.e.cfg.Threads
	rate := c.rate.At(phase.Iteration)
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(users) / rate * float64(time.Second))
}

// keepPace begins the session's next turn when it is due.
func (p *phaseRun) keepPace(s *Session) {
	if s.pace == nil {
		s.pace = &pace{first: p.start.Add(time.Duration(p.w.random.Int64N(int64(p.period) + 1)))}
		s.pace.timer.Fire = func() {
			if !p.finishing && !p.terminated {
				p.begin(s, s.pace.timer.When())
			}
		}
	}
	s.pace.due = s.pace.first.Add(time.Duration(s.pace.turns) * p.period)
	s.pace.turns++
	p.w.loop.Set(&s.pace.timer, max(s.pace.due, p.w.loop.Now())) // a turn that is late begins at once
}
