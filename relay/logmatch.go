package relay

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loads/loads/metrics"
)

// A LogMetric says which lines of the containers' output give values of a
// metric, in the form that plans have for it: see docs/plans.md.
type LogMetric struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"`             // counter, gauge or timer
	Match  string            `json:"match,omitempty"`  // regular expression of a line, or
	JSON   string            `json:"json,omitempty"`   // path of a field of a line
	Where  map[string]string `json:"where,omitempty"`  // values that other fields must have
	Value  string            `json:"value,omitempty"`  // group or field of the number
	Scale  float64           `json:"scale,omitempty"`  // 0 is 1
	Tags   map[string]string `json:"tags,omitempty"`   // groups or fields, by the tag's name
	Stream string            `json:"stream,omitempty"` // stdout, stderr or both
}

// ReadLogMetrics reads a file with a list of log metrics in JSON.
func ReadLogMetrics(path string) ([]LogMetric, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read log metrics: %w", err)
	}
	var list []LogMetric
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read log metrics of %s: %w", path, err)
	}
	return list, nil
}

// What is wrong with a line that fits.
var (
	errNoPart   = errors.New("the value's group or field is not there")
	errTagsLong = errors.New("tags are too long")
)

// a matcher turns lines into values. It is for one goroutine at a time.
type matcher struct {
	rules []*logRule
	json  bool // whether any rule is of lines of JSON
}

// logRule is a LogMetric made ready.
type logRule struct {
	kind    metrics.Kind
	name    []byte
	scale   float64
	stdout  bool
	stderr  bool
	one     bool // each line counts 1
	tags    []logTag
	suffix  []byte // scratch: bar, type, bar, hash, tags
	tagsAt  int    // where the tags begin in it
	pattern *regexp.Regexp
	group   int
	field   string // the path of JSON
	value   string // the path of the number
	where   []condition
}

type logTag struct {
	name  string
	group int
	path  string
}

type condition struct{ path, want string }

// a logValue is what a line gave. The line's slices are valid until the next
// line is matched.
type logValue struct {
	line  line
	value float64
	err   error // says that there is no value
}

func newMatcher(list []LogMetric) (*matcher, error) {
	m := &matcher{}
	var errs []error
	for _, l := range list {
		r, err := l.rule()
		if err != nil {
			errs = append(errs, fmt.Errorf("log metric %s: %w", l.Name, err))
			continue
		}
		m.rules = append(m.rules, r)
		m.json = m.json || r.pattern == nil
	}
	return m, errors.Join(errs...)
}

func (l LogMetric) rule() (*logRule, error) {
	r := &logRule{
		name: []byte(l.Name), scale: cmp.Or(l.Scale, 1), field: l.JSON, value: cmp.Or(l.Value, l.JSON),
		stdout: l.Stream != "stderr", stderr: l.Stream != "stdout",
	}
	statsd := map[string]string{"counter": "c", "gauge": "g", "timer": "ms"}[l.Type]
	if r.kind = kindOf([]byte(statsd)); r.kind == "" || l.Name == "" {
		return nil, fmt.Errorf("type is %q and name %q, want counter, gauge or timer, and a name", l.Type, l.Name)
	}
	r.suffix = []byte("|" + statsd + "|#")
	r.tagsAt = len(r.suffix)
	r.one = r.kind == metrics.Counter && l.Value == ""
	if (l.Match == "") == (l.JSON == "") {
		return nil, errors.New("want either match or json")
	}
	if l.Match != "" {
		return r, r.match(l)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Tags)) {
		r.tags = append(r.tags, logTag{name: name, path: l.Tags[name]})
	}
	for _, path := range slices.Sorted(maps.Keys(l.Where)) {
		r.where = append(r.where, condition{path, l.Where[path]})
	}
	return r, nil
}

// match prepares a rule with a regular expression.
func (r *logRule) match(l LogMetric) (err error) {
	if r.pattern, err = regexp.Compile(l.Match); err != nil {
		return err
	}
	switch named := r.pattern.SubexpIndex("value"); {
	case l.Value != "":
		r.group, err = groupOf(r.pattern, l.Value)
	case named > 0:
		r.group, r.one = named, false
	case !r.one && r.pattern.NumSubexp() == 0:
		err = errors.New("match has no group for the value")
	default:
		r.group = 1
	}
	for _, name := range slices.Sorted(maps.Keys(l.Tags)) {
		group, groupErr := groupOf(r.pattern, l.Tags[name])
		err = errors.Join(err, groupErr)
		r.tags = append(r.tags, logTag{name: name, group: group})
	}
	return err
}

// groupOf finds a group by its number or its name.
func groupOf(re *regexp.Regexp, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		n = re.SubexpIndex(text)
	}
	if n < 0 || n > re.NumSubexp() {
		return 0, fmt.Errorf("match has no group %s", text)
	}
	return n, nil
}

// match calls take for every value that the line gives, or should have given.
func (m *matcher) match(text []byte, stderr bool, take func(logValue)) {
	var object map[string]any
	if m.json {
		object = objectOf(text)
	}
	for _, r := range m.rules {
		switch {
		case stderr && !r.stderr, !stderr && !r.stdout:
		case r.pattern != nil:
			if at := r.pattern.FindSubmatchIndex(text); at != nil {
				take(r.ofGroups(text, at))
			}
		case object != nil && r.fits(object):
			take(r.ofFields(object))
		}
	}
}

// ofGroups reads the value and the tags of a line that a pattern matches.
func (r *logRule) ofGroups(text []byte, at []int) logValue {
	r.suffix = r.suffix[:r.tagsAt]
	for _, t := range r.tags {
		if from := at[2*t.group]; from >= 0 {
			r.addTag(t.name, text[from:at[2*t.group+1]])
		}
	}
	if r.one {
		return r.given(1, nil)
	}
	if at[2*r.group] < 0 {
		return r.given(0, errNoPart)
	}
	return r.given(quantity(text[at[2*r.group]:at[2*r.group+1]]))
}

// fits reports whether a line of JSON has the rule's field, and fulfils its
// conditions.
func (r *logRule) fits(object map[string]any) bool {
	for _, c := range r.where {
		v, _ := lookUp(object, c.path)
		if text, ok := textOf(v); !ok || text != c.want {
			return false
		}
	}
	v, ok := lookUp(object, r.field)
	return ok && v != nil
}

func (r *logRule) ofFields(object map[string]any) logValue {
	r.suffix = r.suffix[:r.tagsAt]
	for _, t := range r.tags {
		v, _ := lookUp(object, t.path)
		if text, ok := textOf(v); ok {
			r.addTag(t.name, []byte(text))
		}
	}
	if r.one {
		return r.given(1, nil)
	}
	v, ok := lookUp(object, r.value)
	if !ok || v == nil {
		return r.given(0, errNoPart)
	}
	text, ok := textOf(v)
	if _, is := v.(bool); is || !ok {
		return r.given(0, errNumber)
	}
	return r.given(quantity([]byte(text)))
}

// given completes what a line gave.
func (r *logRule) given(value float64, err error) logValue {
	value *= r.scale
	if err == nil && bounded(value) != value {
		err = errNumber
	}
	suffix := r.suffix
	if len(r.name)+len(suffix) > longestIdentity {
		return logValue{err: errTagsLong}
	}
	tags := suffix[r.tagsAt:]
	if len(tags) == 0 {
		suffix = suffix[:r.tagsAt-2] // without bar and hash
	}
	return logValue{line{name: r.name, kind: r.kind, rate: 1, tags: tags, suffix: suffix}, value, err}
}

// addTag adds a tag, unless its value is empty, as statsd writes it: what would
// end it there, or can't be shown, becomes an underscore.
func (r *logRule) addTag(name string, value []byte) {
	if len(value) == 0 {
		return
	}
	if len(r.suffix) > r.tagsAt {
		r.suffix = append(r.suffix, ',')
	}
	r.suffix = append(append(r.suffix, name...), ':')
	for len(value) > 0 {
		c, n := utf8.DecodeRune(value)
		if c == utf8.RuneError || unicode.IsControl(c) || strings.ContainsRune(",:|", c) {
			c = '_'
		}
		r.suffix = utf8.AppendRune(r.suffix, c)
		value = value[n:]
	}
}

// objectOf reads a line that is one object of JSON; nil for others.
func objectOf(text []byte) map[string]any {
	text = bytes.TrimSpace(text)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // as written
	var object map[string]any
	if dec.Decode(&object) != nil {
		return nil
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil
	}
	return object
}

// lookUp finds what the path leads to. A name may have dots in it; of a list a
// number names an item.
func lookUp(in any, path string) (any, bool) {
	switch in := in.(type) {
	case map[string]any:
		if v, ok := in[path]; ok {
			return v, true
		}
		for i := range len(path) {
			if path[i] != '.' {
				continue
			}
			if child, ok := in[path[:i]]; ok {
				if v, ok := lookUp(child, path[i+1:]); ok {
					return v, true
				}
			}
		}
	case []any:
		head, rest, deeper := strings.Cut(path, ".")
		i, err := strconv.Atoi(head)
		if err != nil || i < 0 || i >= len(in) {
			return nil, false
		}
		if deeper {
			return lookUp(in[i], rest)
		}
		return in[i], true
	}
	return nil, false
}

// textOf is a text, number or boolean as written; false for all else.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// timeUnits are units of time in milliseconds, the longer of those that end alike first.
var timeUnits = []struct {
	name string
	ms   float64
}{
	{"ns", 1e-6}, {"us", 1e-3}, {"µs", 1e-3}, {"μs", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3},
}

// quantity reads a number, or one with a unit of time, which gives milliseconds.
func quantity(text []byte) (float64, error) {
	text = bytes.TrimSpace(text)
	if v, ok := number(text); ok {
		return v, nil
	}
	for _, u := range timeUnits {
		if head, found := bytes.CutSuffix(text, []byte(u.name)); found {
			if v, ok := number(head); ok {
				return v * u.ms, nil
			}
		}
	}
	return 0, errNumber
}
