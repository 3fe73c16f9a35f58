package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runMain runs the program in this process, with nothing in its environment.
func runMain(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	p := program{&out, &errs, func(string) string { return "" }}
	status = p.main(context.Background(), args)
	return status, out.String(), errs.String()
}

// writeFile puts a file into a folder of its own and returns its path.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const checked = `
name: shop
http: {host: http://localhost:8080}
phases:
- ramp: {rampPerSec: {initialUsersPerSec: 0, targetUsersPerSec: !param RATE 30, duration: 5s, scenario: &s [{s: [{httpRequest: {GET: /}}]}]}}
- main:
    constantPerSec:
      usersPerSec: !param RATE 30
      variance: false
      duration: 10s
      startAfter: ramp
      forks: {look: {weight: 2, scenario: *s}, buy: {scenario: *s}}
`

func TestCheckPrintsThePhases(t *testing.T) {
	status, stdout, stderr := runMain("gen", "--check", writeFile(t, checked), "--param", "RATE=60")
	want := `PHASE      KIND          USERS           DURATION  STARTS
ramp       rampPerSec    0 to 60/s random  5s      at once
main/look  constantRate  40/s even       10s       when finished: ramp
main/buy   constantRate  20/s even       10s       when finished: ramp
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if status != 0 || squeeze(stdout) != squeeze(want) {
		t.Errorf("got exit status %d, %s\n%s\nwant\n%s", status, stderr, stdout, want)
	}
}

func TestCheckPrintsJSON(t *testing.T) {
	status, stdout, stderr := runMain("gen", "--check", writeFile(t, checked), "--json")
	var answer checkAnswer
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || status != 0 {
		t.Fatalf("got exit status %d, error %v: %s", status, err, stderr)
	}
	if answer.Name != "shop" || len(answer.Phases) != 4 || len(answer.Faults) != 0 {
		t.Fatalf("got %+v", answer)
	}
	if p := answer.Phases[1]; p.Name != "main/look" || p.From != 20 || p.DurationMS != 10_000 || p.After[0] != "ramp" || p.SequenceList[0] != "s" {
		t.Errorf("got %+v", p)
	}
}

func TestCheckPrintsAllFaults(t *testing.T) {
	name := writeFile(t, strings.NewReplacer("startAfter: ramp", "startAfter: rmap", "GET: /", "GET: /, body: {fromFile: gone.json}").Replace(checked))
	wants := []string{
		":5:", "gone.json is a file that is not there",
		":11:19: phases.main: rmap is not a phase; did you mean ramp?",
	}
	status, stdout, stderr := runMain("gen", "--check", name)
	for _, want := range wants {
		if status != 1 || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("got exit status %d, %s%s\nwant 1 and %q", status, stdout, stderr, want)
		}
	}
	status, stdout, stderr = runMain("gen", "--check", name, "--json")
	var answer checkAnswer
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || status != 1 || stderr != "" {
		t.Fatalf("got exit status %d, error %v: %s", status, err, stderr)
	}
	if len(answer.Faults) != 2 || answer.Faults[1].Line != 11 {
		t.Errorf("got faults %v, want two", answer.Faults)
	}
}

func TestCheckOfNoFileSaysSo(t *testing.T) {
	if status, _, stderr := runMain("gen", "--check", "/nowhere.yaml"); status != 1 || !strings.Contains(stderr, "read the benchmark") {
		t.Errorf("got exit status %d, %q", status, stderr)
	}
	if status, _, stderr := runMain("gen", "--check", "x", "--param", "RATE"); status != 2 || !strings.Contains(stderr, "NAME=VALUE") {
		t.Errorf("got exit status %d, %q", status, stderr)
	}
}

func TestSchemaIsPrinted(t *testing.T) {
	status, stdout, stderr := runMain("gen", "--schema")
	if status != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("got exit status %d, %s", status, stderr)
	}
}
