package benchmark

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/loads/loads/internal/source"
	"github.com/loads/loads/loadgen/pattern"
)

// requestUse is a request whose endpoint can be checked once all are known.
type requestUse struct {
	c                         *complaints
	path, authority, endpoint Text
}

// endpointUse is a step of another protocol that names an endpoint.
type endpointUse struct {
	c        *complaints
	endpoint Text
	need     bool // it goes to the default one when it names none
}

func (r *HTTPRequest) check(c *complaints) {
	r.Method = strings.ToUpper(r.Method)
	switch {
	case r.Method == "" || !r.Path.IsSet():
		c.of("", "has no method or no path", "give both, as GET: /path")
	case !slices.Contains(methods, r.Method):
		c.of("method", "is not a method", "give "+strings.Join(methods, ", "))
	}
	if c.has("authority") && c.has("endpoint") {
		c.of("endpoint", "is given beside authority", "give one of them")
	}
	path, _ := r.Path.Literal()
	_, full, err := fullAddress(path)
	switch {
	case err != nil:
		c.of(r.pathField(c), "is no address", "give a path, or one such as https://shop.test/path")
	case !full && strings.ContainsFunc(path, isBlank):
		c.of(r.pathField(c), "has blanks or control characters", "write them encoded, a blank as %20")
	}
	c.d.http = append(c.d.http, &requestUse{c, r.Path, r.Authority, r.Endpoint})
}

// pathField is the key that has the path.
func (r *HTTPRequest) pathField(c *complaints) string {
	if c.has("path") {
		return "path"
	}
	return r.Method
}

func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

// fullAddress returns host:port of a path that is a full address.
func fullAddress(path string) (authority string, full bool, err error) {
	if !strings.HasPrefix(path, "http://") && !strings.HasPrefix(path, "https://") {
		return "", false, nil
	}
	u, err := url.Parse(path)
	if err != nil {
		return "", true, err
	}
	if u.Port() == "" {
		return u.Host + ":" + strconv.Itoa(defaultPorts[u.Scheme]), true, nil
	}
	return u.Host, true, nil
}

// defaultPorts are those of the protocols.
var defaultPorts = map[string]int{"http": 80, "https": 443}

// checkEndpoints finds requests that go to no declared endpoint.
func (b *Benchmark) checkEndpoints(d *decoder) {
	for _, use := range d.http {
		if len(b.HTTP) == 0 {
			use.c.of("", "has no endpoint to go to", "declare one under http")
			continue
		}
		if name, ok := use.endpoint.Literal(); ok && name != "" {
			if !slices.ContainsFunc(b.HTTP, func(e Endpoint) bool { return e.Name == name }) {
				use.c.of("endpoint", "is not the name of an endpoint", "there are "+source.JoinWords(b.endpointNames()))
			}
			continue
		}
		path, _ := use.path.Literal()
		to, full, err := fullAddress(path)
		authority, literal := use.authority.Literal()
		switch {
		case err != nil || use.endpoint.IsSet() || use.authority.IsSet() && !literal:
		case authority != "":
			b.checkAuthority(use, "authority", authority)
		case full:
			b.checkAuthority(use, "", to)
		case len(b.HTTP) > 1 && strings.HasPrefix(use.path.Pattern.String(), "/") && !slices.ContainsFunc(b.HTTP, func(e Endpoint) bool { return e.Name == "" }):
			use.c.of("", "doesn't say to which endpoint it goes", "give authority or endpoint")
		}
	}
	for _, use := range d.others {
		name, literal := use.endpoint.Literal()
		switch {
		case len(b.HTTP) == 0 && (use.need || use.endpoint.IsSet()):
			use.c.of("", "has no endpoint to go to", "declare one under http")
		case !literal || name == "":
		case !slices.ContainsFunc(b.HTTP, func(e Endpoint) bool { return e.Name == name || e.Host == name || e.Authority() == name }):
			use.c.of("endpoint", "is not the name of an endpoint", "there are "+source.JoinWords(b.endpointNames()))
		}
	}
}

func (b *Benchmark) endpointNames() []string {
	var all []string
	for _, e := range b.HTTP {
		if e.Name != "" {
			all = append(all, e.Name)
		}
	}
	return all
}

// checkAuthority wants host:port of an endpoint, or a host that has one port.
func (b *Benchmark) checkAuthority(use *requestUse, field, authority string) {
	ports, all := map[int]bool{}, []string{}
	subject := ""
	if field == "" {
		subject = "goes to " + source.Show(authority) + ", which "
	}
	for _, e := range b.HTTP {
		if e.Authority() == authority || e.Host == authority {
			ports[e.Port] = true
		}
		all = append(all, e.Authority())
	}
	slices.Sort(all)
	switch len(ports) {
	case 0:
		use.c.of(field, subject+"is no endpoint", "the endpoints are "+source.JoinWords(slices.Compact(all)))
	case 1:
	default:
		use.c.of(field, subject+"is more than one endpoint", "give the port, too")
	}
}

// checkAddresses wants names or addresses to connect to, with or without a port.
func (e *Endpoint) checkAddresses(c *complaints) {
	for i, address := range e.Addresses {
		host, port, found := splitPort(address)
		if !found {
			host, port = address, "80"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 && host != "" && !strings.ContainsAny(host, "/ ") {
			continue
		}
		n := c.given["addresses"]
		path := child(c.path, "addresses")
		if n.Kind == yaml.SequenceNode {
			n, path = resolve(n.Content[i]), element(path, i)
		}
		c.d.fault(n, Fault{Field: path, Value: source.Show(address), What: "is not an address", Want: "give a name or an address, also with a port from 1 to 65535"})
	}
}

func (e *Exchange) check(c *complaints) {
	if !c.has("connect") && !c.has("send") && !c.has("expect") && !e.Close {
		c.of("", "does nothing", "give connect, send, expect or close")
	}
}

// line notes that a step makes a connection or goes on with one, which has this
// name unless the step gives another.
func (e *Exchange) line(c *complaints, name string) {
	kind := useLine
	if c.has("connect") {
		kind = useConnect
	}
	c.d.uses = append(c.d.uses, use{kind, cmp.Or(e.Connection, name), c.node, c.path})
}

func (e *Expect) check(c *complaints) {
	if e.Messages < 1 {
		c.of("messages", "is not above 0", "give more")
	}
}

func (t *TCP) check(c *complaints) {
	t.Exchange.check(c)
	t.line(c, "tcp")
	if t.Expect != nil && c.given["expect"].Kind == yaml.MappingNode && t.Expect.Until == "" && t.Expect.Length == 0 && !t.Expect.Closed &&
		t.Expect.Contains == "" && t.Expect.Equals == "" && t.Expect.Matches.Regexp == nil {
		c.of("expect", "doesn't say when the answer is complete", "give until, length, closed, equals, contains or matches")
	}
	if !c.has("connect") {
		return
	}
	if to, ok := t.Connect.Literal(); ok && !isHostPort(strings.TrimPrefix(to, "tcp://")) {
		c.of("connect", "is not the address of a server", "give host:port")
	}
}

// isHostPort reports whether a text is a host with a port, which may have a
// name, such as http.
func isHostPort(s string) bool {
	_, port, _ := splitPort(s)
	if port == "" || strings.ContainsFunc(s, isBlank) {
		return false
	}
	n, err := strconv.Atoi(port)
	return err != nil || n > 0 && n <= 65535
}

// splitPort takes host:port apart. An IPv6 address with a port has brackets.
func splitPort(s string) (host, port string, found bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Count(s, ":") > 1 && (s[0] != '[' || s[i-1] != ']') {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (w *WebSocket) check(c *complaints) {
	w.Exchange.check(c)
	w.line(c, "webSocket")
	c.d.others = append(c.d.others, &endpointUse{c: c, endpoint: w.Endpoint})
	if !c.has("connect") {
		return
	}
	to, literal := w.Connect.Literal()
	if !literal {
		to, _, _ = strings.Cut(w.Connect.Pattern.String(), "${") // what is known of it
	}
	named := w.Endpoint.IsSet()
	switch isPath := strings.HasPrefix(to, "/"); {
	case isPath && !named:
		c.of("connect", "is a path, and there is no endpoint for it", "give endpoint, or ws:// or wss:// with host and path")
	case isPath || to == "" && (named || !literal):
	case named && (literal || strings.Contains(to, "://")):
		c.of("connect", "is not a path of the endpoint", "begin it with /, or leave endpoint out")
	case !named && literal && !isWebSocket(to):
		c.of("connect", "is not the address of a WebSocket", "give ws:// or wss:// with host and path, or endpoint and a path")
	}
}

// isWebSocket reports whether a text is a full address.
func isWebSocket(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && slices.Contains([]string{"ws", "wss", "http", "https"}, u.Scheme)
}

func (g *GRPC) check(c *complaints) {
	if method, ok := g.Method.Literal(); ok && c.has("method") && strings.Count(strings.Trim(method, "/"), "/") != 1 {
		c.of("method", "is not a method", "give package.Service/Method")
	}
	if c.has("message") && c.has("messages") {
		c.of("messages", "is given beside message", "give one of them")
	}
	for _, text := range g.Messages {
		p, err := pattern.Parse(text)
		if err != nil {
			c.of("messages", "can't be used: "+err.Error(), "")
			continue
		}
		c.d.usePattern(p, c.given["messages"], child(c.path, "messages"))
		g.Stream = append(g.Stream, p)
	}
	for _, h := range g.Metadata {
		if !strings.ContainsFunc(h.Name, notInName) && strings.Trim(strings.ToLower(h.Name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			c.of("metadata", "has the name "+source.Show(h.Name)+", which metadata can't have", "use letters, digits, hyphens, dots and underscores")
		}
	}
	c.d.others = append(c.d.others, &endpointUse{c: c, endpoint: g.Endpoint, need: true})
}
