package strategies

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/kballard/go-shellquote"
)

// builtins returns the names of the built-in variables: RUN_ID is the run's,
// the others are the machine's.
func builtins() []string {
	return []string{
		"RUN_ID", "HOST_IP", "PRIVATE_IP", "STATSD_HOST", "STATSD_PORT", "STATSD_SOCKET", "CONTAINER_ID", "LOADS_START_AT",
		"LOADS_MACHINE", "LOADS_MACHINES",
	}
}

func isBuiltin(name string) bool { return slices.Contains(builtins(), name) }

// Resolved is a step's interpolated fields, ready for one machine's engine.
type Resolved struct {
	Image   string     // reference of the image
	URL     string     // of its tarball; empty for a registry
	Env     []Variable // the built-in variables by name, then the step's and the run's in their orders
	Args    []string   // words after the entrypoint
	Ports   []Port
	Volumes []Volume
	Files   map[string][]byte // to put into the container, by path
}

// Resolve interpolates the step for one machine. Of a variable's values the
// run's wins over the one in environment_data, and that over the built-in one.
// Values in environment_data may use other variables, also each other; values
// of the run are taken as they are. Errors name the field and what is wrong,
// the first that is found.
func (s Step) Resolve(builtin map[string]string, run Environment) (Resolved, error) {
	x := newExpander(s.EnvironmentData, run)
	x.builtin = func(name string) (string, bool) {
		value, ok := builtin[name]
		return value, ok
	}
	var r Resolved
	for _, part := range []func() error{
		func() error { return x.image(s, &r) },
		func() error { return x.env(s, builtin, run, &r) },
		func() error { return x.args(s, &r) },
		func() error { return x.benchmark(s, &r) },
		func() error { return x.mappings(s, &r) },
	} {
		if err := part(); err != nil {
			return Resolved{}, err
		}
	}
	return r, nil
}

// An expander answers the values of variables for one step.
type expander struct {
	step, run map[string]string
	builtin   func(name string) (string, bool)
	done      map[string]string // expanded values of the step's variables
	open      []string          // being expanded, the outermost first
	isOpen    map[string]bool   // by name, whether it is in open
}

func newExpander(step, run Environment) *expander {
	return &expander{step: step.Map(), run: run.Map(), done: map[string]string{}, isOpen: map[string]bool{}}
}

// expand interpolates a text.
func (x *expander) expand(s string) (string, error) { return interpolate(s, x.value) }

// value returns a variable's value.
func (x *expander) value(name string) (string, error) {
	if v, ok := x.run[name]; ok {
		return v, nil
	}
	if raw, ok := x.step[name]; ok && !isBuiltin(name) {
		return x.stepValue(name, raw)
	}
	if v, ok := x.builtin(name); ok {
		return v, nil
	}
	return "", unsetError(name)
}

func (x *expander) stepValue(name, raw string) (string, error) {
	if v, ok := x.done[name]; ok {
		return v, nil
	}
	if x.isOpen[name] {
		return "", &circleError{names: append(slices.Clone(x.open), name)}
	}
	x.open, x.isOpen[name] = append(x.open, name), true
	v, err := x.expand(raw)
	x.open, x.isOpen[name] = x.open[:len(x.open)-1], false
	if err != nil {
		return "", err
	}
	x.done[name] = v
	return v, nil
}

// A circleError says that a variable refers to itself; names begins anywhere
// and ends with the variable.
type circleError struct{ names []string }

func (e *circleError) Error() string {
	last := e.names[len(e.names)-1]
	circle := e.names[slices.Index(e.names, last):]
	return "variables refer to themselves: $" + strings.Join(circle, " → $")
}

func (x *expander) image(s Step, r *Resolved) (err error) {
	if r.Image, err = x.expand(s.ContainerName); err != nil {
		return fmt.Errorf("interpolate container_name: %w", err)
	}
	if r.Image != "" || !s.Monitor {
		if _, err := reference.ParseNormalizedNamed(r.Image); err != nil {
			return fmt.Errorf("read container_name %q: %w", r.Image, err)
		}
	}
	// Of the address only what the plan says is told: it may hold a password.
	if r.URL, err = x.expand(s.ContainerURL); err != nil {
		return fmt.Errorf("interpolate container_url: %w", err)
	}
	if what := wrongURL(r.URL); r.URL != "" && what != "" {
		return fmt.Errorf("read container_url %q: it %s", s.ContainerURL, what)
	}
	return nil
}

func (x *expander) env(s Step, builtin map[string]string, run Environment, r *Resolved) error {
	for _, name := range slices.Sorted(maps.Keys(builtin)) {
		value := builtin[name]
		if v, ok := x.run[name]; ok {
			value = v
		}
		r.Env = append(r.Env, Variable{name, value})
	}
	for _, v := range s.EnvironmentData {
		if isBuiltin(v.Name) {
			continue // at most NAME=$NAME; it is there already
		}
		value, err := x.value(v.Name)
		if err != nil {
			return fmt.Errorf("interpolate environment_data.%s: %w", v.Name, err)
		}
		r.Env = append(r.Env, Variable{v.Name, value})
	}
	for _, v := range run {
		if _, ok := x.step[v.Name]; !ok && !isBuiltin(v.Name) {
			r.Env = append(r.Env, v)
		}
	}
	return nil
}

func (x *expander) args(s Step, r *Resolved) error {
	text, err := x.expand(s.AdditionalCommandArgs)
	if err != nil {
		return fmt.Errorf("interpolate additional_command_args: %w", err)
	}
	if r.Args, err = shellquote.Split(text); err != nil {
		return fmt.Errorf("split additional_command_args: %w", err)
	}
	return nil
}

func (x *expander) mappings(s Step, r *Resolved) error {
	for _, entry := range splitList(s.PortMapping) {
		port, what := parsePort(entry)
		if what != "" {
			return fmt.Errorf("read port_mapping: %s %s", entry, what)
		}
		r.Ports = append(r.Ports, port)
	}
	for _, entry := range splitList(s.VolumeMapping) {
		volume, what := parseVolume(entry)
		if what != "" {
			return fmt.Errorf("read volume_mapping: %s %s", entry, what)
		}
		host, err := x.expand(volume.Host)
		if err != nil {
			return fmt.Errorf("interpolate volume_mapping: %w", err)
		}
		if !path.IsAbs(host) || strings.ContainsAny(host, ":\x00") {
			return fmt.Errorf("read volume_mapping: %q is not an absolute path on the machine", host)
		}
		volume.Host = host
		r.Volumes = append(r.Volumes, volume)
	}
	return nil
}

// wrongURL says what is wrong with the URL of a tarball, or nothing.
func wrongURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "is not a URL"
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return "names no host"
		}
	case "file":
		if u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) {
			return "names no absolute path"
		}
	case "":
		return "has no scheme"
	default:
		return "has the scheme " + u.Scheme
	}
	return ""
}
