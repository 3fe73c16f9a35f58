package stats

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// WriteTable writes metrics as a table: elapsed is the time that they took, for
// rates. Phases for which hidden returns true are left out.
func WriteTable(w io.Writer, r *Report, elapsed func(phase string) time.Duration, hidden func(phase string) bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	cancelled, cached, counted := false, false, false
	for _, m := range r.Metrics {
		cancelled = cancelled || m.Cancelled > 0 && !hidden(m.Phase)
		cached = cached || m.CacheHits > 0 && !hidden(m.Phase)
		counted = counted || len(m.Named) > 0 && !hidden(m.Phase)
	}
	fmt.Fprint(t, "PHASE\tMETRIC\tREQUESTS\tRATE/s\tMEAN\tP50\tP90\tP99\tP99.9\tMAX\t2xx\t3xx\t4xx\t5xx\tINVALID\tTIMEOUT\tERROR\tBLOCKED\t")
	if cancelled {
		fmt.Fprint(t, "CANCELLED\t")
	}
	if cached {
		fmt.Fprint(t, "CACHED\t")
	}
	fmt.Fprintln(t)
	for _, m := range r.Metrics {
		if hidden(m.Phase) || m.hasNoRequests() {
			continue
		}
		q := m.Latency.Quantiles(0.5, 0.9, 0.99, 0.999)
		rate := 0.0
		if d := elapsed(m.Phase); d > 0 {
			rate = float64(m.Requests) / d.Seconds()
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%.5g\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t",
			m.Phase, m.name(" (measured)"), m.Requests, rate, Ms(m.Latency.Mean()), Ms(q[0]), Ms(q[1]), Ms(q[2]), Ms(q[3]), Ms(m.Latency.Max()),
			m.Class(2), m.Class(3), m.Class(4), m.Class(5), m.Invalid, m.Timeouts, m.Connections+m.Internal, Ms(m.Blocked.Mean()))
		if cancelled {
			fmt.Fprintf(t, "%d\t", m.Cancelled)
		}
		if cached {
			fmt.Fprintf(t, "%d\t", m.CacheHits)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil || !counted {
		return err
	}
	return writeNamed(w, r, hidden)
}

// writeNamed writes what scenarios count themselves as a table.
func writeNamed(w io.Writer, r *Report, hidden func(phase string) bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nPHASE\tMETRIC\tCOUNTER\tCOUNT\t")
	for _, m := range r.Metrics {
		if hidden(m.Phase) {
			continue
		}
		for _, n := range m.Named {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t\n", m.Phase, m.Metric, n.Name, n.Count)
		}
	}
	return t.Flush()
}

// Ms writes a time in ms with its unit, in three digits.
func Ms(ms float64) string {
	unit := "ms"
	switch {
	case ms == 0:
		return "0"
	case ms < 1:
		ms, unit = ms*1000, "us"
	case ms >= 1000:
		ms, unit = ms/1000, "s"
	}
	text := strconv.FormatFloat(ms, 'f', max(0, 2-digits(ms)), 64)
	return text + unit
}

// digits returns how many digits a number has before the point, less one.
func digits(v float64) (n int) {
	for ; v >= 10; v /= 10 {
		n++
	}
	return n
}
