package strategies

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// Edit returns a copy of the plan with new values for the fields at the paths
// of set, for example description, steps.web.instance_count (a step by its name
// or its index) or steps.0.environment_data.RATE. A value is as it would be in a
// JSON file, or the same as text ("5" for a number, "{port: 80}" for a map). Nil
// stands for the default; it takes away a variable, a limit or a step. Names of
// steps are those before the edit.
//
// The result is valid; otherwise all faults are returned, as Faults. p stays as
// it is.
func (p Plan) Edit(set map[string]any) (Plan, error) {
	e := editor{plan: p.Clone(), removed: map[int]bool{}, dropped: map[int]bool{}}
	e.nameSteps()
	for _, path := range slices.Sorted(maps.Keys(set)) { // a whole before its parts
		e.set(path, set[path])
	}
	if err := e.faults.Err(); err != nil {
		return Plan{}, err
	}
	e.remove()
	if err := e.plan.Validate(); err != nil {
		return Plan{}, err
	}
	return e.plan, nil
}

// An editor holds a plan that is being edited.
type editor struct {
	plan    Plan
	names   []string // of the steps, before the edit
	removed map[int]bool
	dropped map[int]bool // criteria that are taken away
	faults  Faults
}

func (e *editor) nameSteps() {
	e.names = nil
	for _, s := range e.plan.Steps {
		e.names = append(e.names, s.Name)
	}
}

func (e *editor) fault(path, what, want string) {
	e.faults = append(e.faults, Fault{Field: path, What: what, Want: want})
}

func (e *editor) set(path string, value any) {
	rest, ok := strings.CutPrefix(path, "steps.")
	if !ok {
		e.field(path, path, reflect.ValueOf(&e.plan).Elem(), value)
		if path == "steps" {
			e.nameSteps()
		}
		return
	}
	i, rest := e.findStep(rest)
	switch {
	case i < 0:
		e.fault(path, "names no step of the plan", wantStep(rest, slices.Clone(e.names)))
	case rest != "":
		e.field(path, rest, reflect.ValueOf(&e.plan.Steps[i]).Elem(), value)
	case value == nil:
		e.removed[i] = true
	default:
		uuid := e.plan.Steps[i].UUID
		e.assign(path, reflect.ValueOf(&e.plan.Steps[i]).Elem(), defaultOf[Step](), value)
		e.plan.Steps[i].UUID = uuid
	}
}

// findStep splits a path below steps into the index of its step, -1 for none,
// and the rest. A name may have dots in it, so the longest that fits counts.
func (e *editor) findStep(path string) (int, string) {
	best := -1
	for i, name := range e.names {
		if (path == name || strings.HasPrefix(path, name+".")) && (best < 0 || len(name) > len(e.names[best])) {
			best = i
		}
	}
	if best >= 0 {
		return best, strings.TrimPrefix(path[len(e.names[best]):], ".")
	}
	head, rest, _ := strings.Cut(path, ".")
	if i, err := strconv.Atoi(head); err == nil && i >= 0 && i < len(e.names) {
		return i, rest
	}
	return -1, head
}

// field sets what rest names in the struct v; path is the whole path.
func (e *editor) field(path, rest string, v reflect.Value, value any) {
	key, below, deeper := strings.Cut(rest, ".")
	for _, f := range fieldsOf(v.Type()) {
		if f.name != key || f.internal {
			continue
		}
		if deeper {
			e.below(path, below, v.Field(f.index), value)
			return
		}
		whole := reflect.New(v.Type()).Elem()
		setDefaults(whole)
		e.assign(path, v.Field(f.index), whole.Field(f.index), value)
		return
	}
	e.fault(path, "names no field of "+ofType(v.Type()), wantKey(key, v.Type()))
}

// below sets one part of a field that has parts.
func (e *editor) below(path, key string, v reflect.Value, value any) {
	switch p := v.Addr().Interface().(type) {
	case *Environment:
		e.variable(path, key, p, value)
	case *map[string]Ulimit:
		e.ulimit(path, key, p, value)
	case *[]Criterion:
		e.criterion(path, key, *p, value)
	case **Benchmark:
		if *p == nil {
			*p = &Benchmark{}
		}
		e.field(path, key, reflect.ValueOf(*p).Elem(), value)
	case **Ready:
		if *p == nil {
			r := defaultOf[Ready]().Interface().(Ready)
			*p = &r
		}
		e.field(path, key, reflect.ValueOf(*p).Elem(), value)
	default:
		e.fault(path, "names a part of a field that has none", "set the field as a whole")
	}
}

func (e *editor) variable(path, name string, env *Environment, value any) {
	i := slices.IndexFunc(*env, func(v Variable) bool { return v.Name == name })
	if value == nil {
		if i >= 0 {
			*env = slices.Delete(*env, i, i+1)
		}
		return
	}
	n, err := nodeOf(value, false)
	if err != nil {
		e.fault(path, "can't be read: "+err.Error(), "give text, a number or a boolean")
		return
	}
	d := newDecoder(true)
	text, _ := d.variable(n, path)
	e.keep(d.faults)
	if i < 0 {
		*env = append(*env, Variable{name, text})
		return
	}
	(*env)[i].Value = text
}

// criterion sets a criterion, named by its index or its name, or a field of
// one.
func (e *editor) criterion(path, key string, list []Criterion, value any) {
	head, rest, deeper := strings.Cut(key, ".")
	i, err := strconv.Atoi(head)
	if err != nil {
		i = slices.IndexFunc(list, func(c Criterion) bool { return c.Name == head })
	}
	switch {
	case i < 0 || i >= len(list):
		e.fault(path, "names no criterion of the plan", "give its name, or its number from 0")
	case deeper:
		e.field(path, rest, reflect.ValueOf(&list[i]).Elem(), value)
	case value == nil:
		e.dropped[i] = true
	default:
		// An expression is no YAML, as the text of other fields may be.
		if text, ok := value.(string); ok && !strings.HasPrefix(strings.TrimSpace(text), "{") {
			list[i] = Criterion{Expr: text}
			return
		}
		e.assign(path, reflect.ValueOf(&list[i]).Elem(), defaultOf[Criterion](), value)
	}
}

func (e *editor) ulimit(path, name string, limits *map[string]Ulimit, value any) {
	if value == nil {
		if delete(*limits, name); len(*limits) == 0 {
			*limits = nil
		}
		return
	}
	var u Ulimit
	e.assign(path, reflect.ValueOf(&u).Elem(), reflect.ValueOf(Ulimit{}), value)
	if *limits == nil {
		*limits = map[string]Ulimit{}
	}
	(*limits)[name] = u
}

// assign decodes value into v, which gets its default first.
func (e *editor) assign(path string, v, byDefault reflect.Value, value any) {
	v.Set(byDefault)
	if value == nil {
		return
	}
	n, err := nodeOf(value, v.Kind() != reflect.String)
	if err != nil {
		e.fault(path, "can't be read: "+err.Error(), wantOf(v.Type()))
		return
	}
	d := newDecoder(true)
	d.value(n, path, v)
	e.keep(d.faults)
}

// keep takes over faults, without the positions in a file that there is not.
func (e *editor) keep(faults Faults) {
	for _, f := range faults {
		f.Line, f.Column = 0, 0
		e.faults = append(e.faults, f)
	}
}

// remove takes away the steps and the criteria that were set to nil.
func (e *editor) remove() {
	var kept []Step
	for i, s := range e.plan.Steps {
		if !e.removed[i] {
			kept = append(kept, s)
		}
	}
	e.plan.Steps = kept
	var criteria []Criterion
	for i, c := range e.plan.Criteria {
		if !e.dropped[i] {
			criteria = append(criteria, c)
		}
	}
	e.plan.Criteria = criteria
}

// nodeOf makes a tree of a JSON value. Where it may be other than text, text is
// read as YAML, so that "5" from a command line is a number.
func nodeOf(value any, mayParse bool) (*yaml.Node, error) {
	if text, ok := value.(string); ok && mayParse {
		if strings.TrimSpace(text) == "" {
			value = nil
		}
		var doc yaml.Node
		if err := yaml.Load([]byte(text), &doc); err == nil && len(doc.Content) == 1 {
			return doc.Content[0], nil
		}
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return source.JSON(data)
}

// defaultOf is a value with the defaults of its type.
func defaultOf[T any]() reflect.Value {
	v := reflect.New(reflect.TypeFor[T]()).Elem()
	setDefaults(v)
	return v
}
