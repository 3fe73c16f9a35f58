package strategies

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// environment decodes a map, or a list of NAME=VALUE. Paths are by name in
// both.
func (d *decoder) environment(n *yaml.Node, path string, env *Environment) {
	var vars Environment
	switch n.Kind {
	case yaml.MappingNode:
		for _, p := range d.pairs(n, path, 0) {
			if value, ok := d.variable(p.val, child(path, p.key)); ok {
				vars = append(vars, Variable{p.key, value})
			}
		}
	case yaml.SequenceNode:
		vars = d.assignments(n, path)
	default:
		d.wrongType(n, path, "give a map, or a list of NAME=VALUE")
		return
	}
	*env = vars
}

// variable returns the text of a value: numbers and booleans are taken as
// they are written.
func (d *decoder) variable(n *yaml.Node, path string) (string, bool) {
	n, ok := d.enter(n, path)
	if !ok {
		return "", false
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		d.fault(n, Fault{Field: path, What: "has no value", Want: `give text, "" for an empty one`})
		return "", false
	case n.Kind == yaml.ScalarNode && strings.ContainsRune(n.Value, 0):
		d.fault(n, Fault{Field: path, What: "holds a NUL character", Want: "leave it out"})
		return "", false
	case source.IsText(n), n.ShortTag() == "!!int", n.ShortTag() == "!!float", n.ShortTag() == "!!bool":
		return n.Value, true
	}
	d.wrongType(n, path, "give text, a number or a boolean")
	return "", false
}

func (d *decoder) assignments(n *yaml.Node, path string) Environment {
	var vars Environment
	seen := map[string]*yaml.Node{}
	for i, c := range n.Content {
		at := element(path, i)
		c, ok := d.enter(c, at)
		if !ok {
			return vars
		}
		text, ok := d.assignment(c, at)
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		if first := seen[name]; first != nil {
			d.fault(c, Fault{
				Field: child(path, name),
				What:  "is given twice, first on line " + strconv.Itoa(first.Line),
				Want:  "leave one",
			})
			continue
		}
		seen[name] = c
		d.places[child(path, name)] = place{c.Line, c.Column}
		vars = append(vars, Variable{name, value})
	}
	return vars
}

func (d *decoder) assignment(n *yaml.Node, path string) (string, bool) {
	const want = "write NAME=VALUE"
	if !source.IsText(n) {
		d.wrongType(n, path, want)
		return "", false
	}
	text, ok := d.text(n, path)
	if !ok {
		return "", false
	}
	if !strings.Contains(text, "=") {
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "has no =", Want: want})
		return "", false
	}
	return text, true
}

// isQuantity reports whether the node is text, such as a number with a unit, that
// is to be read; a number without one it decodes itself.
func isQuantity[T ~int | ~int64](d *decoder, n *yaml.Node, path, want string, v *T) bool {
	if source.IsText(n) {
		d.written[path] = source.ShowNode(n)
		return true
	}
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, want)
	} else if i, ok := d.integer(n, path); ok {
		*v = T(i)
	}
	return false
}

func (d *decoder) bytes(n *yaml.Node, path string, b *Bytes) {
	const want = "give bytes, or a size such as 512m or 2g"
	if !isQuantity(d, n, path, want, b) {
		return
	}
	size, err := units.RAMInBytes(n.Value)
	if err != nil {
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is not a size", Want: want})
		return
	}
	if size < 0 || size > maxBytes { // also where the conversion overflowed
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is too large", Want: want})
		return
	}
	*b = Bytes(size)
}

// ulimit decodes 1024 and 1024:2048, and reports false for the long form.
func (d *decoder) ulimit(n *yaml.Node, path string, u *Ulimit) bool {
	if n.Kind == yaml.MappingNode {
		return false
	}
	if n.Kind == yaml.ScalarNode && !source.IsText(n) {
		if i, ok := d.integer(n, path); ok {
			d.written[path] = source.ShowNode(n)
			*u = Ulimit{i, i}
		}
		return true
	}
	d.written[path] = source.ShowNode(n)
	soft, hard, found := strings.Cut(n.Value, ":")
	if !found {
		hard = soft
	}
	s, errSoft := limit(soft)
	h, errHard := limit(hard)
	if n.Kind != yaml.ScalarNode || errSoft != nil || errHard != nil {
		d.wrongType(n, path, wantOf(reflect.TypeFor[Ulimit]()))
		return true
	}
	*u = Ulimit{s, h}
	return true
}

func limit(s string) (int64, error) {
	if s == "unlimited" {
		return -1, nil
	}
	return strconv.ParseInt(s, 10, 64)
}

// startAfter decodes a bare step name, and reports false for the long form.
func (d *decoder) startAfter(n *yaml.Node, path string, s *StartAfter) bool {
	if n.Kind == yaml.MappingNode {
		return false
	}
	if !source.IsText(n) {
		d.wrongType(n, path, wantOf(reflect.TypeFor[StartAfter]()))
		return true
	}
	if name, ok := d.text(n, path); ok {
		s.Step = name
	}
	return true
}

// criterion decodes a bare expression, and reports false for the long form.
func (d *decoder) criterion(n *yaml.Node, path string, c *Criterion) bool {
	if n.Kind == yaml.MappingNode {
		return false
	}
	if !source.IsText(n) {
		d.wrongType(n, path, wantOf(reflect.TypeFor[Criterion]()))
		return true
	}
	if text, ok := d.text(n, path); ok {
		c.Expr = text
	}
	return true
}

// seconds decodes a number of seconds, or a time with a unit.
func (d *decoder) seconds(n *yaml.Node, path string, s *Seconds) {
	const want = "give whole seconds, or a time such as 30s or 2m"
	if !isQuantity(d, n, path, want, s) {
		return
	}
	length, err := time.ParseDuration(n.Value)
	if err != nil || length%time.Second != 0 {
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is not a time in whole seconds", Want: want})
		return
	}
	*s = Seconds(length / time.Second)
}
