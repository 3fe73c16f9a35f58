package loads_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/loads/loads/strategies"
)

func TestExamplesAreRight(t *testing.T) {
	names, err := filepath.Glob("examples/*.*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := strategies.Check(name, data, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
