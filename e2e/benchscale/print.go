//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/api"
)

// What EC2 takes of launches: so many calls at once and then so many a second,
// and so many machines at once and then so many a second.
const (
	callBurst, callRate       = 5, 2
	machineBurst, machineRate = 1000, 2
)

// print tells what the run took.
func (m *measurement) print(ctx context.Context, w io.Writer) error {
	report, err := m.client.Report(ctx, m.run)
	if err != nil {
		return err
	}
	state, err := m.cloud.state(ctx)
	if err != nil {
		return err
	}
	line := func(what, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "  %-34s "+format+"\n", append([]any{what}, args...)...)
	}
	per := float64(m.n) / 1000
	_, _ = fmt.Fprintf(w, "%d machines: %s %s\n", m.n, report.Run.Verdict, report.Run.Reason)
	total, steady := m.at.cpu-m.idle.cpu, m.over.cpu-m.started.cpu
	line("broker, processor time", "%.1f s, %.1f s per 1,000 machines: %.1f s until ready, %.1f s until started, %.1f s while they ran, %.1f s to the end",
		total.Seconds(), total.Seconds()/per, (m.ready.cpu - m.idle.cpu).Seconds(), (m.started.cpu - m.ready.cpu).Seconds(),
		steady.Seconds(), (m.at.cpu - m.over.cpu).Seconds())
	line("broker, cores while they ran", "%.2f", steady.Seconds()/m.over.at.Sub(m.started.at).Seconds())
	line("broker, memory at most", "%d MB, %.0f MB idle; %d MB until ready, %d MB while they ran",
		m.at.rss>>20, float64(m.idle.rss>>20), m.ready.rss>>20, m.over.rss>>20)
	m.printTimes(line, report, state)
	line("frames", "%d sent, %d stored, %d broken, %d machines without their last", report.Ledger.Sent, report.Ledger.Stored,
		report.Ledger.Broken, report.Ledger.Open)
	m.printCalls(line, state)
	var left []string
	for kind, tally := range state.Receipt {
		if tally.Left > 0 {
			left = append(left, fmt.Sprintf("%d %s", tally.Left, kind))
		}
	}
	slices.Sort(left)
	line("launched, left at EC2", "%d, %d %s", state.Launched, state.Alive, strings.Join(left, ", "))
	if state.Alive > 0 || report.Ledger.Sent != report.Ledger.Stored || report.Ledger.Open > 0 {
		return fmt.Errorf("machines are left, or frames are missing: see above")
	}
	return nil
}

// printTimes tells how long it took until all containers had started, and how
// far apart they did. The machines' clocks are this computer's.
func (m *measurement) printTimes(line func(string, string, ...any), report api.Report, state cloudState) {
	var starts []time.Time
	for _, machine := range report.Machines {
		if machine.StartedAt != nil {
			starts = append(starts, machine.StartedAt.Time)
		}
	}
	if len(starts) == 0 {
		line("start", "no container was started")
		return
	}
	slices.SortFunc(starts, time.Time.Compare)
	took := starts[len(starts)-1].Sub(report.Run.CreatedAt.Time)
	// The broker keeps to the limit of calls by itself.
	calls := 0
	for _, c := range state.Calls {
		if c.Action == "RunInstances" {
			calls += c.N
		}
	}
	limits := max(0, float64(calls-callBurst)/callRate)
	if m.throttle {
		limits = max(limits, float64(m.n-machineBurst)/machineRate)
	}
	line("trigger to all started", "%.1f s: %.1f s of them boots, %.1f s EC2's limits of launches, %.1f s ours",
		took.Seconds(), m.boot.Seconds(), limits, took.Seconds()-m.boot.Seconds()-limits)
	after := func(share float64) float64 {
		i := int(math.Ceil(share*float64(len(starts)))) - 1
		return float64(starts[max(0, i)].Sub(starts[0]).Microseconds()) / 1000
	}
	line("start after the first", "p50 %.1f ms, p99 %.1f ms, max %.1f ms; the first %.1f ms late", after(0.5), after(0.99), after(1),
		float64(starts[0].Sub(report.Run.StepRecords[0].StartAt.Time).Microseconds())/1000)
}

// printCalls tells how often AWS was called, for each machine.
func (m *measurement) printCalls(line func(string, string, ...any), state cloudState) {
	total := 0
	counts, refused := map[string]int{}, map[string]int{}
	for _, c := range state.Calls {
		total += c.N
		counts[c.Action] += c.N
		if c.Code != "OK" {
			refused[c.Action] += c.N
		}
	}
	line("calls of AWS for a machine", "%.2f, %d in all", float64(total)/float64(m.n), total)
	var actions []string
	for action := range counts {
		actions = append(actions, action)
	}
	slices.SortFunc(actions, func(a, b string) int { return counts[b] - counts[a] })
	for _, action := range actions {
		if n := counts[action]; n >= m.n/200 && n > 1 {
			line("", "%s: %d, %d of them refused", action, n, refused[action])
		}
	}
}
