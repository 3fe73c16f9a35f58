package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/metrics"
)

// Others are the other machines that run the benchmark.
type Others interface {
	// Tell tells them a word, once. It does not wait.
	Tell(w metrics.Word)
	// Heard returns decisions, each once, in the order of their coming, with the
	// times of this machine's clock.
	Heard() <-chan agreement.Decision
}

// parley is what the leader knows of other machines. In the course all of them
// are one machine, the last: it follows what loops do but for the marks, which
// it comes to when they are agreed on.
type parley struct {
	others Others
	until  loop.Instant // when waiting for them ends; 0 is never

	marks  []phases.Mark
	said   map[metrics.Word]bool
	agreed map[phases.Mark]bool
	told   []phases.Status // the course of the others, by phase
	coming []decision      // that don't hold yet
	late   time.Duration   // the longest that one came too late
	failed []string        // phases, with the machines that they failed on
	broken map[int]bool    // phases that can't go on elsewhere; true once this machine's users were ended for it
	gaveUp string          // why, if the run ended for it
}

// decision is one that is to hold from a time on.
type decision struct {
	agreement.Decision
	from, heard loop.Instant
}

// lateLimit is how much later than other machines this one may begin a phase
// before that is worth a note.
const lateLimit = 100 * time.Millisecond

func newParley(e *engine) *parley {
	if e.cfg.Others == nil || e.cfg.Machines == 1 {
		return nil
	}
	p := &parley{
		others: e.cfg.Others, marks: phases.Marks(e.list), said: map[metrics.Word]bool{}, agreed: map[phases.Mark]bool{},
		told: make([]phases.Status, len(e.list)), broken: map[int]bool{},
	}
	if !e.cfg.Until.IsZero() {
		p.until = loop.At(e.cfg.Until)
	}
	return p
}

// heard is nil for who is alone, from which nothing ever comes.
func (p *parley) heard() <-chan agreement.Decision {
	if p == nil {
		return nil
	}
	return p.others.Heard()
}

var wordOf = map[phases.Status]metrics.WordIs{phases.Finished: metrics.WordFinished, phases.Terminated: metrics.WordTerminated}

// say tells the others a word, unless they have been told.
func (l *leader) say(phase int, is metrics.WordIs) {
	w := metrics.Word{Phase: l.names[phase], Is: is}
	if l.parley == nil || l.course.Killed || l.parley.said[w] {
		return
	}
	l.parley.said[w] = true
	l.parley.others.Tell(w)
}

// keepUp tells the others how far the loops have come, has them come as far in
// the course as they have, and ends the users of phases that can't go on, also
// of one that has begun here since that was told.
func (l *leader) keepUp() {
	p := l.parley
	if p == nil {
		return
	}
	for _, m := range p.marks {
		if l.course.Reached(m.Phase, l.loops) >= m.Status {
			l.say(m.Phase, wordOf[m.Status])
		}
	}
	for i := range l.list {
		if c := &l.course.Phases[i]; l.list[i].Scenario == nil || c.Status == phases.NotStarted {
			continue
		}
		if ended, is := p.broken[i]; is && !ended && l.course.Phases[i].Status < phases.Terminating {
			p.broken[i] = true
			l.order(phases.Terminate, i)
		}
		if status := l.statusOfOthers(i); status > p.told[i] {
			p.told[i] = status
			l.event(phases.Event{Kind: phases.Report, Machine: l.loops, Phase: i, Status: status})
		}
	}
}

// statusOfOthers is how far they may be in a phase that has been started.
func (l *leader) statusOfOthers(phase int) phases.Status {
	p := l.parley
	open := func(status phases.Status) bool {
		m := phases.Mark{Phase: phase, Status: status}
		return !slices.Contains(p.marks, m) || p.agreed[m]
	}
	switch {
	case l.course.Killed || open(phases.Terminated) && open(phases.Finished):
		return phases.Terminated
	case open(phases.Finished):
		return phases.Finished
	}
	return phases.Running
}

// hear notes a decision, to be heeded when it holds: of those for one time in
// the order of their coming.
func (l *leader) hear(d agreement.Decision) {
	one := decision{d, loop.At(time.UnixMilli(d.At)), loop.Now()}
	at := len(l.parley.coming)
	for at > 0 && l.parley.coming[at-1].from > one.from {
		at--
	}
	l.parley.coming = slices.Insert(l.parley.coming, at, one)
}

// heedOthers heeds the decisions that hold by now.
func (l *leader) heedOthers() {
	for l.parley != nil && len(l.parley.coming) > 0 && l.parley.coming[0].from <= loop.Now() {
		d := l.parley.coming[0]
		l.parley.coming = l.parley.coming[1:]
		if phase := slices.Index(l.names, d.Phase); phase >= 0 && !l.course.Killed {
			l.heedDecision(d, phase)
		}
	}
	l.giveUp()
}

func (l *leader) heedDecision(d decision, phase int) {
	p := l.parley
	switch d.Is {
	case metrics.WordFinished, metrics.WordTerminated:
		p.agreed[phases.Mark{Phase: phase, Status: phases.Finished}] = true
		if d.Is == metrics.WordTerminated {
			p.agreed[phases.Mark{Phase: phase, Status: phases.Terminated}] = true
		}
		if now := l.statusOfOthers(phase); now > p.told[phase] && l.course.Phases[phase].Status != phases.NotStarted {
			// What comes next begins when it was agreed to, on all machines; it can't
			// on one that hears of that later.
			p.told[phase], p.late = now, max(p.late, d.heard.Sub(d.from))
			at := max(0, max(d.from, d.heard).Sub(l.start))
			l.eventAt(phases.Event{Kind: phases.Report, At: at, Machine: l.loops, Phase: phase, Status: now})
		}
	case metrics.WordFailed, metrics.WordBroken:
		if d.Machine == l.cfg.Machine {
			return
		}
		if note := fmt.Sprintf("%s on machine %d", d.Phase, d.Machine); !slices.Contains(p.failed, note) {
			p.failed = append(p.failed, note)
		}
		if !l.course.Phases[phase].Failed {
			l.event(phases.Event{Kind: phases.PhaseFailed, Phase: phase})
		}
		if _, known := p.broken[phase]; d.Is == metrics.WordBroken && !known {
			p.broken[phase] = false
			l.keepUp()
		}
	}
}

// waited returns the marks that this machine has come to and others have not,
// as far as it is known.
func (l *leader) waited() (list []string) {
	if l.parley == nil {
		return nil
	}
	for _, m := range l.parley.marks {
		if l.parley.said[metrics.Word{Phase: l.names[m.Phase], Is: wordOf[m.Status]}] && !l.parley.agreed[m] {
			list = append(list, l.names[m.Phase])
		}
	}
	return slices.Compact(list)
}

// giveUp ends the run if others are waited for though the time for that is over.
func (l *leader) giveUp() {
	p := l.parley
	if p == nil || p.until == 0 || p.until > loop.Now() || l.course.Killed {
		return
	}
	if phases := l.waited(); len(phases) > 0 {
		p.gaveUp = fmt.Sprintf("the benchmark was not carried out to its end: it was not heard within the step's time that all machines had ended %s", strings.Join(phases, ", "))
		l.stop()
	}
}

// stop ends all phases.
func (l *leader) stop() {
	l.result.Stopped = true
	if l.parley != nil && l.parley.gaveUp == "" {
		if phases := l.waited(); len(phases) > 0 {
			l.result.Notes = append(l.result.Notes, fmt.Sprintf("the run was stopped while this machine waited for others to end %s", strings.Join(phases, ", ")))
		}
	}
	l.event(phases.Event{Kind: phases.Kill})
}

// nextOfOthers is when the next decision holds, or waiting ends.
func (l *leader) nextOfOthers() (at loop.Instant, ok bool) {
	p := l.parley
	if p == nil {
		return 0, false
	}
	if len(p.coming) > 0 {
		at, ok = p.coming[0].from, true
	}
	if p.until > 0 && len(l.waited()) > 0 && (!ok || p.until < at) {
		at, ok = p.until, true
	}
	return at, ok
}

// tellOfOthers adds to the result what there is to say of other machines.
func (l *leader) tellOfOthers() {
	r, p := l.result, l.parley
	if p == nil {
		if names := phases.Unagreed(l.list); l.cfg.Machines > 1 && len(names) > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s began when users of other phases had ended on this machine, which others of the %d machines may have seen at another time: "+
				"machines agree on that in a plan whose step has this file as its benchmark", strings.Join(names, ", "), l.cfg.Machines))
		}
		return
	}
	if p.gaveUp != "" {
		r.Invalid = append(r.Invalid, p.gaveUp)
	}
	if len(p.failed) > 0 {
		what := "phases that had not begun were left out"
		if l.cfg.Benchmark.OnFailure == benchmark.Continue {
			what = "those that follow were carried out all the same"
		}
		r.Notes = append(r.Notes, fmt.Sprintf("failed elsewhere: %s; %s", strings.Join(p.failed, ", "), what))
	}
	if p.late > lateLimit {
		r.Notes = append(r.Notes, fmt.Sprintf("a phase began %d ms later than agreed on: this machine heard of it so late", p.late.Milliseconds()))
	}
}
