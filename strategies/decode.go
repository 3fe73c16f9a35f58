package strategies

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// Limits on what a file may expand to: aliases and merges let a short one
// stand for a very long one.
const (
	maxValues = 100_000
	maxMerges = 20
)

// A place is a position in a file, both from 1.
type place struct{ line, column int }

// A decoder fills values from a tree and collects all faults on its way. A
// value with a fault keeps its default.
type decoder struct {
	// strict makes unknown keys faults, and those that files may not have. It
	// is off for what the program itself has written.
	strict bool
	faults Faults
	places map[string]place // of all fields seen, by path
	bad    map[string]bool  // paths that have a fault
	// written is how values stand in the file that may be written in several
	// ways, by path.
	written map[string]string
	values  int // decoded so far
}

func newDecoder(strict bool) *decoder {
	return &decoder{
		strict:  strict,
		places:  map[string]place{},
		bad:     map[string]bool{},
		written: map[string]string{},
	}
}

// A pair is one key of a map with its value.
type pair struct {
	key        string
	keyAt, val *yaml.Node
}

// isFull reports whether enough faults were found: one more than are shown, so
// that it is seen that there are more.
func (d *decoder) isFull() bool { return len(d.faults) > maxFaults }

// fault notes a fault at the node.
func (d *decoder) fault(n *yaml.Node, f Fault) {
	if d.isFull() {
		return
	}
	f.Line, f.Column = n.Line, n.Column
	d.faults = append(d.faults, f)
	d.bad[f.Field] = true
}

// wrongType notes that the node is not what the field takes.
func (d *decoder) wrongType(n *yaml.Node, path, want string) {
	value := ""
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		value = source.ShowNode(n)
	}
	d.fault(n, Fault{Field: path, Value: value, What: source.Describe(n), Want: want})
}

// enter resolves aliases and notes where the path is. It returns false when
// the file has expanded to too much.
func (d *decoder) enter(n *yaml.Node, path string) (*yaml.Node, bool) {
	n = resolve(n)
	if d.values++; d.values == maxValues {
		d.fault(n, Fault{
			What: fmt.Sprintf("the file expands to more than %d values", maxValues),
			Want: "use fewer aliases",
		})
	}
	d.places[path] = place{n.Line, n.Column}
	return n, d.values < maxValues
}

// resolve returns what an alias stands for, and any other node itself.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// value decodes n into v, which is addressable and holds its default.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	n, ok := d.enter(n, path)
	if !ok || n.ShortTag() == "!!null" || d.special(n, path, v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, path, v)
	case reflect.Pointer:
		d.pointer(n, path, v)
	case reflect.Slice:
		d.list(n, path, v)
	case reflect.Map:
		d.table(n, path, v)
	case reflect.String:
		if s, ok := d.text(n, path); ok {
			v.SetString(s)
		}
	case reflect.Int, reflect.Int64:
		if i, ok := d.integer(n, path); ok {
			v.SetInt(i)
		}
	case reflect.Float64:
		if f, ok := d.number(n, path); ok {
			v.SetFloat(f)
		}
	case reflect.Bool:
		if b, ok := d.boolean(n, path); ok {
			v.SetBool(b)
		}
	}
}

// special decodes the types that files write in more than one way, and reports
// whether v is one of them.
func (d *decoder) special(n *yaml.Node, path string, v reflect.Value) bool {
	switch p := v.Addr().Interface().(type) {
	case *Environment:
		d.environment(n, path, p)
	case *Bytes:
		d.bytes(n, path, p)
	case *Ulimit:
		return d.ulimit(n, path, p)
	case *StartAfter:
		return d.startAfter(n, path, p)
	case **Benchmark:
		return d.benchmark(n, path, p)
	case *Criterion:
		return d.criterion(n, path, p)
	case *Part:
		d.part(n, path, p)
	case *Seconds:
		d.seconds(n, path, p)
	case *[]StartAfter:
		if n.Kind == yaml.SequenceNode {
			return false
		}
		*p = []StartAfter{{Event: EventReady}}
		d.value(n, path, v.Index(0))
	default:
		return false
	}
	return true
}

func (d *decoder) pointer(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, wantOf(v.Type().Elem()))
		return
	}
	v.Set(reflect.New(v.Type().Elem()))
	setDefaults(v.Elem())
	d.object(n, path, v.Elem())
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, path, wantOf(v.Type()))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, c := range n.Content {
		at, item := element(path, i), v.Index(i)
		setDefaults(item)
		if resolve(c).ShortTag() == "!!null" {
			d.wrongType(c, at, wantOf(item.Type()))
			continue
		}
		d.value(c, at, item)
	}
}

func (d *decoder) table(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, wantOf(v.Type()))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range d.pairs(n, path, 0) {
		item := reflect.New(v.Type().Elem()).Elem()
		at := child(path, p.key)
		if resolve(p.val).ShortTag() == "!!null" {
			d.wrongType(p.val, at, wantOf(item.Type()))
			continue
		}
		d.value(p.val, at, item)
		v.SetMapIndex(reflect.ValueOf(p.key), item)
	}
}

func (d *decoder) object(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, wantOf(v.Type()))
		return
	}
	fields, given := fieldsOf(v.Type()), map[string]bool{}
	var misspelt []string
	for _, p := range d.pairs(n, path, 0) {
		f, ok := d.field(p, path, v.Type(), fields)
		if !ok {
			misspelt = append(misspelt, p.key)
			continue
		}
		given[p.key] = resolve(p.val).ShortTag() != "!!null"
		item := v.Field(f.index)
		d.value(p.val, child(path, p.key), item)
		if kind := item.Kind(); f.omitEmpty && (kind == reflect.Slice || kind == reflect.Map) && item.Len() == 0 {
			item.SetZero()
		}
	}
	d.excuse(path, misspelt, given, v.Type())
	if s, ok := v.Addr().Interface().(*Step); ok && s.Monitor {
		fixMonitor(s, given)
	}
}

// excuse notes which absent fields the misspelt keys were meant to be, so that
// they are not reported as missing, too.
func (d *decoder) excuse(path string, misspelt []string, given map[string]bool, t reflect.Type) {
	names := fieldNames(t)
	for _, key := range misspelt[:min(len(misspelt), maxFaults)] {
		name := source.Suggest(key, names)
		if _, ok := given[name]; !ok && name != "" {
			d.bad[child(path, name)] = true
		}
	}
}

// field finds the field of a key. An unknown key is a fault of strict files.
func (d *decoder) field(p pair, path string, t reflect.Type, fields []field) (field, bool) {
	for _, f := range fields {
		if f.name == p.key && !(f.internal && d.strict) {
			return f, true
		}
	}
	if !d.strict || d.isFull() {
		return field{}, false
	}
	at := child(path, p.key)
	if slices.ContainsFunc(fields, func(f field) bool { return f.name == p.key }) {
		d.fault(p.keyAt, Fault{Field: at, What: "is given by the broker", Want: "leave it out"})
		return field{}, false
	}
	d.fault(p.keyAt, Fault{Field: at, What: "is not a field of " + ofType(t), Want: wantKey(p.key, t)})
	return field{}, false
}

// wantKey says which key was meant, or which there are.
func wantKey(key string, t reflect.Type) string {
	names := fieldNames(t)
	if want := source.DidYouMean(key, names); want != "" {
		return want
	}
	return "its fields are " + source.JoinWords(names)
}

// fixMonitor sets what is fixed about a monitor step, and its usual name.
func fixMonitor(s *Step, given map[string]bool) {
	if !given["run_max_time"] {
		s.RunMaxTime = 0
	}
	if !given["name"] {
		s.Name = "monitor"
	}
}

// pairs lists the keys of a map, those of merged maps after its own. A key
// that comes twice is a fault, and its first value counts.
func (d *decoder) pairs(n *yaml.Node, path string, depth int) []pair {
	var own, merged []pair
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := resolve(n.Content[i]), n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null":
			d.fault(k, Fault{Field: path, What: subject(path) + "has a key that " + source.Describe(k), Want: "write names as keys"})
		case isMerge(k):
			merged = append(merged, d.merged(v, path, depth+1)...)
		case first[k.Value] != nil:
			d.fault(k, Fault{
				Field: child(path, k.Value),
				What:  "is given twice, first on line " + strconv.Itoa(first[k.Value].Line),
				Want:  "leave one",
			})
		default:
			first[k.Value] = k
			own = append(own, pair{k.Value, k, v})
		}
	}
	for _, p := range merged {
		if first[p.key] == nil {
			first[p.key] = p.keyAt
			own = append(own, p)
		}
	}
	return own
}

// merged lists the keys that "<<: *name" brings into a map.
func (d *decoder) merged(n *yaml.Node, path string, depth int) []pair {
	n, ok := d.enter(n, child(path, "<<"))
	if !ok {
		return nil
	}
	if depth > maxMerges {
		d.fault(n, Fault{Field: path, What: subject(path) + "merges a map into itself", Want: "merge maps that are complete"})
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.pairs(n, path, depth)
	case yaml.SequenceNode:
		var all []pair
		for _, c := range n.Content {
			all = append(all, d.merged(c, path, depth+1)...)
		}
		return all
	}
	d.wrongType(n, child(path, "<<"), "merge a map, or a list of maps")
	return nil
}

func isMerge(k *yaml.Node) bool {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle
	return k.Value == "<<" && k.Style&quoted == 0
}

// child is the path of a key in the map at path.
func child(path, key string) string {
	key = source.Show(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

// subject names the file in faults that have no field to name.
func subject(path string) string {
	if path == "" {
		return "the file "
	}
	return ""
}

// element is the path of an item of the list at path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
