package strategies_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// Every valid plan that there is comes back from its text as it was.
func TestPlansComeBackFromTheirYAML(t *testing.T) {
	var files []string
	for _, pattern := range []string{"testdata/valid/*", "../examples/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	plans := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		project, err := strategies.ParseFile(file, data)
		if err != nil {
			continue // what else lies there
		}
		for _, plan := range project.Plans {
			plans++
			comesBack(t, plan)
		}
	}
	if plans < 5 {
		t.Fatalf("got %d plans in %v, want 5 at least", plans, files)
	}
}

func comesBack(t *testing.T, plan strategies.Plan) {
	t.Helper()
	text, err := plan.YAML()
	if err != nil {
		t.Fatal(err)
	}
	got, err := strategies.ParsePlan("", text)
	if err != nil {
		t.Fatalf("%s does not come back: %v\n%s", plan.Name, err, text)
	}
	if diff := cmp.Diff(plan, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s\n%s", plan.Name, diff, text)
	}
}

func TestOddTextsComeBackFromYAML(t *testing.T) {
	for _, value := range []string{
		"", " ", "yes", "null", "~", "0x10", "1e3", "a: b", "# no comment", "- item", "'", `"`, "two\nlines", "two\nlines\n",
		"\ttab", "trailing ", "$$HOME", "ü – 漢", "{a: b}", "*alias", "&anchor", "!tag", "%", "@", "012", "2026-11-21", "<script>",
		strings.Repeat("a long line ", 30),
	} {
		plan, err := strategies.ParsePlan("", []byte("name: odd\nsteps: [{name: a, container_name: loads/node}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		plan.Description = value
		plan.Steps[0].EnvironmentData = strategies.Environment{{Name: "VALUE", Value: value}, {Name: "A", Value: "1"}}
		comesBack(t, plan)
	}
}

func TestYAMLLeavesOutDefaultsAndUUIDs(t *testing.T) {
	plan, err := strategies.ParsePlan("", []byte(`
name: short
criteria: [p95("req.latency") < 250, {expr: rate("req.errors") < 1, for: 30s}]
steps:
  - {name: web, container_name: loads/node, ready: {port: 8000}, port_mapping: "8000:8000"}
  - {name: users, container_name: loads/node, start_after: [web], environment_data: {RATE: 200}, instance_count: 2}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan.UUID, plan.Steps[0].UUID = "a-uuid", "another-uuid"
	text, err := plan.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"uuid", "run_max_time", "instance_region", "prune_running", "monitor"} {
		if strings.Contains(string(text), absent) {
			t.Errorf("%s is in the text:\n%s", absent, text)
		}
	}
	for _, want := range []string{"- p95(\"req.latency\") < 250\n", "for: 30", "start_after:\n", `RATE: "200"`, "instance_count: 2"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the text:\n%s", want, text)
		}
	}
}

func TestInputsAreWhatARunMayBeGiven(t *testing.T) {
	plan, err := strategies.ParsePlan("", []byte(`
name: inputs
steps:
  - name: web
    container_name: "loads/$IMAGE"
    environment_data: {RATE: 200, DB_PASSWORD: hunter22, DSN: "db:hunter22@$PRIVATE_IP"}
  - name: users
    container_name: loads/node
    additional_command_args: "gen --rate $RATE --url $TARGET --host $HOST_IP --price $$5"
    environment_data: {RATE: 300}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []strategies.Input{
		{Name: "IMAGE", Required: true},
		{Name: "TARGET", Required: true},
		{Name: "RATE", Value: "200, 300"},
		{Name: "DB_PASSWORD", Value: "***", Secret: true},
		{Name: "DSN", Value: "db:***@$PRIVATE_IP"},
	}
	if diff := cmp.Diff(want, plan.Inputs()); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
}
