package strategies_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/strategies"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with the file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// Each file in testdata/broken has a golden of all its faults beside it.
func TestCheckNamesEveryFaultOfBrokenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 45 {
		t.Fatalf("got %d broken files, want 45 at least", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			err = strategies.Check(filepath.Base(file), data, nil)
			var faults strategies.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got error %v, want faults", err)
			}
			checkPositions(t, faults, data)
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", []byte(faults.Error()+"\n"))
		})
	}
}

// checkPositions wants all faults inside the file, each once and in its order.
func checkPositions(t *testing.T, faults strategies.Faults, data []byte) {
	t.Helper()
	lines := bytes.Split(data, []byte("\n"))
	seen := map[strategies.Fault]bool{}
	for i, f := range faults {
		if f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len(lines[f.Line-1])+1 {
			t.Errorf("fault %q is not inside the file", f)
		}
		if i > 0 && (f.Line < faults[i-1].Line || f.Line == faults[i-1].Line && f.Column < faults[i-1].Column) {
			t.Errorf("fault %q comes after one of a later place", f)
		}
		if seen[f] {
			t.Errorf("fault %q comes twice", f)
		}
		seen[f] = true
	}
}
