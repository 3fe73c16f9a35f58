package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loads/loads/strategies"
)

const shopPlan = `name: shop
steps:
  - {name: load, container_name: loads/node, instance_count: 3, benchmark: {file: b/shop.yaml, params: {RATE: $RATE}}}
`

const shopBenchmark = `name: shop
http: {host: http://shop.test}
usersPerSec: !param RATE
duration: 1s
scenario: [{a: [{randomItem: {file: items.txt, toVar: item}}, {httpRequest: {GET: "/${item}"}}]}]
`

const manyPhases = `{name: x, phases: [{a: {atOnce: {users: 3, maxIterations: 1000, scenario: &s [{a: [{thinkTime: !param RATE}]}]}}},
  {b: {atOnce: {users: 3, maxIterations: 366, scenario: *s}}}`

func TestCheckFindsFaultsOfBenchmarks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rate  string
		files map[string]string
		want  []string // parts of lines
	}{
		{"all is right", "5", map[string]string{"b/shop.yaml": shopBenchmark, "b/items.txt": "x\n"}, []string{"plan.yaml: ok, 1 plan, 1 step"}},
		{"no benchmark", "5", nil, []string{"plan.yaml:1:1: steps.load.benchmark: b/shop.yaml can't be read: no such file"}},
		{"no file that it reads", "5", map[string]string{"b/shop.yaml": shopBenchmark}, []string{"b/shop.yaml:5:37: items.txt is a file that is not there"}},
		{"a value that is none", "many", map[string]string{"b/shop.yaml": shopBenchmark, "b/items.txt": "x\n"}, []string{"b/shop.yaml:3:14: usersPerSec: many is not a number"}},
		{
			"what can't be divided", "5",
			map[string]string{"b/shop.yaml": strings.Replace(shopBenchmark, "duration: 1s", "duration: 1s\nmaxSessions: 2", 1), "b/items.txt": "x\n"},
			[]string{"maxSessions 2, want at least one for each of 3 machines"},
		},
		{
			"beside those of the plan", "5",
			map[string]string{"b/shop.yaml": "nmae: x\nusersPerSec: 1\nduration: 1s\nscenario: []\n", "plan.yaml": "name: shop\nsteps:\n" +
				"  - {name: other, container_name: 'x:$TAG'}\n  - {name: load, container_name: loads/node, benchmark: {file: b/shop.yaml}}\n"},
			[]string{"plan.yaml:3:35: steps[0].container_name: $TAG is not set", "b/shop.yaml:1:1: nmae"},
		},
		{
			"beside a parameter of it that is not set", "5",
			map[string]string{"b/shop.yaml": shopBenchmark, "b/items.txt": "x\n", "plan.yaml": strings.Replace(shopPlan, "$RATE", "$SPEED", 1)},
			[]string{"plan.yaml:3:"},
		},
		{
			"a phase that machines can't tell each other of", "5s",
			map[string]string{"b/shop.yaml": `{name: x, phases: [{` + strings.Repeat("a", 513) + `: {noop: {duration: 1s}}}, {` + strings.Repeat("b", 513) +
				": {atOnce: {users: 3, scenario: [{a: [{thinkTime: !param RATE}]}]}}}]}"},
			[]string{"has a phase whose name is 513 bytes long: bbbbb"},
		},
		{
			"more phases than they can", "5s",
			map[string]string{"b/shop.yaml": manyPhases + ", {c: {atOnce: {users: 3, scenario: *s}}}]}"},
			[]string{"may have to tell others 4098 times"},
		},
		{"as many as they can", "5s", map[string]string{"b/shop.yaml": manyPhases + "]}"}, []string{"plan.yaml: ok, 1 plan, 1 step"}},
		{
			"faults of the language, all at once", "5",
			map[string]string{"b/shop.yaml": "nmae: x\nusersPerSec: !param RATE\nduraton: 1s\nscenario: []\n"},
			[]string{"b/shop.yaml:1:1: nmae", "b/shop.yaml:1:1: duration", "b/shop.yaml:3:1: duraton"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan := shopFiles(t, tt.files)
			_, stdout, _ := invoke(t, "check", "-e", "RATE="+tt.rate, plan)
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			if len(lines) < len(tt.want) {
				t.Fatalf("got %q, want %d lines", lines, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %q, want %q in it", i+1, lines[i], want)
				}
			}
		})
	}
}

// shopFiles writes the plan and files beside it, and returns the plan's name.
func shopFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	plan := writeFile(t, "plan.yaml", shopPlan)
	for name, text := range files {
		path := filepath.Join(filepath.Dir(plan), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return plan
}

// What a broker gets has all files, whatever their paths, and is checked by it
// once more with the run's variables.
func TestPlansAreBroughtWithTheirBenchmarks(t *testing.T) {
	plan := shopFiles(t, map[string]string{"b/shop.yaml": shopBenchmark, "b/items.txt": "x\n"})
	data, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	env := strategies.Environment{{Name: "RATE", Value: "5"}}
	file, err := readPlans(plan, data, env)
	if err != nil {
		t.Fatal(err)
	}
	project, err := strategies.ParseFile("sent.json", file.data)
	if err != nil {
		t.Fatalf("%v in %s", err, file.data)
	}
	got := project.Plans[0].Steps[0].Benchmark
	if got == nil || got.Files["b/shop.yaml"] != shopBenchmark || got.Files["b/items.txt"] != "x\n" || len(got.Files) != 2 {
		t.Fatalf("got %+v, want both files", got)
	}
	if err := checkBenchmarks("", project.Plans[0], env); err != nil {
		t.Error(err)
	}
	var faults strategies.Faults
	if err := checkBenchmarks("", project.Plans[0], nil); !errors.As(err, &faults) || !strings.Contains(err.Error(), "RATE") {
		t.Errorf("without a value for RATE: got %v, want a fault", err)
	}
	project.Plans[0].Steps[0].Benchmark.Files = nil
	if err := checkBenchmarks("", project.Plans[0], env); err == nil || !strings.Contains(err.Error(), "b/shop.yaml") {
		t.Errorf("without its file: got %v, want a fault", err)
	}
}

func TestBenchmarksOfExamplesAreRight(t *testing.T) {
	examples, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	if code, stdout, stderr := invoke(t, append([]string{"check"}, examples...)...); code != 0 {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}
