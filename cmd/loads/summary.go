package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// result is the last line of JSON of run and wait.
type result struct {
	Kind     string                `json:"kind"` // "result"
	Run      api.Run               `json:"run"`
	Machines []api.Machine         `json:"machines"`
	Summary  metrics.Summary       `json:"summary"`
	Hosts    []metrics.HostSummary `json:"hosts,omitempty"`
	Ledger   metrics.Ledger        `json:"ledger"`
	Influx   *api.Exported         `json:"influx,omitempty"`
	Verdict  broker.Verdict        `json:"verdict"`
	ExitCode int                   `json:"exit_code"`

	Criteria   []broker.CriterionResult `json:"criteria,omitempty"`
	Instrument []string                 `json:"instrument,omitempty"`
}

func newResult(r api.Report) result {
	return result{
		Kind: "result", Run: r.Run, Machines: r.Machines, Summary: r.Summary, Hosts: r.Hosts, Ledger: r.Ledger,
		Influx: r.Influx, Verdict: r.Run.Verdict, ExitCode: exitCode(r.Run.Verdict),
		Criteria: r.Run.Criteria, Instrument: r.Run.Instrument,
	}
}

// writeReport prints a run for people: metrics, steps, machines, the account of
// frames, and at last the verdict.
func writeReport(w io.Writer, r api.Report) error {
	fmt.Fprintf(w, "Run %s of %s\n\n", r.Run.UUID, r.Run.PlanName)
	for _, part := range []func(io.Writer, api.Report) error{writeMetrics, writeSteps, writeMachines, writeHosts, writeAccount, writeSpent} {
		var text bytes.Buffer
		if err := part(&text, r); err != nil {
			return err
		}
		if text.Len() > 0 {
			fmt.Fprintln(w, strings.TrimSuffix(text.String(), "\n")+"\n")
		}
	}
	if err := writeCriteria(w, r.Run); err != nil {
		return err
	}
	return writeVerdict(w, r.Run)
}

func writeMetrics(w io.Writer, r api.Report) error {
	if len(r.Summary.Metrics) == 0 {
		_, err := fmt.Fprintln(w, "No metrics came.")
		return err
	}
	var t table
	t.row("metric", "count", "rate/s", "p50", "p90", "p95", "p99", "max")
	for _, m := range r.Summary.Metrics {
		t.row(metricRow(m)...)
	}
	return t.writeRight(w)
}

func metricRow(m metrics.MetricSummary) []string {
	switch m.Kind {
	case metrics.Timer:
		return []string{
			m.Name, figure(m.Count), figure(m.Rate),
			figure(m.P50), figure(m.P90), figure(m.P95), figure(m.P99), figure(m.Max),
		}
	case metrics.Gauge:
		return []string{m.Name + " (gauge, last value " + figure(m.Value) + ")", figure(m.Count)}
	case metrics.Set:
		return []string{m.Name + " (distinct values)", figure(m.Count)}
	}
	return []string{m.Name, figure(m.Count), figure(m.Rate)}
}

func writeSteps(w io.Writer, r api.Report) error {
	var t table
	t.row("step", "state", "ran", "start skew", "machines")
	for _, s := range r.Run.StepRecords {
		t.row(s.Name, string(s.State), ran(s), skew(s.SkewMS), machinesOf(r, s.Index))
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, s := range r.Run.StepRecords {
		if s.Reason != "" {
			fmt.Fprintf(w, "%s: %s\n", s.Name, s.Reason)
		}
	}
	return nil
}

func ran(s api.StepRecord) string {
	if s.StartedAt == nil {
		return "-"
	}
	if s.CompletedAt == nil {
		return "since " + clock(&s.StartedAt.Time)
	}
	return seconds(s.CompletedAt.Sub(s.StartedAt.Time))
}

func skew(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return figure(*ms) + " ms"
}

// machinesOf says how many machines the step had, and how many were lost.
func machinesOf(r api.Report, step int) string {
	all, lost := 0, 0
	for _, m := range r.Machines {
		if m.StepIndex != step {
			continue
		}
		all++
		if m.State == broker.MachineLost || m.Reason != "" {
			lost++
		}
	}
	if lost > 0 {
		return fmt.Sprintf("%d, of which %d with trouble", all, lost)
	}
	return fmt.Sprint(all)
}

// maxHosts is how many machines writeHosts lists, the busiest.
const maxHosts = 10

// writeHosts prints what the busiest machines told of themselves.
func writeHosts(w io.Writer, r api.Report) error {
	hosts := slices.DeleteFunc(slices.Clone(r.Hosts), func(h metrics.HostSummary) bool { return h.CPU == nil })
	slices.SortStableFunc(hosts, func(a, b metrics.HostSummary) int { return cmp.Compare(b.CPU.Max, a.CPU.Max) })
	if len(hosts) == 0 {
		_, err := fmt.Fprintln(w, "The machines told nothing of themselves.")
		return err
	}
	var t table
	t.row("machine", "cpu mean", "cpu max", "steal max", "memory max")
	percent := func(x float64) string { return fmt.Sprintf("%.1f %%", x) }
	for _, h := range hosts[:min(len(hosts), maxHosts)] {
		steal, memory := "-", "-"
		if h.Steal != nil {
			steal = percent(h.Steal.Max)
		}
		if h.Memory != nil {
			memory = percent(h.Memory.Max)
		}
		t.row(fmt.Sprintf("%s/%d", h.Step, h.Machine), percent(h.CPU.Mean), percent(h.CPU.Max), steal, memory)
	}
	if err := t.writeRight(w); err != nil {
		return err
	}
	if left := len(hosts) - maxHosts; left > 0 {
		fmt.Fprintf(w, "%d more machines were less busy\n", left)
	}
	return nil
}

// writeMachines lists the machines that something went wrong with; the others
// are counted with their steps.
func writeMachines(w io.Writer, r api.Report) error {
	bad := slices.DeleteFunc(slices.Clone(r.Machines), func(m api.Machine) bool {
		return m.Reason == "" && (m.ExitCode == nil || *m.ExitCode == 0)
	})
	if len(bad) == 0 {
		_, err := fmt.Fprintf(w, "machines: %d, none with trouble\n", len(r.Machines))
		return err
	}
	var t table
	t.row("machine", "address", "state", "exit code", "reason")
	for _, m := range bad {
		code := "-"
		if m.ExitCode != nil {
			code = fmt.Sprint(*m.ExitCode)
		}
		t.row(fmt.Sprintf("%s/%d", m.Step, m.Index), orDash(m.Address), string(m.State), code, orDash(m.Reason))
	}
	return t.write(w)
}

func writeLedger(w io.Writer, r api.Report) error {
	l := r.Ledger
	fmt.Fprintf(w, "frames: %d sent, %d stored, %d broken; %s\n", l.Sent, l.Stored, l.Broken, l.Standing(r.Run.Completed()))
	_, err := fmt.Fprintf(w, "values: %d in %d datagrams, %d malformed, %d dropped\n", l.Values, l.Datagrams, l.Malformed, l.Dropped)
	if l.KernelDropped+l.Refused > 0 {
		_, err = fmt.Fprintf(w, "LOST before they were read: %d datagrams, dropped by a kernel; %d TCP connections, refused\n",
			l.KernelDropped, l.Refused)
	}
	if l.LogLines+l.LogMalformed > 0 {
		_, err = fmt.Fprintf(w, "output: %d lines read, %d values, %d malformed\n", l.LogLines, l.LogValues, l.LogMalformed)
	}
	if l.LogLost+l.LogGaps > 0 {
		_, err = fmt.Fprintf(w, "LOST before it was read: %d bytes of output, and %d times as much as nobody knows\n", l.LogLost, l.LogGaps)
	}
	if l.Notes != nil {
		err = errors.Join(err, writeNotes(w, "malformed", l.Notes.Malformed), writeNotes(w, "over the series limit", l.Notes.Dropped))
	}
	return err
}

// writeNotes lists examples of what was lost. They are printable: the relay
// made them so, but the frames came from a machine.
func writeNotes(w io.Writer, what string, notes []string) error {
	for _, note := range notes {
		if _, err := fmt.Fprintf(w, "  %s, for example: %q\n", what, note); err != nil {
			return err
		}
	}
	return nil
}

// writeAccount prints what became of the metrics, here and elsewhere.
func writeAccount(w io.Writer, r api.Report) error {
	if err := errors.Join(writeLedger(w, r), writeArchive(w, r.Archive)); err != nil || r.Influx == nil {
		return err
	}
	_, err := fmt.Fprintf(w, "InfluxDB: %d points written, %d refused, %d frames to be written", r.Influx.Written, r.Influx.Refused, r.Influx.Waiting)
	if r.Influx.Trouble != "" {
		fmt.Fprintf(w, "; %s: %s", r.Influx.Trouble, r.Influx.Detail)
	}
	fmt.Fprintln(w)
	return err
}

// writeArchive says where the run is archived.
func writeArchive(w io.Writer, a *broker.Archive) error {
	if a == nil {
		return nil
	}
	_, err := fmt.Fprintln(w, "archive:", a)
	return err
}

// writeSpent says what rented machines have cost.
func writeSpent(w io.Writer, r api.Report) error {
	if r.Run.Cost == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "cost: about %s USD so far by the pool's prices, %s USD at the very worst\n", money(r.SpentUSD), money(r.Run.Cost.WorstUSD))
	return err
}

func writeVerdict(w io.Writer, r api.Run) error {
	if !r.Completed() {
		_, err := fmt.Fprintf(w, "%s: no verdict yet\n", r.State)
		return err
	}
	line := string(r.Verdict)
	if r.Reason != "" {
		line += ": " + r.Reason
	}
	fmt.Fprintln(w, line)
	for _, receipt := range r.Receipts {
		fmt.Fprintln(w, "Receipt: "+receipt.String())
	}
	switch r.Cleanup {
	case broker.CleanupDone:
		fmt.Fprintln(w, "Cleanup: done, nothing is left on the machines.")
	case broker.CleanupFailed:
		fmt.Fprintf(w, "Cleanup: FAILED, the broker tries again: %s\n", orDash(r.CleanupDetail))
	default:
		fmt.Fprintf(w, "Cleanup: %s\n", r.Cleanup)
	}
	return nil
}
