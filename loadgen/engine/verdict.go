package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/loadgen/stats"
)

// limits tells the judge the limits of all phases.
func (l *leader) limits() {
	for i := range l.list {
		p := &l.list[i]
		for metric, slas := range p.CustomSLA {
			l.judge.Limit(stats.Key{Phase: p.Name, Metric: metric}, slas)
		}
		if prog := l.programs[i]; prog != nil {
			for _, limit := range prog.limits {
				l.judge.Limit(stats.Key{Phase: p.Name, Metric: limit.metric}, limit.slas)
			}
		}
	}
}

// endPeriod closes the report of a period, and gives it to those who want it.
func (l *leader) endPeriod() {
	r := l.report
	r.Start = l.start.Time().Add(time.Duration(l.period) * l.engine.period).UnixMilli()
	r.End = l.start.Time().Add(time.Duration(l.period+1) * l.engine.period).UnixMilli()
	r.Sort(l.names)
	r.Self = l.watch.period(r)
	r.Hosts = l.connections()
	l.totals.EndPeriod(r)
	before := len(l.judge.Breaches)
	l.judge.Watch(r)
	for _, b := range l.judge.Breaches[before:] {
		l.fail(l.indexOf(b.Phase), b.Metric+": "+b.Message)
	}
	l.out.give(r)
	if l.cfg.Live != nil {
		l.cfg.Live(&Progress{At: l.now(), Report: r, Totals: l.totals, Running: l.runningPhases()})
	}
	l.period++
	l.report = stats.NewReport(l.period)
}

// connections adds up those of all loops.
func (l *leader) connections() []stats.Connections {
	sum := make([]stats.Connections, len(l.endpoints))
	for i := range sum {
		sum[i].Endpoint = l.endpoints[i].spec.Authority()
		for _, hosts := range l.hosts {
			if len(hosts) > 0 {
				sum[i].Add(hosts[i])
			}
		}
	}
	return sum
}

func (l *leader) runningPhases() (names []string) {
	for i, c := range l.course.Phases {
		if !l.list[i].Umbrella && c.Status > phases.NotStarted && c.Status < phases.Terminated {
			names = append(names, l.list[i].Name)
		}
	}
	return names
}

func (l *leader) indexOf(phase string) int {
	for i, name := range l.names {
		if name == phase {
			return i
		}
	}
	return 0
}

// judgePhase judges a phase all of whose users have ended, and been counted.
func (l *leader) judgePhase(phase int) {
	p := &l.list[phase]
	before := len(l.judge.Breaches)
	l.judge.End(p.Name, l.totals)
	for _, b := range l.judge.Breaches[before:] {
		l.fail(phase, b.Metric+": "+b.Message)
	}
	users := l.totals.Users(p.Name)
	if p.Kind.IsOpen() && p.MaxSessions > 0 && p.Policy == benchmark.PolicyFail && !l.result.Stopped {
		switch {
		case users.Unstarted > 0:
			l.fail(phase, fmt.Sprintf("%d users could not start before the phase was over: too many were busy (maxSessions %d)", users.Unstarted, p.MaxSessions))
		case users.Delayed > 0:
			l.fail(phase, fmt.Sprintf("%d users were delayed, by up to %.4g ms: too many were busy (maxSessions %d)", users.Delayed, users.Longest, p.MaxSessions))
		}
	}
}

// closeLimit is how long loops may take to close their connections.
const closeLimit = 10 * time.Second

// addFailures adds up why requests have failed, the most frequent first.
func (l *leader) addFailures(seen map[string]int64) {
	r := l.result
	for text, n := range seen {
		i := slices.IndexFunc(r.Failures, func(f FailureCount) bool { return f.What == text })
		if i < 0 {
			i = len(r.Failures)
			r.Failures = append(r.Failures, FailureCount{What: text})
		}
		r.Failures[i].Count += n
	}
	slices.SortFunc(r.Failures, func(a, b FailureCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.What, b.What))
	})
}

// finish closes the loops' connections, takes what they have counted since,
// and sums the run up.
func (l *leader) finish() {
	elapsed := l.now()
	closed := make(chan struct{}, len(l.workers))
	waiting := 0
	for _, w := range l.workers {
		if w.loop.Post(func() { w.close(); closed <- struct{}{} }) {
			waiting++
		}
	}
	late := time.NewTimer(closeLimit)
	defer late.Stop()
	for range waiting {
		select {
		case <-closed:
		case <-late.C: // a loop that has failed closes nothing
		}
	}
	for _, m := range l.take() {
		if m.kind == counted || m.kind == phaseFailed || m.kind == failuresSeen {
			l.heed(m)
		}
	}
	l.endPeriod()
	r := l.result
	r.Elapsed = elapsed
	for i, c := range l.course.Phases {
		if l.list[i].Umbrella {
			continue
		}
		r.Phases = append(r.Phases, PhaseResult{
			Name: l.names[i], Status: c.Status.String(), Warmup: l.list[i].Warmup,
			StartMS: float64(c.Start) / float64(time.Millisecond), EndMS: float64(l.ended[i]) / float64(time.Millisecond),
			Failed: len(l.failed[i]) > 0, Reasons: l.failed[i],
		})
	}
	r.Breaches = l.judge.Breaches
	r.Self = l.watch.total(l.totals)
	invalid, notes := l.watch.verdict(l.totals)
	r.Invalid, r.Notes = append(r.Invalid, invalid...), append(r.Notes, notes...)
	l.tellOfOthers()
	if errs := l.out.close(); len(errs) > 0 {
		r.Notes = append(r.Notes, "statistics are incomplete elsewhere: "+strings.Join(errs, "; "))
	}
}
