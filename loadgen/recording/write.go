package recording

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// A Load is what the recording does not say: who many users and how long.
type Load struct {
	Name        string
	UsersPerSec float64
	Duration    string // such as 1m
	Connections int    // of each endpoint, of all machines together
}

// Benchmark writes the recording as a benchmark file: one phase of a constant
// rate, whose users make the requests one after the other.
func (r Recording) Benchmark(l Load) ([]byte, error) {
	m := &mapping{}
	m.add("name", text(l.Name))
	origins := r.origins()
	m.add("http", endpoints(origins, l.Connections))
	m.add("usersPerSec", number(l.UsersPerSec))
	m.add("duration", text(l.Duration))
	scenario := &yaml.Node{Kind: yaml.SequenceNode}
	names := map[string]bool{}
	for i, p := range r.Pages {
		steps := &yaml.Node{Kind: yaml.SequenceNode}
		if p.Think > 0 {
			steps.Content = append(steps.Content, single("thinkTime", text(fmt.Sprintf("%d s", int(p.Think.Seconds())))))
		}
		for _, q := range p.Requests {
			req, err := q.node(len(origins) > 1)
			if err != nil {
				return nil, err
			}
			steps.Content = append(steps.Content, single("httpRequest", req))
		}
		scenario.Content = append(scenario.Content, single(sequenceName(p.Title, i, names), steps))
	}
	m.add("scenario", scenario)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{m.node()}}); err != nil {
		return nil, fmt.Errorf("write the benchmark: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// origins are those of all requests, each once, in their order.
func (r Recording) origins() []string {
	var list []string
	seen := map[string]bool{}
	for _, p := range r.Pages {
		for _, q := range p.Requests {
			if o := q.Origin(); !seen[o] {
				seen[o] = true
				list = append(list, o)
			}
		}
	}
	return list
}

func endpoints(origins []string, connections int) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, o := range origins {
		m := &mapping{}
		m.add("host", text(o))
		m.add("sharedConnections", number(float64(connections)))
		list.Content = append(list.Content, m.node())
	}
	return list
}

// node is the request as the benchmark file has it.
func (q Request) node(manyEndpoints bool) (*yaml.Node, error) {
	m := &mapping{}
	target := q.URL.EscapedPath()
	if target == "" {
		target = "/"
	}
	if q.URL.RawQuery != "" {
		target += "?" + q.URL.RawQuery
	}
	switch q.Method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE":
		m.add(q.Method, pattern(target))
	default:
		return nil, fmt.Errorf("%s %s: benchmark files have no method %s", q.Method, q.URL, q.Method)
	}
	if manyEndpoints {
		_, authority, _ := strings.Cut(q.Origin(), "://")
		m.add("authority", text(authority))
	}
	if len(q.Headers) > 0 {
		m.add("headers", headers(q.Headers))
	}
	if !utf8.ValidString(q.Body) {
		return nil, fmt.Errorf("%s %s: its body is not a text; put it into a file, and make the body fromFile", q.Method, q.URL)
	}
	switch {
	case len(q.Form) > 0:
		fields := &yaml.Node{Kind: yaml.SequenceNode}
		for _, f := range q.Form {
			field := &mapping{}
			field.add("name", text(f.Name))
			field.add("value", text(f.Value))
			fields.Content = append(fields.Content, field.node())
		}
		m.add("body", single("form", fields))
	case q.Body != "":
		m.add("body", pattern(q.Body))
	}
	if q.Compressed {
		m.add("compression", single("encoding", text("gzip")))
	}
	if q.Redirects {
		m.add("handler", single("followRedirect", text("LOCATION_ONLY")))
	}
	return m.node(), nil
}

func headers(list []Header) *yaml.Node {
	m := &mapping{}
	seen := map[string]bool{}
	for _, h := range list {
		if seen[strings.ToLower(h.Name)] {
			continue // a map has each name once
		}
		seen[strings.ToLower(h.Name)] = true
		if h.Param != "" {
			m.add(h.Name, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!param", Value: h.Param})
			continue
		}
		m.add(h.Name, pattern(h.Value))
	}
	return m.node()
}

// sequenceName makes a page's title the name of a sequence, as they may be.
func sequenceName(title string, i int, taken map[string]bool) string {
	var b strings.Builder
	for _, c := range strings.ToLower(title) {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := b.String()
	name = strings.Trim(name[:min(len(name), 40)], "-")
	if name == "" || name[0] < 'a' || taken[name] {
		name = "page" + strconv.Itoa(i+1)
	}
	taken[name] = true
	return name
}

// A mapping is a map of YAML in the order in which it is written.
type mapping struct{ content []*yaml.Node }

func (m *mapping) add(key string, value *yaml.Node) {
	m.content = append(m.content, text(key), value)
}

func (m *mapping) node() *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: m.content}
}

func single(key string, value *yaml.Node) *yaml.Node {
	m := &mapping{}
	m.add(key, value)
	return m.node()
}

// text is a text as it stands. The encoder quotes what would read as another
// type.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// pattern is a text that the benchmark reads as a pattern.
func pattern(s string) *yaml.Node { return text(strings.ReplaceAll(s, "${", "$${")) }

func number(f float64) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatFloat(f, 'f', -1, 64)}
}
