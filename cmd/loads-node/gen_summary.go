package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// summary is what gen --json prints. Times are in ms.
type summary struct {
	Name      string                `json:"name"`
	Verdict   string                `json:"verdict"` // PASS, FAIL or INVALID
	Start     time.Time             `json:"start"`
	ElapsedMS float64               `json:"elapsed_ms"`
	Stopped   bool                  `json:"stopped_early"`
	Phases    []engine.PhaseResult  `json:"phases"`
	Metrics   []metricSummary       `json:"metrics"`
	Users     []usersSummary        `json:"users"`
	Breaches  []stats.Breach        `json:"sla_breaches"`
	Failures  []engine.FailureCount `json:"failures"` // of requests, the most frequent first
	Invalid   []string              `json:"invalid"`  // why the numbers must not be trusted
	Notes     []string              `json:"notes"`
	Generator stats.SelfReport      `json:"generator"`

	nothing bool // no request had an answer
}

type metricSummary struct {
	stats.Key
	Warmup bool `json:"warmup,omitempty"`
	stats.Counts
	Statuses []stats.StatusCount `json:"statuses"`
	Named    []stats.NamedCount  `json:"counters,omitempty"` // what the scenario counts itself
	Rate     float64             `json:"rate"`               // requests a second
	Latency  stats.Times         `json:"latency"`            // from the intended start
	Service  stats.Times         `json:"service"`            // from when the request left
	Blocked  stats.Times         `json:"blocked"`            // waiting for a connection
}

type usersSummary struct {
	Phase     string      `json:"phase"`
	Started   int64       `json:"started"`
	MostBusy  int64       `json:"most_busy"`
	Delayed   int64       `json:"delayed"`
	Longest   float64     `json:"longest_delay"`
	Unstarted int64       `json:"unstarted"`
	Lag       stats.Times `json:"lag"`
}

func summarize(cfg engine.Config, r *engine.Result) *summary {
	s := &summary{
		Name: cfg.Benchmark.Name, Verdict: "PASS", Start: r.Start, ElapsedMS: float64(r.Elapsed) / float64(time.Millisecond),
		Stopped: r.Stopped, Phases: r.Phases, Breaches: r.Breaches, Failures: r.Failures, Invalid: r.Invalid, Notes: r.Notes, Generator: r.Self,
		Metrics: []metricSummary{}, Users: []usersSummary{},
	}
	warmup := warmups(cfg)
	requests, answers, started := int64(0), int64(0), int64(0)
	for _, m := range r.Totals.Metrics {
		one := metricSummary{
			Key: m.Key, Warmup: warmup[m.Phase], Counts: m.Counts, Statuses: m.Statuses, Named: m.Named,
			Latency: stats.TimesOf(&m.Latency), Service: stats.TimesOf(&m.Service), Blocked: stats.TimesOf(&m.Blocked),
		}
		if d := lengthOf(cfg, r, m.Phase); d > 0 {
			one.Rate = float64(m.Requests) / d.Seconds()
		}
		requests, answers = requests+m.Requests-m.Cancelled, answers+m.Responses
		s.Metrics = append(s.Metrics, one)
	}
	for i := range r.Totals.Phases {
		u := &r.Totals.Phases[i]
		s.Users = append(s.Users, usersSummary{u.Phase, u.Started, u.Busy, u.Delayed, u.Longest, u.Unstarted, stats.TimesOf(&u.Lag)})
		requests, started = requests+u.Unstarted, started+u.Started
	}
	switch {
	case requests > 0 || r.Stopped:
	case started > 0:
		s.Notes = append(s.Notes, "no request was made: none of the users came to a step that makes one")
	default:
		s.Notes = append(s.Notes, "no request was made: no user was due")
	}
	s.nothing = requests > 0 && answers == 0 && !r.Stopped
	switch {
	case len(r.Invalid) > 0:
		s.Verdict = "INVALID"
	case r.Failed() || s.nothing:
		s.Verdict = "FAIL"
	}
	return s
}

// spoil notes why the numbers must not be trusted.
func (s *summary) spoil(why string) {
	s.Invalid, s.Verdict = append(s.Invalid, why), "INVALID"
}

// whyFailed lists why phases failed.
func (s *summary) whyFailed() (reasons []string) {
	for _, p := range s.Phases {
		for _, reason := range p.Reasons {
			reasons = append(reasons, fmt.Sprintf("phase %s: %s", p.Name, reason))
		}
	}
	if s.nothing {
		reasons = append(reasons, "all requests failed")
	}
	return reasons
}

func warmups(cfg engine.Config) map[string]bool {
	w := map[string]bool{}
	for _, p := range cfg.Phases {
		w[p.Name] = p.Warmup
	}
	return w
}

// lengthOf returns how long a phase started users, for rates.
func lengthOf(cfg engine.Config, r *engine.Result, phase string) time.Duration {
	for _, p := range cfg.Phases {
		if p.Name != phase {
			continue
		}
		length := p.Duration
		for _, ran := range r.Phases {
			if ran.Name == phase {
				rest := r.Elapsed - time.Duration(ran.StartMS*float64(time.Millisecond))
				if length == 0 || length > rest {
					length = rest
				}
			}
		}
		return length
	}
	return 0
}

// status returns the error that ends the program as the summary says.
func (s *summary) status() error {
	switch s.Verdict {
	case "INVALID":
		return exitInvalid
	case "FAIL":
		return exitFailed
	}
	return nil
}

// print writes the summary for people.
func (s *summary) print(w io.Writer, r *engine.Result) error {
	warmup, length := map[string]bool{}, map[string]time.Duration{}
	for _, p := range s.Phases {
		warmup[p.Name] = p.Warmup
	}
	for _, m := range s.Metrics {
		if m.Rate > 0 {
			length[m.Phase] = time.Duration(float64(m.Requests) / m.Rate * float64(time.Second))
		}
	}
	hidden := func(phase string) bool { return warmup[phase] }
	if err := stats.WriteTable(w, &r.Totals.Report, func(phase string) time.Duration { return length[phase] }, hidden); err != nil {
		return err
	}
	var text strings.Builder
	for _, u := range s.Users {
		switch {
		case u.Delayed > 0 || u.Longest > 0:
			fmt.Fprintf(&text, "%s: %d users were delayed, by up to %s, since too many were busy; %d never started\n", u.Phase, u.Delayed, stats.Ms(u.Longest), u.Unstarted)
		case u.Unstarted > 0:
			fmt.Fprintf(&text, "%s: %d users never started, as the phase was over before\n", u.Phase, u.Unstarted)
		}
	}
	for _, p := range s.Phases {
		for _, reason := range p.Reasons {
			fmt.Fprintf(&text, "%s failed: %s\n", p.Name, reason)
		}
	}
	for _, f := range s.Failures[:min(len(s.Failures), 5)] {
		fmt.Fprintf(&text, "%d requests failed: %s\n", f.Count, f.What)
	}
	if s.nothing {
		text.WriteString("all requests failed\n")
	}
	for _, why := range s.Invalid {
		fmt.Fprintf(&text, "invalid: %s\n", why)
	}
	for _, note := range s.Notes {
		fmt.Fprintf(&text, "note: %s\n", note)
	}
	early := ""
	if s.Stopped {
		early = ", stopped early"
	}
	fmt.Fprintf(&text, "%s after %.1f s%s\n", s.Verdict, s.ElapsedMS/1000, early)
	_, err := io.WriteString(w, text.String())
	return err
}

// writeDistributions writes a file for each metric.
func writeDistributions(prefix string, r *engine.Result) error {
	for _, m := range r.Totals.Metrics {
		name := prefix + strings.NewReplacer("/", "_", string(os.PathSeparator), "_").Replace(m.Key.String()) + ".hgrm"
		file, err := os.Create(name)
		if err != nil {
			return fmt.Errorf("make a file for a distribution: %w", err)
		}
		if err := stats.WriteHGRM(file, &m.Latency); err != nil {
			_ = file.Close()
			return err
		}
		if err := file.Close(); err != nil {
			return fmt.Errorf("write a distribution: %w", err)
		}
	}
	return nil
}

// live shows how a run goes: a table that is drawn anew each second on a
// terminal, and a line now and then anywhere else.
type live struct {
	w        io.Writer
	terminal bool
	quiet    bool
	drawn    int // lines to go back
	next     time.Duration
}

// linesEvery is how often a line is written where there is no terminal.
const linesEvery = 10 * time.Second

func newLive(w io.Writer, quiet bool) *live {
	l := &live{w: w, quiet: quiet, next: linesEvery}
	if file, ok := w.(*os.File); ok {
		l.terminal = term.IsTerminal(int(file.Fd()))
	}
	return l
}

func (l *live) show(p *engine.Progress) {
	if l.quiet || !l.terminal && p.At < l.next {
		return
	}
	all := p.Report.Sum(func(string) bool { return true })
	busy := int64(0)
	for i := range p.Report.Phases {
		busy += p.Report.Phases[i].Busy
	}
	q := all.Latency.Quantiles(0.5, 0.99)
	length := time.Duration(p.Report.End-p.Report.Start) * time.Millisecond
	line := fmt.Sprintf("%5.0f s  %-20s %6d users  %8.0f/s  p50 %8s  p99 %8s  %d errors, %d invalid",
		p.At.Seconds(), strings.Join(p.Running, " "), busy, float64(all.Requests)/length.Seconds(), stats.Ms(q[0]), stats.Ms(q[1]), all.Errors(), all.Invalid)
	if !l.terminal {
		l.next += linesEvery
		fmt.Fprintln(l.w, line)
		return
	}
	l.clear()
	var table strings.Builder
	_ = stats.WriteTable(&table, p.Report, func(string) time.Duration { return length }, func(string) bool { return false }) // a builder has no errors
	text := table.String() + line + "\n"
	l.drawn = strings.Count(text, "\n")
	_, _ = io.WriteString(l.w, text)
}

// clear goes back to the first line of the table.
func (l *live) clear() {
	if l.drawn > 0 {
		fmt.Fprintf(l.w, "\x1b[%dA\x1b[J", l.drawn)
		l.drawn = 0
	}
}

func (l *live) end() { l.clear() }
