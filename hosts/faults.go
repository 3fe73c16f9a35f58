package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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

// document returns the root of the file, which must hold one document.
func (f *faults) document(data []byte) (node, bool) {
	var doc, second yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err == nil {
		err = loader.Load(&doc)
	}
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		f.whole(1, 1, "the file is empty", "write hosts:, and a list of them")
		return node{}, false
	}
	if err == nil && !errors.Is(loader.Load(&second), io.EOF) {
		f.whole(second.Line, second.Column, "more follows the list", "put one list in a file")
		return node{}, false
	}
	if err != nil {
		f.syntax(err)
		return node{}, false
	}
	return node{Node: doc.Content[0]}, true
}

// whole adds a fault of the whole file.
func (f *faults) whole(line, column int, what, want string) {
	f.list = append(f.list, strategies.Fault{File: f.file, Line: line, Column: column, What: what, Want: want})
}

func (f *faults) syntax(err error) {
	var e *yaml.LoadError
	what, line, column := err.Error(), 0, 0
	if errors.As(err, &e) {
		what, line, column = strings.TrimPrefix(e.Message, "yaml: "), e.Mark.Line, e.Mark.Column
	}
	f.whole(line, column, "not valid YAML: "+what, "see that quotes, brackets and indentation are right")
}

// fields returns the fields of a map; those not known are faults. ok is false
// for what is no map.
func (f *faults) fields(n node, known ...string) (_ map[string]node, ok bool) {
	if n.Kind != yaml.MappingNode {
		what := "is no map"
		if n.path == "" {
			what = "the file is no map"
		}
		f.add(n, what, "a map of "+strings.Join(known, ", "))
		return nil, false
	}
	out := map[string]node{}
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
	return out, true
}

// items returns the members of a list that must be there and have some.
func (f *faults) items(n, missing node) []node {
	if n.Node == nil {
		f.missing(missing, "a list of hosts")
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
