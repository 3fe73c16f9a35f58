package strategies

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/invopop/jsonschema"
)

// Schema returns a JSON Schema (2020-12) of project and plan files, for
// editors. It is made from the same types and tags as the parser, and tells
// what a schema can; only Check finds all faults.
func Schema() ([]byte, error) {
	defs := jsonschema.Definitions{}
	for _, v := range []any{Project{}, Plan{}, Step{}, Ready{}, Benchmark{}} {
		reflectInto(defs, v, specialSchema)
	}
	reflectInto(defs, StartAfter{}, eventSchema)
	reflectInto(defs, Criterion{}, specialSchema)
	reflectInto(defs, Ulimit{}, nil)
	reflectInto(defs, LogMetric{}, specialSchema)
	for _, t := range schemaTypes() {
		finishDefinition(defs[t.Name()], t)
	}
	root := &jsonschema.Schema{
		Version:     jsonschema.Version,
		Title:       "Loads project or plan",
		Description: "A project with its plans, or one plan with its steps.",
		Definitions: defs,
		If:          &jsonschema.Schema{Required: []string{"steps"}},
		Then:        refTo("Plan"),
		Else:        refTo("Project"),
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(data, '\n'), nil
}

// schemaTypes are the types that have a definition of their own.
func schemaTypes() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[Project](), reflect.TypeFor[Plan](), reflect.TypeFor[Step](),
		reflect.TypeFor[Ready](), reflect.TypeFor[StartAfter](), reflect.TypeFor[Ulimit](),
		reflect.TypeFor[Criterion](), reflect.TypeFor[LogMetric](), reflect.TypeFor[Benchmark](),
	}
}

func refTo(name string) *jsonschema.Schema { return &jsonschema.Schema{Ref: "#/$defs/" + name} }

// reflectInto adds the definitions of a type, those that are new.
func reflectInto(defs jsonschema.Definitions, v any, mapper func(reflect.Type) *jsonschema.Schema) {
	r := jsonschema.Reflector{
		Anonymous:                  true,
		RequiredFromJSONSchemaTags: true,
		Mapper:                     mapper,
		LookupComment:              docOf,
	}
	for name, def := range r.Reflect(v).Definitions {
		if defs[name] == nil {
			defs[name] = def
		}
	}
}

// docOf is the doc tag of a field; nothing for a type itself.
func docOf(t reflect.Type, name string) string {
	if name == "" || t.Kind() != reflect.Struct {
		return ""
	}
	f, _ := t.FieldByName(name)
	return f.Tag.Get("doc")
}

// specialSchema is the schema of the types that files write in more than one
// way, as decoder.special reads them; nil for all others.
func specialSchema(t reflect.Type) *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	switch t {
	case reflect.TypeFor[Environment]():
		value := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "object", AdditionalProperties: value},
			{Type: "array", Items: &jsonschema.Schema{Type: "string", Pattern: "="}},
		}}
	case reflect.TypeFor[Bytes]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "0"}, text}}
	case reflect.TypeFor[LogType]():
		return &jsonschema.Schema{Type: "string", Enum: anys(logTypes())}
	case reflect.TypeFor[Stream]():
		return &jsonschema.Schema{Type: "string", Enum: anys(streams())}
	case reflect.TypeFor[Part]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, {Type: "number"}, {Type: "boolean"}}}
	case reflect.TypeFor[Seconds]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "1"}, text}}
	case reflect.TypeFor[Role]():
		return &jsonschema.Schema{Type: "string", Enum: anys([]Role{RoleGenerator, RoleTarget})}
	case reflect.TypeFor[Spot]():
		return &jsonschema.Schema{Type: "string", Enum: anys([]Spot{SpotPrefer, SpotOnly})}
	case reflect.TypeFor[OnInvalid]():
		return &jsonschema.Schema{Type: "string", Enum: anys([]OnInvalid{InvalidFails, InvalidWarns})}
	case reflect.TypeFor[[]Criterion]():
		item := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, refTo("Criterion")}}
		return &jsonschema.Schema{Type: "array", Items: item}
	case reflect.TypeFor[map[string]Ulimit]():
		limit := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "-1"}, text, refTo("Ulimit")}}
		return &jsonschema.Schema{
			Type:                 "object",
			AdditionalProperties: limit,
			PropertyNames:        &jsonschema.Schema{Enum: anys(ulimitNames())},
		}
	case reflect.TypeFor[*Benchmark]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, refTo("Benchmark")}}
	case reflect.TypeFor[[]StartAfter]():
		item := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, refTo("StartAfter")}}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "array", Items: item}, text, refTo("StartAfter")}}
	}
	return nil
}

func eventSchema(t reflect.Type) *jsonschema.Schema {
	if t != reflect.TypeFor[Event]() {
		return nil
	}
	return &jsonschema.Schema{Type: "string", Enum: anys([]Event{EventReady, EventEnd})}
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// finishDefinition adds what reflection can't know of a type: which keys files
// may have, defaults, bounds, and what must be there.
func finishDefinition(def *jsonschema.Schema, t reflect.Type) {
	defaults := reflect.New(t).Elem()
	setDefaults(defaults)
	def.Required = requiredOf(t)
	for _, f := range fieldsOf(t) {
		if f.internal {
			def.Properties.Delete(f.name)
			continue
		}
		p := def.Properties.Value(f.name)
		b, bounded := boundsOf(f.name)
		if bounded {
			p.Minimum, p.Maximum = json.Number(strconv.Itoa(b.least)), json.Number(strconv.Itoa(b.most))
		}
		if v := defaults.Field(f.index); v.Kind() == reflect.Bool || !v.IsZero() && !isList(v) || bounded && b.least == 0 {
			p.Default = v.Interface()
		}
		if !slices.Contains(def.Required, f.name) {
			allowNull(p)
		}
	}
	def.AnyOf = append(def.AnyOf, alternativesOf(t)...)
}

func isList(v reflect.Value) bool { return v.Kind() == reflect.Slice }

// requiredOf lists the keys that must always be there.
func requiredOf(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[Project]():
		return []string{"name"}
	case reflect.TypeFor[Plan]():
		return []string{"name", "steps"}
	case reflect.TypeFor[StartAfter]():
		return []string{"step"}
	case reflect.TypeFor[Benchmark]():
		return []string{"file"}
	case reflect.TypeFor[Ulimit]():
		return []string{"soft", "hard"}
	case reflect.TypeFor[Criterion]():
		return []string{"expr"}
	case reflect.TypeFor[LogMetric]():
		return []string{"name", "type"}
	}
	return nil
}

// alternativesOf lists the sets of keys of which one must be there.
func alternativesOf(t reflect.Type) []*jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Step]():
		return []*jsonschema.Schema{{Required: []string{"name", "container_name"}}, {Required: []string{"monitor"}}}
	case reflect.TypeFor[Ready]():
		return []*jsonschema.Schema{{Required: []string{"port"}}, {Required: []string{"log"}}, {Required: []string{"health"}}}
	case reflect.TypeFor[LogMetric]():
		return []*jsonschema.Schema{{Required: []string{"match"}}, {Required: []string{"json"}}}
	}
	return nil
}

// allowNull lets null stand for the default, as the parser does.
func allowNull(p *jsonschema.Schema) {
	switch {
	case p.Ref != "":
		p.AnyOf, p.Ref = []*jsonschema.Schema{{Ref: p.Ref}, {Type: "null"}}, ""
	case len(p.AnyOf) > 0:
		p.AnyOf = append(p.AnyOf, &jsonschema.Schema{Type: "null"})
	case p.Type != "" && len(p.Enum) == 0:
		p.Extras, p.Type = map[string]any{"type": []string{p.Type, "null"}}, ""
	}
}
