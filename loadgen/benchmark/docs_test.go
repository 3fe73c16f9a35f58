package benchmark_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
)

// The examples in the documents are right, and no step, handler or type of
// phase is missing there.
func TestDocumentIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../docs/benchmark-files.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("there are no examples")
	}
	for _, block := range blocks {
		b, err := benchmark.Parse("docs/benchmark-files.md", block[1], nil)
		if err == nil {
			_, err = phases.Expand("docs/benchmark-files.md", b)
		}
		if err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
	var schema struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	data, err := benchmark.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for _, def := range []string{"Step", "Processor", "StatusHandler", "HeaderHandler", "Phase", "Phase_constantRate", "SLA"} {
		for name := range schema.Defs[def].Properties {
			if !strings.Contains(string(text), "`"+name) && name != "simple" {
				t.Errorf("%s %s is not in docs/benchmark-files.md", def, name)
			}
		}
	}
}
