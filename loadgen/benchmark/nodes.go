package benchmark

import (
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
)

// into decodes a node into what target points to.
func (d *decoder) into(n *yaml.Node, path string, target any) {
	d.value(n, path, reflect.ValueOf(target).Elem())
}

// fromNode takes any agents: only their names are kept.
func (a *Agents) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, p := range d.entries(n, path, "give a list or a map of agents") {
		*a = append(*a, p.key)
	}
}

func (h *Hooks) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, p := range d.entries(n, path, "give a list or a map of commands") {
		var fields hookFields
		d.into(p.val, child(path, p.key), &fields)
		*h = append(*h, Hook{Name: p.key, Exec: fields.Exec})
	}
	slices.SortStableFunc(*h, func(a, b Hook) int { return strings.Compare(a.Name, b.Name) })
}

func (e *Endpoints) fromNode(d *decoder, n *yaml.Node, path string) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for i, c := range list {
		at := path
		if n.Kind == yaml.SequenceNode {
			at = element(path, i)
		}
		var endpoint Endpoint
		endpoint.defaults()
		endpoint.Line, endpoint.Column = resolve(c).Line, resolve(c).Column
		d.into(c, at, &endpoint)
		*e = append(*e, endpoint)
	}
}

func (c *Connections) fromNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		var size int
		d.into(n, path, &size)
		*c = Connections{Core: size, Max: size}
	} else {
		type fields Connections // has no fromNode
		*c = Connections{}
		d.into(n, path, (*fields)(c))
	}
	if c.Max < 1 || c.Core < 0 || c.Core > c.Max || c.Buffer < 0 {
		d.fault(n, Fault{Field: path, What: "is not a number of connections", Want: "give 1 or more, or core up to max"})
	}
}

func (p *Phases) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a list of maps from a phase's name to its type") {
		phase := Phase{Name: entry.key, Line: entry.keyAt.Line, Column: entry.keyAt.Column}
		at := child(path, entry.key)
		if entry.key == "" || strings.ContainsAny(entry.key, "/ \t\n") {
			d.fault(entry.keyAt, Fault{Field: at, What: "is not a name for a phase", Want: "use letters and digits, without / and blanks"})
		}
		d.phase(entry.val, at, &phase)
		*p = append(*p, phase)
	}
}

// phase decodes a map from the type to the properties.
func (d *decoder) phase(n *yaml.Node, path string, phase *Phase) {
	phase.defaults()
	n = resolve(n)
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 {
		d.fault(n, Fault{Field: path, What: "has not one type", Want: "give a map from one type to its properties, such as constantRate"})
		return
	}
	p := d.pairs(n, path)
	if len(p) != 1 {
		return
	}
	kind, known := kinds[p[0].key]
	if !known {
		all := make([]string, 0, len(kinds))
		for name := range kinds {
			all = append(all, name)
		}
		slices.Sort(all)
		want := source.DidYouMean(p[0].key, all)
		if want == "" {
			want = "there are " + source.JoinWords(all)
		}
		d.fault(p[0].keyAt, Fault{Field: child(path, p[0].key), What: "is not a type of phase", Want: want})
		return
	}
	phase.Kind = kind
	d.phaseFields(p[0].val, child(path, p[0].key), phase, nil)
}

// phaseFields decodes the properties; pairs are they if they are known.
func (d *decoder) phaseFields(n *yaml.Node, path string, phase *Phase, pairs []pair) {
	n = resolve(n)
	v := reflect.ValueOf(phase).Elem()
	if pairs == nil {
		pairs = d.objectPairs(n, path, v)
	}
	if pairs != nil {
		d.fields(n, path, v, pairs, func(f field) bool { return phase.Kind.isFor(f.group) })
	}
}

// fromNode takes references with their places.
func (r *PhaseRefs) fromNode(d *decoder, n *yaml.Node, path string) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for i, c := range list {
		if isNull(resolve(c)) {
			continue
		}
		at := path
		if n.Kind == yaml.SequenceNode {
			at = element(path, i)
		}
		ref := PhaseRef{Line: resolve(c).Line, Column: resolve(c).Column}
		ref.defaults()
		d.into(c, at, &ref)
		*r = append(*r, ref)
	}
}

func (f *Forks) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a map of forks by their names") {
		fork := Fork{Name: entry.key}
		fork.defaults()
		at := child(path, entry.key)
		d.into(entry.val, at, &fork)
		if strings.ContainsAny(entry.key, "/ \t\n") {
			d.fault(entry.keyAt, Fault{Field: at, What: "is not a name for a fork", Want: "use letters and digits, without / and blanks"})
		}
		if fork.Weight > 0 {
			*f = append(*f, fork)
		} else {
			d.warn(entry.keyAt, at, "has no weight above 0", "it is left out")
		}
	}
}

// scenarioFields are the keys of a scenario that is a map.
type scenarioFields struct {
	Initial      sequences `json:"initialSequences" doc:"The sequences that start with the session."`
	Ordered      sequences `json:"orderedSequences" doc:"Sequences of which the first starts with the session, and each other when the one before it has ended."`
	Others       sequences `json:"sequences" doc:"Sequences that steps or handlers start."`
	MaxRequests  int       `json:"maxRequests" doc:"Most requests of a session under way at once."`
	MaxSequences int       `json:"maxSequences" doc:"Most sequences of a session running at once."`
}

func (f *scenarioFields) check(c *complaints) {
	switch initial, ordered := c.has("initialSequences"), c.has("orderedSequences"); {
	case initial && ordered:
		c.of("orderedSequences", "is given beside initialSequences", "give one of them")
	case !initial && !ordered:
		c.of("", "has no sequence that starts with the session", "give initialSequences or orderedSequences")
	}
}

// sequences are a list of maps from a name to steps.
type sequences []Sequence

func (s *sequences) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a list of maps from a sequence's name to its steps") {
		at := child(path, entry.key)
		name, size, err := nameAndSize(entry.key)
		if err != nil || name == "" {
			d.fault(entry.keyAt, Fault{Field: at, What: "is not a name for a sequence", Want: "write name, or name[3] for three instances at once"})
		}
		seq := Sequence{Name: name, Concurrency: max(size, 1), Line: entry.keyAt.Line, Column: entry.keyAt.Column}
		d.into(entry.val, at, &seq.Steps)
		*s = append(*s, seq)
	}
}

// fromNode decodes a scenario and checks the names in it.
func (s *Scenario) fromNode(d *decoder, n *yaml.Node, path string) {
	uses := len(d.uses)
	var fields scenarioFields
	if n.Kind == yaml.SequenceNode {
		d.into(n, path, &fields.Ordered)
	} else {
		d.into(n, path, &fields)
	}
	s.MaxRequests, s.MaxSequences = fields.MaxRequests, fields.MaxSequences
	s.Sequences, s.Initial = slices.Concat(fields.Initial, fields.Ordered, fields.Others), len(fields.Initial)
	if len(fields.Ordered) > 0 {
		s.Initial++
	}
	if len(s.Sequences) == 0 {
		d.fault(n, Fault{Field: path, What: "has no sequence", Want: "give one"})
	}
	d.finishSequences(n, path, s, len(fields.Initial), len(fields.Ordered))
	d.checkUses(s, d.uses[uses:])
}

// finishSequences links the ordered ones, and reads the early way of going
// back to the start of a sequence.
func (d *decoder) finishSequences(n *yaml.Node, path string, s *Scenario, initial, ordered int) {
	seen := map[string]bool{}
	for i := range s.Sequences {
		seq := &s.Sequences[i]
		if seen[seq.Name] {
			d.fault(&yaml.Node{Line: seq.Line, Column: seq.Column}, Fault{
				Field: path, Value: source.Show(seq.Name), What: "is the name of two sequences of the scenario", Want: "use another",
			})
		}
		seen[seq.Name] = true
		if last := len(seq.Steps) - 1; last >= 0 {
			if next, ok := seq.Steps[last].(*NextSequence); ok && string(next.Sequence) == seq.Name {
				seq.Steps[last] = &RestartSequence{}
			}
		}
		for j, step := range seq.Steps {
			if _, ok := step.(*Loop); ok && j > 0 {
				d.fault(&yaml.Node{Line: seq.Line, Column: seq.Column}, Fault{
					Field: path, Value: source.Show(seq.Name), What: "has a loop that is not its first step", Want: "put the loop into a sequence of its own",
				})
			}
		}
		if i >= initial && i < initial+ordered-1 {
			next := s.Sequences[i+1].Name
			seq.Steps = append(slices.Clip(seq.Steps), &NextSequence{Sequence: SequenceRef(next)})
		}
	}
}

// checkUses finds names of sequences that are not there, variables that are read
// and never set, and connections that are used and never made.
func (d *decoder) checkUses(s *Scenario, uses []use) {
	var sequences, written []string
	for _, seq := range s.Sequences {
		sequences = append(sequences, seq.Name)
	}
	for _, u := range uses {
		if u.kind == useWrite {
			written = append(written, u.name)
		}
	}
	slices.Sort(written)
	written = slices.Compact(written)
	for _, u := range uses {
		switch {
		case u.kind == useSequence && !slices.Contains(sequences, u.name):
			want := source.DidYouMean(u.name, sequences)
			if want == "" {
				want = "there are " + source.JoinWords(sequences)
			}
			d.fault(u.node, Fault{Field: u.path, Value: source.Show(u.name), What: "is not a sequence of the scenario", Want: want})
		case u.kind == useWrite && strings.HasPrefix(u.name, "hyperfoil."):
			d.fault(u.node, Fault{Field: u.path, Value: source.Show(u.name), What: "is set by the generator", Want: "use another name"})
		case u.kind == useRead && !strings.HasPrefix(u.name, "hyperfoil.") && !slices.Contains(written, u.name):
			want := source.DidYouMean(u.name, written)
			if want == "" {
				want = "set it in a step or handler of the scenario"
			}
			d.fault(u.node, Fault{Field: u.path, Value: source.Show(u.name), What: "is a variable that nothing sets", Want: want})
		}
	}
	d.checkMade(uses, useConnect, useLine, "goes on with the connection %s, which no step makes", "give connect, here or in a step before")
	d.checkMade(uses, useSchedule, useDelay, "waits for %s, which no step schedules", "give scheduleDelay in a step before")
}

func (h *Headers) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a map of headers") {
		header := Header{Name: entry.key}
		at := child(path, entry.key)
		d.into(entry.val, at, &header.Value)
		if entry.key == "" || strings.ContainsFunc(entry.key, notInName) {
			d.fault(entry.keyAt, Fault{Field: at, What: "is not a name for a header", Want: "use letters, digits and hyphens"})
		}
		if value, _ := header.Value.Literal(); strings.ContainsAny(value, "\r\n\x00") {
			d.fault(resolve(entry.val), Fault{Field: at, What: "has more than one line, which a header can't have", Want: "write it on one"})
		}
		*h = append(*h, header)
	}
}

// notInName reports whether the name of a header can't have the character.
func notInName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// fromKey reads GET: /path.
func (r *HTTPRequest) fromKey(d *decoder, p pair, path string) bool {
	if !slices.Contains(methods, p.key) {
		return false
	}
	if r.Method != "" {
		d.fault(p.keyAt, Fault{Field: child(path, p.key), What: "is a second method", Want: "give one"})
	}
	r.Method = p.key
	d.into(p.val, child(path, p.key), &r.Path)
	return true
}

func (a *StatusAction) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a map from statuses to actions") {
		c := StatusCase{Ranges: d.ranges(entry, path)}
		d.into(entry.val, child(path, entry.key), &c.Actions)
		a.Cases = append(a.Cases, c)
	}
}

func (m *StatusMultiplex) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a map from statuses to handlers") {
		c := StatusCase{Ranges: d.ranges(entry, path)}
		d.into(entry.val, child(path, entry.key), &c.Handlers)
		m.Cases = append(m.Cases, c)
	}
}

// ranges reads a key such as "301, 4xx"; "other" is all the rest.
func (d *decoder) ranges(p pair, path string) []RangeCheck {
	var list []RangeCheck
	if p.key == "other" {
		return nil
	}
	for _, text := range strings.Split(p.key, ",") {
		var r RangeCheck
		d.text(p.keyAt, child(path, p.key), func(string) error { return r.fromText(text) })
		list = append(list, r)
	}
	return list
}

func (s *Stopwatch) fromNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "steps" {
		n, path = n.Content[1], child(path, "steps")
	}
	d.into(n, path, &s.Steps)
}

func (t *ArrayTarget) fromNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, path, "write variable[size]")
	} else if d.text(n, path, t.parse) {
		d.useName(useWrite, t.Var.Name, n, path)
	}
}

// fromNode reads array handlers also as ids[10] in toVar.
func (a *Array) fromNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode {
		type fields Array // has no fromNode
		d.into(n, path, (*fields)(a))
		if at := child(path, "maxSize"); !d.bad[at] && (a.MaxSize < 1 || a.MaxSize > maxArray) {
			d.fault(n, Fault{Field: at, What: "is not a number of items", Want: "give 1 to " + strconv.Itoa(maxArray)})
		}
	} else if d.text(n, path, a.fromText) {
		d.useName(useWrite, a.ToVar.Name, n, path)
	}
}

// fromNode reads !var, which is no variable's name, in the map as well.
func (a *AwaitVar) fromNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		for _, p := range d.pairs(n, path) {
			if p.key != "var" {
				d.fault(p.keyAt, Fault{Field: child(path, p.key), What: "is not a field here", Want: "its fields are var"})
			}
			n, path = resolve(p.val), child(path, p.key)
		}
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.wrongType(n, path, "give the name of a variable")
	} else if d.text(n, path, a.fromText) {
		d.useName(useRead, a.Var.Name, n, path)
	}
}

func (w *Weighted) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a list of items, or a map from items to weights") {
		item := WeightedItem{Item: entry.key, Weight: 1}
		if !isNull(resolve(entry.val)) {
			d.into(entry.val, child(path, entry.key), &item.Weight)
		}
		if item.Weight <= 0 {
			d.fault(resolve(entry.val), Fault{Field: child(path, entry.key), What: "is not a weight", Want: "give a number above 0"})
		}
		*w = append(*w, item)
	}
}

func (w *WeightedFiles) fromNode(d *decoder, n *yaml.Node, path string) {
	var items Weighted
	items.fromNode(d, n, path)
	*w = WeightedFiles(items)
	for _, item := range items {
		d.useName(useFile, item.Item, n, path)
	}
}

func (c *Columns) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a map from columns to variables") {
		var column Column
		index, err := strconv.ParseUint(entry.key, 10, 16)
		if err != nil {
			d.fault(entry.keyAt, Fault{Field: child(path, entry.key), What: "is not the number of a column", Want: "give 0 for the first"})
		}
		column.Index = int(index)
		d.into(entry.val, child(path, entry.key), &column.ToVar)
		*c = append(*c, column)
	}
}

// fromNode reads a list of variables, or a map from names to variables.
func (c *Counters) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a list of variables, or a map from names to variables") {
		counter := Counter{Name: entry.key}
		from := entry.val
		if isNull(resolve(from)) {
			from = entry.keyAt
		}
		d.into(from, child(path, entry.key), &counter.FromVar)
		*c = append(*c, counter)
	}
}

// fromNode reads a name, or rules: "RE -> name", "RE" and "-> name".
func (m *Metric) fromNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && !isNull(n) && !strings.Contains(n.Value, "->") {
		*m = Metric{{Name: n.Value}}
		return
	}
	var lines []string
	d.into(n, path, &lines)
	for i, line := range lines {
		left, right, mapped := strings.Cut(line, "->")
		rule := MetricRule{Name: strings.TrimSpace(right)}
		if left = strings.TrimSpace(left); left != "" || !mapped {
			re, err := regexp.Compile(left)
			if err != nil {
				at := n
				if n.Kind == yaml.SequenceNode && i < len(n.Content) {
					at = resolve(n.Content[i])
				}
				d.fault(at, Fault{Field: path, Value: source.Show(line), What: "is not a rule: " + err.Error(), Want: "write RE -> name"})
				continue
			}
			rule.RE = Regexp{re}
		}
		*m = append(*m, rule)
	}
}

func (l *Limits) fromNode(d *decoder, n *yaml.Node, path string) {
	for _, entry := range d.entries(n, path, "give a map from percentiles to times") {
		var limit Limit
		p, err := parseNumber(entry.key)
		if err != nil || p <= 0 || p >= 1 {
			d.fault(entry.keyAt, Fault{Field: child(path, entry.key), What: "is not a percentile", Want: "give one between 0 and 1, such as 0.99"})
		}
		limit.Percentile = p
		d.into(entry.val, child(path, entry.key), &limit.Latency)
		*l = append(*l, limit)
	}
}
