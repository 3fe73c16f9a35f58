package report

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/loads/loads/broker"
)

func assessments(c Comparison) map[string]Assessment {
	all := map[string]Assessment{}
	for _, d := range c.Figures {
		all[d.Metric+" "+d.Figure] = d.Assessment
	}
	return all
}

func TestComparisonsAreAsKept(t *testing.T) {
	before := dossierOf(load{seed: 1, seconds: 60, latency: 30, rate: 40})
	after := dossierOf(load{seed: 2, seconds: 60, latency: 45, rate: 40})
	after.Run.Verdict = broker.Invalid
	after.Run.Plan.Steps[1].InstanceCount = 3
	after.Run.Versions = map[string]string{"loads": "v1.3.0", "engine local": "28.0.1"}
	after.Run.StepRecords[1].ImageDigest = "sha256:" + strings.Repeat("c3", 32)
	c := Compare([]broker.Dossier{before, after})
	for name, write := range map[string]ComparisonWriter{
		"comparison.txt": ComparisonText, "comparison.json": ComparisonJSON, "comparison.md": ComparisonMarkdown,
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := write(&got, c); err != nil {
				t.Fatal(err)
			}
			golden(t, name, got.Bytes())
		})
	}
}

func TestASlowerRunDiffersAndItsRateDoesNot(t *testing.T) {
	before := dossierOf(load{seed: 1, seconds: 60, latency: 30, rate: 100})
	after := dossierOf(load{seed: 2, seconds: 60, latency: 36, rate: 100})
	got := assessments(Compare([]broker.Dossier{before, after}))
	for _, figure := range []string{"mean", "p50", "p95", "p99"} {
		if got["req.latency "+figure] != Differs {
			t.Errorf("%s of a load 20 %% slower is %q", figure, got["req.latency "+figure])
		}
	}
	if got["requests rate"] != Noise || got["req.latency rate"] != Noise {
		t.Errorf("equal rates are %q and %q", got["requests rate"], got["req.latency rate"])
	}
}

// Two runs of the same kind must seldom be said to differ: at 99 % about one
// figure in a hundred, of which only those over the limits of noise are told.
func TestRunsOfOneKindAreSeldomSaidToDiffer(t *testing.T) {
	figures, wrong := 0, 0
	for seed := range uint64(40) {
		a := dossierOf(load{seed: 100 + seed, seconds: 60, latency: 100, rate: 30})
		b := dossierOf(load{seed: 500 + seed, seconds: 60, latency: 100, rate: 30})
		for _, d := range Compare([]broker.Dossier{a, b}).Figures {
			figures++
			if d.Assessment == Differs {
				wrong++
			}
		}
	}
	if wrong > figures*3/100 {
		t.Errorf("%d of %d figures of equal runs are said to differ", wrong, figures)
	}
}

// Seconds that resemble the one before make a difference easier to get by
// chance; blocks must allow for that.
func TestIntervalsAllowForSecondsThatResembleEachOther(t *testing.T) {
	source := rand.New(rand.NewPCG(7, 7))
	series := func() []float64 {
		values, x := make([]float64, 300), 0.0
		for i := range values {
			x = 0.5*x + source.NormFloat64()
			values[i] = 100 + x
		}
		return values
	}
	misses := 0
	for range 200 {
		interval, ok := differenceOf(series(), series())
		if !ok {
			t.Fatal("no interval of 300 seconds")
		}
		if !interval.holdsZero() {
			misses++
		}
	}
	if misses > 8 { // 2 are expected of an exact method; one without blocks gives about 25
		t.Errorf("%d of 200 intervals of equal series leave out 0", misses)
	}
}

func TestShortRunsAndOneSidedMetricsAreNotJudged(t *testing.T) {
	before := dossierOf(load{seed: 1, seconds: 10, latency: 30, rate: 40})
	after := dossierOf(load{seed: 2, seconds: 10, latency: 60, rate: 40})
	got := assessments(Compare([]broker.Dossier{before, after}))
	if got["req.latency p95"] != Unsure {
		t.Errorf("twice the latency in ten seconds is %q, want unsure", got["req.latency p95"])
	}
	after.Summary.Metrics = after.Summary.Metrics[1:]
	for _, d := range Compare([]broker.Dossier{before, after}).Figures {
		if d.Metric == "=open|conns" && (d.Assessment != Missing || d.Before == nil || d.After != nil) {
			t.Errorf("a metric of the first run only: got %+v", d)
		}
	}
}

func TestComparisonWarnsOfWhatIsNotAlike(t *testing.T) {
	before := dossierOf(load{seed: 1, seconds: 30, latency: 30, rate: 40})
	if got := Compare([]broker.Dossier{before, dossierOf(load{seed: 2, seconds: 30, latency: 30, rate: 40})}).Warnings; len(got) != 0 {
		t.Errorf("runs alike: got %q", got)
	}
	for what, change := range map[string]func(*broker.Run){
		"its plan":                  func(r *broker.Run) { r.Plan.Steps[0].RunDelay = 5 },
		"the image of step service": func(r *broker.Run) { r.StepRecords[0].ImageDigest = "sha256:" + strings.Repeat("9", 64) },
		"the version of loads":      func(r *broker.Run) { r.Versions = map[string]string{"loads": "v2"} },
		"the environment":           func(r *broker.Run) { r.Environment[0].Value = "300" },
		"is not over":               func(r *broker.Run) { r.State = broker.Running },
		"prove nothing":             func(r *broker.Run) { r.Verdict = broker.Aborted },
	} {
		after := dossierOf(load{seed: 2, seconds: 30, latency: 30, rate: 40})
		change(&after.Run)
		got := Compare([]broker.Dossier{before, after}).Warnings
		if !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, what) }) {
			t.Errorf("got %q, want a warning with %q", got, what)
		}
	}
}

func TestLongRunsAreTakenTogetherWithoutAShiftOfTheirMean(t *testing.T) {
	values := make([]float64, 3601)
	for i := range values {
		values[i] = float64(i % 7)
	}
	got := condense(values)
	sum := 0.0
	for _, v := range got {
		sum += v
	}
	if len(got) != 514 || sum/float64(len(got)) != 3 {
		t.Errorf("got %d values with the mean %v, want 514 with 3", len(got), sum/float64(len(got)))
	}
}

func BenchmarkCompareAnHour(b *testing.B) {
	before, after := dossierOf(load{seed: 1, seconds: 3600, latency: 30, rate: 10}), dossierOf(load{seed: 2, seconds: 3600, latency: 30, rate: 10})
	for b.Loop() {
		Compare([]broker.Dossier{before, after})
	}
}
