package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// variables are the flags that set a run's environment.
type variables struct {
	assign []string
	file   string
}

func (v *variables) flags(f *pflag.FlagSet) {
	f.StringArrayVarP(&v.assign, "env", "e", nil, "variable of the run, NAME=VALUE, or NAME to take it from here (repeatable)")
	f.StringVar(&v.file, "env-file", "", "file of NAME=VALUE lines; -e wins over it")
}

// environment reads the file and the flags. getenv gives the value of a bare
// NAME, so that secrets need not be arguments.
func (v *variables) environment(getenv func(string) string) (strategies.Environment, error) {
	lines, err := v.fileLines()
	if err != nil {
		return nil, err
	}
	var env strategies.Environment
	for _, line := range append(lines, v.assign...) {
		name, value, found := strings.Cut(line, "=")
		if !found {
			if value = getenv(name); value == "" {
				return nil, broker.Errorf(broker.EInvalid, "The variable %s is not set here, or is empty; set it, or write %s=VALUE.", name, name)
			}
		}
		if strings.TrimSpace(name) == "" {
			return nil, broker.Errorf(broker.EInvalid, "The variable %q has no name; write NAME=VALUE.", line)
		}
		env = set(env, strings.TrimSpace(name), value)
	}
	return env, nil
}

func (v *variables) fileLines() ([]string, error) {
	if v.file == "" {
		return nil, nil
	}
	f, err := os.Open(v.file)
	if err != nil {
		return nil, broker.Errorf(broker.EInvalid, "The environment file can't be read: %v.", err)
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name, value, found := strings.Cut(line, "="); found {
			line = strings.TrimSpace(name) + "=" + strings.TrimSpace(value)
		}
		lines = append(lines, line)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", v.file, err)
	}
	return lines, nil
}

// set replaces the variable or appends it.
func set(env strategies.Environment, name, value string) strategies.Environment {
	for i := range env {
		if env[i].Name == name {
			env[i].Value = value
			return env
		}
	}
	return append(env, strategies.Variable{Name: name, Value: value})
}

// edits reads path=value arguments. A value that is JSON, a list say, counts as
// that; any other is a string, which plans read as the field's type needs.
func edits(assignments []string) (map[string]any, error) {
	set := map[string]any{}
	for _, a := range assignments {
		path, value, found := strings.Cut(a, "=")
		if !found || path == "" {
			return nil, broker.Errorf(broker.EInvalid, "--set %q is no path=value; write, for example, --set steps.web.instance_count=2.", a)
		}
		set[path] = editValue(value)
	}
	return set, nil
}

func editValue(text string) any {
	var v any
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") || text == "null" {
		if json.Unmarshal([]byte(text), &v) == nil {
			return v
		}
	}
	return text
}
