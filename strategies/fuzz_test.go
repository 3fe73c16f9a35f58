package strategies_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/loads/loads/strategies"
)

// No file makes the parser panic; its faults are inside the file; and a file
// without faults is the same after a way through JSON.
func FuzzParseFile(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.yaml", "testdata/valid/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := strategies.ParseFile("f", data)
		if err != nil {
			checkFaults(t, err, data)
			return
		}
		if err := p.Validate(); err != nil {
			t.Errorf("the parser takes what is invalid: %v", err)
		}
		checkRoundTrip(t, p)
		for _, plan := range p.Plans {
			simulateWaits(plan)
		}
	})
}

// checkFaults wants positions inside the file. Lines are counted generously:
// YAML knows more ends of lines than editors do.
func checkFaults(t *testing.T, err error, data []byte) {
	t.Helper()
	var faults strategies.Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("got error %v, want faults", err)
	}
	lines := 1 + strings.Count(string(data), "\n") + strings.Count(string(data), "\r") +
		strings.Count(string(data), "\u0085") + strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029")
	for _, f := range faults {
		if f.Line < 1 || f.Line > lines || f.Column < 1 || f.Column > utf8.RuneCount(data)+1 {
			t.Errorf("fault %q is not inside the file of %d lines", f, lines)
		}
		if f.What == "" || strings.ContainsAny(f.String(), "\n\x00") {
			t.Errorf("fault %q is not a line of text", f)
		}
	}
}

func checkRoundTrip(t *testing.T, p strategies.Project) {
	t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := strategies.Parse("again", data)
	if err != nil {
		t.Fatalf("%s:\n%v", data, err)
	}
	if diff := cmp.Diff(p, again, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("project differs (-want +got):\n%s", diff)
	}
	var kept strategies.Project
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, kept, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("kept project differs (-want +got):\n%s", diff)
	}
}

// simulateWaits asks all that a run asks of a plan, which must not panic.
func simulateWaits(p strategies.Plan) {
	status := make([]strategies.StepStatus, len(p.Steps))
	for _, i := range p.Startable(status, 1<<62) {
		status[i].Started = true
	}
	p.Blocked(status)
	p.NextDue(status, 0)
	for _, s := range p.Steps {
		_, _ = s.Resolve(nil, nil)
	}
	_ = strategies.CheckVariables(p, nil)
}

// Interpolation never panics, leaves text without dollars alone, and undoes
// the doubling of dollars.
func FuzzInterpolate(f *testing.F) {
	for _, s := range []string{"", "a", "$A", "${A}", "$$", "$", "${", "${}", "$A$B", "$1", "${A", "a$$b$A_c"} {
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		set := func(name string) (string, error) {
			if !strings.Contains(text, name) {
				t.Errorf("asked for the variable %q, which is not in %q", name, text)
			}
			return value, nil
		}
		got, err := strategies.Interpolate(text, set)
		if !strings.Contains(text, "$") && (err != nil || got != text) {
			t.Errorf("got %q, error %v; want %q as it was", got, err, text)
		}
		doubled := strings.ReplaceAll(text, "$", "$$")
		if got, err := strategies.Interpolate(doubled, set); len(doubled) < 1<<16 && (err != nil || got != text) {
			t.Errorf("got %q, error %v; want %q", got, err, text)
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		`p95("req.latency") < 250`, `rate("errors") / rate("requests") < 0.01 and count("a", "b:c") > 0`,
		`not (p(0.999, "t") >= 1e3)`, `let x = 1; x < 2`, `1 / 0 < count("a")`, `1 < count("a") < 5`, "\"\\", "p95(", "count(\"a\") == 1 ?? 2",
	} {
		f.Add(text, 1.0)
	}
	f.Fuzz(func(t *testing.T, text string, v float64) {
		e, err := strategies.CompileExpression(text)
		if err != nil {
			return
		}
		missing := e.Eval(func(strategies.Call) (float64, error) { return 0, errors.New("no such metric") })
		if missing.Holds {
			t.Errorf("%s holds though nothing was measured", text)
		}
		if out := e.Eval(func(strategies.Call) (float64, error) { return v, nil }); out.Holds && out.Err != nil {
			t.Errorf("%s holds with the error %v", text, out.Err)
		}
	})
}
