package hosts

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/strategies"
)

// node is a value in a YAML file, and the path of its field. Its Node is nil
// when the file has no such field; sub gives such a node a place.
type node struct {
	*yaml.Node
	path string
}

// sub returns the place of a field that n lacks: n's own, under the field's path.
func (n node) sub(field string) node {
	return node{Node: n.Node, path: join(n.path, field)}
}

func join(path, field string) string {
	return strings.TrimPrefix(path+"."+field, ".")
}

// faults collects what is wrong with a YAML file.
type faults struct {
	file string
	list strategies.Faults
}

func (f *faults) add(n node, what, want string) {
	f.list = append(f.list, strategies.Fault{
		File: f.file, Line: n.Line, Column: n.Column, Field: n.path, Value: shown(n.Node), What: what, Want: want,
	})
}

// missing says that the field at n's path is not there; n is what lacks it.
func (f *faults) missing(n node, want string) {
	f.list = append(f.list, strategies.Fault{
		File: f.file, Line: n.Line, Column: n.Column, Field: n.path, What: "is missing", Want: want,
	})
}

// shown returns a short form of a scalar, and nothing for the rest.
func shown(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	const most = 60
	if r := []rune(n.Value); len(r) > most {
		return string(r[:most]) + "…"
	}
	return n.Value
}

// document returns the root of the file.
func (f *faults) document(data []byte) (node, bool) {
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		fault := strategies.Fault{File: f.file, What: "not valid YAML: " + err.Error(), Want: "see docs for the form of a list of hosts"}
		var e *yaml.LoadError
		if errors.As(err, &e) {
			fault.What = "not valid YAML: " + strings.TrimPrefix(e.Message, "yaml: ")
			fault.Line, fault.Column = e.Mark.Line, e.Mark.Column
		}
		f.list = append(f.list, fault)
		return node{}, false
	}
	if len(doc.Content) == 0 {
		f.list = append(f.list, strategies.Fault{File: f.file, Line: 1, Column: 1, What: "the file is empty", Want: "write hosts:, and a list of them"})
		return node{}, false
	}
	return node{Node: doc.Content[0]}, true
}

// fields returns the fields of a map; those not known are faults.
func (f *faults) fields(n node, known ...string) map[string]node {
	out := map[string]node{}
	if n.Kind != yaml.MappingNode {
		f.add(n, "is no map", "a map of "+strings.Join(known, ", "))
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		field := node{Node: n.Content[i+1], path: join(n.path, key.Value)}
		if !slices.Contains(known, key.Value) {
			f.add(node{Node: key, path: field.path}, "is no known field", "one of "+strings.Join(known, ", "))
			continue
		}
		if field.ShortTag() != "!!null" {
			out[key.Value] = field
		}
	}
	return out
}

// items returns the members of a list that must have some; parent has the list.
func (f *faults) items(n, parent node) []node {
	if n.Node == nil {
		if parent.Kind == yaml.MappingNode {
			f.missing(parent.sub("hosts"), "a list of hosts")
		}
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		f.add(n, "is no list with members", "a list of hosts")
		return nil
	}
	out := make([]node, len(n.Content))
	for i, item := range n.Content {
		out[i] = node{Node: item, path: fmt.Sprintf("%s[%d]", n.path, i)}
	}
	return out
}

// text returns a scalar that must be there and not be empty.
func (f *faults) text(n, missing node) (node, bool) {
	if n.Node == nil {
		f.missing(missing, "a text")
		return n, false
	}
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		f.add(n, "is no text", "a text")
		return n, false
	}
	return n, true
}

// stringMap returns a map of texts.
func (f *faults) stringMap(n node) map[string]string {
	out := map[string]string{}
	if n.Node == nil {
		return out
	}
	if n.Kind != yaml.MappingNode {
		f.add(n, "is no map", "names with their values")
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if v, ok := f.text(node{Node: n.Content[i+1], path: join(n.path, key)}, n); ok {
			out[key] = v.Value
		}
	}
	return out
}
