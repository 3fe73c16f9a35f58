package benchmark

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// A template fills in the parameters of a file: !param, !concat and !foreach.
// What they stand for keeps their places. Aliases are replaced by what they
// stand for, with the parameters that hold where the alias is.
type template struct {
	d      *decoder
	params map[string]string
	used   map[string]bool
	depth  int
}

// isTemplate reports whether the tree has any of the tags.
func isTemplate(n *yaml.Node) bool {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		return true
	}
	for _, c := range n.Content {
		if isTemplate(c) {
			return true
		}
	}
	return false
}

// node returns the tree with everything filled in, or nil after a fault.
func (t *template) node(n *yaml.Node) *yaml.Node {
	n, ok := t.d.enter(n)
	if !ok || t.depth > maxDepth {
		return nil
	}
	t.depth++
	defer func() { t.depth-- }()
	switch n.Tag {
	case "!param":
		return t.param(n)
	case "!concat":
		return t.concat(n)
	case "!foreach":
		return t.foreach(n)
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		t.d.fault(n, Fault{What: "the tag " + source.Show(n.Tag) + " is not known", Want: "there are !param, !concat and !foreach"})
		return nil
	}
	filled := *n
	filled.Content, filled.Anchor = nil, ""
	for i, c := range n.Content {
		if filled.Kind == yaml.MappingNode && i%2 == 1 && len(filled.Content)%2 == 0 {
			continue // the key has a fault
		}
		next := t.node(c)
		if next == nil && filled.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if next == nil {
			next = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: c.Line, Column: c.Column}
		}
		filled.Content = append(filled.Content, next)
	}
	return &filled
}

// plain is the scalar that the text would be if it stood in the file.
func plain(n *yaml.Node, text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: text, Line: n.Line, Column: n.Column}
}

// param fills in "!param NAME default words".
func (t *template) param(n *yaml.Node) *yaml.Node {
	name, byDefault, hasDefault := strings.Cut(strings.TrimSpace(n.Value), " ")
	switch value, given := t.params[name]; {
	case n.Kind != yaml.ScalarNode || name == "":
		t.d.fault(n, Fault{What: "!param has no name", Want: "write !param NAME, or !param NAME default"})
	case given:
		t.used[name] = true
		return plain(n, value)
	case hasDefault:
		t.used[name] = true
		return plain(n, strings.TrimSpace(byDefault))
	default:
		t.used[name] = true
		t.d.fault(n, Fault{Value: name, What: "is a parameter without a value", Want: "give it with --param " + name + "=VALUE"})
	}
	return nil
}

// concat joins a list of scalars.
func (t *template) concat(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.SequenceNode {
		t.d.fault(n, Fault{What: "!concat " + source.Describe(n), Want: "give it a list of texts"})
		return nil
	}
	var text strings.Builder
	for _, c := range n.Content {
		part := t.node(c)
		if part == nil {
			return nil
		}
		if part.Kind != yaml.ScalarNode {
			t.d.fault(c, Fault{What: "an item of !concat " + source.Describe(part), Want: "give it texts"})
			return nil
		}
		text.WriteString(part.Value)
	}
	return plain(n, text.String())
}

// foreach repeats do for each item, which is the parameter ITEM in it.
func (t *template) foreach(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		t.d.fault(n, Fault{What: "!foreach " + source.Describe(n), Want: "give it a map with items and do"})
		return nil
	}
	param, separator := "ITEM", ","
	var items, do *yaml.Node
	for _, p := range t.d.pairs(n, "!foreach") {
		switch p.key {
		case "items":
			items = t.node(p.val)
			if items == nil {
				return nil
			}
		case "do":
			do = p.val
		case "param", "separator":
			v := t.node(p.val)
			if v == nil || v.Kind != yaml.ScalarNode {
				return nil
			}
			if p.key == "param" {
				param = v.Value
			} else {
				separator = v.Value
			}
		default:
			t.d.fault(p.keyAt, Fault{Field: "!foreach." + p.key, What: "is not a field here", Want: "its fields are items, separator, param and do"})
		}
	}
	if items == nil || do == nil {
		t.d.fault(n, Fault{What: "!foreach lacks items or do", Want: "give it both"})
		return nil
	}
	return t.repeat(n, do, param, t.items(items, separator))
}

// items lists the items of a list, or the parts of a text.
func (t *template) items(n *yaml.Node, separator string) []string {
	var list []string
	switch {
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				t.d.fault(c, Fault{What: "an item of !foreach " + source.Describe(c), Want: "give it texts"})
				continue
			}
			list = append(list, c.Value)
		}
	case n.Kind == yaml.ScalarNode && n.Value != "" && !isNull(n):
		re, err := regexp.Compile(separator)
		if err != nil {
			t.d.fault(n, Fault{Value: source.Show(separator), What: "is not a separator: " + err.Error(), Want: "give a regular expression"})
			return nil
		}
		list = re.Split(n.Value, -1)
	}
	return list
}

func (t *template) repeat(n, do *yaml.Node, param string, items []string) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: n.Line, Column: n.Column}
	outer := t.params
	for _, item := range items {
		t.params = maps.Clone(outer)
		if t.params == nil {
			t.params = map[string]string{}
		}
		t.params[param] = item
		if next := t.node(do); next != nil {
			list.Content = append(list.Content, next)
		}
	}
	t.params = outer
	return list
}

// unknown are the given parameters that the file doesn't have.
func (t *template) unknown(root *yaml.Node) {
	var have []string
	for name := range t.used {
		have = append(have, name)
	}
	for name := range t.params {
		if t.used[name] {
			continue
		}
		want := source.DidYouMean(name, have)
		if want == "" {
			want = "leave it out"
		}
		t.d.fault(root, Fault{Value: source.Show(name), What: "is given as a parameter, and the file has none of that name", Want: want})
	}
}

// checkAnchors finds names that are given to two values.
func checkAnchors(d *decoder, n *yaml.Node, first map[string]int) {
	if n.Anchor != "" {
		if line, twice := first[n.Anchor]; twice {
			d.fault(n, Fault{Value: "&" + n.Anchor, What: fmt.Sprintf("is a name that is given twice, first on line %d", line), Want: "use another"})
		} else {
			first[n.Anchor] = n.Line
		}
	}
	for _, c := range n.Content {
		checkAnchors(d, c, first)
	}
}
