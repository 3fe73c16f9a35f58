package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/phases"
)

// checkFlags are the flags of gen that look at a benchmark file and send
// nothing.
type checkFlags struct {
	file   string
	json   bool
	schema bool
	params params
}

// params are NAME=VALUE flags.
type params map[string]string

func (p params) String() string { return "" }

func (p params) Set(s string) error {
	name, value, found := strings.Cut(s, "=")
	if !found || name == "" {
		return errors.New("want NAME=VALUE")
	}
	p[name] = value
	return nil
}

// checkBenchmark prints what the file's phases expand to, or all its faults.
func checkBenchmark(_ context.Context, p program, f checkFlags) error {
	if f.schema {
		data, err := benchmark.Schema()
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(data)
		return err
	}
	data, err := os.ReadFile(f.file)
	if err != nil {
		return fmt.Errorf("read the benchmark: %w", err)
	}
	b, list, err := readBenchmark(f.file, data, f.params)
	var faults benchmark.Faults
	if errors.As(err, &faults) {
		if f.json {
			return errors.Join(writeJSON(p.stdout, checkAnswer{Phases: []phaseAnswer{}, Faults: faults}), exitError(1))
		}
		for _, fault := range faults {
			fmt.Fprintln(p.stderr, fault)
		}
		return exitError(1)
	}
	if f.json {
		return writeJSON(p.stdout, checkAnswer{Name: b.Name, Phases: answers(list), Faults: benchmark.Faults{}, Warnings: b.Warnings})
	}
	for _, w := range b.Warnings {
		fmt.Fprintf(p.stderr, "warning: %s\n", w)
	}
	return printPhases(p.stdout, list)
}

// readBenchmark parses and expands, and sees that the files are there that
// steps read, and that the generator can run all of it.
func readBenchmark(name string, data []byte, params map[string]string) (*benchmark.Benchmark, []phases.Phase, error) {
	b, err := benchmark.Parse(name, data, params)
	if err != nil {
		return nil, nil, err
	}
	list, err := phases.Expand(name, b)
	var faults benchmark.Faults
	if err != nil && !errors.As(err, &faults) {
		return nil, nil, err
	}
	for _, use := range b.Files {
		path := use.Name
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(name), path)
		}
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			faults = append(faults, benchmark.Fault{
				File: name, Line: use.Line, Column: use.Column, Value: use.Name,
				What: "is a file that is not there", Want: "names of files are relative to the benchmark's folder",
			})
		}
	}
	if len(faults) == 0 {
		faults = engine.Check(engine.Config{Benchmark: b, Name: name, Phases: list, Read: readerBeside(name)})
	}
	if len(faults) > 0 {
		faults.Sort()
		return nil, nil, faults
	}
	return b, list, nil
}

// checkAnswer is what --check prints as JSON.
type checkAnswer struct {
	Name     string           `json:"name,omitempty"`
	Phases   []phaseAnswer    `json:"phases"`
	Faults   benchmark.Faults `json:"faults"`
	Warnings benchmark.Faults `json:"warnings,omitempty"`
}

// phaseAnswer is a phase of a run; times are in ms.
type phaseAnswer struct {
	Name         string   `json:"name"`
	Kind         string   `json:"kind"`
	Umbrella     bool     `json:"umbrella,omitempty"`
	Warmup       bool     `json:"warmup,omitempty"`
	From         float64  `json:"from_users_per_sec"`
	To           float64  `json:"to_users_per_sec"`
	Variance     bool     `json:"variance"`
	Users        int      `json:"users,omitempty"`
	PerMachine   int      `json:"users_per_machine,omitempty"`
	PerThread    int      `json:"users_per_thread,omitempty"`
	MaxSessions  int      `json:"max_sessions,omitempty"`
	DurationMS   int64    `json:"duration_ms"`
	MaxDuration  int64    `json:"max_duration_ms,omitempty"`
	StartTimeMS  int64    `json:"start_time_ms,omitempty"`
	After        []string `json:"start_after,omitempty"`
	Strict       []string `json:"start_after_strict,omitempty"`
	With         string   `json:"start_with,omitempty"`
	DelayMS      int64    `json:"delay_ms,omitempty"`
	SequenceList []string `json:"sequences,omitempty"`
}

func answers(list []phases.Phase) []phaseAnswer {
	all := make([]phaseAnswer, len(list))
	names := func(indices []int) (names []string) {
		for _, i := range indices {
			names = append(names, list[i].Name)
		}
		return names
	}
	for i, p := range list {
		all[i] = phaseAnswer{
			Name: p.Name, Kind: string(p.Kind), Umbrella: p.Umbrella, Warmup: p.Warmup && !p.Umbrella, From: p.From, To: p.To,
			Variance: p.Variance, Users: p.Users, PerMachine: p.PerMachine, PerThread: p.PerThread, MaxSessions: p.MaxSessions,
			DurationMS: p.Duration.Milliseconds(), MaxDuration: p.MaxDuration.Milliseconds(), StartTimeMS: p.StartTime.Milliseconds(),
			After: names(p.StartAfter), Strict: names(p.StartStrict), DelayMS: p.Delay.Milliseconds(),
		}
		if p.StartWith >= 0 {
			all[i].With = list[p.StartWith].Name
		}
		if p.Scenario != nil {
			for _, s := range p.Scenario.Sequences {
				all[i].SequenceList = append(all[i].SequenceList, s.Name)
			}
		}
	}
	return all
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printPhases prints the phases as a table, without umbrellas.
func printPhases(w io.Writer, list []phases.Phase) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PHASE\tKIND\tUSERS\tDURATION\tSTARTS")
	for i, a := range answers(list) {
		if a.Umbrella {
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", a.Name, a.Kind, usersOf(a), durationOf(list[i]), startOf(a))
	}
	return table.Flush()
}

func usersOf(a phaseAnswer) string {
	law := " even"
	if a.Variance {
		law = " random"
	}
	switch {
	case a.From != a.To:
		return fmt.Sprintf("%.6g to %.6g/s%s", a.From, a.To, law)
	case a.From > 0:
		return fmt.Sprintf("%.6g/s%s", a.From, law)
	case a.PerMachine > 0:
		return fmt.Sprintf("%d a machine", a.PerMachine)
	case a.PerThread > 0:
		return fmt.Sprintf("%d a thread", a.PerThread)
	case a.Users > 0:
		return fmt.Sprint(a.Users)
	}
	return "-"
}

func durationOf(p phases.Phase) string {
	text := "-"
	if p.Duration > 0 {
		text = p.Duration.String()
	}
	if p.MaxDuration > 0 {
		text += ", stopped after " + p.MaxDuration.String()
	}
	return text
}

func startOf(a phaseAnswer) string {
	var parts []string
	if a.StartTimeMS > 0 {
		parts = append(parts, "at "+(time.Duration(a.StartTimeMS)*time.Millisecond).String())
	}
	if a.With != "" {
		parts = append(parts, (time.Duration(a.DelayMS)*time.Millisecond).String()+" after the start of "+a.With)
	}
	if len(a.After) > 0 {
		parts = append(parts, "when finished: "+strings.Join(a.After, ", "))
	}
	if len(a.Strict) > 0 {
		parts = append(parts, "when ended: "+strings.Join(a.Strict, ", "))
	}
	if len(parts) == 0 {
		return "at once"
	}
	return strings.Join(parts, "; ")
}
