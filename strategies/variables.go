package strategies

import (
	"errors"
	"strings"

	"github.com/loads/loads/internal/source"
)

// notSet is what is wrong with a variable that nobody sets.
const notSet = "is not set"

// CheckVariables returns a fault for every variable that the plan uses and
// that is neither built in, nor in its step's environment_data, nor in env,
// the environment that the run is to get; for wrong use of $; for variables
// that refer to themselves; and for variables of env that no container could
// get. It returns nil when there is none, and Faults without positions
// otherwise.
func CheckVariables(p Plan, env Environment) error {
	var c checker
	c.runEnvironment(env)
	c.variables("", p, env)
	return c.faults.Err()
}

// runEnvironment checks what is given with a run. Values are taken as they
// are, and built-in variables may be given.
func (c *checker) runEnvironment(env Environment) {
	for _, v := range env {
		switch {
		case !isVariableName(v.Name):
			c.add("environment", source.Show(v.Name), "is not a name for a variable", "use letters, digits and _, no digit first")
		case strings.ContainsRune(v.Value, 0):
			c.add(child("environment", v.Name), "", "holds a NUL character", "leave it out")
		}
	}
}

func (c *checker) variables(at string, p Plan, env Environment) {
	for i, s := range p.Steps {
		if len(s.EnvironmentData) > maxVariables {
			continue // a fault of its own
		}
		v := newVariableCheck(c, s, env)
		v.step(element(child(at, "steps"), i), s)
	}
}

// A variableCheck looks at one step's use of variables.
type variableCheck struct {
	*checker
	x     *expander
	known []string // names that are set
}

func newVariableCheck(c *checker, s Step, env Environment) variableCheck {
	x := newExpander(s.EnvironmentData, env)
	x.builtin = func(name string) (string, bool) { return "", isBuiltin(name) }
	known := builtins()
	for _, v := range append(s.EnvironmentData[:len(s.EnvironmentData):len(s.EnvironmentData)], env...) {
		known = append(known, v.Name)
	}
	return variableCheck{checker: c, x: x, known: known}
}

func (v variableCheck) step(at string, s Step) {
	v.use(child(at, "container_name"), source.Show(s.ContainerName), s.ContainerName)
	v.use(child(at, "container_url"), source.Show(s.ContainerURL), s.ContainerURL)
	env := child(at, "environment_data")
	for _, e := range s.EnvironmentData {
		if _, ok := v.x.run[e.Name]; !ok {
			v.use(child(env, e.Name), showOf(e.Name, e.Value), e.Value)
		}
	}
	v.circles(env, s)
	v.use(child(at, "additional_command_args"), source.Show(s.AdditionalCommandArgs), s.AdditionalCommandArgs)
	if s.Benchmark != nil {
		for _, p := range s.Benchmark.Params {
			v.use(child(child(at, "benchmark.params"), p.Name), showOf(p.Name, p.Value), p.Value)
		}
	}
	for _, entry := range splitList(s.VolumeMapping) {
		if volume, what := parseVolume(entry); what == "" {
			v.use(child(at, "volume_mapping"), source.Show(entry), volume.Host)
		}
	}
}

// use checks the variables in one text.
func (v variableCheck) use(field, shown, text string) {
	if !v.dollarsOf(field, shown, text) {
		return
	}
	names, _ := variablesIn(text)
	for _, name := range names {
		if v.isSet(name) {
			continue
		}
		want := "set it in environment_data, or when the run is started"
		if s := source.Suggest(name, v.known); s != "" {
			want = "did you mean $" + s + "?"
		}
		v.add(field, "$"+name, notSet, want)
	}
}

func (v variableCheck) isSet(name string) bool {
	_, run := v.x.run[name]
	_, step := v.x.step[name]
	return run || step || isBuiltin(name)
}

// circles reports each circle of variables once, at the first in the plan's
// order that is part of it.
func (v variableCheck) circles(field string, s Step) {
	reported := map[string]bool{}
	for _, e := range s.EnvironmentData {
		var circle *circleError
		_, err := v.x.value(e.Name)
		if !errors.As(err, &circle) || circle.names[len(circle.names)-1] != e.Name || reported[e.Name] {
			continue
		}
		for _, name := range circle.names {
			reported[name] = true
		}
		v.add(child(field, e.Name), showOf(e.Name, e.Value),
			"refers to itself: $"+strings.Join(circle.names, " → $"), "give one of them a value of its own")
	}
}
