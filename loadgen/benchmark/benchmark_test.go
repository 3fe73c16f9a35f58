package benchmark_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
)

func mustParse(t *testing.T, text string, params map[string]string) *benchmark.Benchmark {
	t.Helper()
	b, err := benchmark.Parse("b.yaml", []byte(text), params)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRead(t *testing.T, name string) *benchmark.Benchmark {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := benchmark.Parse(name, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The files of the early guide and those of today mean the same.
func TestEarlyAndTodaysFilesMeanTheSame(t *testing.T) {
	early, today := mustRead(t, "early.yaml"), mustRead(t, "today.yaml")
	names := func(b *benchmark.Benchmark) (list []string) {
		expanded, err := phases.Expand("x", b)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range expanded {
			p.Kind = "" // rampPerSec is of either direction
			p.Scenario, p.CustomSLA, p.Estimate = nil, nil, 0
			line, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(line))
		}
		return list
	}
	if diff := cmp.Diff(names(today), names(early)); diff != "" {
		t.Errorf("(-today +early):\n%s", diff)
	}
	ramp := early.Phases[0]
	if ramp.Name != "rampUp" || ramp.Kind != benchmark.RampRate || ramp.MaxSessionsEstimate != 200 || !ramp.Variance {
		t.Errorf("got %+v", ramp)
	}
	steady := early.Phases[1]
	if steady.MaxDuration != benchmark.Duration(6*time.Minute) || len(steady.Forks) != 2 || steady.Forks[1].Weight != 0.5 || steady.Variance {
		t.Errorf("got %+v", steady)
	}
}

func TestScenarioForms(t *testing.T) {
	b := mustRead(t, "early.yaml")
	s := b.Phases[0].Scenario
	if s.Initial != 1 || len(s.Sequences) != 3 {
		t.Fatalf("got %d sequences of which %d start, want 3 and 1", len(s.Sequences), s.Initial)
	}
	last := s.Sequences[0].Steps[len(s.Sequences[0].Steps)-1]
	if next, ok := last.(*benchmark.NextSequence); !ok || next.Sequence != "look" {
		t.Errorf("the first sequence ends with %#v, want that the second follows", last)
	}
	if steps := s.Sequences[2].Steps; len(steps) == 0 {
		t.Error("the sequence that is started by a step is empty")
	} else if _, ok := steps[len(steps)-1].(*benchmark.RestartSequence); !ok {
		t.Errorf("a sequence that names itself at its end ends with %#v, want a restart", steps[len(steps)-1])
	}
}

func TestStepsAreTyped(t *testing.T) {
	b := mustRead(t, "steps.yaml")
	var steps benchmark.Steps
	for _, s := range b.Phases[0].Scenario.Sequences {
		steps = append(steps, s.Steps...)
	}
	request := find[*benchmark.HTTPRequest](t, steps)
	if path := request.Path.Pattern.String(); request.Method != "POST" || path != "/orders/${urlencode:name}" || !request.Sync {
		t.Errorf("got %s %s, sync %v", request.Method, path, request.Sync)
	}
	if *request.Timeout != benchmark.Timeout(5*time.Second) || len(request.Headers) != 2 || request.Headers[1].Value.FromVar.Name != "token" {
		t.Errorf("got timeout %v, headers %+v", *request.Timeout, request.Headers)
	}
	sla := request.SLA
	if len(sla) != 2 || *sla[0].BlockedRatio != 0 || *sla[0].ErrorRatio != 0.01 || sla[1].Window != benchmark.Duration(10*time.Second) ||
		sla[0].Limits[1] != (benchmark.Limit{Percentile: 0.999, Latency: benchmark.Latency(1500 * time.Microsecond)}) {
		t.Errorf("got SLAs %+v", sla)
	}
	if m := request.Metric; len(m) != 2 || m[0].Name != "pages" || !m[0].RE.MatchString("/a.html") || m[1].RE.Regexp != nil || m[1].Name != "other" {
		t.Errorf("got metric %+v", m)
	}
	if r := request.Handler.Status[0].(*benchmark.RangeCheck); r.Min != 200 || r.Max != 299 {
		t.Errorf("got range %+v, want 200 to 299", r)
	}
	query := request.Handler.Body[0].(*benchmark.JSONQuery)
	if query.Query.String() != ".items[].id" || query.ToArray.Var.Name != "ids" || query.ToArray.Size != 10 {
		t.Errorf("got query %+v", query)
	}
	if add := request.Handler.OnCompletion[0].(*benchmark.AddToInt); add.Var.Name != "done" || add.Value != -2 {
		t.Errorf("got %+v, want done -= 2", add)
	}
	if draw := find[*benchmark.RandomInt](t, steps); *draw.Min.Value != 1 || *draw.Max.Value != 999 || draw.ToVar.Name != "item" {
		t.Errorf("got %+v", draw)
	}
	if think := find[*benchmark.ThinkTime](t, steps); think.Random != "NEGATIVE_EXPONENTIAL" || *think.Min != benchmark.Latency(500*time.Millisecond) {
		t.Errorf("got %+v", think)
	}
	if item := find[*benchmark.RandomItem](t, steps); len(item.List) != 2 || item.List[1] != (benchmark.WeightedItem{Item: "dogs", Weight: 0.5}) {
		t.Errorf("got %+v", item)
	}
	if row := find[*benchmark.RandomCSVRow](t, steps); len(row.Columns) != 2 || row.Columns[1].ToVar.Name != "password" || row.File != "users.csv" {
		t.Errorf("got %+v", row)
	}
	if await := find[*benchmark.AwaitVar](t, steps); !await.Unset || await.Var.Name != "busy" {
		t.Errorf("got %+v", await)
	}
	if loop := find[*benchmark.Loop](t, steps); loop.Repeats != 5 || len(loop.Steps) != 2 {
		t.Errorf("got %+v", loop)
	}
	socket := find[*benchmark.WebSocket](t, steps)
	if socket.Connect.Pattern.String() != "/chat?room=${item}" || socket.Expect.Contains != "welcome" || socket.Subprotocols[0] != "v1" {
		t.Errorf("got %+v", socket)
	}
	if tcp := find[*benchmark.TCP](t, steps); tcp.Expect.Until != "\r\n" || tcp.Timeout != benchmark.Timeout(2*time.Second) || !tcp.Close {
		t.Errorf("got %+v", tcp)
	}
	if call := find[*benchmark.GRPC](t, steps); call.Method.Pattern.String() != "shop.Orders/Get" || call.Expect != "OK" || len(call.Handler.Message) != 1 {
		t.Errorf("got %+v", call)
	}
	if diff := cmp.Diff([]string{"users.csv", "shop.pb"}, fileNames(b)); diff != "" {
		t.Errorf("files: %s", diff)
	}
	if e := b.HTTP[0]; e.Protocol != "https" || e.Port != 8443 || e.Shared.Max != 50 || e.Shared.Core != 10 || e.Authority() != "shop.test:8443" {
		t.Errorf("got endpoint %+v", e)
	}
	if !b.Ergonomics.RepeatCookies || b.Ergonomics.AutoRangeCheck || b.OnFailure != benchmark.Continue {
		t.Errorf("got %+v, %s", b.Ergonomics, b.OnFailure)
	}
}

func find[T benchmark.Step](t *testing.T, steps benchmark.Steps) T {
	t.Helper()
	for _, s := range steps {
		if found, ok := s.(T); ok {
			return found
		}
	}
	var none T
	t.Fatalf("there is no %T among the steps", none)
	return none
}

func fileNames(b *benchmark.Benchmark) (names []string) {
	for _, f := range b.Files {
		names = append(names, f.Name)
	}
	return names
}

func TestTemplates(t *testing.T) {
	const text = `
name: !concat [shop-, !param WHERE here]
http: !foreach
  items: !param PORTS 8080,8081
  param: PORT
  do:
    host: !concat ["http://localhost:", !param PORT]
    name: !concat [e, !param PORT]
usersPerSec: !param RATE
duration: 5s
scenario:
- all: !foreach
    items: [a, b]
    do: !foreach
      items: 1;2
      separator: ";"
      param: N
      do: {httpRequest: {endpoint: e8080, GET: !concat [/, !param ITEM, !param N]}}
`
	b := mustParse(t, text, map[string]string{"RATE": "12.5"})
	if b.Name != "shop-here" || len(b.HTTP) != 2 || b.HTTP[1].Port != 8081 || b.Phases[0].UsersPerSec.Base != 12.5 {
		t.Errorf("got %s, %+v, %+v", b.Name, b.HTTP, b.Phases[0].UsersPerSec)
	}
	var paths []string
	for _, step := range b.Phases[0].Scenario.Sequences[0].Steps {
		paths = append(paths, step.(*benchmark.HTTPRequest).Path.Pattern.String())
	}
	if diff := cmp.Diff([]string{"/a1", "/a2", "/b1", "/b2"}, paths); diff != "" {
		t.Error(diff)
	}
	_, err := benchmark.Parse("b.yaml", []byte(text), map[string]string{"RATES": "1"})
	if err == nil || !strings.Contains(err.Error(), "b.yaml:9:14: RATE is a parameter without a value") {
		t.Errorf("got error %v, want that RATE has no value", err)
	}
	_, err = benchmark.Parse("b.yaml", []byte(text), map[string]string{"RATE": "1", "PORT": "1", "WHEREE": "x"})
	if err == nil || !strings.Contains(err.Error(), "WHEREE is given as a parameter") || !strings.Contains(err.Error(), "did you mean WHERE?") {
		t.Errorf("got error %v, want that WHEREE is not known", err)
	}
}

// An alias is what its anchor has, with the parameters of where the alias is.
func TestAliasesInTemplates(t *testing.T) {
	b := mustParse(t, `
name: &name !param NAME one
http: {host: http://x}
usersPerSec: 1
duration: 1s
scenario:
- s: !foreach
    items: two,three
    param: NAME
    do: {httpRequest: {GET: *name}}
`, nil)
	var paths []string
	for _, step := range b.Phases[0].Scenario.Sequences[0].Steps {
		paths = append(paths, step.(*benchmark.HTTPRequest).Path.Pattern.String())
	}
	if diff := cmp.Diff([]string{"two", "three"}, paths); diff != "" || b.Name != "one" {
		t.Errorf("%s, name %s", diff, b.Name)
	}
}

func TestWhatIsNotUsedIsWarnedOf(t *testing.T) {
	b := mustParse(t, "name: x\nagents: {one: host:22, two: }\nhttp: {host: http://x}\nphases: [{a: {atOnce: {users: 1, duration: 3s, scenario: [{s: [noop]}]}}}]", nil)
	if len(b.Warnings) != 2 || b.Warnings[0].Line == 0 || b.Warnings[0].File != "b.yaml" {
		t.Errorf("got warnings %v, want two with places", b.Warnings)
	}
}

// Each broken file lies beside what is said of it.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = benchmark.Parse(filepath.Base(name), data, nil)
			var faults benchmark.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got error %v, want faults", err)
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSchemaKnowsEverything(t *testing.T) {
	data, err := benchmark.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for def, names := range map[string][]string{
		"Step":               {"httpRequest", "webSocket", "grpc", "tcp", "thinkTime", "set", "next", "loop"},
		"Action":             {"set", "newSequence"},
		"Processor":          {"json", "store", "set"},
		"StatusHandler":      {"range"},
		"HeaderHandler":      {"filter"},
		"Phase":              {"constantPerSec", "constantRate", "rampPerSec", "noop"},
		"Phase_constantRate": {"usersPerSec", "scenario", "startAfter", "maxSessionsEstimate"},
		"HTTPRequest":        {"GET", "PATCH", "handler", "sla"},
		"TCP":                {"connect", "send", "expect", "tls"},
	} {
		for _, name := range names {
			if schema.Defs[def].Properties[name] == nil {
				t.Errorf("%s has no %s", def, name)
			}
		}
	}
	if schema.Defs["Phase_noop"].Properties["scenario"] != nil {
		t.Error("a noop phase has a scenario")
	}
	for _, name := range []string{"name", "http", "phases", "staircase", "usersPerSec", "scenario"} {
		if schema.Properties[name] == nil {
			t.Errorf("the file has no %s", name)
		}
	}
}

// No file makes the parser panic, and its faults are inside the file.
func FuzzParse(f *testing.F) {
	for _, glob := range []string{"testdata/*.yaml", "testdata/broken/*.yaml"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("name: !foreach {items: a, do: &x [*x]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := benchmark.Parse("f", data, nil)
		if err == nil {
			if _, err = phases.Expand("f", b); err == nil {
				return
			}
		}
		var faults benchmark.Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("got error %v, want faults", err)
		}
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.What == "" || strings.ContainsAny(fault.String(), "\n\x00") {
				t.Errorf("fault %q has no place, or is not a line of text", fault)
			}
		}
	})
}
