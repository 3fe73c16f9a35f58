package engine

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/pattern"
)

// requestStep is a compiled request. It is shared by all loops and not changed.
type requestStep struct {
	number   int // among the requests of the program
	metric   int // among its metrics; -1 if the name depends on the request
	name     []byte
	rules    benchmark.Metric
	method   string
	path     text
	to       text // name or authority of the endpoint, if it isn't fixed
	endpoint int  // -1 if the request itself says
	headers  []header
	ownHost  bool // a header tells the host
	body     text
	form     []formField
	isForm   bool
	fixed    bool // all requests are the same, but for cookies
	encoding string
	agent    bool           // send a User-Agent that names the session
	timeout  *time.Duration // nil is the endpoint's

	statuses    []statusHandler
	headerSteps []headerHandler
	processors  []processor
	completion  []action
	wantHeaders bool
	rangeCheck  bool
	stopInvalid bool
	redirects   bool
	pages       []*pageSpec // what is looked for in pages
	keepCookies bool

	noteTarget  bool   // the request notes where it goes
	fixedTarget []byte // where requests go that are all the same
	cache       bool   // its answers may be kept by the session
	changes     bool   // it makes kept answers outdated
	asked       string // its headers, empty if they have variables
	multiple    bool   // there are several endpoints: rules match authority and path
	sync        bool
	closes      bool // its connection may be closed behind it
	last        bool // nothing is done with its answer, or after it in its sequence

	talk talkStep // nil is a request of HTTP

	compensated     int // metric that counts from the phase's rhythm, or -1
	compensatedName []byte
}

type header struct {
	name  string
	value text
	here  bool // for the step's own server only, not for one that redirects lead to
}

// hereOnly are headers that say who the user is to a server, or which it is.
var hereOnly = []string{"Authorization", "Cookie", "Host"}

type formField struct {
	name  []byte
	value text
}

// maxRedirects is how many redirects are followed one after the other.
const maxRedirects = 20

// noBlockedLimit is the SLA of requests that wait for connections of their own.
func noBlockedLimit() benchmark.SLAs {
	one := 1.0
	return benchmark.SLAs{{BlockedRatio: &one}}
}

// zeroBlocked is the SLA of requests that have none: no wait for connections.
func zeroBlocked() benchmark.SLAs {
	var none float64
	return benchmark.SLAs{{BlockedRatio: &none}}
}

// httpRequest compiles a request into a step that sends it and one that waits
// for the answer.
func (c *compiler) httpRequest(s *benchmark.HTTPRequest) []step {
	r := &requestStep{
		number: c.prog.requests, metric: -1, method: s.Method, path: c.text(s.Path), rules: s.Metric, sync: s.Sync,
		encoding: "", multiple: len(c.cfg.Benchmark.HTTP) > 1,
	}
	c.prog.requests++
	c.target(r, s)
	c.ergonomics(r, s.Handler)
	c.metricName(r, s)
	if s.Timeout != nil {
		limit := time.Duration(*s.Timeout)
		r.timeout = &limit
	}
	if s.Compression != nil {
		if t := s.Compression.Type; t == "TRANSFER_ENCODING" {
			c.fault("asks for compression as TRANSFER_ENCODING", "use CONTENT_ENCODING, or leave type out")
		}
		r.encoding = s.Compression.Encoding
	}
	for _, h := range s.Headers {
		here := slices.ContainsFunc(hereOnly, func(name string) bool { return strings.EqualFold(name, h.Name) })
		r.headers = append(r.headers, header{h.Name, c.text(h.Value), here})
		r.ownHost = r.ownHost || strings.EqualFold(h.Name, "Host")
		r.agent = r.agent && !strings.EqualFold(h.Name, "User-Agent")
	}
	c.body(r, s.Body)
	r.fixed = r.path.fixed && r.body.fixed && len(r.form) == 0 && r.endpoint >= 0
	for _, h := range r.headers {
		r.fixed = r.fixed && h.value.fixed
	}
	c.compensate(r, s)
	c.caching(r, s.Headers)
	c.handlers(r, s.Handler)
	if r.fixed {
		r.fixedTarget = r.path.literal
		if _, path, full, err := splitURL(r.path.literal); full && err == nil {
			r.fixedTarget = path
		}
	}
	c.request = r
	steps := []step{r.send}
	if r.sync {
		steps = append(steps, awaitAnswer)
	}
	return steps
}

// isHandled reports whether something is done with the answer but to count it.
func (r *requestStep) isHandled() bool {
	return r.redirects || r.browses() || len(r.statuses)+len(r.headerSteps)+len(r.processors)+len(r.completion) > 0
}

// target finds the endpoint, or how the request says it.
func (c *compiler) target(r *requestStep, s *benchmark.HTTPRequest) {
	endpoints := c.cfg.Benchmark.HTTP
	r.endpoint = -1
	switch {
	case s.Endpoint.IsSet():
		r.to = c.text(s.Endpoint)
	case s.Authority.IsSet():
		r.to = c.text(s.Authority)
	default:
		if path, ok := s.Path.Literal(); ok && strings.Contains(path, "://") {
			return // found when it is sent, as its path has to be taken apart
		}
		r.endpoint = defaultEndpoint(endpoints)
		return
	}
	if r.to.fixed {
		r.endpoint = findEndpoint(endpoints, string(r.to.literal))
	}
}

// defaultEndpoint is the only one, or the first without a name.
func defaultEndpoint(endpoints benchmark.Endpoints) int {
	for i := range endpoints {
		if endpoints[i].Name == "" {
			return i
		}
	}
	return 0
}

// findEndpoint returns the endpoint of a name or authority, -1 if there is none.
func findEndpoint(endpoints benchmark.Endpoints, to string) int {
	for i := range endpoints {
		if e := &endpoints[i]; to == e.Name && to != "" || strings.EqualFold(to, e.Authority()) || strings.EqualFold(to, e.Host) {
			return i
		}
	}
	return -1
}

// endpointAt returns the endpoint at a full address, -1 if there is none.
func endpointAt(endpoints benchmark.Endpoints, at *url.URL) int {
	authority := authorityOf(at)
	return slices.IndexFunc(endpoints, func(e benchmark.Endpoint) bool {
		return e.Protocol == at.Scheme && strings.EqualFold(authority, e.Authority())
	})
}

// authorityOf is host:port of a full address.
func authorityOf(at *url.URL) string {
	if at.Port() != "" {
		return at.Host
	}
	return strings.TrimSuffix(at.Host, ":") + map[string]string{"http": ":80", "https": ":443"}[at.Scheme]
}

// targetOf is the path and query of a full address, with spaces as browsers
// encode them.
func targetOf(at *url.URL) string { return strings.ReplaceAll(at.RequestURI(), " ", "%20") }

// ergonomics takes what requests do without being told.
func (c *compiler) ergonomics(r *requestStep, h *benchmark.HTTPHandler) {
	e := c.cfg.Benchmark.Ergonomics
	r.rangeCheck, r.stopInvalid, r.keepCookies, r.agent = e.AutoRangeCheck, e.StopOnInvalid, e.RepeatCookies, e.UserAgent
	follow := e.FollowRedirect
	if h != nil {
		if h.AutoRangeCheck != nil {
			r.rangeCheck = *h.AutoRangeCheck
		}
		if h.StopOnInvalid != nil {
			r.stopInvalid = *h.StopOnInvalid
		}
		if h.FollowRedirect != nil {
			follow = *h.FollowRedirect
		}
	}
	switch follow {
	case benchmark.LocationOnly:
		r.redirects = true
	case benchmark.HTMLOnly, benchmark.Always:
		r.redirects = follow == benchmark.Always
		r.pages = append(r.pages, refreshes)
	case benchmark.Never:
	}
}

// metricName finds the metric if it is always the same, and notes its limits.
func (c *compiler) metricName(r *requestStep, s *benchmark.HTTPRequest) {
	slas := s.SLA
	if len(slas) == 0 {
		slas = zeroBlocked()
		for _, e := range c.cfg.Benchmark.HTTP {
			if e.Strategy == benchmark.OpenOnRequest || e.Strategy == benchmark.AlwaysNew {
				slas = noBlockedLimit()
			}
		}
	}
	limit := func(name string) { c.prog.limits = append(c.prog.limits, metricLimit{name, slas}) }
	if len(s.Metric) == 0 || s.Metric[0].RE.Regexp == nil {
		r.name = []byte(c.seq.Name)
		if len(s.Metric) > 0 {
			r.name = []byte(s.Metric[0].Name)
		}
		r.metric = c.prog.metrics
		c.prog.metrics++
		limit(string(r.name))
		return
	}
	for _, rule := range s.Metric {
		if rule.Name == "" || strings.Contains(rule.Name, "$") {
			if len(s.SLA) > 0 {
				c.fault("has limits for metrics whose names depend on the path", "give the limits in customSla of the phase, by name")
			}
			continue
		}
		limit(rule.Name)
	}
	limit(c.seq.Name) // when no rule fits
}

// body compiles what is sent.
func (c *compiler) body(r *requestStep, b *benchmark.Body) {
	r.body = text{fixed: true}
	switch {
	case b == nil:
	case b.Text != "":
		r.body = text{fixed: true, literal: []byte(b.Text)}
	case !b.Pattern.IsEmpty():
		r.body = c.patternText(b.Pattern)
	case b.FromVar.Name != "":
		r.body = text{from: c.reads(b.FromVar)}
	case b.FromFile != "":
		data, _ := c.file(b.FromFile)
		r.body = text{fixed: true, literal: data}
	case len(b.Form) > 0:
		r.isForm = true
		for i := range b.Form {
			r.form = append(r.form, c.formField(&b.Form[i]))
		}
	}
}

func (c *compiler) formField(f *benchmark.Input) formField {
	field := formField{name: []byte(url.QueryEscape(f.Name))}
	switch {
	case f.FromVar.Name != "":
		p, _ := pattern.Parse("${urlencode:" + pattern.Variable(f.FromVar).String() + "}") // a variable's name is always right
		field.value = c.patternText(p)
	case !f.Pattern.IsEmpty():
		p, err := f.Pattern.URLEncoded()
		if err != nil {
			c.fault("has a field of a form that can't be sent: "+err.Error(), "leave urlencode out")
		}
		if literal, ok := p.Literal(); ok {
			field.value = text{fixed: true, literal: []byte(url.QueryEscape(literal))}
		} else {
			field.value = c.patternText(p)
		}
	default:
		field.value = text{fixed: true, literal: []byte(url.QueryEscape(f.Value))}
	}
	return field
}

// metricOf returns the number of the request's metric in the recorder.
func (r *requestStep) metricOf(in *instance, authority string, path []byte) int {
	p := in.s.phase
	if r.metric >= 0 {
		if p.metrics[r.metric] < 0 {
			p.metrics[r.metric] = p.w.rec.Metric(p.number, r.name)
		}
		return p.metrics[r.metric]
	}
	w := p.w
	subject := path
	if r.multiple {
		w.buffer = append(append(w.buffer[:0], authority...), path...)
		subject = w.buffer
	}
	name := []byte(in.seq.name)
	for i := range r.rules {
		if found, ok := metricBy(&r.rules[i], subject); ok {
			name = found
			break
		}
	}
	return w.rec.Metric(p.number, name)
}

// metricBy returns the name that a rule gives, and whether it fits.
func metricBy(rule *benchmark.MetricRule, subject []byte) ([]byte, bool) {
	re := rule.RE.Regexp
	if re == nil {
		return []byte(rule.Name), true
	}
	match := re.FindSubmatchIndex(subject)
	switch {
	case match == nil:
		return nil, false
	case rule.Name == "":
		return subject[match[0]:match[1]], true
	}
	return re.Expand(nil, []byte(dollars.ReplaceAllString(rule.Name, "$${$1}")), subject, match), true
}

// dollars finds $1, which Go would take for a part of a longer name.
var dollars = regexp.MustCompile(`\$(\d+)`)

// userAgent is the header of a session: which machine, and which user.
func (s *Session) userAgent(dst []byte) []byte {
	dst = append(dst, "loads/"...)
	dst = strconv.AppendInt(dst, int64(s.w.e.cfg.Machine), 10)
	return strconv.AppendInt(append(dst, '#'), int64(s.id), 10)
}

// splitURL takes a full address apart; ok is false for a path.
func splitURL(target []byte) (authority string, path []byte, ok bool, err error) {
	if !bytes.HasPrefix(target, []byte("http://")) && !bytes.HasPrefix(target, []byte("https://")) {
		return "", target, false, nil
	}
	u, err := url.Parse(string(target))
	if err != nil {
		return "", nil, true, fmt.Errorf("the address %q is not one: %w", cut(target), err)
	}
	return authorityOf(u), []byte(targetOf(u)), true, nil
}
