package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/api"
)

const goodPlan = `name: shop
plans:
  - name: smoke
    steps:
      - name: web
        container_name: loads/node
        additional_command_args: serve
        environment_data: {RATE: $WANTED}
  - name: soak
    steps:
      - {name: web, container_name: loads/node}
      - {name: gen, container_name: loads/node, run_delay: 5}
`

const badPlan = `name: shop
steps:
  - name: web
    container_name: loads/node
    run_delay: -5
    instance_cuont: 2
`

func TestCheck(t *testing.T) {
	good, bad := writeFile(t, "good.yaml", goodPlan), writeFile(t, "bad.yaml", badPlan)
	tests := []struct {
		desc   string
		args   []string
		env    map[string]string
		stdin  string
		code   int
		stdout []string // lines, in order, by their beginnings
	}{
		{
			desc: "a good file is counted", args: []string{good, "-e", "WANTED=5"},
			stdout: []string{good + ": ok, 2 plans, 3 steps"},
		},
		{
			desc: "a variable is taken from here", args: []string{good, "-e", "WANTED"}, env: map[string]string{"WANTED": "1"},
			stdout: []string{good + ": ok, 2 plans, 3 steps"},
		},
		{
			desc: "standard input is a file", args: []string{"-", "-e", "WANTED=5"}, stdin: goodPlan,
			stdout: []string{"-: ok, 2 plans, 3 steps"},
		},
		{
			desc: "a variable that is not set is a fault with its place", args: []string{good}, code: 1,
			stdout: []string{good + ":8:34: "},
		},
		{
			desc: "all faults come at once, and the other file as well", args: []string{bad, good, "-e", "WANTED=5"}, code: 1,
			stdout: []string{bad + ":5:16: steps[0].run_delay", bad + ":6:5: steps[0].instance_cuont", good + ": ok"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			i := newInvocation(t)
			i.stdin = tt.stdin
			for name, value := range tt.env {
				i.env[name] = value
			}
			if code := i.run(t, append([]string{"check"}, tt.args...)...); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			lines := strings.Split(strings.TrimSpace(i.stdout.String()), "\n")
			if len(lines) != len(tt.stdout) {
				t.Fatalf("got lines %q, want %d", lines, len(tt.stdout))
			}
			for n, want := range tt.stdout {
				if !strings.HasPrefix(lines[n], want) {
					t.Errorf("line %d is %q, want it to begin with %q", n+1, lines[n], want)
				}
			}
		})
	}
}

func TestCheckAnswersJSON(t *testing.T) {
	bad := writeFile(t, "bad.yaml", badPlan)
	code, stdout, stderr := invoke(t, "check", "--json", bad)
	var got checkResult
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("decode %q: %v", stdout, err)
	}
	var fields []string
	for _, f := range got.Faults {
		fields = append(fields, f.Field)
	}
	if diff := cmp.Diff([]string{"steps[0].run_delay", "steps[0].instance_cuont"}, fields); diff != "" {
		t.Errorf("fields of the faults (-want +got):\n%s", diff)
	}
	if code != 1 || got.Valid || got.File != bad || stderr != "" {
		t.Errorf("got code %d, %+v and %q on standard error; want 1, an invalid file, and nothing", code, got, stderr)
	}
}

func TestRunPrintsFaultsBeforeItLooksForABroker(t *testing.T) {
	bad := writeFile(t, "bad.yaml", badPlan)
	code, _, stderr := invoke(t, "run", bad)
	if code != 1 || !strings.Contains(stderr, bad+":5:16: ") || !strings.HasSuffix(stderr, "loads: 2 faults found; correct them and try again.\n") {
		t.Errorf("got code %d and %q, want 1 and both faults", code, stderr)
	}
}

func TestRunChoosesThePlan(t *testing.T) {
	good := writeFile(t, "good.yaml", goodPlan)
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"a file of several plans needs a choice", nil, `The file has the plans "smoke", "soak"; choose one with --plan NAME.`},
		{"an unknown plan is answered with those there are", []string{"--plan", "x"}, `There is no plan "x". The file has the plans "smoke", "soak".`},
		{"an edit of a step that is not there is a fault", []string{"--plan", "soak", "--set", "steps.gne.run_delay=1"}, "1 fault found; correct it and try again."},
		{"with a plan chosen, the broker is asked", []string{"--plan", "soak"}, "The broker at http://127.0.0.1:1 can't be reached; see that it runs and that the address is right: dial tcp 127.0.0.1:1: connect: connection refused."},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			args := append([]string{"run", good, "-e", "WANTED=1"}, tt.args...)
			code, _, stderr := invoke(t, args...)
			if code != 1 || !strings.HasSuffix(stderr, "loads: "+tt.want+"\n") {
				t.Errorf("got code %d and\n%q, want 1 and\n%q", code, stderr, tt.want)
			}
		})
	}
}

func TestSchemaIsJSON(t *testing.T) {
	code, stdout, _ := invoke(t, "schema")
	if code != 0 || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, "run_max_time") {
		t.Errorf("exit code %d, %d bytes; want 0 and a JSON Schema of plans", code, len(stdout))
	}
}

func TestTokenMakesALineForTheBroker(t *testing.T) {
	code, stdout, _ := invoke(t, "token", "alice", "--json")
	var got struct{ Name, Token, Line string }
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, decode %q: %v", code, stdout, err)
	}
	tokens, err := api.ParseTokens([]byte(got.Line))
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := tokens.Check(got.Token); name != "alice" || !ok {
		t.Errorf("the line accepts the token as %q, %v; want alice, true", name, ok)
	}
}

func TestVersionNamesTheNodePrograms(t *testing.T) {
	dir := t.TempDir()
	code, stdout, _ := invoke(t, "version", "--node-dir", dir, "--json")
	var none versionInfo
	if err := json.Unmarshal([]byte(stdout), &none); err != nil || code != 0 {
		t.Fatalf("exit code %d, decode %q: %v", code, stdout, err)
	}
	if none.Version != "v1-test" || none.Go == "" || none.NodeDir != dir || len(none.Nodes) != 0 {
		t.Errorf("got %+v, want version v1-test and no node programs in %s", none, dir)
	}
	node := writeFile(t, "loads-node-linux-arm64", "")
	_, stdout, _ = invoke(t, "version", "--node-dir", node[:strings.LastIndex(node, "/")])
	if !strings.HasPrefix(stdout, "loads v1-test (go") || !strings.HasSuffix(stdout, "node program: "+node+"\n") {
		t.Errorf("got %q, want the version and %s", stdout, node)
	}
}
