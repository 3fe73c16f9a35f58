package strategies_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// readings answers calls from a table; what is not in it was not measured.
func readings(values map[string]float64) func(strategies.Call) (float64, error) {
	return func(c strategies.Call) (float64, error) {
		if v, ok := values[c.Text]; ok {
			return v, nil
		}
		return 0, errors.New("no such metric")
	}
}

func TestExpressionsHoldOrNot(t *testing.T) {
	values := map[string]float64{
		`p95("t")`: 210, `p(0.999, "t")`: 400, `count("c")`: 100, `count("c", "status:500")`: 3,
		`rate("zero")`: 0, `rate("c")`: 10, `value("g")`: 7, `max("t")`: 500, `min("t")`: 1, `mean("t")`: 50, `sum("t")`: 5000,
		`max("inf")`: math.Inf(1), `max("nan")`: math.NaN(), `max("huge")`: math.MaxFloat64,
	}
	tests := []struct {
		desc, expr string
		holds      bool
		trouble    string
	}{
		{"below its limit", `p95("t") < 250`, true, ""},
		{"above its limit", `p95("t") < 200`, false, ""},
		{"a part of one's own", `p(0.999, "t") <= 400`, true, ""},
		{"a whole number", `count("c") == 100`, true, ""},
		{"limit first", `250 > p95("t")`, true, ""},
		{"arithmetic", `count("c", "status:500") / count("c") < 0.05`, true, ""},
		{"all functions", `min("t") < mean("t") and mean("t") < max("t") and sum("t") == 5000 and value("g") >= 7`, true, ""},
		{"or", `p95("t") < 1 or count("c") > 99`, true, ""},
		{"not", `not (p95("t") > 250)`, true, ""},
		{"unknown metric", `p95("tt") < 250`, false, "no such metric"},
		{"unknown metric, negated", `not (p95("tt") > 250)`, false, "no such metric"},
		{"unknown metric behind an or", `p95("t") < 250 or p95("tt") < 250`, false, "no such metric"},
		{"unequal to what is unknown", `p95("tt") != 1`, false, "no such metric"},
		{"division by zero", `rate("c") / rate("zero") > 5`, false, "division by zero"},
		{"zero by zero", `rate("zero") / rate("zero") < 5`, false, "division by zero"},
		{"a constant by zero", `rate("c") > 1 / 0`, false, "division by zero"},
		{"infinity", `max("inf") > 1`, false, "not a number"},
		{"no number", `not (max("nan") > 1)`, false, "not a number"},
		{"overflow", `max("huge") * 10 > 1`, false, "not a number"},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			e, err := strategies.CompileExpression(tt.expr)
			if err != nil {
				t.Fatal(err)
			}
			out := e.Eval(readings(values))
			if out.Holds != tt.holds || (out.Err == nil) != (tt.trouble == "") {
				t.Errorf("got %v, %v; want %v, %q", out.Holds, out.Err, tt.holds, tt.trouble)
			}
			if out.Err != nil && !strings.Contains(out.Err.Error(), tt.trouble) {
				t.Errorf("got %v, want %q in it", out.Err, tt.trouble)
			}
		})
	}
}

func TestExpressionTellsItsValueAndLimit(t *testing.T) {
	for text, bound := range map[string]string{
		`p95("t") < 250`:              "< 250",
		`250 > p95("t")`:              "< 250",
		`p95("t") <= 2 * 125`:         "<= 2 * 125",
		`p95("t") < 250 and true`:     "",
		`p95("t") < p95("t", "a:b")`:  `< p95("t", "a:b")`,
		`(p95("t") < 250) == true`:    "",
		`p95("t") / 2 < 125`:          "< 125",
		`p95("t") - 10 != 3`:          "!= 3",
		`100 <= p95("t") * 1 + 2 - 1`: ">= 100",
	} {
		e, err := strategies.CompileExpression(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		out := e.Eval(readings(map[string]float64{`p95("t")`: 210, `p95("t", "a:b")`: 5}))
		if e.Bound() != bound || (out.Value != nil) != (bound != "") || (out.Limit != nil) != (bound != "") {
			t.Errorf("%s: bound %q, value %v, limit %v; want %q", text, e.Bound(), out.Value, out.Limit, bound)
		}
	}
}

func TestExpressionsThatAreDeclined(t *testing.T) {
	for text, want := range map[string]string{
		``:                                "is missing",
		`p95("t"`:                         "can't be read at character",
		`p95("t")`:                        "expected bool",
		`p95("t") + 1`:                    "expected bool",
		`true`:                            "asks for no metric",
		`1 < 2`:                           "asks for no metric",
		`p96("t") < 1`:                    "did you mean p9",
		`throughput("t") < 1`:             "the functions are p50",
		`p95(t) < 1`:                      "p95 takes text",
		`p95("a" + "b") < 1`:              "p95 takes text",
		`p95() < 1`:                       "has no metric",
		`p(95, "t") < 1`:                  "from 0 to 1",
		`p("t") < 1`:                      "from 0 to 1",
		`count("t", "status") < 1`:        "write tags as name:value",
		`latency < 1`:                     "has the name latency",
		`len("t") < 1`:                    "has the function len",
		`p95("t") ** 9 < 1`:               "has the operator **",
		`p95("t") % 2 < 1`:                "has the operator %",
		`p95("t") in [1, 2]`:              "has the operator in",
		`map(1..1000000, # * 2) == 1`:     "has the function map",
		`count("t") < 1 ? true : false`:   "criteria have no use",
		`let x = 1; count("t") < x`:       "criteria have no use",
		`count("t") < "5"`:                "has text where a number is due",
		`quotient(count("t"), 1.0) < 1`:   "has the function quotient",
		`count("t") < 1 and nope(1) < 2`:  "has the function nope",
		`count("t") < 1 and 5`:            "mismatched types|can't be read",
		strings.Repeat(`(`, 600) + `1`:    "600 characters|601 characters",
		strings.Repeat("1+", 240) + "1<2": "exceeds|asks for no metric|can't be read",
	} {
		_, err := strategies.CompileExpression(text)
		ok := false
		for part := range strings.SplitSeq(want, "|") {
			ok = ok || err != nil && strings.Contains(err.Error(), part)
		}
		if !ok {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
		}
	}
}

const withCriteria = `
name: judged
on_invalid: warn
max_skew_ms: 500
criteria:
  - p95("req.latency") < 250
  - {name: errors, expr: rate("errors") / rate("requests") < 0.01, for: 30s, stop: true, during: load}
  - {expr: count("requests") > 0, for: 5}
steps:
  - {name: load, container_name: a, instance_count: 3, quorum: 2}
`

func TestCriteriaSurviveAFileAndJSON(t *testing.T) {
	p, err := strategies.ParsePlan("p.yaml", []byte(withCriteria))
	if err != nil {
		t.Fatal(err)
	}
	want := []strategies.Criterion{
		{Expr: `p95("req.latency") < 250`},
		{Name: "errors", Expr: `rate("errors") / rate("requests") < 0.01`, For: 30, Stop: true, During: "load"},
		{Expr: `count("requests") > 0`, For: 5},
	}
	if diff := cmp.Diff(want, p.Criteria); diff != "" {
		t.Errorf("criteria differ (-want +got):\n%s", diff)
	}
	if p.OnInvalid != strategies.InvalidWarns || p.SkewLimitMS() != 500 || p.Steps[0].Enough() != 2 {
		t.Errorf("got %q, %d ms, %d machines", p.OnInvalid, p.SkewLimitMS(), p.Steps[0].Enough())
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again strategies.Plan
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Errorf("the plan differs after JSON (-before +after):\n%s", diff)
	}
}

// A chain of comparisons has its middle twice in the tree; chains within
// chains would double it at each depth.
func TestNestedChainsAreDeclinedBeforeTheyCost(t *testing.T) {
	text := `count("a")`
	for range 35 {
		text = "1<(" + text + ")<2"
	}
	began := time.Now()
	_, err := strategies.CompileExpression(text)
	if took := time.Since(began); err == nil || took > time.Minute {
		t.Errorf("got %v after %s, want it declined at once", err, took)
	}
}

func TestPlanWithoutCriteriaIsWrittenAsBefore(t *testing.T) {
	data, err := json.Marshal(strategies.Plan{Name: "old", Steps: []strategies.Step{}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"old","description":"","enabled":false,"steps":[]}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
}

func TestFaultsOfCriteriaComeAllAtOnceWithTheirPlaces(t *testing.T) {
	err := strategies.Check("p.yaml", []byte(`name: faults
on_invalid: maybe
max_skew_ms: -1
max_cpu_percent: 101
criteria:
  - p96("t") < 1
  - {expr: p95("t") < 1, for: soon, during: laod}
  - {expr: nope("t") < other, stop: true}
  - 5
  - {name: twice, expr: p95("t") < 1}
  - {name: twice, expr: p95("t") < 2}
steps:
  - {name: load, container_name: a, instance_count: 2, quorum: 3}
  - {name: strict, container_name: a, instance_count: 2, quorum: 1, prune_running: false, role: other}
`), nil)
	var faults strategies.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("got %v, want faults", err)
	}
	var places []string
	for _, f := range faults {
		places = append(places, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Field))
	}
	want := []string{
		"2:13 on_invalid", "3:14 max_skew_ms", "4:18 max_cpu_percent", "6:5 criteria[0].expr", "7:31 criteria[1].for", "7:45 criteria[1].during",
		"8:12 criteria[2].expr", "8:12 criteria[2].expr", "9:5 criteria[3]", "11:5 criteria[5]",
		"13:64 steps[0].quorum", "14:66 steps[1].quorum", "14:97 steps[1].role",
	}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Errorf("places differ (-want +got):\n%s\n%v", diff, err)
	}
}

func TestEditsOfCriteria(t *testing.T) {
	p, err := strategies.ParsePlan("p.yaml", []byte(withCriteria))
	if err != nil {
		t.Fatal(err)
	}
	edited, err := p.Edit(map[string]any{
		"criteria.0": `p95("req.latency") < 100`, "criteria.errors.for": "10s", "criteria.2": nil,
		"on_invalid": "fail", "max_skew_ms": "50", "steps.load.quorum": 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []strategies.Criterion{
		{Expr: `p95("req.latency") < 100`},
		{Name: "errors", Expr: `rate("errors") / rate("requests") < 0.01`, For: 10, Stop: true, During: "load"},
	}
	if diff := cmp.Diff(want, edited.Criteria); diff != "" {
		t.Errorf("criteria differ (-want +got):\n%s", diff)
	}
	if edited.OnInvalid != strategies.InvalidFails || edited.MaxSkewMS != 50 || edited.Steps[0].Quorum != 3 {
		t.Errorf("got %q, %d, %d", edited.OnInvalid, edited.MaxSkewMS, edited.Steps[0].Quorum)
	}
	if len(p.Criteria) != 3 || p.Criteria[0].Expr != `p95("req.latency") < 250` {
		t.Errorf("the plan itself has changed: %v", p.Criteria)
	}
	for path, want := range map[string]string{"criteria.9": "names no criterion", "criteria.0.nope": "names no field"} {
		if _, err := p.Edit(map[string]any{path: "x"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}
