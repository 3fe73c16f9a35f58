package engine

import (
	"slices"
	"time"

	"github.com/loads/loads/loadgen/arrivals"
	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/phases"
)

// startsAtOnce is how many users a loop starts before it looks at its
// connections again.
const startsAtOnce = 128

// phaseRun is a phase on one loop: it starts users when they are due, and knows
// those that are busy.
type phaseRun struct {
	w      *worker
	number int // in the benchmark
	share  phases.Share
	prog   *program

	start     loop.Instant
	timetable *arrivals.Timetable
	due       loop.Instant // of the next user
	more      bool         // there is a next user
	timer     loop.Timer   // for the next user
	late      queue        // users who are due while too many are busy
	starting  bool         // startLate is at work

	busy   []*Session
	free   []*Session
	made   int // sessions
	left   int // users of a closed phase that have not started yet
	lazy   []*Session
	period time.Duration // of the rhythm in which sessions begin anew, 0 if there is none

	status     phases.Status
	finishing  bool // no more users are to start, but those that are due
	terminated bool
	failed     bool

	metrics  []int     // number in the recorder by request step, -1 if it is not known
	messages []Message // that are the same for all requests of a step
}

func newPhaseRun(w *worker, number int, share phases.Share, prog *program) *phaseRun {
	p := &phaseRun{w: w, number: number, share: share, prog: prog}
	p.timer.Fire = p.fire
	if share.Arrivals != nil {
		p.timer.Early = w.e.cfg.Grain
	}
	p.metrics = make([]int, prog.metrics)
	for i := range p.metrics {
		p.metrics[i] = -1
	}
	p.messages = make([]Message, prog.requests)
	p.prepare(share.Estimate)
	return p
}

// maxPrepared is how many sessions a loop makes beforehand, of all phases.
const maxPrepared = 20_000

// prepare makes sessions, those of the lowest numbers for the first users.
func (p *phaseRun) prepare(n int) {
	n = min(n, maxPrepared-p.w.prepared)
	p.w.prepared += n
	for range n {
		s := p.newSession()
		for range p.prog.initial {
			s.idle = append(s.idle, newInstance(s))
		}
		p.free = append(p.free, s)
	}
	slices.Reverse(p.free)
}

// run starts the phase, whose time counts from start.
func (p *phaseRun) run(start loop.Instant) {
	if p.status != phases.NotStarted {
		return
	}
	p.start = start
	p.report(phases.Running)
	switch {
	case p.share.Arrivals != nil:
		timetable, err := arrivals.New(*p.share.Arrivals)
		if err != nil {
			p.fail(err)
			p.terminate()
			return
		}
		p.timetable = timetable
		p.nextDue()
	default:
		p.left = p.share.Users
		if p.period = p.periodOf(); p.period > 0 {
			for ; p.left > 0; p.left-- {
				p.keepPace(p.session())
			}
		}
		p.due, p.more = start, p.left > 0
	}
	p.fire()
}

// nextDue asks the timetable for the next user.
func (p *phaseRun) nextDue() {
	at, ok := p.timetable.Next()
	p.due, p.more = p.start.Add(at), ok
}

// fire starts the users who are due, and those who are soon, and arms the timer
// for the next. A user who starts early counts from when they started.
func (p *phaseRun) fire() {
	for _, s := range p.takeLazy() {
		p.begin(s, p.w.loop.Now())
	}
	now := p.w.loop.Now()
	for n := 0; p.more && !p.terminated; n++ {
		if p.due > now && (p.due > now.Add(p.timer.Early) || p.isFull()) {
			break
		}
		if n == startsAtOnce {
			p.w.loop.Set(&p.timer, now) // in the next turn
			return
		}
		due := p.due
		if p.timetable != nil {
			p.arrive(due)
			p.nextDue()
			continue
		}
		p.begin(p.session(), due)
		p.left--
		p.more = p.left > 0
	}
	if p.more && !p.terminated {
		p.w.loop.Set(&p.timer, p.due)
	}
	p.check()
}

// arrive starts a user, or has them wait when too many are busy.
func (p *phaseRun) arrive(due loop.Instant) {
	if p.isFull() {
		if p.late.len() == 0 {
			p.w.loop.Await(1) // who waits for others to end isn't patient
		}
		p.late.push(due)
		return
	}
	now := p.w.loop.Now()
	users := p.w.rec.Users(p.number)
	users.Lag.Add(inMs(max(0, now.Sub(due))), 1)
	p.begin(p.session(), min(due, now))
}

// isFull reports whether a user who arrives now has to wait for others to end.
func (p *phaseRun) isFull() bool {
	limit := p.share.MaxSessions
	return limit > 0 && len(p.busy) >= limit || p.late.len() > 0
}

// startLate starts users who have waited for others to end. Those who end at
// once call it again, which is seen when they have.
func (p *phaseRun) startLate() {
	if p.starting {
		return
	}
	p.starting = true
	defer func() { p.starting = false }()
	for !p.terminated && p.late.len() > 0 && len(p.busy) < p.share.MaxSessions {
		due := p.late.pop()
		if p.late.len() == 0 {
			p.w.loop.Await(-1)
		}
		users := p.w.rec.Users(p.number)
		users.Delayed++
		users.Longest = max(users.Longest, inMs(p.w.loop.Now().Sub(due)))
		p.begin(p.session(), due)
	}
}

func (p *phaseRun) begin(s *Session, due loop.Instant) {
	s.place = len(p.busy)
	p.busy = append(p.busy, s)
	users := p.w.rec.Users(p.number)
	users.Started++
	s.begin(due)
}

// session returns one that is free, or a new one.
func (p *phaseRun) session() *Session {
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s
	}
	return p.newSession()
}

func (p *phaseRun) newSession() *Session {
	s := &Session{
		w: p.w, phase: p, prog: p.prog, id: p.w.nextSession(), place: -1,
		vars: make([]value, len(p.prog.slots)), delays: make([]loop.Instant, len(p.prog.delays)),
	}
	p.made++
	return s
}

// ended takes a session back whose user has ended.
func (p *phaseRun) ended(s *Session) {
	p.w.rec.Users(p.number).Ended++
	last := p.busy[len(p.busy)-1]
	p.busy[s.place], last.place = last, s.place
	p.busy = p.busy[:len(p.busy)-1]
	s.place = -1
	switch {
	case p.terminated:
		p.check()
	case p.share.Phase.Kind == benchmark.AlwaysBusy && !p.finishing:
		if p.period > 0 {
			p.keepPace(s)
			return
		}
		if s.waited {
			p.begin(s, p.w.loop.Now())
			return
		}
		// A scenario that never waits lets others have their turn.
		p.lazy = append(p.lazy, s)
		p.w.loop.Set(&p.timer, p.w.loop.Now())
	default:
		p.free = append(p.free, s)
		p.startLate()
		p.check()
	}
}

func (p *phaseRun) takeLazy() []*Session {
	lazy := p.lazy
	p.lazy = nil
	if p.finishing || p.terminated {
		p.free = append(p.free, lazy...)
		return nil
	}
	return lazy
}

// finish ends the time in which users start; those who were due in it and have
// to wait for others still do.
func (p *phaseRun) finish() {
	if p.finishing || p.terminated || p.status == phases.NotStarted {
		return
	}
	p.finishing = true
	p.fire()
}

// terminate ends the users who are busy, and those who have not started never
// will.
func (p *phaseRun) terminate() {
	if p.terminated {
		return
	}
	p.terminated, p.finishing = true, true
	p.w.loop.Stop(&p.timer)
	p.leaveOut()
	for len(p.busy) > 0 {
		before := len(p.busy)
		p.busy[before-1].halt()
		if len(p.busy) == before { // it is at work, and ends by itself
			break
		}
	}
	p.check()
}

// leaveOut counts those who were due and never start: they waited for others to
// end, or the loop has not come to them, which is its own lateness.
func (p *phaseRun) leaveOut() {
	users, now := p.w.rec.Users(p.number), p.w.loop.Now()
	if n := p.late.len(); n > 0 {
		users.Unstarted += int64(n)
		users.Longest = max(users.Longest, inMs(now.Sub(p.late.first())))
		p.w.loop.Await(-1)
	}
	for p.timetable != nil && p.more && p.due <= now {
		if users.Unstarted++; !p.isFull() {
			users.Lag.Add(inMs(now.Sub(p.due)), 1)
		}
		p.nextDue()
	}
	users.Unstarted += int64(p.left)
	p.late, p.left, p.more = queue{}, 0, false
}

// check reports how far the phase is.
func (p *phaseRun) check() {
	starts := p.more || p.late.len() > 0 || len(p.lazy) > 0
	switch {
	case p.terminated && len(p.busy) == 0:
		p.report(phases.Terminated)
	case p.terminated || starts:
	case p.finishing || p.share.Phase.Kind == benchmark.AtOnce:
		p.report(phases.Finished)
		if len(p.busy) == 0 {
			p.report(phases.Terminated)
		}
	}
}

// report tells the engine of a new status, with all that was counted until then.
func (p *phaseRun) report(status phases.Status) {
	if status <= p.status {
		return
	}
	p.status = status
	if status == phases.Terminated {
		p.free, p.lazy, p.busy = nil, nil, nil
		p.w.handOver()
	}
	p.w.e.tell(message{kind: statusChanged, loop: p.w.index, phase: p.number, status: status})
}

// fail makes the phase fail, on all loops.
func (p *phaseRun) fail(err error) {
	if !p.failed {
		p.failed = true
		p.w.e.tell(message{kind: phaseFailed, loop: p.w.index, phase: p.number, err: err})
	}
}

// queue holds the planned times of users who wait, first come first served.
type queue struct {
	times []loop.Instant
	head  int
}

func (q *queue) len() int            { return len(q.times) - q.head }
func (q *queue) first() loop.Instant { return q.times[q.head] }

func (q *queue) push(at loop.Instant) {
	if q.head > 1024 && q.head > len(q.times)/2 {
		q.times = q.times[:copy(q.times, q.times[q.head:])]
		q.head = 0
	}
	q.times = append(q.times, at)
}

func (q *queue) pop() loop.Instant {
	at := q.times[q.head]
	if q.head++; q.head == len(q.times) {
		q.times, q.head = q.times[:0], 0
	}
	return at
}
