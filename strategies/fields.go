package strategies

import (
	"reflect"
	"strings"
)

// A field is one key of a struct in files and in JSON. The parser, the edits
// and the schema all take the names from here, so they can't differ.
type field struct {
	name      string // key
	index     int    // of the struct's field
	internal  bool   // not accepted in files
	omitEmpty bool   // an empty value is left out of JSON
}

// fieldsOf lists the keys of a struct type.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, options, _ := strings.Cut(tag.Get("json"), ",")
		fields = append(fields, field{
			name:      name,
			index:     i,
			internal:  tag.Get("file") == "-",
			omitEmpty: options == "omitempty",
		})
	}
	return fields
}

// fieldNames lists the keys that files may have for a struct type.
func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range fieldsOf(t) {
		if !f.internal {
			names = append(names, f.name)
		}
	}
	return names
}

// setDefaults sets the value that v has in a file that doesn't mention it. v
// is addressable, and zero.
func setDefaults(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *Project:
		p.Plans = []Plan{}
	case *Plan:
		p.Steps = []Step{}
	case *Step:
		*p = defaultStep()
	case *Ready:
		p.Timeout = defaultReadyTimeout
	case *StartAfter:
		p.Event = EventReady
	}
}

func defaultStep() Step {
	return Step{
		RunMaxTime:     defaultRunMaxTime,
		InstanceRegion: defaultInstanceRegion,
		InstanceType:   defaultInstanceType,
		InstanceCount:  defaultInstanceCount,
		PruneRunning:   true,
		StopTimeout:    defaultStopTimeout,
	}
}
