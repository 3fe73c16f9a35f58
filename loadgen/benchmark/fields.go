package benchmark

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/loads/loads/internal/source"
)

// A field is one key of a struct in files. The decoder and the schema take the
// keys from here, so they can't differ.
type field struct {
	name  string // key
	index []int  // of the struct's field
	group string // of phases that have it; empty is all
	doc   string
	need  bool // must be given
	typ   reflect.Type
}

// known keeps what fieldsOf has found: a type's fields never change.
var known sync.Map // reflect.Type to []field

// fieldsOf lists the keys of a struct type, with those of embedded structs.
func fieldsOf(t reflect.Type) []field {
	if list, ok := known.Load(t); ok {
		return list.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("json")
		switch {
		case f.Anonymous && f.IsExported() && f.Type.Kind() == reflect.Struct:
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
		case f.IsExported() && name != "-" && name != "":
			fields = append(fields, field{
				name: name, index: []int{i}, group: f.Tag.Get("for"),
				doc: f.Tag.Get("doc"), need: f.Tag.Get("need") != "", typ: f.Type,
			})
		}
	}
	known.Store(t, fields)
	return fields
}

func fieldNamed(fields []field, name string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

// wantField says which key was meant, or which there are.
func wantField(key string, fields []field, allowed func(field) bool, custom keyed) string {
	var keys []string
	for _, f := range fields {
		if allowed(f) {
			keys = append(keys, f.name)
		}
	}
	if _, ok := custom.(*HTTPRequest); ok {
		keys = append(keys, methods...)
	}
	if want := source.DidYouMean(key, keys); want != "" {
		return want
	}
	if len(keys) == 0 {
		return "it has none"
	}
	return "its fields are " + source.JoinWords(keys)
}

// obsolete are steps of Hyperfoil that are not here.
var obsolete = map[string]string{
	"hotrodRequest": "Infinispan's protocol is not spoken; use a container with a client of it",
}

// wantName says which name was meant, or which there are.
func wantName(name string, kinds []names) string {
	if why := obsolete[name]; why != "" {
		return why
	}
	var all []string
	for _, k := range kinds {
		for n := range k {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	if want := source.DidYouMean(name, all); want != "" {
		return want
	}
	return "there are " + source.JoinWords(slices.Compact(all))
}

// nounOf names what a list of the type holds, with its article.
func nounOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Step]():
		return "a step"
	case reflect.TypeFor[Action]():
		return "an action"
	case reflect.TypeFor[Processor]():
		return "a processor or an action"
	case reflect.TypeFor[StatusHandler]():
		return "a handler of statuses"
	}
	return "a handler of headers"
}

// wantOf says what a field of the type takes.
func wantOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "give a map"
	case reflect.Slice:
		return "give a list"
	case reflect.Int, reflect.Int64:
		return "give a whole number"
	case reflect.Float64:
		return "give a number"
	case reflect.Bool:
		return "give true or false"
	case reflect.String:
		if w, ok := reflect.Zero(t).Interface().(worded); ok {
			return "give " + strings.Join(w.words(), " or ")
		}
	}
	return "give text"
}
