package strategies

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Bounds of what log metrics may cost.
const (
	maxLogMetrics = 50   // of a step
	maxPattern    = 1000 // characters of a regular expression, or of a path
	maxLogTags    = 20   // of a log metric, and as many conditions
	maxMetricName = 200  // characters
)

// A LogMetric makes a metric of lines that a step's containers write. Exactly
// one of Match and JSON is given. Nothing in it is interpolated: a $ is part of
// the regular expression.
type LogMetric struct {
	Name   string          `json:"name" doc:"Name of the metric, as criteria and reports call it."`
	Type   LogType         `json:"type" enum:"counter,gauge,timer" doc:"What becomes of the values: counter adds them up, gauge keeps the last, timer gives their percentiles."`
	Match  string          `json:"match,omitempty" doc:"Regular expression (RE2) that a line must match somewhere."`
	JSON   string          `json:"json,omitempty" doc:"Path of a field, such as data.value, that a line of JSON must have."`
	Where  map[string]Part `json:"where,omitempty" doc:"With json: fields of the line, by their paths, and the values that they must have."`
	Value  Part            `json:"value,omitempty" doc:"Where the number is: a group of match, by name or number, or the path of a field; see below for what it is when left out."`
	Scale  float64         `json:"scale,omitempty" doc:"What the number is multiplied by; 0 is 1."`
	Tags   map[string]Part `json:"tags,omitempty" doc:"Tags of the metric: a name, and the group or the field with its value."`
	Stream Stream          `json:"stream,omitempty" enum:"stdout,stderr,both" doc:"Which output is read: stdout, stderr or both; both when left out."`
}

// A Part names a part of a line: a group of a regular expression, or a field.
// In files it may also be written as a number.
type Part string

// LogType says what a LogMetric makes of its values.
type LogType string

// The types of a LogMetric.
const (
	LogCounter LogType = "counter"
	LogGauge   LogType = "gauge"
	LogTimer   LogType = "timer"
)

// A Stream is an output of a container.
type Stream string

// The streams that a LogMetric may read; empty is StreamBoth.
const (
	StreamStdout Stream = "stdout"
	StreamStderr Stream = "stderr"
	StreamBoth   Stream = "both"
)

func logTypes() []LogType { return []LogType{LogCounter, LogGauge, LogTimer} }

func streams() []Stream { return []Stream{StreamStdout, StreamStderr, StreamBoth} }

// UnmarshalJSON reads a text or a number.
func (p *Part) UnmarshalJSON(data []byte) error { return unmarshal(data, p) }

// part decodes text, or a number or boolean as it is written.
func (d *decoder) part(n *yaml.Node, path string, p *Part) {
	switch tag := n.ShortTag(); {
	case isText(n):
		if text, ok := d.text(n, path); ok {
			*p = Part(text)
		}
	case n.Kind == yaml.ScalarNode && (tag == "!!int" || tag == "!!float" || tag == "!!bool"):
		*p = Part(n.Value)
	default:
		d.wrongType(n, path, "give text or a number")
	}
}

func (l LogMetric) clone() LogMetric {
	l.Where, l.Tags = maps.Clone(l.Where), maps.Clone(l.Tags)
	return l
}

// logMetrics checks the log metrics of a step.
func (c *checker) logMetrics(at string, list []LogMetric) {
	if len(list) > maxLogMetrics {
		c.add(at, "", fmt.Sprintf("has %d entries", len(list)), fmt.Sprintf("%d are the most", maxLogMetrics))
		return
	}
	for i, l := range list {
		if c.isFull() {
			return
		}
		c.logMetric(element(at, i), l)
	}
}

func (c *checker) logMetric(at string, l LogMetric) {
	c.metricName(child(at, "name"), l.Name)
	if field := child(at, "type"); !c.isUnknown(field) {
		oneOf(c, field, l.Type, logTypes())
	}
	if l.Stream != "" {
		oneOf(c, child(at, "stream"), l.Stream, streams())
	}
	if math.IsNaN(l.Scale) || math.IsInf(l.Scale, 0) {
		c.add(child(at, "scale"), "", "is no finite number", "give a number such as 1000")
	}
	c.tagNames(child(at, "tags"), l.Tags)
	if c.isUnknown(child(at, "match")) || c.isUnknown(child(at, "json")) {
		return
	}
	switch {
	case l.Match != "" && l.JSON != "":
		c.add(at, "", "has both match and json", "give one of them")
	case l.Match != "":
		c.matching(at, l)
	case l.JSON != "":
		c.fields(at, l)
	default:
		c.add(at, "", "has neither match nor json", "give one of them")
	}
}

// oneOf declines all but the values that there are.
func oneOf[T ~string](c *checker, field string, value T, known []T) {
	if slices.Contains(known, value) {
		return
	}
	var names []string
	for _, k := range known {
		names = append(names, string(k))
	}
	want := "give one of " + joinWords(names)
	if value == "" {
		c.add(field, "", "is missing", want)
		return
	}
	if meant := didYouMean(string(value), names); meant != "" {
		want = meant
	}
	c.add(field, show(string(value)), "is not known", want)
}

// metricName checks a name against what statsd can say.
func (c *checker) metricName(field, name string) {
	const want = "give a name such as wrk.requests"
	switch {
	case name == "":
		if !c.isUnknown(field) {
			c.add(field, "", "is missing", want)
		}
	case utf8.RuneCountInString(name) > maxMetricName:
		c.add(field, show(name), fmt.Sprintf("has %d characters", utf8.RuneCountInString(name)), fmt.Sprintf("%d are the most", maxMetricName))
	case strings.ContainsFunc(name, notInMetrics):
		c.add(field, show(name), "has a character that names of metrics have not: a space, a control character or one of : | # @ ,", want)
	}
}

func notInMetrics(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError || strings.ContainsRune(":|#@,", r)
}

func (c *checker) tagNames(field string, tags map[string]Part) {
	if len(tags) > maxLogTags {
		c.add(field, "", fmt.Sprintf("has %d tags", len(tags)), fmt.Sprintf("%d are the most", maxLogTags))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case name == "" || strings.ContainsFunc(name, notInMetrics) || utf8.RuneCountInString(name) > maxName:
			c.add(child(field, name), "", "is no name of a tag", "give a short name without spaces and : | # @ ,")
		case tags[name] == "":
			c.add(child(field, name), "", "is empty", "give the group or the field that has the tag's value")
		}
	}
}

// matching checks an entry with a regular expression.
func (c *checker) matching(at string, l LogMetric) {
	field := child(at, "match")
	if len(l.Where) > 0 {
		c.add(child(at, "where"), "", "is for json", "leave it out, and say it in the regular expression")
	}
	if n := utf8.RuneCountInString(l.Match); n > maxPattern {
		c.add(field, show(l.Match), fmt.Sprintf("has %d characters", n), fmt.Sprintf("%d are the most", maxPattern))
		return
	}
	re, err := regexp.Compile(l.Match)
	if err != nil {
		c.add(field, show(l.Match), "is not a regular expression: "+regexpFault(err), "write it in RE2's syntax")
		return
	}
	switch {
	case l.Value != "":
		c.group(child(at, "value"), l.Value, re)
	case l.Type != LogCounter && re.NumSubexp() == 0:
		c.add(field, show(l.Match), "has no group for the "+string(l.Type)+"'s value", `put brackets around the number, such as ([0-9.]+)`)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Tags)) {
		if l.Tags[name] != "" {
			c.group(child(child(at, "tags"), name), l.Tags[name], re)
		}
	}
}

// group checks that the regular expression has the group.
func (c *checker) group(field string, group Part, re *regexp.Regexp) {
	n, err := strconv.Atoi(string(group))
	if err == nil && n >= 0 && n <= re.NumSubexp() || err != nil && re.SubexpIndex(string(group)) >= 0 {
		return
	}
	want := "match has no group at all; put one in brackets"
	if re.NumSubexp() > 0 {
		want = fmt.Sprintf("give a number from 1 to %d", re.NumSubexp())
		if names := slices.DeleteFunc(slices.Clone(re.SubexpNames()), func(s string) bool { return s == "" }); len(names) > 0 {
			want += ", or a name of " + joinWords(names)
		}
	}
	c.add(field, show(string(group)), "is not a group of match", want)
}

// fields checks an entry for lines of JSON.
func (c *checker) fields(at string, l LogMetric) {
	c.path(child(at, "json"), l.JSON)
	if l.Value != "" {
		c.path(child(at, "value"), string(l.Value))
	}
	for _, name := range slices.Sorted(maps.Keys(l.Tags)) {
		if l.Tags[name] != "" {
			c.path(child(child(at, "tags"), name), string(l.Tags[name]))
		}
	}
	if len(l.Where) > maxLogTags {
		c.add(child(at, "where"), "", fmt.Sprintf("has %d conditions", len(l.Where)), fmt.Sprintf("%d are the most", maxLogTags))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.Where)) {
		c.path(child(child(at, "where"), name), name)
	}
}

func (c *checker) path(field, path string) {
	const want = "give names with dots between, such as data.value"
	switch {
	case utf8.RuneCountInString(path) > maxPattern:
		c.add(field, show(path), "is too long", fmt.Sprintf("%d characters are the most", maxPattern))
	case strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") || strings.Contains(path, "..") || path == "":
		c.add(field, show(path), "is not the path of a field", want)
	}
}
