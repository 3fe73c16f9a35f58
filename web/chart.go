package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// maxCharted is how many metrics are drawn when none is chosen.
const maxCharted = 4

// chartData is what the script draws charts of: the seconds after From.
type chartData struct {
	To      int64         `json:"to"` // end of the last second in it, Unix ms; ask from there next
	Over    bool          `json:"over"`
	Metrics []metricName  `json:"metrics"` // all there are
	Lines   []chartedLine `json:"lines"`
}

type metricName struct {
	Name string       `json:"name"`
	Kind metrics.Kind `json:"kind"`
}

// A chartedLine is a metric over time, by columns: rate for counters, also
// percentiles for timers, value for gauges, count for sets.
type chartedLine struct {
	metricName
	Label  string                `json:"label"`  // of the step or the machine; empty when merged
	Times  []int64               `json:"times"`  // ends of seconds, Unix s
	Values map[string][]*float64 `json:"values"` // null where there is none
}

// chart answers the lines of the metric that is chosen, or of some when none is.
func (p *Pages) chart(w http.ResponseWriter, r *http.Request) error {
	ctx, q := r.Context(), r.URL.Query()
	from, err := fromOf(r)
	if err != nil {
		return err
	}
	run, sum, err := p.broker.Summary(ctx, r.PathValue("uuid"))
	if err != nil {
		return err
	}
	d := chartData{Over: run.State == broker.Completed, To: sum.To, Metrics: []metricName{}, Lines: []chartedLine{}}
	if !d.Over {
		// Of later seconds some machines may not have told yet.
		live, err := p.broker.Live(ctx, run.UUID)
		if err != nil {
			return err
		}
		d.To = live.To
	}
	for _, m := range sum.Metrics {
		d.Metrics = append(d.Metrics, metricName{m.Name, m.Kind})
	}
	if d.To > from {
		names := chosen(q.Get("metric"), run.Plan, sum)
		if d.Lines, err = p.lines(ctx, run.UUID, sum, names, metrics.Query{By: by(q.Get("by")), From: from, To: d.To}); err != nil {
			return err
		}
	}
	return d.write(w)
}

// fromOf reads the end of the last second that the asker has, Unix ms.
func fromOf(r *http.Request) (int64, error) {
	text := r.URL.Query().Get("from")
	from, err := strconv.ParseInt(cmp.Or(text, "0"), 10, 64)
	if err != nil || from < 0 {
		return 0, broker.Errorf(broker.EInvalid, "The parameter from is wrong: %q; give Unix ms.", text)
	}
	return from, nil
}

func (d chartData) write(w http.ResponseWriter) error {
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("write chart: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // a browser that went away needs no chart
	return nil
}

// lines reads the lines of the metrics of those names.
func (p *Pages) lines(ctx context.Context, run string, sum metrics.Summary, names []string, q metrics.Query) ([]chartedLine, error) {
	from := max(q.From, sum.From)
	lines := []chartedLine{}
	for _, name := range names {
		q.Metric = name
		came, err := p.broker.Series(ctx, run, q)
		if err != nil {
			return nil, err
		}
		for _, m := range sum.Metrics {
			has := func(l metrics.Line) bool { return l.Kind == m.Kind }
			if m.Name == name && q.By == "" && hasRate(m.Kind) && !slices.ContainsFunc(came, has) {
				came = append(came, metrics.Line{Name: name, Kind: m.Kind}) // nothing of it in this time
			}
		}
		for _, line := range came {
			lines = append(lines, columns(line, from, q.To))
		}
	}
	return lines, nil
}

// chosen are the names of the metrics to draw: those of criteria before others,
// and timers before counters.
func chosen(metric string, plan strategies.Plan, sum metrics.Summary) []string {
	if metric != "" {
		return []string{metric}
	}
	judged := func(name string) bool {
		for _, c := range plan.Criteria {
			if strings.Contains(c.Expr, `"`+name+`"`) {
				return true
			}
		}
		return false
	}
	order := func(m metrics.MetricSummary) int {
		rank := map[metrics.Kind]int{metrics.Timer: 0, metrics.Counter: 1, metrics.Gauge: 2, metrics.Set: 3}[m.Kind]
		if judged(m.Name) {
			rank -= 10
		}
		return rank
	}
	sorted := slices.Clone(sum.Metrics)
	slices.SortStableFunc(sorted, func(a, b metrics.MetricSummary) int { return cmp.Compare(order(a), order(b)) })
	var names []string
	for _, m := range sorted {
		if len(names) < maxCharted && !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

// columns turns the buckets of a line, of the time from and to, into columns.
// In seconds without any, counters and timers had a rate of 0, which is drawn;
// their percentiles, and gauges, are not there.
func columns(line metrics.Line, from, to int64) chartedLine {
	c := chartedLine{metricName: metricName{line.Name, line.Kind}, Label: line.Step, Values: map[string][]*float64{}, Times: []int64{}}
	if line.Machine != nil {
		c.Label += "/" + strconv.Itoa(*line.Machine)
		for _, b := range line.Buckets {
			c.add(b) // of so many lines, only what came
		}
		return c
	}
	before := from
	for _, b := range line.Buckets {
		c.idle(before, b.Time-1000)
		c.add(b)
		before = b.Time
	}
	c.idle(before, to)
	return c
}

func hasRate(k metrics.Kind) bool { return k == metrics.Counter || k == metrics.Timer }

// idle adds the seconds after before, up to until, in which nothing came.
func (c *chartedLine) idle(before, until int64) {
	if !hasRate(c.Kind) {
		return
	}
	none := 0.0
	for at := before + 1000; at <= until; at += 1000 {
		c.Times = append(c.Times, at/1000)
		if c.Kind == metrics.Timer {
			for _, name := range []string{"p50", "p95", "p99", "max"} {
				c.put(name, nil)
			}
		}
		c.put("rate", &none)
	}
}

func (c *chartedLine) add(b metrics.Bucket) {
	c.Times = append(c.Times, b.Time/1000)
	switch c.Kind {
	case metrics.Gauge:
		c.put("value", &b.Value)
	case metrics.Set:
		c.put("count", &b.Count)
	case metrics.Timer:
		c.put("p50", &b.P50)
		c.put("p95", &b.P95)
		c.put("p99", &b.P99)
		c.put("max", &b.Max)
		c.put("rate", &b.Rate)
	default:
		c.put("rate", &b.Rate)
	}
}

// put adds a value with five digits that matter, more than a chart can show.
func (c *chartedLine) put(name string, value *float64) {
	if value != nil {
		if x, err := strconv.ParseFloat(strconv.FormatFloat(*value, 'g', 5, 64), 64); err == nil {
			value = &x
		}
	}
	c.Values[name] = append(c.Values[name], value)
}
