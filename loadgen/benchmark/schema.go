package benchmark

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/invopop/jsonschema"

	"github.com/loads/loads/loadgen/jsonpath"
	"github.com/loads/loads/loadgen/pattern"
)

// Schema returns a JSON Schema (2020-12) of benchmark files, for editors. It is
// made from the same types and tags as the parser, and tells what a schema can;
// only Parse finds all faults. Of templates it knows nothing: editors have to
// be told of the tags !param, !concat and !foreach.
func Schema() ([]byte, error) {
	s := &schemer{defs: jsonschema.Definitions{}}
	s.of(reflect.TypeFor[Benchmark]())
	root := s.defs["Benchmark"]
	for _, f := range fieldsOf(reflect.TypeFor[Phase]()) {
		if _, own := root.Properties.Get(f.name); !own && ConstantRate.isFor(f.group) {
			root.Properties.Set(f.name, s.field(f))
		}
	}
	delete(s.defs, "Benchmark")
	root.Version, root.Title, root.Definitions = jsonschema.Version, "Loads benchmark", s.defs
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(data, '\n'), nil
}

// schemer collects the definitions of types.
type schemer struct{ defs jsonschema.Definitions }

func anyOf(list ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: list} }

func typed(name string) *jsonschema.Schema { return &jsonschema.Schema{Type: name} }

func listOf(item *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: item}
}

func mapOf(value *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", AdditionalProperties: value}
}

// scalarSchema is any value that is written as one word or number.
func scalarSchema() *jsonschema.Schema {
	return anyOf(typed("string"), typed("number"), typed("boolean"))
}

// entriesOf is a map, a list of maps, or a list of names.
func entriesOf(value *jsonschema.Schema) *jsonschema.Schema {
	return anyOf(mapOf(value), listOf(anyOf(mapOf(value), typed("string"))))
}

// of is the schema of a type, as value decodes it.
func (s *schemer) of(t reflect.Type) *jsonschema.Schema {
	if special := s.special(t); special != nil {
		return special
	}
	var plain *jsonschema.Schema
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		if kinds := choices(t.Elem()); kinds != nil {
			return s.union(t.Elem(), kinds)
		}
		item := s.of(t.Elem())
		return anyOf(item, listOf(item))
	case reflect.Map:
		return mapOf(s.of(t.Elem()))
	case reflect.Struct:
		plain = s.object(t, func(field) bool { return true })
	case reflect.String:
		if w, ok := reflect.Zero(t).Interface().(worded); ok {
			plain = typed("string")
			for _, word := range w.words() {
				plain.Enum = append(plain.Enum, word)
			}
			return plain
		}
		return scalarSchema()
	case reflect.Bool:
		plain = typed("boolean")
	case reflect.Float64:
		plain = typed("number")
	default:
		plain = typed("integer")
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[textual]()) {
		return anyOf(scalarSchema(), plain)
	}
	return plain
}

// special is the schema of the types that have a way of their own to be read,
// nil for all others.
func (s *schemer) special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[Timeout](), reflect.TypeFor[Millis](), reflect.TypeFor[Bytes]():
		return anyOf(typed("integer"), typed("string"))
	case reflect.TypeFor[Latency](), reflect.TypeFor[Regexp](), reflect.TypeFor[ArrayTarget](), reflect.TypeFor[jsonpath.Path]():
		return typed("string")
	case reflect.TypeFor[Reads](), reflect.TypeFor[Writes](), reflect.TypeFor[pattern.Pattern]():
		return scalarSchema()
	case reflect.TypeFor[Flag]():
		return anyOf(typed("boolean"), typed("null"))
	case reflect.TypeFor[Agents]():
		return entriesOf(&jsonschema.Schema{})
	case reflect.TypeFor[Hooks]():
		return entriesOf(s.of(reflect.TypeFor[hookFields]()))
	case reflect.TypeFor[Endpoints]():
		endpoint := s.of(reflect.TypeFor[Endpoint]())
		return anyOf(endpoint, listOf(endpoint))
	case reflect.TypeFor[Connections]():
		return anyOf(typed("integer"), s.object(t, func(field) bool { return true }))
	case reflect.TypeFor[Phases]():
		return entriesOf(s.phase())
	case reflect.TypeFor[PhaseRefs]():
		ref := s.of(reflect.TypeFor[PhaseRef]())
		return anyOf(ref, listOf(ref))
	case reflect.TypeFor[Forks]():
		return entriesOf(s.of(reflect.TypeFor[Fork]()))
	case reflect.TypeFor[Scenario]():
		return anyOf(s.of(reflect.TypeFor[sequences]()), s.of(reflect.TypeFor[scenarioFields]()))
	case reflect.TypeFor[sequences](), reflect.TypeFor[Stopwatch]():
		steps := s.of(reflect.TypeFor[Steps]())
		if t == reflect.TypeFor[Stopwatch]() {
			return steps
		}
		return entriesOf(steps)
	case reflect.TypeFor[Headers]():
		return entriesOf(s.of(reflect.TypeFor[Text]()))
	case reflect.TypeFor[StatusAction]():
		return mapOf(s.of(reflect.TypeFor[Actions]()))
	case reflect.TypeFor[StatusMultiplex]():
		return mapOf(s.of(reflect.TypeFor[StatusHandlers]()))
	case reflect.TypeFor[HTTPHandler]():
		handler := s.object(t, func(field) bool { return true })
		return anyOf(handler, listOf(handler))
	case reflect.TypeFor[Array]():
		return anyOf(typed("string"), s.object(t, func(field) bool { return true }))
	case reflect.TypeFor[AwaitVar]():
		return anyOf(typed("string"), s.object(t, func(field) bool { return true }))
	case reflect.TypeFor[Weighted](), reflect.TypeFor[WeightedFiles]():
		return anyOf(mapOf(typed("number")), listOf(anyOf(scalarSchema(), mapOf(typed("number")))))
	case reflect.TypeFor[Columns](), reflect.TypeFor[Counters]():
		return entriesOf(typed("string"))
	case reflect.TypeFor[Metric]():
		return anyOf(typed("string"), listOf(typed("string")))
	case reflect.TypeFor[Limits]():
		return entriesOf(typed("string"))
	}
	return nil
}

// object defines a struct type and refers to it.
func (s *schemer) object(t reflect.Type, allowed func(field) bool) *jsonschema.Schema {
	ref := &jsonschema.Schema{Ref: "#/$defs/" + t.Name()}
	if s.defs[t.Name()] != nil {
		return ref
	}
	def := s.define(t.Name())
	for _, f := range fieldsOf(t) {
		if !allowed(f) {
			continue
		}
		def.Properties.Set(f.name, s.field(f))
		if f.need && t != reflect.TypeFor[Benchmark]() {
			def.Required = append(def.Required, f.name)
		}
	}
	if t == reflect.TypeFor[HTTPRequest]() {
		for _, method := range methods {
			def.Properties.Set(method, s.of(reflect.TypeFor[Text]()))
		}
	}
	return ref
}

// define begins a definition of an object with those properties only that it
// is given.
func (s *schemer) define(name string) *jsonschema.Schema {
	def := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	s.defs[name] = def
	return def
}

func (s *schemer) field(f field) *jsonschema.Schema {
	return &jsonschema.Schema{Description: f.doc, AnyOf: []*jsonschema.Schema{s.of(f.typ)}}
}

// union is a list of the types that it may hold, by their names, or a map of
// them.
func (s *schemer) union(t reflect.Type, kinds []names) *jsonschema.Schema {
	ref := &jsonschema.Schema{Ref: "#/$defs/" + t.Name()}
	if s.defs[t.Name()] == nil {
		def := s.define(t.Name())
		all := names{}
		for _, k := range slices.Backward(kinds) {
			maps.Copy(all, k)
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			def.Properties.Set(name, anyOf(s.of(all[name]), typed("null")))
		}
	}
	return anyOf(ref, listOf(anyOf(ref, typed("string"))), typed("string"))
}

// phase is a map from one type of phase to its properties.
func (s *schemer) phase() *jsonschema.Schema {
	def := s.define("Phase")
	one := uint64(1)
	def.MinProperties, def.MaxProperties = &one, &one
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		properties := s.define("Phase_" + name)
		for _, f := range fieldsOf(reflect.TypeFor[Phase]()) {
			if kinds[name].isFor(f.group) {
				properties.Properties.Set(f.name, s.field(f))
			}
		}
		def.Properties.Set(name, &jsonschema.Schema{Ref: "#/$defs/Phase_" + name})
	}
	return &jsonschema.Schema{Ref: "#/$defs/Phase"}
}
