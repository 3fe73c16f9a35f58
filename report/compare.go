package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
)

// Differences below both of these are noise, whatever the seconds say; for
// what is no time, the first alone counts.
const (
	noisePercent = 1
	noiseMS      = 2
)

// A Comparison sets runs against the first of them.
type Comparison struct {
	Runs     []Compared   `json:"runs"`
	Warnings []string     `json:"warnings"` // why the figures may not be comparable
	Method   string       `json:"method"`
	Figures  []Difference `json:"differences"` // by run, metric and figure
}

// Compared is one of the runs.
type Compared struct {
	UUID    string         `json:"uuid"`
	Plan    string         `json:"plan_name"`
	Verdict broker.Verdict `json:"verdict"`
	Seconds float64        `json:"seconds"` // in which metrics came
}

// An Assessment says what a difference is worth.
type Assessment string

// The assessments.
const (
	Noise   Assessment = "noise"   // it may well be chance, or is too small to matter
	Differs Assessment = "differs" // more than noise
	Unsure  Assessment = "unsure"  // one of the runs has too few seconds to tell
	Missing Assessment = "missing" // only one of the runs has the metric
)

// A Difference is one figure of one metric in two runs.
type Difference struct {
	Run    string       `json:"run"` // uuid of the run set against the first
	Metric string       `json:"metric"`
	Kind   metrics.Kind `json:"kind"`
	Figure string       `json:"figure"` // rate, mean, p50, p95, p99 or distinct
	// Before and After are the figure over the whole of the first run, and of
	// the other (of a gauge, the mean of its seconds); absent where a run does not have the metric.
	Before *float64 `json:"before"`
	After  *float64 `json:"after"`
	// Change is After - Before, Percent the same as a part of Before; Percent
	// is absent when Before is 0.
	Change  *float64 `json:"change,omitempty"`
	Percent *float64 `json:"percent,omitempty"`
	// Interval is that of the change of the figure's mean over the seconds.
	Interval   *Interval  `json:"interval,omitempty"`
	Assessment Assessment `json:"assessment"`
}

const method = "Figures are over whole runs. A change is more than noise when the 99 % interval of the change of the figure's mean " +
	"over the seconds (moving block bootstrap, 2000 resamples) leaves out 0 and lies on the change's side, and the change is not below both 1 % and 2 ms " +
	"(1 % alone where the figure is no time). Intervals need 20 seconds of each run; they know the spread within runs, not that between them."

// Compare sets each of the runs against the first, metric by metric.
func Compare(runs []broker.Dossier) Comparison {
	c := Comparison{Runs: []Compared{}, Warnings: []string{}, Method: method, Figures: []Difference{}}
	for _, d := range runs {
		c.Runs = append(c.Runs, Compared{
			UUID: d.Run.UUID, Plan: d.Run.PlanName, Verdict: d.Run.Verdict, Seconds: d.Summary.Seconds,
		})
		c.Warnings = append(c.Warnings, unproven(d.Run)...)
	}
	for _, other := range runs[min(1, len(runs)):] {
		c.Warnings = append(c.Warnings, unlike(runs[0].Run, other.Run)...)
		c.Figures = append(c.Figures, differences(runs[0], other)...)
	}
	return c
}

// unproven warns of a run whose figures prove nothing.
func unproven(run broker.Run) []string {
	switch {
	case run.State != broker.Completed:
		return []string{fmt.Sprintf("Run %s is not over.", run.UUID)}
	case run.Verdict != broker.Pass && run.Verdict != broker.Fail:
		return []string{fmt.Sprintf("Run %s is %s, so its figures prove nothing.", run.UUID, run.Verdict)}
	}
	return nil
}

// unlike warns of what two runs do not have in common.
func unlike(a, b broker.Run) []string {
	var warnings []string
	warn := func(format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf("Run %s differs from %s in ", b.UUID, a.UUID)+fmt.Sprintf(format, args...)+".")
	}
	if planText(a) != planText(b) {
		warn("its plan")
	}
	if x, y := inOrder(a.Environment.Masked().Map()), inOrder(b.Environment.Masked().Map()); x != y {
		warn("the environment it was given")
	}
	imagesA, imagesB := digests(a), digests(b)
	for _, step := range slices.Sorted(maps.Keys(imagesA)) {
		if other, ok := imagesB[step]; ok && other != imagesA[step] {
			warn("the image of step %s: %s, before %s", step, short(other), short(imagesA[step]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(union(a.Versions, b.Versions))) {
		if a.Versions[name] != b.Versions[name] {
			warn("the version of %s: %s, before %s", name, orDash(b.Versions[name]), orDash(a.Versions[name]))
		}
	}
	return warnings
}

// planText is what of a plan decides on how it is run: not its names and ids.
func planText(run broker.Run) string {
	plan := maskedPlan(run)
	plan.UUID, plan.Name, plan.Description, plan.Enabled = "", "", "", false
	for i := range plan.Steps {
		plan.Steps[i].UUID = ""
	}
	return inOrder(plan)
}

// inOrder is v as text; maps are sorted by their keys.
func inOrder(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return all
}

// digests are the images that ran, by step.
func digests(run broker.Run) map[string]string {
	images := map[string]string{}
	for _, rec := range run.StepRecords {
		if rec.ImageDigest != "" {
			images[stepName(run, rec.Index)] = rec.ImageDigest
		}
	}
	return images
}

type metricKey struct {
	name string
	kind metrics.Kind
}

func summaries(d broker.Dossier) map[metricKey]metrics.MetricSummary {
	all := map[metricKey]metrics.MetricSummary{}
	for _, m := range d.Summary.Metrics {
		all[metricKey{m.Name, m.Kind}] = m
	}
	return all
}

// differences compares two runs, in the order of the metrics' names.
func differences(a, b broker.Dossier) []Difference {
	inA, inB := summaries(a), summaries(b)
	both := maps.Clone(inA)
	maps.Copy(both, inB)
	keys := slices.SortedFunc(maps.Keys(both), func(x, y metricKey) int {
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.kind, y.kind))
	})
	var all []Difference
	for _, key := range keys {
		before, wasThere := inA[key]
		after, isThere := inB[key]
		for _, f := range figuresOf(key.kind) {
			d := Difference{Run: b.Run.UUID, Metric: key.name, Kind: key.kind, Figure: f.name, Assessment: Missing}
			secondsBefore, secondsAfter := f.seconds(a, key), f.seconds(b, key)
			if wasThere {
				d.Before = new(f.over(before, secondsBefore))
			}
			if isThere {
				d.After = new(f.over(after, secondsAfter))
			}
			if wasThere && isThere {
				d.assess(f.time, secondsBefore, secondsAfter)
			}
			all = append(all, d)
		}
	}
	return all
}

// assess judges the difference by the seconds of both runs.
func (d *Difference) assess(isTime bool, before, after []float64) {
	d.Change = new(*d.After - *d.Before)
	if *d.Before != 0 {
		d.Percent = new(100 * *d.Change / math.Abs(*d.Before))
	}
	interval, enough := differenceOf(before, after)
	if enough {
		d.Interval = &interval
	}
	small := d.Percent != nil && math.Abs(*d.Percent) < noisePercent && (!isTime || math.Abs(*d.Change) < noiseMS)
	switch {
	case small || *d.Change == 0:
		d.Assessment = Noise
	case !enough:
		d.Assessment = Unsure
	case interval.holdsZero() || (interval.Low > 0) != (*d.Change > 0):
		d.Assessment = Noise
	default:
		d.Assessment = Differs
	}
}
