package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/phases"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// A planFile is a plan file as it is brought to a broker: with the files of its
// benchmarks in it.
type planFile struct {
	data    []byte
	project strategies.Project
}

// embedBenchmarks puts the benchmark files of the project's steps, and those
// that they read, into it. file is the plan's; data is what is in it, and stays
// as it is when no step has a benchmark.
func embedBenchmarks(file string, data []byte, project strategies.Project) (planFile, error) {
	var faults strategies.Faults
	found := false
	for _, plan := range project.Plans {
		for i := range plan.Steps {
			b := plan.Steps[i].Benchmark
			if b == nil {
				continue
			}
			found = true
			if err := embedBenchmark(filepath.Dir(file), &plan.Steps[i]); err != nil {
				faults = append(faults, strategies.Fault{
					File: file, Line: 1, Column: 1, Field: "steps." + plan.Steps[i].Name + ".benchmark", Value: b.File,
					What: "can't be read: " + err.Error(), Want: "name a file relative to the plan's folder",
				})
			}
		}
	}
	if err := faults.Err(); err != nil || !found {
		return planFile{data, project}, err
	}
	whole, err := json.Marshal(project)
	if err != nil {
		return planFile{}, fmt.Errorf("put benchmarks into the plan: %w", err)
	}
	return planFile{whole, project}, nil
}

// embedBenchmark reads the files of a step's benchmark that the plan does not
// have. What is missing of those that the benchmark reads is a fault of it.
func embedBenchmark(folder string, step *strategies.Step) error {
	b := *step.Benchmark
	files := map[string]string{}
	for name, text := range b.Files {
		files[name] = text
	}
	b.Files = files
	step.Benchmark = &b
	read := func(name string) error {
		if len(b.Missing(name)) == 0 {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
		var pathErr *os.PathError
		switch {
		case errors.As(err, &pathErr):
			return pathErr.Err
		case err != nil:
			return err
		case !utf8.Valid(data):
			return errors.New("it is no text")
		}
		files[path.Clean(name)] = string(data)
		return nil
	}
	if err := read(b.File); err != nil {
		return err
	}
	params, _ := step.SampleParams(nil) // some may come with the run
	text, _ := b.Text(b.File)
	for _, use := range benchmark.FilesOf([]byte(text), params) {
		if isInside(use.Name) {
			_ = read(path.Join(path.Dir(b.File), use.Name)) // what is missing is told when it is checked
		}
	}
	return nil
}

// isInside reports whether a name leads to the folder that it is relative to.
func isInside(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name))
}

// checkBenchmarks returns all that is wrong with the benchmarks of the plan's
// steps, for a run with this environment. folder comes before their names.
func checkBenchmarks(folder string, plan strategies.Plan, env strategies.Environment) error {
	var faults strategies.Faults
	for _, step := range plan.Steps {
		if step.Benchmark != nil {
			faults = append(faults, benchmarkFaults(folder, step, env)...)
		}
	}
	return faults.Err()
}

func benchmarkFaults(folder string, step strategies.Step, env strategies.Environment) strategies.Faults {
	b := *step.Benchmark
	name := path.Join(folder, b.File)
	fault := func(what, want string) strategies.Faults {
		return strategies.Faults{{File: name, Line: 1, Column: 1, What: what, Want: want}}
	}
	text, ok := b.Text(b.File)
	if !ok {
		return fault("is not in the plan", "bring the plan with loads run or loads import, which put it in")
	}
	params, err := step.SampleParams(env)
	if err != nil {
		return fault(err.Error(), "set it in environment_data, or when the run is started")
	}
	var faults strategies.Faults
	parsed, err := benchmark.Parse(name, []byte(text), params)
	if err != nil {
		if !errors.As(err, &faults) {
			return fault(err.Error(), "correct it")
		}
		return faults
	}
	list, err := phases.Expand(name, parsed)
	if err != nil && !errors.As(err, &faults) {
		return fault(err.Error(), "correct it")
	}
	inPlan := func(file string) string { return path.Join(path.Dir(b.File), file) }
	for _, use := range parsed.Files {
		if !isInside(use.Name) || len(b.Missing(inPlan(use.Name))) > 0 {
			faults = append(faults, strategies.Fault{
				File: name, Line: use.Line, Column: use.Column, Value: use.Name,
				What: "is a file that is not there, or no text", Want: "names of files are relative to the benchmark's folder, and inside it",
			})
		}
	}
	if len(faults) > 0 {
		faults.Sort()
		return faults
	}
	faults = generatorFaults(name, parsed, list, func(file string) ([]byte, error) {
		text, ok := b.Text(inPlan(file))
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	})
	if _, err := phases.Divide(list, phases.Cluster{Machines: step.InstanceCount, Threads: 1}, 0); err != nil {
		faults = append(faults, fault(strings.TrimPrefix(err.Error(), "divide the benchmark: "), "use fewer machines, or allow more")...)
	}
	if step.InstanceCount > 1 {
		if what, want := unspeakable(list); what != "" {
			faults = append(faults, fault(what, want)...)
		}
	}
	return faults
}

// unspeakable says what keeps machines from agreeing on the phases, if anything
// does: a relay passes on so many words of so many bytes. A phase may fail, and
// not be able to go on, beside what others wait for.
func unspeakable(list []phases.Phase) (what, want string) {
	words := len(phases.Marks(list))
	for i := range list {
		if list[i].Scenario == nil {
			continue
		}
		words += 2
		if name := list[i].Name; len(name) > metrics.MaxWordSize {
			return fmt.Sprintf("has a phase whose name is %d bytes long: %.20s…", len(name), name),
				fmt.Sprintf("machines tell each other of phases by names of %d bytes at most", metrics.MaxWordSize)
		}
	}
	if words > metrics.MaxWords {
		return fmt.Sprintf("has so many phases that a machine may have to tell others %d times how far it is", words),
			fmt.Sprintf("%d times are the most; use fewer iterations, or one machine", metrics.MaxWords)
	}
	return "", ""
}
