package strategies

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// Parse reads a project from a YAML or JSON file. The name is the file's, for
// faults; it is not opened. All faults are returned at once, as Faults with
// positions; then the project is empty.
func Parse(name string, data []byte) (Project, error) {
	f := read(data, projectFile)
	f.validate()
	return f.result(name)
}

// ParsePlan reads a bare plan as Parse reads a project.
func ParsePlan(name string, data []byte) (Plan, error) {
	f := read(data, planFile)
	f.validate()
	p, err := f.result(name)
	if err != nil {
		return Plan{}, err
	}
	return p.Plans[0], nil
}

// ParseFile reads a project or a bare plan as Parse does. A bare plan becomes a
// project of the plan's name, with that plan alone.
func ParseFile(name string, data []byte) (Project, error) {
	f := read(data, anyFile)
	f.validate()
	return f.result(name)
}

// Check returns all that is wrong with a file that holds a project or a bare
// plan, as ParseFile does, with the faults of CheckVariables for all its plans.
// env is the environment that runs of them are to get.
func Check(name string, data []byte, env Environment) error {
	f := read(data, anyFile)
	f.validate()
	f.variables(env)
	_, err := f.result(name)
	return err
}

// wantFile reads projects and plans.
var wantFile = source.Reader{
	Want: "write a project (name, plans) or a plan (name, steps)",
	One:  "project or plan",
}

// A form is what a file may hold.
type form int

const (
	anyFile form = iota
	projectFile
	planFile
)

// A file is what has been read of one.
type file struct {
	project  Project
	barePlan bool // the project is made up around a plan
	dec      *decoder
	faults   Faults
	broken   bool  // could not be read at all
	end      place // of the file, where what is missing is reported
}

// read decodes the file. It looks at types and names only.
func read(data []byte, as form) *file {
	f := &file{dec: newDecoder(true)}
	f.end.line, f.end.column = source.Position(data, len(data))
	root, fault := wantFile.Read(data)
	if fault != nil {
		f.faults, f.broken = Faults{*fault}, true
		return f
	}
	if as == anyFile {
		if as = formOf(root); as == anyFile {
			f.broken = true
			f.faults = Faults{{
				Line: root.Line, Column: root.Column,
				What: "the file has neither plans nor steps", Want: wantFile.Want,
			}}
			return f
		}
	}
	if f.barePlan = as == planFile; f.barePlan {
		f.decodePlan(root)
	} else {
		setDefaults(reflect.ValueOf(&f.project).Elem())
		f.dec.value(root, "", reflect.ValueOf(&f.project).Elem())
	}
	f.faults = f.dec.faults
	return f
}

func (f *file) decodePlan(root *yaml.Node) {
	f.project.Plans = make([]Plan, 1)
	plan := reflect.ValueOf(&f.project.Plans[0]).Elem()
	setDefaults(plan)
	f.dec.value(root, "", plan)
	f.project.Name = f.project.Plans[0].Name
}

// formOf tells a project from a plan by the keys of the file.
func formOf(root *yaml.Node) form {
	as := anyFile
	for _, p := range newDecoder(true).pairs(root, "", 0) {
		switch p.key {
		case "plans":
			return projectFile
		case "steps":
			as = planFile
		}
	}
	return as
}

// validate adds the faults of values.
func (f *file) validate() {
	if f.broken {
		return
	}
	c := checker{unknown: f.dec.explains}
	if f.barePlan {
		c.plan("", f.project.Plans[0])
	} else {
		c.project(f.project)
	}
	f.add(c.faults)
}

// variables adds the faults of variables.
func (f *file) variables(env Environment) {
	if f.broken {
		return
	}
	var c checker
	for i, p := range f.project.Plans {
		at := element("plans", i)
		if f.barePlan {
			at = ""
		}
		c.variables(at, p, env)
	}
	f.add(c.faults)
}

// add gives the faults their positions, and leaves out those that follow from
// a fault found earlier or repeat it.
func (f *file) add(faults Faults) {
	seen := map[Fault]bool{}
	for _, fault := range f.faults {
		seen[fault] = true
	}
	for _, fault := range faults {
		if f.dec.explains(fault.Field) {
			continue
		}
		at := f.dec.placeOf(fault.Field)
		fault.Line, fault.Column = at.line, at.column
		if text := f.dec.written[fault.Field]; text != "" && fault.Value != "" {
			fault.Value = text
		}
		if !seen[fault] {
			seen[fault] = true
			f.faults = append(f.faults, fault)
		}
	}
}

func (f *file) result(name string) (Project, error) {
	if len(f.faults) == 0 {
		return f.project, nil
	}
	for i := range f.faults {
		f.faults[i].File = name
		if line := f.faults[i].Line; line == 0 || line > f.end.line {
			// The YAML decoder puts what is missing at the end a line further.
			f.faults[i].Line, f.faults[i].Column = f.end.line, f.end.column
		}
	}
	f.faults.Sort()
	if len(f.faults) > maxFaults {
		f.faults = f.faults[:maxFaults]
		last := f.faults[maxFaults-1]
		f.faults = append(f.faults, Fault{
			File: name, Line: last.Line, Column: last.Column,
			What: "the file has more faults than are shown", Want: "correct these first",
		})
	}
	return Project{}, f.faults
}

// explains reports whether a fault found while decoding explains one of the
// field: it is the field's own, or that of something around or right inside it.
func (d *decoder) explains(field string) bool {
	for at := field; ; at = parent(at) {
		if d.bad[at] {
			return true
		}
		if at == "" {
			break
		}
	}
	for bad := range d.bad {
		if bad != "" && parent(bad) == field {
			return true
		}
	}
	return false
}

// placeOf is the position of the field, or of the nearest thing around it.
func (d *decoder) placeOf(field string) place {
	for {
		if at, ok := d.places[field]; ok {
			return at
		}
		if field == "" {
			return place{}
		}
		field = parent(field)
	}
}

// parent cuts the last part off a path.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}
