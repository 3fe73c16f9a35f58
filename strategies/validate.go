package strategies

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loads/loads/internal/source"
)

// Validate returns all faults of the project as Faults without positions, or
// nil.
func (p Project) Validate() error {
	var c checker
	c.project(p)
	return c.faults.Err()
}

// Validate returns all faults of the plan as Faults without positions, or nil.
func (p Plan) Validate() error {
	var c checker
	c.plan("", p)
	return c.faults.Err()
}

// A checker collects the faults of values that have the right types.
type checker struct {
	faults Faults
	// unknown, when not nil, reports whether a field could not be read, so that
	// nothing can be said of what depends on it.
	unknown func(field string) bool
}

func (c *checker) isUnknown(field string) bool { return c.unknown != nil && c.unknown(field) }

// isFull reports whether enough faults were found, as decoder.isFull does.
func (c *checker) isFull() bool { return len(c.faults) > maxFaults }

func (c *checker) add(field, value, what, want string) {
	if c.isFull() {
		return
	}
	c.faults = append(c.faults, Fault{Field: field, Value: value, What: what, Want: want})
}

func (c *checker) project(p Project) {
	c.name("name", p.Name)
	c.cost("", p.MaxCost)
	if len(p.Plans) > maxPlans {
		c.add("plans", "", fmt.Sprintf("has %d plans", len(p.Plans)), fmt.Sprintf("%d are the most", maxPlans))
		return
	}
	first := map[string]int{}
	for i, plan := range p.Plans {
		at := element("plans", i)
		c.unique(at, "plan", plan.Name, i, first)
		c.plan(at, plan)
	}
}

func (c *checker) plan(at string, p Plan) {
	c.name(child(at, "name"), p.Name)
	steps := child(at, "steps")
	switch {
	case len(p.Steps) == 0:
		c.add(steps, "", "is missing or empty", "give at least one step")
		return
	case len(p.Steps) > maxSteps:
		c.add(steps, "", fmt.Sprintf("has %d steps", len(p.Steps)), fmt.Sprintf("%d are the most", maxSteps))
		return
	}
	first := map[string]int{}
	for i, s := range p.Steps {
		c.unique(element(steps, i), "step", s.Name, i, first)
		c.step(element(steps, i), s)
	}
	c.acrossSteps(steps, p)
	c.startAfter(steps, p)
	c.judgement(at, p)
}

// name checks the name of a project, plan or step.
func (c *checker) name(field, name string) {
	want := fmt.Sprintf("give a name of at most %d characters", maxName)
	switch {
	case name == "":
		c.add(field, "", "is missing", want)
	case strings.TrimSpace(name) == "":
		c.add(field, source.Show(name), "is blank", want)
	case utf8.RuneCountInString(name) > maxName:
		c.add(field, source.Show(name), fmt.Sprintf("has %d characters", utf8.RuneCountInString(name)), want)
	default:
		c.printable(field, name)
	}
}

// printable declines control characters, which spoil paths, labels and
// terminals.
func (c *checker) printable(field, text string) {
	if strings.ContainsFunc(text, unicode.IsControl) {
		c.add(field, source.Show(text), "holds a control character", "leave it out")
	}
}

// unique declines the second use of a name; the empty one is missing instead.
func (c *checker) unique(at, noun, name string, i int, first map[string]int) {
	if j, ok := first[name]; ok && name != "" {
		c.add(child(at, "name"), source.Show(name), fmt.Sprintf("is the name of %ss[%d], too", noun, j),
			fmt.Sprintf("give each %s a name of its own", noun))
		return
	}
	first[name] = i
}

// acrossSteps checks what only shows when steps are seen together.
func (c *checker) acrossSteps(steps string, p Plan) {
	monitor, names := -1, map[string]int{}
	for i, s := range p.Steps {
		if s.Monitor && monitor >= 0 {
			c.add(child(element(steps, i), "monitor"), "true", fmt.Sprintf("is given for steps[%d], too", monitor),
				"let one step be the monitor")
		} else if s.Monitor {
			monitor = i
		}
		if s.DNSName == "" {
			continue
		}
		key := strings.ToLower(strings.TrimSuffix(s.DNSName, "."))
		if j, ok := names[key]; ok {
			c.add(child(element(steps, i), "dns_name"), source.Show(s.DNSName), fmt.Sprintf("is the name of steps[%d], too", j),
				"give each step a name of its own")
			continue
		}
		names[key] = i
	}
	if len(names) > 0 {
		c.nameServerPorts(steps, p)
	}
}

// nameServerPorts keeps port 53 free for the machine's name server, which a
// plan with a dns_name has.
func (c *checker) nameServerPorts(steps string, p Plan) {
	for i, s := range p.Steps {
		for _, entry := range splitList(s.PortMapping) {
			if port, what := parsePort(entry); what == "" && port.Host == 53 {
				c.add(child(element(steps, i), "port_mapping"), source.Show(entry),
					"publishes port 53, which the name server of a plan with dns_name has", "give another host port")
			}
		}
	}
}

// startAfter checks the waits between steps.
func (c *checker) startAfter(steps string, p Plan) {
	var names []string
	for i, s := range p.Steps {
		if c.isUnknown(child(element(steps, i), "name")) {
			return // it could be any that others wait for
		}
		names = append(names, s.Name)
	}
	sound := true
	for i, s := range p.Steps {
		seen := map[StartAfter]bool{}
		for k, after := range s.StartAfter {
			if c.isFull() {
				return
			}
			at := element(child(element(steps, i), "start_after"), k)
			c.waitedFor(at, after, p, names)
			if seen[after] {
				c.add(at, source.Show(after.Step), "is named twice", "name it once")
			}
			if after.Step == s.Name {
				c.add(at, source.Show(after.Step), "is the step itself", "name another step")
				sound = false
			}
			seen[after] = true
		}
	}
	if sound {
		c.cycles(steps, p)
	}
}

// waitedFor checks one entry of start_after by itself.
func (c *checker) waitedFor(at string, after StartAfter, p Plan, names []string) {
	switch i := slices.Index(names, after.Step); {
	case after.Step == "":
		c.add(child(at, "step"), "", "is missing", "give the name of a step")
	case i < 0:
		c.add(at, source.Show(after.Step), "is not a step of the plan", wantStep(after.Step, slices.Clone(names)))
	case p.Steps[i].Monitor:
		c.add(at, source.Show(after.Step), "is the monitor, which lasts until all other steps are done", "name another step")
	}
	if after.Event != EventReady && after.Event != EventEnd {
		c.add(child(at, "event"), source.Show(string(after.Event)), "is not an event", "give ready or end")
	}
}

func wantStep(name string, names []string) string {
	if want := source.DidYouMean(name, names); want != "" {
		return want
	}
	if len(names) > 10 {
		return "name a step of the plan"
	}
	for i := range names {
		names[i] = source.Show(names[i])
	}
	return "the steps are " + source.JoinWords(names)
}

// cycles reports each circle of waits at the first start_after in it: no
// circle is without one.
func (c *checker) cycles(steps string, p Plan) {
	waits := p.waits()
	for _, circle := range p.cycles() {
		first := -1
		for _, i := range circle {
			if len(p.Steps[i].StartAfter) > 0 && (first < 0 || i < first) {
				first = i
			}
		}
		c.add(child(element(steps, first), "start_after"), "", "makes steps wait for each other: "+p.describeCycle(circle, waits),
			"leave out one of these waits")
	}
}

// bounded checks a whole number against the bounds of the field of that name.
func (c *checker) bounded(at, name string, n int) {
	b, _ := boundsOf(name)
	field := child(at, name)
	switch {
	case n < 0:
		c.add(field, strconv.Itoa(n), "is negative", fmt.Sprintf("give %s, %d or more", b.unit, b.least))
	case n < b.least:
		c.add(field, strconv.Itoa(n), "is too small", fmt.Sprintf("give %s, %d or more", b.unit, b.least))
	case n > b.most:
		c.add(field, strconv.Itoa(n), "is too large", fmt.Sprintf("give %s, %d at most", b.unit, b.most))
	}
}
