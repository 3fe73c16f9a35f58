package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// secondMs is the length of the seconds that metrics are kept by.
const secondMs = 1000

// A criterionGauge judges one criterion over the series of a run, going on from second
// to second. One goroutine uses it. A new one that has seen the whole series
// knows the same as one that followed it live, so a broker that is started
// again begins with a new one.
type criterionGauge struct {
	criterion strategies.Criterion
	expr      *strategies.Expression

	seen    int64                      // end of the last second looked at, Unix ms
	windows map[string]*metrics.Window // what came so far, by the call's text
	last    strategies.Outcome         // over the whole time so far

	// Of a criterion with for: seconds in a row in which it did not hold, the
	// longest row, and in how many seconds it held.
	row, longest, held int
	brokenAt           int64              // end of the second in which it failed; 0 is not
	broken             strategies.Outcome // of that second
}

// newGauge makes a gauge. The plan was checked when it was taken, so an error
// is of a plan that an older program stored.
func newGauge(c strategies.Criterion) (*criterionGauge, error) {
	e, err := strategies.CompileExpression(c.Expr)
	if err != nil {
		return nil, err
	}
	return &criterionGauge{criterion: c, expr: e, windows: map[string]*metrics.Window{}}, nil
}

// span is the time that counts for a criterion, Unix ms by the ends of seconds.
type span struct{ from, to int64 }

func (s span) seconds() float64 { return float64(s.to-s.from) / secondMs }

// spanOf returns the time that counts: that in which anything came, or that of
// the step; until is the last second that is complete. It is false when there
// is no such time yet.
func (x *execution) spanOf(c strategies.Criterion, records []StepRecord, s *metrics.Series, until int64) (span, bool) {
	from, to := s.Span()
	sp := span{from, min(to, until)}
	if c.During == "" {
		return sp, to > 0 && sp.to > sp.from
	}
	for _, rec := range records {
		if x.ref.Plan.Steps[rec.Index].Name != c.During || rec.StartedAt == nil {
			continue
		}
		sp.from = rec.StartedAt.UnixMilli() / secondMs * secondMs
		sp.to = until
		if rec.CompletedAt != nil {
			sp.to = min(sp.to, (rec.CompletedAt.UnixMilli()+secondMs-1)/secondMs*secondMs)
		}
		return sp, sp.to > sp.from
	}
	return span{}, false
}

// advance looks at the seconds of the span that it has not seen.
func (g *criterionGauge) advance(s *metrics.Series, sp span) {
	from := max(g.seen, sp.from)
	if sp.to <= from {
		return
	}
	for _, c := range g.expr.Calls() {
		q := queryOf(c, span{from, sp.to})
		next := s.Window(q)
		if g.windows[c.Text] == nil {
			g.windows[c.Text] = &metrics.Window{}
		}
		g.windows[c.Text].Extend(next)
	}
	g.last = g.expr.Eval(func(c strategies.Call) (float64, error) {
		return reading(c, g.windows[c.Text], kindsOf(s, c), sp.seconds())
	})
	if g.criterion.For > 0 && g.brokenAt == 0 {
		g.eachSecond(s, span{from, sp.to})
	}
	g.seen = sp.to
}

// eachSecond judges seconds by themselves. One in which nothing can be said,
// since no value of a timer came, neither breaks a row nor makes it longer.
func (g *criterionGauge) eachSecond(s *metrics.Series, sp span) {
	seconds, kinds := map[string]map[int64]*metrics.Window{}, map[string][]metrics.Kind{}
	for _, c := range g.expr.Calls() {
		seconds[c.Text], kinds[c.Text] = s.Seconds(queryOf(c, sp)), kindsOf(s, c)
	}
	for at := sp.from + secondMs; at <= sp.to; at += secondMs {
		out := g.expr.Eval(func(c strategies.Call) (float64, error) {
			w := seconds[c.Text][at]
			if w == nil {
				w = &metrics.Window{}
			}
			return reading(c, w, kinds[c.Text], 1)
		})
		switch {
		case errors.Is(out.Err, errNothingCame):
			continue
		case out.Err == nil && out.Holds:
			g.row = 0
			g.held++
		default:
			g.row++
			g.longest = max(g.longest, g.row)
		}
		if g.row >= int(g.criterion.For) {
			g.brokenAt, g.broken = at, out
			return
		}
	}
}

func queryOf(c strategies.Call, sp span) metrics.Query {
	q := metrics.Query{Metric: c.Metric, From: sp.from, To: sp.to}
	for _, text := range c.Tags {
		name, value, _ := strings.Cut(text, ":")
		q.Tags = append(q.Tags, metrics.Tag{Name: name, Value: value})
	}
	return q
}

// kindsOf returns the kinds in which the call's metric, with its tags of any
// value, has come in the whole run.
func kindsOf(s *metrics.Series, c strategies.Call) []metrics.Kind {
	var names []string
	for _, text := range c.Tags {
		name, _, _ := strings.Cut(text, ":")
		names = append(names, name)
	}
	return s.Kinds(c.Metric, names...)
}

// errNothingCame is in the error of a reading for which nothing came.
var errNothingCame = errors.New("nothing came")

// reading is what a call gives of a window. Of a metric that the run has, sums
// are 0 where nothing came; the rest is an error then. A metric that never came
// is always one: its name may be misspelt.
func reading(c strategies.Call, w *metrics.Window, kinds []metrics.Kind, seconds float64) (float64, error) {
	if len(kinds) == 0 {
		return 0, fmt.Errorf("%s: no such metric, %w", c.Text, errNothingCame)
	}
	kind, value, err := valueOf(c, w, kinds, seconds)
	if err != nil {
		return 0, err
	}
	if !w.Has(kind) && c.Func != "count" && c.Func != "rate" && c.Func != "sum" {
		return 0, fmt.Errorf("%s: %w in this time", c.Text, errNothingCame)
	}
	return value, nil
}

// valueOf chooses the kind that the function is about. Where a name has both,
// counters come before timers.
func valueOf(c strategies.Call, w *metrics.Window, kinds []metrics.Kind, seconds float64) (metrics.Kind, float64, error) {
	isTimer, isCounter := slices.Contains(kinds, metrics.Timer), slices.Contains(kinds, metrics.Counter)
	t := w.Timed()
	sum, count, kind := t.Sum(), t.Count(), metrics.Timer
	if isCounter {
		sum, count, kind = w.Counted(), w.Counted(), metrics.Counter
	}
	switch {
	case c.Func == "value" && slices.Contains(kinds, metrics.Gauge):
		return metrics.Gauge, w.Gauged(), nil
	case c.Func == "p" && isTimer:
		return metrics.Timer, t.Quantile(c.Q), nil
	case c.Func == "mean" && isTimer:
		return metrics.Timer, t.Mean(), nil
	case c.Func == "min" && isTimer:
		return metrics.Timer, t.Min(), nil
	case c.Func == "max" && isTimer:
		return metrics.Timer, t.Max(), nil
	case c.Func == "count" && (isCounter || isTimer):
		return kind, count, nil
	case c.Func == "sum" && (isCounter || isTimer):
		return kind, sum, nil
	case c.Func == "rate" && (isCounter || isTimer) && seconds > 0:
		return kind, count / seconds, nil
	}
	return "", 0, fmt.Errorf("%s: the metric is of the kind %s, which has no such figure", c.Text, kinds[0])
}

// result says what the gauge has found so far; over tells that nothing comes
// any more.
func (g *criterionGauge) result(over bool) CriterionResult {
	r := CriterionResult{
		Name: g.criterion.Title(), Expr: g.criterion.Expr, State: CriterionPending, Bound: g.expr.Bound(),
	}
	out := g.last
	long := g.criterion.For > 0
	switch {
	case g.seen == 0:
		r.Detail = "no such metric, nothing was measured at all"
		if g.criterion.During != "" {
			r.Detail = fmt.Sprintf("nothing was measured during step %s", g.criterion.During)
		}
		if over {
			r.State = CriterionFailed
		}
		return r
	case g.brokenAt > 0:
		out, r.State, r.FailedAt = g.broken, CriterionFailed, g.brokenAt
		r.Detail = fmt.Sprintf("it did not hold for %d s, until %s", g.criterion.For, time.UnixMilli(g.brokenAt).UTC().Format(time.TimeOnly+"Z"))
	case !over && (long || out.Err != nil):
	case long && g.held == 0:
		r.State, r.Detail = CriterionFailed, "it held in no second"
	case !long && !out.Holds:
		r.State = CriterionFailed
	case over || !long:
		r.State = CriterionHeld
	}
	if long && r.State == CriterionHeld {
		r.Detail = fmt.Sprintf("it did not hold for %d s at the longest, %d s are the limit", g.longest, g.criterion.For)
	}
	if out.Err != nil {
		r.Detail = strings.ReplaceAll(out.Err.Error(), "\n", "; ")
	} else if out.Readings != nil {
		r.Value, r.Limit, r.Readings = out.Value, out.Limit, out.Readings
	}
	return r
}

// judgeCriteria judges all criteria of a run whose metrics are home. A
// criterion that failed while the run went on stays failed.
func (x *execution) judgeCriteria(records []StepRecord, before Judgement) []CriterionResult {
	x.seriesMu.Lock()
	defer x.seriesMu.Unlock()
	var results []CriterionResult
	for i, c := range x.ref.Plan.Criteria {
		if i < len(before.Criteria) && before.Criteria[i].State == CriterionFailed {
			results = append(results, before.Criteria[i])
			continue
		}
		g, err := newGauge(c)
		if err != nil {
			results = append(results, CriterionResult{Name: c.Title(), Expr: c.Expr, State: CriterionFailed, Detail: err.Error()})
			continue
		}
		_, to := x.series.Span()
		if sp, ok := x.spanOf(c, records, x.series, max(to, x.series.LiveSecond())); ok {
			g.advance(x.series, sp)
		}
		results = append(results, g.result(true))
	}
	return results
}
