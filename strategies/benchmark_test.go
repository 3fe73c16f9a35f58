package strategies_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

const benchmarkStep = `name: p
steps:
  - {name: load, container_name: loads/node, additional_command_args: --quiet, environment_data: {RATE: 40}, benchmark: %}
`

func parseBenchmark(t *testing.T, text string) (strategies.Plan, error) {
	t.Helper()
	return strategies.ParsePlan("plan.yaml", []byte(strings.Replace(benchmarkStep, "%", text, 1)))
}

func TestBenchmarkIsANameOrAMap(t *testing.T) {
	for text, want := range map[string]*strategies.Benchmark{
		"b/shop.yaml": {File: "b/shop.yaml"},
		"{file: shop.yaml, params: {RATE: $RATE, N: 5}}": {File: "shop.yaml", Params: strategies.Environment{{Name: "RATE", Value: "$RATE"}, {Name: "N", Value: "5"}}},
		"{file: a.yaml, files: {a.yaml: text}}":          {File: "a.yaml", Files: map[string]string{"a.yaml": "text"}},
		"null":                                           nil,
	} {
		plan, err := parseBenchmark(t, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, plan.Steps[0].Benchmark); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		// It is stored, and comes back.
		data, err := json.Marshal(plan)
		var again strategies.Plan
		if err == nil {
			err = json.Unmarshal(data, &again)
		}
		if diff := cmp.Diff(plan, again); err != nil || diff != "" {
			t.Errorf("%s: %v; as JSON it is another:\n%s", text, err, diff)
		}
	}
}

func TestFaultsOfABenchmark(t *testing.T) {
	for text, want := range map[string]string{
		"{params: {A: 1}}":          "benchmark.file is missing",
		"../shop.yaml":              "is outside of the plan's folder",
		"/etc/shop.yaml":            "is outside of the plan's folder",
		"[a, b]":                    "give the name of a benchmark file, or a map with file and params",
		"{file: a.yaml, parms: {}}": "did you mean params?",
		"{file: a.yaml, files: {./a.yaml: text}}": "is not the shortest form of the name",
		"{file: a.yaml, files: {../b: text}}":     "is outside of the plan's folder",
		"{file: a.yaml, params: {A: $}}":          "benchmark.params.A",
	} {
		if _, err := parseBenchmark(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	plan, err := parseBenchmark(t, "{file: a.yaml, params: {A: $UNSET}}")
	if err != nil {
		t.Fatal(err)
	}
	if err := strategies.CheckVariables(plan, nil); err == nil || !strings.Contains(err.Error(), "benchmark.params.A") {
		t.Errorf("got %v, want a fault of a variable that is not set", err)
	}
}

func TestContainersGetTheBenchmark(t *testing.T) {
	plan, err := parseBenchmark(t, "{file: b/shop.yaml, params: {RATE: $RATE, OF: $LOADS_MACHINES}, files: {b/shop.yaml: text, b/items.txt: x}}")
	if err != nil {
		t.Fatal(err)
	}
	if plan, err = plan.Edit(map[string]any{"steps.load.benchmark.params.RATE": "70"}); err != nil {
		t.Fatal(err)
	}
	r, err := plan.Steps[0].Resolve(builtins(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"gen", "/etc/loads/benchmark/b/shop.yaml", "--param", "RATE=70", "--param", "OF=3", "--quiet"}
	if diff := cmp.Diff(want, r.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	files := map[string][]byte{"/etc/loads/benchmark/b/shop.yaml": []byte("text"), "/etc/loads/benchmark/b/items.txt": []byte("x")}
	if diff := cmp.Diff(files, r.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
