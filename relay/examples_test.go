package relay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loads/loads/strategies"
)

// The rules of the examples get the right numbers out of what the tools have
// printed. The outputs are of k6 1.8.1, vegeta 12 and wrk2 4.0 at work; that of
// JMeter is as its manual says.
func TestExamplesReadWhatTheToolsPrint(t *testing.T) {
	t.Parallel()
	for tool, want := range map[string]map[string]float64{ // sums of values, or the last of a gauge, and how many
		"k6":     {"k6.latency n": 5, "k6.latency": 47.36, "k6.failed n": 4, "k6.failed": 0},
		"vegeta": {"vegeta.latency n": 8, "vegeta.latency": 60.44},
		"wrk2": {
			"wrk2.p50 n": 1, "wrk2.p50": 6.11, "wrk2.p99 n": 1, "wrk2.p99": 62.97, "wrk2.p999 n": 1, "wrk2.p999": 71.17,
			"wrk2.rate n": 1, "wrk2.rate": 497.71, "wrk2.requests n": 1, "wrk2.requests": 5973,
		},
		"jmeter": {"jmeter.latency n": 2, "jmeter.latency": 19},
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			m, err := newMatcher(exampleRules(t, tool))
			if err != nil {
				t.Fatal(err)
			}
			output, err := os.ReadFile(filepath.Join("testdata", "output", tool+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for line := range bytes.Lines(output) {
				m.match(bytes.TrimRight(line, "\n"), false, func(v logValue) {
					if v.err != nil {
						t.Errorf("%s: %v", line, v.err)
					}
					got[string(v.line.name)+" n"]++
					got[string(v.line.name)] += v.value
				})
			}
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if math.Abs(got[name]-want[name]) > 0.01 {
					t.Errorf("%s is %v, want %v", name, got[name], want[name])
				}
			}
			if t.Failed() {
				t.Log(fmt.Sprint(got))
			}
		})
	}
}

// exampleRules are the log metrics of the example's last step.
func exampleRules(t *testing.T, tool string) (rules []LogMetric) {
	t.Helper()
	name := filepath.Join("..", "examples", tool+".yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strategies.ParseFile(name, text)
	if err != nil {
		t.Fatal(err)
	}
	steps := p.Plans[0].Steps
	encoded, err := json.Marshal(steps[len(steps)-1].LogMetrics)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &rules); err != nil {
		t.Fatal(err)
	}
	return rules
}
