package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// CSV writes the run's metrics as a table (RFC 4180): for each metric a row of
// scope run, whose time is the end of the measured time, then a row of scope
// second for each second in which something came. Figures a kind does not have
// are empty. Last come rows of kind host, one for each figure of each machine,
// with the machine as scope: a level has mean and max, a total a value. A name that a spreadsheet would take for a formula begins with an
// apostrophe.
func CSV(w io.Writer, d broker.Dossier) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"run", "metric", "kind", "scope", "time", "count", "rate", "value", "mean", "p50", "p90", "p95", "p99", "max"}}
	for _, m := range d.Summary.Metrics {
		rows = append(rows, csvRow(d, m.Name, m.Kind, "run", metrics.Bucket{
			Time: d.Summary.To, Count: m.Count, Rate: m.Rate, Value: m.Value,
			Mean: m.Mean, P50: m.P50, P90: m.P90, P95: m.P95, P99: m.P99, Max: m.Max,
		}))
		for _, line := range d.Lines {
			if line.Name != m.Name || line.Kind != m.Kind {
				continue
			}
			for _, b := range line.Buckets {
				rows = append(rows, csvRow(d, m.Name, m.Kind, "second", b))
			}
		}
	}
	for _, h := range d.Hosts {
		rows = append(rows, hostRows(d, h)...)
	}
	if err := c.WriteAll(rows); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func csvRow(d broker.Dossier, name string, kind metrics.Kind, scope string, b metrics.Bucket) []string {
	row := []string{
		d.Run.UUID, notFormula(name), string(kind), scope,
		time.UnixMilli(b.Time).UTC().Format("2006-01-02T15:04:05.000Z"), number(b.Count), "", "", "", "", "", "", "", "",
	}
	switch kind {
	case metrics.Gauge:
		row[7] = number(b.Value)
	case metrics.Timer:
		for i, x := range []float64{b.Mean, b.P50, b.P90, b.P95, b.P99, b.Max} {
			row[8+i] = number(x)
		}
		row[6] = number(b.Rate)
	case metrics.Counter:
		row[6] = number(b.Rate)
	}
	return row
}

// hostRows are the figures of what a machine told of itself.
func hostRows(d broker.Dossier, h metrics.HostSummary) (rows [][]string) {
	row := func(metric string) []string {
		at := ""
		if d.Summary.To > 0 {
			at = time.UnixMilli(d.Summary.To).UTC().Format("2006-01-02T15:04:05.000Z")
		}
		scope := fmt.Sprintf("%s/%d", h.Step, h.Machine)
		return []string{d.Run.UUID, metric, "host", notFormula(scope), at, "", "", "", "", "", "", "", "", ""}
	}
	level := func(metric string, l *metrics.Level) {
		if l != nil {
			r := row(metric)
			r[8], r[13] = number(l.Mean), number(l.Max)
			rows = append(rows, r)
		}
	}
	total := func(metric string, v *float64) {
		if v != nil {
			r := row(metric)
			r[7] = number(*v)
			rows = append(rows, r)
		}
	}
	level("cpu_percent", h.CPU)
	level("steal_percent", h.Steal)
	level("memory_percent", h.Memory)
	total("received_bytes", h.Received)
	total("sent_bytes", h.Sent)
	for _, c := range h.Containers {
		level("container.cpu_percent", c.CPU)
		level("container.memory_bytes", c.Memory)
		total("container.received_bytes", c.Received)
		total("container.sent_bytes", c.Sent)
		total("container.oom_kills", c.OOMKills)
	}
	return rows
}

// number writes a figure in full, for programs.
func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

func notFormula(name string) string {
	if strings.IndexAny(name, "=+-@\t\r") == 0 {
		return "'" + name
	}
	return name
}
