package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loads/loads/report"
)

func TestReportsAndComparisonsOfRealRuns(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	url, _ := startBroker(t, "--db", w.db, "--node-dir", w.node)
	plan := writeFile(t, "plan.yaml", sleepers(3))
	first := strings.TrimSpace(ask(t, url, "run", plan, "--detach"))
	ask(t, url, "wait", first)
	second := strings.TrimSpace(ask(t, url, "run", plan, "--detach"))
	ask(t, url, "wait", second)

	for format, want := range map[string]string{
		"html": "hello", "json": `"text": "hello"`, "csv": "run,metric,kind", "md": "| sleeper | ended |", "junit": "the run and its instrument",
	} {
		t.Run(format+" is written whole to a file", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "report")
			if out := ask(t, url, "report", first, "--format", format, "--output", file); out != "" {
				t.Errorf("got %q on standard output, want nothing", out)
			}
			text, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(text), want) {
				t.Errorf("got %s, %v; want %q in it", text, err, want)
			}
			if out := ask(t, url, "report", first, "--format", format); out != string(text) {
				t.Errorf("standard output has %q, the file %q", out, text)
			}
			if format == "json" && !json.Valid(text) || format == "junit" && xml.Unmarshal(text, new(struct{})) != nil {
				t.Errorf("not well-formed: %s", text)
			}
		})
	}
	t.Run("compare finds two runs of a plan alike", func(t *testing.T) {
		var c report.Comparison
		if err := json.Unmarshal([]byte(ask(t, url, "compare", first, "last", "--json")), &c); err != nil {
			t.Fatal(err)
		}
		if len(c.Runs) != 2 || c.Runs[0].UUID != first || c.Runs[1].UUID != second || len(c.Warnings) != 0 {
			t.Errorf("got %+v, want both runs without a warning", c)
		}
		if out := ask(t, url, "compare", first, second); !strings.Contains(out, second+" against "+first) {
			t.Errorf("got %q", out)
		}
	})
	t.Run("what can't be had leaves no file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "report")
		for _, args := range [][]string{
			{"report", first, "--format", "pdf", "-o", file},
			{"report", "00000000-0000-4000-8000-000000000000", "-o", file},
			{"compare", first, first, "-o", file},
			{"compare", first, "-o", file},
		} {
			i := newInvocation(t)
			if code := i.run(t, append(args, "--broker", url)...); code != 1 || i.stderr.String() == "" {
				t.Errorf("%q: exit code %d, %q; want 1 and why", args, code, i.stderr.String())
			}
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("the file is there: %v", err)
		}
	})
}
