package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
)

// benchmarkFile writes a benchmark of one phase against a server of 404s, with
// more keys at its root.
func benchmarkFile(t *testing.T, sla, more string) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return writeFile(t, `
name: shop
http: {host: `+server.URL+`, sharedConnections: 10, requestTimeout: 2m}
ergonomics: {stopOnInvalid: false}
phases:
- main: {atOnce: {users: 3, scenario: [{look: [{httpRequest: {GET: /, sla: `+sla+`}}]}]}}
`+more)
}

func TestGenRunsAFile(t *testing.T) {
	folder := t.TempDir()
	series, hlog, prefix := filepath.Join(folder, "series"), filepath.Join(folder, "hlog"), filepath.Join(folder, "d.")
	file := benchmarkFile(t, "{blockedRatio: 1}", "")
	status, stdout, stderr := runMain("gen", file, "--json", "--quiet", "--max-lag=-1s", "--max-steal=-1", "--series", series, "--hlog", hlog, "--hgrm", prefix)
	var s summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || status != 0 {
		t.Fatalf("got exit status %d, error %v: %s%s", status, err, stdout, stderr)
	}
	if len(s.Metrics) != 1 || s.Verdict != "PASS" || s.Name != "shop" {
		t.Fatalf("got %s", stdout)
	}
	if m := s.Metrics[0]; m.Phase != "main" || m.Metric != "look" || m.Requests != 3 || m.Invalid != 3 || m.Statuses[0].Status != 404 || m.Latency.Count != 3 {
		t.Errorf("got %+v", m)
	}
	for name, want := range map[string]string{series: `"metric":"look"`, hlog: "Tag=main.look", prefix + "main.look.hgrm": "Percentile"} {
		if data, err := os.ReadFile(name); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("got %q, %v, want %q in it", data, err, want)
		}
	}
}

// What a run has shown is not lost with a file beside it.
func TestGenPrintsTheSummaryThoughAFileCannotBeWritten(t *testing.T) {
	status, stdout, stderr := runMain("gen", benchmarkFile(t, "{blockedRatio: 1}", ""), "--max-lag=-1s", "--max-steal=-1", "--hgrm", "/nowhere/d.")
	if status != 1 || !strings.Contains(stdout, "PASS after") || !strings.Contains(stderr, "/nowhere/d.main.look.hgrm") {
		t.Errorf("got exit status %d, %s%s, want 1, the summary, and which file", status, stdout, stderr)
	}
}

func TestGenTellsByItsStatus(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"limits are kept", []string{benchmarkFile(t, "{blockedRatio: 1}", ""), "--max-lag=-1s", "--max-steal=-1"}, 0, "PASS after"},
		{"users who ask for nothing", []string{writeFile(t, "name: b\nhttp: {host: "+server.URL+"}\nphases: [{main: {atOnce: {users: 2, scenario: [{s: [{thinkTime: 1 ms}]}]}}}]\n"), "--max-lag=-1s", "--max-steal=-1"}, 0, "none of the users came to a step that makes one"},
		{"a limit is not kept", []string{benchmarkFile(t, "{invalidRatio: 0.5, blockedRatio: 1}", ""), "--max-lag=-1s", "--max-steal=-1"}, 1, "main failed: look: 3 of 3 answers were invalid"},
		{"a wrong file", []string{benchmarkFile(t, "{invalidRatio: 5}", "")}, 2, "is not a ratio"},
		{"no file", []string{"/nowhere.yaml"}, 2, "read the benchmark"},
		{"a file that can't be run", []string{writeFile(t, "name: b\nhttp: {host: https://a.test}\nusersPerSec: 1\nduration: 1s\nscenario: [{s: [{httpRequest: {GET: /, compression: {encoding: gzip, type: TRANSFER_ENCODING}}}]}]\n")}, 2, "TRANSFER_ENCODING"},
		{"a grain that is too long", []string{"--grain=1s", "--url", "http://127.0.0.1:1/"}, 2, "--grain is 1s, want a time from 0 to 100ms"},
		{"a machine that is none of them", []string{"a", "--machine=2", "--machines=2"}, 2, "--machine is 2, want a number from 0 to 1"},
		{"no machines", []string{"a", "--machines=0"}, 2, "--machines is 0, want 1 or more"},
		{"a file too many", []string{"a", "b"}, 2, "got 2 arguments"},
		{"a command before it fails", []string{benchmarkFile(t, "{blockedRatio: 1}", "pre: {a: exit 1}\n")}, 1, "run the pre command a"},
		{"a command before it", []string{benchmarkFile(t, "{blockedRatio: 1}", "pre: {a: 'echo begins $BENCHMARK'}\n"), "--max-lag=-1s", "--max-steal=-1"}, 0, "begins shop"},
		{"a command after it fails", []string{benchmarkFile(t, "{blockedRatio: 1}", "post: {a: exit 1}\n"), "--max-lag=-1s", "--max-steal=-1"}, 0, "run the post command a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := runMain(append([]string{"gen"}, c.args...)...)
			if status != c.want || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("got exit status %d, %s%s, want %d and %q", status, stdout, stderr, c.want, c.says)
			}
		})
	}
}

func TestGenIsInvalidWhenItWasLate(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	status, stdout, stderr := runMain("gen", "--url", server.URL, "--rate", "500", "--duration", "200ms", "--max-lag", "1ns")
	if status != 3 || !strings.Contains(stdout, "invalid: the generator started users late") || !strings.Contains(stdout, "INVALID after") {
		t.Errorf("got exit status %d, %s%s, want 3", status, stdout, stderr)
	}
}

func TestGenOfOneRequestKeepsItsUsersBusy(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	status, stdout, stderr := runMain("gen", "--url", server.URL+"/a?b=${c}", "--duration", "300ms", "--connections", "3", "--timeout", "2m", "--json")
	var s summary
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || status != 0 || len(s.Metrics) != 1 {
		t.Fatalf("got exit status %d, error %v: %s%s", status, err, stdout, stderr)
	}
	if m := s.Metrics[0]; m.Requests < 3 || m.Responses < 3 || s.Users[0].MostBusy > 3 {
		t.Errorf("got %+v, %+v, want requests of three users", m, s.Users)
	}
}

func TestGenRunsWhatTheEnvironmentHolds(t *testing.T) {
	text, err := os.ReadFile(benchmarkFile(t, "{blockedRatio: 1}", ""))
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	p := program{&out, &errs, func(name string) string { return map[string]string{"LOADS_BENCHMARK": string(text)}[name] }}
	if status := p.main(t.Context(), []string{"gen", "--max-lag=-1s", "--max-steal=-1"}); status != 0 || !strings.Contains(out.String(), "look") {
		t.Errorf("got exit status %d, %s%s, want 0 and the metric", status, out.String(), errs.String())
	}
}

// The last requests of the timetable are due when the duration is over, and
// their timeouts must not meet the end of the phase.
func TestGenOfOneRequestLetsTheLastRequestsTimeOut(t *testing.T) {
	for _, rate := range []string{"", "20"} {
		text, err := urlFlags{url: "http://shop.test/", rate: rate, duration: "10s", connections: "2", timeout: "3s"}.benchmark()
		if err != nil {
			t.Fatal(err)
		}
		b, err := benchmark.Parse("url", text, nil)
		if err != nil || len(b.Phases) != 1 {
			t.Fatalf("got %+v, error %v, want one phase", b, err)
		}
		if p := b.Phases[0]; time.Duration(p.MaxDuration) < 14*time.Second {
			t.Errorf("rate %q: users are stopped after %v, want some time after the last timeout", rate, p.MaxDuration)
		}
	}
}
