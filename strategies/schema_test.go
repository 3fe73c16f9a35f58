package strategies_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

// schema is the part of a JSON Schema that the tests look at.
type schema struct {
	Schema               string             `json:"$schema"`
	Defs                 map[string]*schema `json:"$defs"`
	Properties           map[string]*schema `json:"properties"`
	Required             []string           `json:"required"`
	AdditionalProperties any                `json:"additionalProperties"`
	Description          string             `json:"description"`
	Default              any                `json:"default"`
}

func mustSchema(t *testing.T) schema {
	t.Helper()
	data, err := strategies.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// around is a file in which the one key of each definition is written, with a
// value that no field takes.
var around = map[string]string{
	"Project":    `{"plans": [], %s}`,
	"Plan":       `{"plans": [{%s}]}`,
	"Step":       `{"steps": [{%s}]}`,
	"Ready":      `{"steps": [{"ready": {%s}}]}`,
	"StartAfter": `{"steps": [{"start_after": [{%s}]}]}`,
	"Criterion":  `{"steps": [], "criteria": [{%s}]}`,
	"LogMetric":  `{"steps": [{"log_metrics": [{%s}]}]}`,
	"Benchmark":  `{"steps": [{"benchmark": {%s}}]}`,
	"Ulimit":     `{"steps": [{"ulimits": {"core": {%s}}}]}`,
}

func TestSchemaHasTheNamesThatTheParserTakes(t *testing.T) {
	s := mustSchema(t)
	if len(s.Defs) != len(around) {
		t.Errorf("got %d definitions, want %d", len(s.Defs), len(around))
	}
	for name, file := range around {
		def := s.Defs[name]
		if def == nil {
			t.Errorf("got no definition of %s", name)
			continue
		}
		if def.AdditionalProperties != false {
			t.Errorf("%s takes other keys: %v", name, def.AdditionalProperties)
		}
		var got []string
		for key := range def.Properties {
			got = append(got, key)
		}
		slices.Sort(got)
		if diff := cmp.Diff(parserNames(t, file), got); diff != "" {
			t.Errorf("names of %s differ (-parser +schema):\n%s", name, diff)
		}
	}
}

// parserNames asks the parser itself for the names it knows at a place: those
// that it does not call unknown, out of all names in the schema and some more.
func parserNames(t *testing.T, file string) []string {
	t.Helper()
	candidates := map[string]bool{"uuid": true, "colour": true}
	for _, def := range mustSchema(t).Defs {
		for key := range def.Properties {
			candidates[key] = true
		}
	}
	var known []string
	for key := range candidates {
		_, err := strategies.ParseFile("f", fmt.Appendf(nil, file, fmt.Sprintf("%q: null", key)))
		var faults strategies.Faults
		if err != nil {
			faults = err.(strategies.Faults)
		}
		if !slices.ContainsFunc(faults, func(f strategies.Fault) bool { return isUnknownKey(f, key) }) {
			known = append(known, key)
		}
	}
	slices.Sort(known)
	return known
}

func isUnknownKey(f strategies.Fault, key string) bool {
	unknown := len(f.What) > 18 && f.What[:18] == "is not a field of " || f.What == "is given by the broker"
	return unknown && (f.Field == key || len(f.Field) > len(key) && f.Field[len(f.Field)-len(key)-1:] == "."+key)
}

func TestSchemaDescribesEveryFieldWithItsDefault(t *testing.T) {
	s := mustSchema(t)
	if s.Schema != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("got schema %q, want draft 2020-12", s.Schema)
	}
	for name, def := range s.Defs {
		for key, p := range def.Properties {
			if p.Description == "" {
				t.Errorf("%s.%s has no description", name, key)
			}
		}
	}
	for key, want := range map[string]any{
		"run_max_time": 600.0, "instance_region": "us-west-2", "instance_count": 1.0, "prune_running": true, "stop_timeout": 15.0, "container_name": nil,
	} {
		if got := s.Defs["Step"].Properties[key].Default; got != want {
			t.Errorf("got default %v of %s, want %v", got, key, want)
		}
	}
}

// documented maps the headings of the tables in docs/plans.md to definitions.
var documented = map[string]string{
	"key of a project": "Project", "key of a plan": "Plan", "key of a step": "Step",
	"key of ready": "Ready", "key of start_after": "StartAfter", "key of a limit": "Ulimit",
	"key of a criterion": "Criterion", "key of a log metric": "LogMetric", "key of a benchmark": "Benchmark",
}

func TestDocumentSaysOfFieldsWhatTheSchemaSays(t *testing.T) {
	text, err := os.ReadFile("../docs/plans.md")
	if err != nil {
		t.Fatal(err)
	}
	defs := mustSchema(t).Defs
	seen := map[string]bool{}
	def := ""
	plain := strings.NewReplacer("`", "", `\|`, "|")
	for line := range strings.Lines(plain.Replace(string(text))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		if name, ok := documented[cells[0]]; ok {
			def = name
		} else if !strings.HasPrefix(line, "|") {
			def = ""
		}
		if def == "" || len(cells) != 3 || cells[1] == "default" {
			continue
		}
		field := defs[def].Properties[cells[0]]
		switch {
		case field == nil:
			t.Errorf("the document has %s.%s, which the schema has not", def, cells[0])
			continue
		case seen[def+"."+cells[0]]:
			t.Errorf("the document has %s.%s twice", def, cells[0])
		case cells[2] != field.Description:
			t.Errorf("%s.%s: the document says %q, the schema %q", def, cells[0], cells[2], field.Description)
		case field.Default != nil && cells[1] != fmt.Sprint(field.Default):
			t.Errorf("%s.%s: the document has the default %s, the schema %v", def, cells[0], cells[1], field.Default)
		case slices.Contains(defs[def].Required, cells[0]) && cells[1] != "required":
			t.Errorf("%s.%s: the document has the default %s, the schema wants it", def, cells[0], cells[1])
		}
		seen[def+"."+cells[0]] = true
	}
	for name, d := range defs {
		for key := range d.Properties {
			if !seen[name+"."+key] {
				t.Errorf("the document lacks %s.%s", name, key)
			}
		}
	}
}

func TestSchemaStaysAsItIs(t *testing.T) {
	data, err := strategies.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/schema.json", data)
}
