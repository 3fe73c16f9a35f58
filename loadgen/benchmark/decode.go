package benchmark

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
	"github.com/loads/loads/loadgen/jsonpath"
	"github.com/loads/loads/loadgen/pattern"
)

// Limits on what a file may expand to and complain about: aliases and
// templates let a short one stand for a very long one.
const (
	maxValues = 200_000
	maxDepth  = 100
	maxFaults = 1000
)

// What types can have to be decoded in ways of their own. All are methods of
// pointers, but words.
type (
	// defaulter sets what a field holds that a file doesn't mention.
	defaulter interface{ defaults() }
	// worded lists the words that may be given.
	worded interface{ words() []string }
	// textual reads a scalar, instead of the map that the type is otherwise.
	textual interface{ fromText(s string) error }
	// noded reads any node.
	noded interface {
		fromNode(d *decoder, n *yaml.Node, path string)
	}
	// keyed reads keys that are not fields, and reports whether it has.
	keyed interface {
		fromKey(d *decoder, p pair, path string) bool
	}
	// checked looks at what was decoded.
	checked interface{ check(c *complaints) }
)

// wrong is the error of a text: what is wrong with it, and what would be right.
type wrong struct{ what, want string }

func (w wrong) Error() string { return w.what + "; " + w.want }

// A decoder fills values from a tree and collects all faults on its way.
type decoder struct {
	faults   Faults
	seen     map[Fault]bool
	told     map[*yaml.Node]bool // unknown keys, which aliases may repeat very often
	bad      map[string]bool     // paths that have a fault, so that no other follows from it
	warnings Faults
	uses     []use // of variables, sequences and files, in the order of the file
	values   int
	depth    int
	http     []*requestUse
	others   []*endpointUse
}

// A use is a place where a name of the scenario is used.
type use struct {
	kind useKind
	name string
	node *yaml.Node
	path string
}

type useKind int

const (
	useRead useKind = iota
	useWrite
	useSequence
	useFile
	useConnect // of a connection
	useLine    // of one that another step makes
	useSchedule
	useDelay
	usePublish // of data of the machine
	useData
)

// A pair is one key of a map with its value.
type pair struct {
	key        string
	keyAt, val *yaml.Node
}

// fault notes a fault at the node, once: aliases repeat what they stand for.
func (d *decoder) fault(n *yaml.Node, f Fault) {
	f.Line, f.Column = n.Line, n.Column
	d.bad[f.Field] = true
	key := f
	key.Field = ""
	if d.seen[key] || len(d.faults) > maxFaults {
		return
	}
	d.seen[key] = true
	d.faults = append(d.faults, f)
}

// tell reports whether nothing was said of an unknown key yet.
func (d *decoder) tell(key *yaml.Node) bool {
	first := !d.told[key]
	d.told[key] = true
	return first
}

func (d *decoder) warn(n *yaml.Node, field, what, want string) {
	d.warnings = append(d.warnings, Fault{Line: n.Line, Column: n.Column, Field: field, What: what, Want: want})
}

// wrongType notes that the node is not what the field takes.
func (d *decoder) wrongType(n *yaml.Node, path, want string) {
	value := ""
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		value = source.ShowNode(n)
	}
	d.fault(n, Fault{Field: path, Value: value, What: source.Describe(n), Want: want})
}

// resolve returns what an alias stands for, and any other node itself.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// enter counts a value and resolves aliases. It returns false when the file
// has expanded to too much.
func (d *decoder) enter(n *yaml.Node) (*yaml.Node, bool) {
	if d.values++; d.values == maxValues {
		d.fault(n, Fault{What: fmt.Sprintf("the file expands to more than %d values", maxValues), Want: "use fewer aliases"})
	}
	if d.depth > maxDepth {
		d.fault(n, Fault{What: fmt.Sprintf("values lie deeper than %d in each other", maxDepth), Want: "use fewer"})
		return resolve(n), false
	}
	return resolve(n), d.values < maxValues
}

// value decodes n into v, which is addressable and holds its default.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	n, ok := d.enter(n)
	if !ok {
		return
	}
	d.depth++
	defer func() { d.depth-- }()
	p := v.Addr().Interface()
	if special, ok := p.(noded); ok {
		special.fromNode(d, n, path)
		return
	}
	if d.named(n, path, p) {
		return
	}
	if text, ok := p.(textual); ok && n.Kind == yaml.ScalarNode && !isNull(n) {
		if d.text(n, path, text.fromText) {
			d.check(n, path, v, nil)
			d.useFields(n, path, v)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, path, v, nil)
	case reflect.Pointer:
		if isNull(n) {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		d.value(n, path, v.Elem())
	case reflect.Slice:
		d.list(n, path, v)
	case reflect.Map:
		d.table(n, path, v)
	default:
		d.scalar(n, path, v)
	}
}

func setDefaults(v reflect.Value) {
	if def, ok := v.Addr().Interface().(defaulter); ok {
		def.defaults()
	}
}

// text gives a scalar to a reader of texts, and reports whether it liked it.
func (d *decoder) text(n *yaml.Node, path string, read func(string) error) bool {
	err := read(n.Value)
	if err == nil {
		return true
	}
	f := Fault{Field: path, Value: source.ShowNode(n), What: "is wrong: " + err.Error()}
	if w := (wrong{}); errors.As(err, &w) {
		f.What, f.Want = w.what, w.want
	}
	d.fault(n, f)
	return false
}

// named decodes what has a meaning as a name, and patterns, and notes its use.
func (d *decoder) named(n *yaml.Node, path string, p any) bool {
	var read func(s string) error
	var kind useKind
	switch p := p.(type) {
	case *Reads, *Writes:
		target, isReads := reflect.ValueOf(p).Elem(), false
		if _, isReads = p.(*Reads); !isReads {
			kind = useWrite
		}
		read = func(s string) error {
			v, err := pattern.ParseVariable(s)
			if err == nil {
				target.Set(reflect.ValueOf(v).Convert(target.Type()))
				d.uses = append(d.uses, use{kind, v.Name, n, path})
			}
			return asWrong(err, "give the name of a variable, or name[.]")
		}
	case *pattern.Pattern:
		read = func(s string) (err error) {
			*p, err = pattern.Parse(s)
			d.usePattern(*p, n, path)
			return asWrong(err, "")
		}
	case *jsonpath.Path:
		read = func(s string) (err error) {
			*p, err = jsonpath.Parse(s)
			return asWrong(err, "give a query such as .items[].id")
		}
	case *SequenceRef:
		read = func(s string) error {
			*p = SequenceRef(s)
			d.uses = append(d.uses, use{useSequence, s, n, path})
			return nil
		}
	case *File:
		read = func(s string) error {
			*p = File(s)
			d.uses = append(d.uses, use{useFile, s, n, path})
			return nil
		}
	default:
		return false
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrongType(n, path, "give text")
		return true
	}
	d.text(n, path, read)
	return true
}

func asWrong(err error, want string) error {
	if err == nil {
		return nil
	}
	return wrong{"can't be used: " + err.Error(), want}
}

func (d *decoder) usePattern(p pattern.Pattern, n *yaml.Node, path string) {
	for _, v := range p.Variables() {
		d.uses = append(d.uses, use{useRead, v.Name, n, path})
	}
}

// useFields notes the uses in a struct that was read from a text.
func (d *decoder) useFields(n *yaml.Node, path string, v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		switch x := v.FieldByIndex(f.index).Interface().(type) {
		case Reads:
			d.useName(useRead, x.Name, n, path)
		case Writes:
			d.useName(useWrite, x.Name, n, path)
		case SequenceRef:
			d.useName(useSequence, string(x), n, path)
		case pattern.Pattern:
			d.usePattern(x, n, path)
		case IntSource:
			d.useName(useRead, x.FromVar.Name, n, path)
		}
	}
}

func (d *decoder) useName(kind useKind, name string, n *yaml.Node, path string) {
	if name != "" {
		d.uses = append(d.uses, use{kind, name, n, path})
	}
}

// scalar decodes numbers, words and the like.
func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, wantOf(v.Type()))
		return
	}
	bad := func() {
		d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is not right", Want: wantOf(v.Type())})
	}
	digits := strings.ReplaceAll(n.Value, "_", "")
	switch v.Kind() {
	case reflect.String:
		if w, ok := v.Interface().(worded); ok {
			d.word(n, path, v, w.words())
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		switch strings.ToLower(n.Value) {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			bad()
		}
	case reflect.Int, reflect.Int64:
		if i, err := strconv.ParseInt(digits, 10, 32); err == nil {
			v.SetInt(i)
		} else {
			bad()
		}
	case reflect.Float64:
		if f, err := parseNumber(digits); err == nil {
			v.SetFloat(f)
		} else {
			bad()
		}
	}
}

// word decodes one of some words, of which the case doesn't count.
func (d *decoder) word(n *yaml.Node, path string, v reflect.Value, words []string) {
	for _, w := range words {
		if strings.EqualFold(w, n.Value) {
			v.SetString(w)
			return
		}
	}
	want := source.DidYouMean(n.Value, words)
	if want == "" {
		want = "give " + strings.Join(words, " or ")
	}
	d.fault(n, Fault{Field: path, Value: source.ShowNode(n), What: "is not one of its values", Want: want})
}

// list decodes a list. What is no list is taken for one of a single item.
func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		return
	}
	if kinds := choices(v.Type().Elem()); kinds != nil {
		d.union(n, path, v, kinds)
		return
	}
	content := n.Content
	if n.Kind != yaml.SequenceNode {
		content = []*yaml.Node{n}
	}
	for i, c := range content {
		item := reflect.New(v.Type().Elem()).Elem()
		setDefaults(item)
		at := path
		if n.Kind == yaml.SequenceNode {
			at = element(path, i)
		}
		d.value(c, at, item)
		v.Set(reflect.Append(v, item))
	}
}

// table decodes a map.
func (d *decoder) table(n *yaml.Node, path string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, p := range d.pairs(n, path) {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(p.val, child(path, p.key), item)
		v.SetMapIndex(reflect.ValueOf(p.key), item)
	}
}

// union decodes a list of steps, handlers and the like, each a map from its
// name to its fields, or its name alone.
func (d *decoder) union(n *yaml.Node, path string, v reflect.Value, kinds []names) {
	if n.Kind != yaml.SequenceNode {
		d.unionItem(n, path, v, kinds)
		return
	}
	for i, c := range n.Content {
		if c, ok := d.enter(c); ok {
			d.unionItem(c, element(path, i), v, kinds)
		}
	}
}

func (d *decoder) unionItem(n *yaml.Node, path string, v reflect.Value, kinds []names) {
	noun := nounOf(v.Type().Elem())
	var pairs []pair
	switch {
	case n.Kind == yaml.MappingNode:
		pairs = d.pairs(n, path)
	case n.Kind == yaml.SequenceNode && d.depth < maxDepth: // as !foreach in !foreach makes them
		d.depth++
		d.union(n, path, v, kinds)
		d.depth--
	case n.Kind == yaml.ScalarNode && !isNull(n):
		none := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
		pairs = []pair{{n.Value, n, none}}
	default:
		d.wrongType(n, path, "give "+noun+", as a map from its name to its fields")
	}
	for _, p := range pairs {
		t := typeOf(p.key, kinds)
		if t == nil && d.tell(p.keyAt) {
			d.fault(p.keyAt, Fault{Field: child(path, p.key), What: "is not " + noun, Want: wantName(p.key, kinds)})
		}
		if t == nil {
			continue
		}
		item := reflect.New(t)
		setDefaults(item.Elem())
		if isNull(resolve(p.val)) {
			d.object(p.keyAt, child(path, p.key), item.Elem(), []pair{})
		} else {
			d.value(p.val, child(path, p.key), item.Elem())
		}
		if query, ok := item.Interface().(*JSONQuery); ok && query.FromVar.Name == "" && v.Type().Elem() == reflect.TypeFor[Step]() {
			d.fault(p.keyAt, Fault{Field: child(child(path, p.key), "fromVar"), What: "is missing", Want: "give it: a step has no document of its own"})
		}
		v.Set(reflect.Append(v, item))
	}
}

func typeOf(name string, kinds []names) reflect.Type {
	for _, k := range kinds {
		if t := k[name]; t != nil {
			return t
		}
	}
	return nil
}

// object decodes a map into a struct, or a list of maps that together are one.
// The pairs are its keys if they are known already.
func (d *decoder) object(n *yaml.Node, path string, v reflect.Value, pairs []pair) {
	if pairs == nil {
		pairs = d.objectPairs(n, path, v)
	}
	if pairs == nil {
		return
	}
	d.fields(n, path, v, pairs, func(field) bool { return true })
}

// objectPairs lists the keys of a struct, nil after a fault.
func (d *decoder) objectPairs(n *yaml.Node, path string, v reflect.Value) []pair {
	pairs := []pair{}
	switch {
	case n.Kind == yaml.MappingNode:
		pairs = append(pairs, d.pairs(n, path)...)
	case n.Kind == yaml.SequenceNode:
		for i, c := range n.Content {
			c = resolve(c)
			if c.Kind != yaml.MappingNode {
				d.wrongType(c, element(path, i), "give a map")
				return nil
			}
			pairs = append(pairs, d.pairs(c, path)...)
		}
	case !isNull(n):
		d.wrongType(n, path, wantOf(v.Type()))
		return nil
	}
	return pairs
}

// fields decodes the pairs into those fields of a struct that are allowed.
func (d *decoder) fields(n *yaml.Node, path string, v reflect.Value, pairs []pair, allowed func(field) bool) {
	fields, given := fieldsOf(v.Type()), map[string]*yaml.Node{}
	custom, _ := v.Addr().Interface().(keyed)
	for _, p := range pairs {
		f, known := fieldNamed(fields, p.key)
		switch {
		case known && allowed(f):
			if !isNull(resolve(p.val)) {
				given[p.key] = resolve(p.val)
			}
			d.value(p.val, child(path, p.key), v.FieldByIndex(f.index))
		case custom != nil && custom.fromKey(d, p, path):
			given[p.key] = resolve(p.val)
		case known:
			d.fault(p.keyAt, Fault{Field: child(path, p.key), What: "is not for this type of phase", Want: "leave it out"})
		case d.tell(p.keyAt):
			want := wantField(p.key, fields, allowed, custom)
			if meant, ok := strings.CutPrefix(want, "did you mean "); ok {
				d.bad[child(path, strings.TrimSuffix(meant, "?"))] = true
			}
			d.fault(p.keyAt, Fault{Field: child(path, p.key), What: "is not a field here", Want: want})
		}
	}
	for _, f := range fields {
		if f.need && allowed(f) && given[f.name] == nil && !d.bad[child(path, f.name)] {
			d.fault(n, Fault{Field: child(path, f.name), What: "is missing", Want: "give it: " + strings.ToLower(f.doc[:1]) + strings.TrimSuffix(f.doc[1:], ".")})
		}
	}
	d.check(n, path, v, given)
}

// complaints are what a type says about its own value.
type complaints struct {
	d     *decoder
	node  *yaml.Node
	path  string
	given map[string]*yaml.Node // nil when a text was read
}

// has reports whether the file gives the field.
func (c *complaints) has(field string) bool { return c.given[field] != nil }

// of complains about a field, or about the whole if it is empty.
func (c *complaints) of(field, what, want string) {
	f := Fault{Field: c.path, What: what, Want: want}
	n := c.node
	if field != "" {
		if f.Field = child(c.path, field); c.d.bad[f.Field] {
			return
		}
	}
	if at := c.given[field]; at != nil {
		n = at
		if at.Kind == yaml.ScalarNode {
			f.Value = source.ShowNode(at)
		}
	}
	c.d.fault(n, f)
}

func (d *decoder) check(n *yaml.Node, path string, v reflect.Value, given map[string]*yaml.Node) {
	if c, ok := v.Addr().Interface().(checked); ok {
		c.check(&complaints{d, n, path, given})
	}
}

// pairs lists the keys of a map, those of merged maps after its own. A key
// that comes twice is a fault, and its first value counts.
func (d *decoder) pairs(n *yaml.Node, path string) []pair {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, path, "give a map")
		return nil
	}
	var own, merged []pair
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := resolve(n.Content[i]), n.Content[i+1]
		switch line, twice := first[k.Value]; {
		case k.Kind != yaml.ScalarNode || isNull(k):
			d.fault(k, Fault{Field: path, What: "has a key that " + source.Describe(k), Want: "write names as keys"})
		case k.Value == "<<" && k.ShortTag() == "!!merge":
			if v, ok := d.enter(v); ok && d.depth < maxDepth {
				d.depth++
				merged = append(merged, d.pairs(v, path)...)
				d.depth--
			}
		case twice:
			d.fault(k, Fault{Field: child(path, k.Value), What: "is given twice, first on line " + strconv.Itoa(line), Want: "leave one"})
		default:
			first[k.Value] = k.Line
			own = append(own, pair{k.Value, k, v})
		}
	}
	for _, p := range merged {
		if _, twice := first[p.key]; !twice {
			first[p.key] = p.keyAt.Line
			own = append(own, p)
		}
	}
	return own
}

// entries lists what may be written as a list of maps with one key, as a list
// of names, or as a map.
func (d *decoder) entries(n *yaml.Node, path, want string) []pair {
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.MappingNode:
		return d.pairs(n, path)
	case n.Kind != yaml.SequenceNode:
		d.wrongType(n, path, want)
		return nil
	}
	var all []pair
	for i, c := range n.Content {
		c, ok := d.enter(c)
		switch {
		case !ok:
			return all
		case c.Kind == yaml.ScalarNode && !isNull(c):
			all = append(all, pair{c.Value, c, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: c.Line, Column: c.Column}})
		case c.Kind == yaml.MappingNode:
			all = append(all, d.pairs(c, element(path, i))...)
		default:
			d.wrongType(c, element(path, i), want)
		}
	}
	return all
}

// child is the path of a key in the map at path.
func child(path, key string) string {
	if path == "" {
		return source.Show(key)
	}
	return path + "." + source.Show(key)
}

// element is the path of an item of the list at path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
