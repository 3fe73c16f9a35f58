package strategies

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// YAML writes the plan as a file that ParsePlan reads back as the same plan.
// What has its default is left out, and so are uuids.
func (p Plan) YAML() ([]byte, error) {
	root, err := written(reflect.ValueOf(p))
	if err != nil {
		return nil, fmt.Errorf("write plan %s: %w", p.Name, err)
	}
	text, err := yaml.Dump(root, yaml.WithV4Defaults(), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("write plan %s: %w", p.Name, err)
	}
	return text, nil
}

// written is the reverse of decoder.value; of ways to write a value it takes
// the shortest.
func written(v reflect.Value) (*yaml.Node, error) {
	switch x := v.Interface().(type) {
	case Environment:
		return environmentNode(x)
	case Criterion:
		if x == (Criterion{Expr: x.Expr}) {
			return scalarNode(x.Expr)
		}
	case StartAfter:
		if x.Event == EventReady {
			return scalarNode(x.Step)
		}
	case Ulimit:
		if x.Soft == x.Hard {
			return scalarNode(x.Soft)
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		return structNode(v)
	case reflect.Pointer:
		return written(v.Elem())
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n, err := written(v.Index(i))
			if err != nil {
				return nil, err
			}
			list.Content = append(list.Content, n)
		}
		return list, nil
	case reflect.Map:
		return mapNode(v)
	}
	return scalarNode(v.Interface())
}

// structNode writes the fields that don't have their defaults.
func structNode(v reflect.Value) (*yaml.Node, error) {
	defaults := reflect.New(v.Type()).Elem()
	setDefaults(defaults)
	step, isStep := v.Interface().(Step)
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		switch {
		case f.internal, reflect.DeepEqual(value.Interface(), defaults.Field(f.index).Interface()):
			continue
		case (value.Kind() == reflect.Slice || value.Kind() == reflect.Map) && value.Len() == 0:
			continue
		case isStep && step.Monitor && !slices.Contains(monitorFields(), f.name):
			continue // is fixed
		}
		if err := addPair(m, f.name, value); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func mapNode(v reflect.Value) (*yaml.Node, error) {
	m := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		if err := addPair(m, key.String(), v.MapIndex(key)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func environmentNode(env Environment) (*yaml.Node, error) {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, v := range env {
		if err := addPair(m, v.Name, reflect.ValueOf(v.Value)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func addPair(m *yaml.Node, key string, value reflect.Value) error {
	k, err := scalarNode(key)
	if err != nil {
		return err
	}
	n, err := written(value)
	if err != nil {
		return err
	}
	m.Content = append(m.Content, k, n)
	return nil
}

// scalarNode leaves it to the library to quote what has to be.
func scalarNode(value any) (*yaml.Node, error) {
	var n yaml.Node
	if err := n.Encode(value); err != nil {
		return nil, err
	}
	return &n, nil
}
