package engine_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/phases"
)

// A file with the steps and handlers of the language is compiled whole, and
// what can't be run is named, each once.
func TestEveryStepIsRunOrRefused(t *testing.T) {
	data, err := os.ReadFile("../benchmark/testdata/steps.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b, err := benchmark.Parse("steps.yaml", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := phases.Expand("steps.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	faults := engine.Check(engine.Config{
		Benchmark: b, Name: "steps.yaml", Phases: list,
		Read: func(string) ([]byte, error) { return []byte("1,2,3,4,5\n"), nil },
	})
	var got []string
	name := regexp.MustCompile(`has (\w+), which the generator`)
	for _, f := range faults {
		what := f.What
		if m := name.FindStringSubmatch(what); m != nil {
			what = m[1]
		}
		got = append(got, what)
	}
	slices.Sort(got)
	want := []string{"asks for TLS, which the generator doesn't speak yet", "grpc", "tcp", "webSocket"}
	if !slices.Equal(got, want) {
		t.Errorf("refused are\n%q, want\n%q", got, want)
	}
}
