package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// A count is one line of the account.
type count struct{ Name, Value string }

// ledgerLines are the counts of the ledger, in the order of the metrics' way.
func ledgerLines(l metrics.Ledger) []count {
	lines := []count{
		{"datagrams received", strconv.FormatUint(l.Datagrams, 10)},
		{"packets dropped by kernels", strconv.FormatUint(l.KernelDropped, 10)},
		{"connections refused", strconv.FormatUint(l.Refused, 10)},
		{"values taken in", strconv.FormatUint(l.Values, 10)},
		{"lines malformed", strconv.FormatUint(l.Malformed, 10)},
		{"values dropped", strconv.FormatUint(l.Dropped, 10)},
		{"seconds merged", strconv.FormatUint(l.Merged, 10)},
		{"frames sent", strconv.FormatUint(l.Sent, 10)},
		{"frames stored", strconv.FormatUint(l.Stored, 10)},
		{"frames broken", strconv.FormatUint(l.Broken, 10)},
		{"machines without their last frame", strconv.Itoa(l.Open)},
	}
	if l.LogLines+l.LogMalformed+l.LogLost+l.LogGaps == 0 {
		return lines // no step has log metrics
	}
	return append(lines,
		count{"lines of containers' output read", strconv.FormatUint(l.LogLines, 10)},
		count{"values that they gave", strconv.FormatUint(l.LogValues, 10)},
		count{"lines that fit and gave none", strconv.FormatUint(l.LogMalformed, 10)},
		count{"bytes of output lost unread", strconv.FormatUint(l.LogLost, 10)},
		count{"losses of output of unknown length", strconv.FormatUint(l.LogGaps, 10)},
	)
}

// roleOf is what the plan says that a step is; empty when it says nothing.
func roleOf(run broker.Run, index int) string {
	if index < 0 || index >= len(run.Plan.Steps) {
		return ""
	}
	return string(run.Plan.Steps[index].Role)
}

func machineName(run broker.Run, m broker.Machine) string {
	return fmt.Sprintf("%s/%d", stepName(run, m.Step), m.Index)
}

func exitCode(m broker.Machine) string {
	if m.ExitCode == nil {
		return dash
	}
	return strconv.Itoa(*m.ExitCode)
}

// lastFrame is the number of the last frame stored, and whether more should
// have come.
func lastFrame(m broker.Machine) string {
	n := strconv.FormatUint(m.FrameSeq, 10)
	if !m.FramesFinal {
		return n + ", not final"
	}
	return n
}

// sortedPairs are the entries of a map by their names.
func sortedPairs(m map[string]string) []count {
	pairs := make([]count, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, count{name, m[name]})
	}
	return pairs
}
