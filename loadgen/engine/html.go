package engine

import (
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/page"
	"github.com/loads/loads/loadgen/pattern"
)

// pageSpec is what is looked for in pages, compiled.
type pageSpec struct {
	tags []string
	list []func(in *instance, st *pageState, t *page.Tag)
	// Of the resources that are fetched: nil if none are.
	queue *queueSpec
	most  int
}

// pageState is a page that is being read, of one request. It is kept for the
// next page.
type pageState struct {
	q       *request
	scanner *page.Scanner
	address *url.URL // of the page, or what it says is to be taken for it
	fetched map[string]bool
	based   bool // the page has said so
	missed  bool // there were more resources than are to be fetched
}

// resources are the tags that show something, by the attribute with its address.
// Of source and track browsers choose one, so they are left out.
var resources = map[string]string{
	"img": "src", "link": "href", "embed": "src", "frame": "src", "iframe": "src", "object": "data", "script": "src",
}

// fetchedLinks are those that browsers follow by themselves.
var fetchedLinks = []string{"stylesheet", "icon", "apple-touch-icon", "manifest", "preload", "modulepreload"}

func (c *compiler) page(s *benchmark.ParseHTML) *pageSpec {
	spec := &pageSpec{tags: []string{"base"}}
	if s.OnTag != nil {
		c.tagAttribute(spec, s.OnTag)
	}
	if s.OnResource != nil {
		c.embedded(spec, s.OnResource)
	}
	return spec
}

// tagAttribute has a value taken out of tags.
func (c *compiler) tagAttribute(spec *pageSpec, s *benchmark.TagAttribute) {
	tag, attribute := strings.ToLower(s.Tag), strings.ToLower(s.Attribute)
	first := c.writes(s.ToVar)
	var array, process processor
	var list ref
	if s.ToArray != nil {
		list = c.writes(s.ToArray.Var)
		array = c.array(list, s.ToArray.Size, false)
	}
	if len(s.Processor) > 0 {
		process = c.processors(s.Processor)
	}
	spec.tags = append(spec.tags, tag)
	spec.list = append(spec.list, func(in *instance, st *pageState, t *page.Tag) {
		if t == nil { // the page begins
			if array != nil {
				in.target(list).setList(0)
			}
			if first.isSet() {
				in.target(first).kind = unset
			}
			return
		}
		value, ok := t.Get(attribute)
		if t.Name != tag || !ok {
			return
		}
		if first.isSet() && in.lookup(first) == nil {
			in.target(first).setText([]byte(value))
		}
		if array != nil {
			array(in, []byte(value))
		}
		if process != nil {
			process(in, []byte(value))
		}
	})
}

// embedded has resources of the page handled, and fetched.
func (c *compiler) embedded(spec *pageSpec, s *benchmark.EmbeddedResource) {
	var process processor
	if len(s.Processor) > 0 {
		process = c.processors(s.Processor)
	}
	if s.Fetch != nil {
		spec.queue, spec.most = c.fetch(s.Fetch), s.Fetch.MaxResources
	}
	ignore := s.IgnoreExternal
	for tag := range resources {
		spec.tags = append(spec.tags, tag)
	}
	spec.list = append(spec.list, func(in *instance, st *pageState, t *page.Tag) {
		if t == nil {
			return
		}
		value, ok := t.Get(resources[t.Name])
		if rel, _ := t.Get("rel"); !ok || strings.TrimSpace(value) == "" || t.Name == "link" && !isFetched(rel) {
			return
		}
		at := st.resolve(value)
		if at == nil {
			return
		}
		endpoint := endpointAt(in.s.w.e.cfg.Benchmark.HTTP, at)
		if endpoint < 0 && ignore {
			return
		}
		if process != nil {
			text := at.String()
			if endpoint == st.q.endpoint {
				text = targetOf(at)
			}
			process(in, []byte(text))
		}
		if spec.queue != nil && endpoint >= 0 {
			st.fetch(in, spec, at.Scheme+"://"+strings.ToLower(at.Host)+targetOf(at))
		}
	})
}

func isFetched(rel string) bool {
	return slices.ContainsFunc(strings.Fields(strings.ToLower(rel)), func(word string) bool { return slices.Contains(fetchedLinks, word) })
}

// resolve returns a full address, nil for what is not fetched over HTTP.
func (st *pageState) resolve(value string) *url.URL {
	at, err := st.address.Parse(strings.TrimSpace(value))
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil
	}
	return at
}

// fetch has a resource of the page fetched, once.
func (st *pageState) fetch(in *instance, spec *pageSpec, address string) {
	switch {
	case st.fetched[address]:
	case len(st.fetched) >= spec.most:
		if !st.missed {
			st.missed = true
			in.s.w.e.warnOnce("resources of a page were not fetched, since it has more than maxResources", "sequence", in.seq.name, "maxResources", spec.most)
		}
	default:
		st.fetched[address] = true
		in.s.enqueue(spec.queue, in, []byte(address))
	}
}

// fetch compiles a sequence that fetches what is put into its queue.
func (c *compiler) fetch(s *benchmark.FetchResource) *queueSpec {
	p := c.prog
	name := c.seq.Name + " resources " + strconv.Itoa(p.queues+1)
	seq := &sequence{number: len(p.sequences), name: name, concurrency: max(1, s.Concurrency)}
	p.sequences = append(p.sequences, seq)
	list := c.ref(pattern.Variable{Name: name})
	item := list
	item.element = true
	r := &requestStep{
		number: p.requests, metric: -1, method: http.MethodGet, path: text{from: item}, rules: s.Metric, endpoint: -1,
		body: text{fixed: true}, sync: true, multiple: len(c.cfg.Benchmark.HTTP) > 1, compensated: -1,
	}
	p.requests++
	switch {
	case len(s.Metric) == 0: // each counts under its own path
		r.rules = benchmark.Metric{{RE: benchmark.Regexp{Regexp: anything}}}
	case s.Metric[0].RE.Regexp == nil:
		r.name, r.metric = []byte(s.Metric[0].Name), p.metrics
		p.metrics++
	}
	c.ergonomics(r, nil)
	c.caching(r, nil)
	c.handlers(r, nil)
	seq.steps = []step{r.send, awaitAnswer}
	// Each page has a limit of its own, and several may be read at once.
	return c.queueOf(&queueSpec{list: list, seq: seq, most: math.MaxInt, concurrency: seq.concurrency, onEnd: c.actions(s.OnCompletion)})
}

var anything = regexp.MustCompile("(?s).*")

// refreshes looks for pages that send the user elsewhere.
var refreshes = &pageSpec{tags: []string{"base", "meta"}, list: []func(*instance, *pageState, *page.Tag){
	func(_ *instance, st *pageState, t *page.Tag) {
		if t == nil || t.Name != "meta" || st.q.web.refresh != "" {
			return
		}
		if kind, _ := t.Get("http-equiv"); !strings.EqualFold(strings.TrimSpace(kind), "refresh") {
			return
		}
		content, _ := t.Get("content")
		if pause, target, ok := parseRefresh(content); ok {
			if at, err := st.address.Parse(target); err == nil {
				st.q.web.refresh, st.q.web.pause = at.String(), pause
			}
		}
	},
}}

var refreshContent = regexp.MustCompile(`(?is)^\s*(\d*)(?:\.\d*)?\s*[;,\s]\s*(?:url\s*=\s*)?(?:"([^"]*)"?|'([^']*)'?|(\S.*?))\s*$`)

// maxPause is the longest pause of a refresh, in seconds.
const maxPause = 3600

// parseRefresh reads 5; url=/there. What only loads the page again, as 5 does,
// is no redirect.
func parseRefresh(content string) (pause time.Duration, target string, ok bool) {
	m := refreshContent.FindStringSubmatch(content)
	if m == nil {
		return 0, "", false
	}
	seconds, _ := strconv.Atoi(m[1]) // the largest number for what is larger, and 0 for nothing
	target = strings.TrimSpace(m[2] + m[3] + m[4])
	return time.Duration(min(seconds, maxPause)) * time.Second, target, target != ""
}

// beginPages begins the pages of an answer.
func (q *request) beginPages() {
	specs := q.step.pages
	if q.web.paged != q.step { // the request was one of another step, or of none
		q.web.paged, q.web.pages = q.step, q.web.pages[:0]
		for _, spec := range specs {
			q.web.pages = append(q.web.pages, newPage(q, spec))
		}
	}
	for i, spec := range specs {
		q.web.pages[i].begin(spec)
	}
}

func newPage(q *request, spec *pageSpec) *pageState {
	st := &pageState{q: q, fetched: map[string]bool{}}
	st.scanner = page.New(spec.tags, func(t *page.Tag) {
		if href, ok := t.Get("href"); ok && t.Name == "base" && !st.based { // the first counts
			st.based = true
			if at, err := st.address.Parse(href); err == nil && at.Host != "" {
				st.address = at
			}
		}
		for _, f := range spec.list {
			if q.s.stopped {
				return
			}
			f(q.in, st, t)
		}
	})
	return st
}

func (st *pageState) begin(spec *pageSpec) {
	st.scanner.Reset()
	clear(st.fetched)
	st.based, st.missed = false, false
	st.address = st.q.address()
	for _, f := range spec.list {
		f(st.q.in, st, nil)
	}
	if spec.queue != nil {
		st.q.s.produce(spec.queue)
	}
}

func (st *pageState) end(spec *pageSpec) {
	if spec.queue != nil {
		st.q.s.produced(spec.queue, st.q.in)
	}
}

// address is where the request goes.
func (q *request) address() *url.URL {
	spec := q.s.w.e.endpoints[q.endpoint].spec
	base := &url.URL{Scheme: spec.Protocol, Host: spec.Authority()}
	if at, err := base.Parse(string(q.target)); err == nil {
		return at
	}
	return base
}

// readPages gives a piece of the body to the pages.
func (q *request) readPages(piece []byte) {
	if !q.inPages {
		q.inPages = true
		q.handle(q.beginPages)
	}
	q.handle(func() {
		for _, st := range q.web.pages {
			st.scanner.Write(piece)
		}
	})
}

// endOfPages gives them what they lack of a complete answer, and ends them.
func (q *request) endOfPages() {
	if q.compressed && !q.tooLarge && q.inflate() {
		q.readPages(q.body)
	}
	if !q.inPages { // of an empty page, too, the resources are fetched now
		q.readPages(nil)
	}
	q.endPages()
}

// endPages ends the pages that have begun.
func (q *request) endPages() {
	if !q.inPages {
		return
	}
	q.inPages = false
	q.handle(func() {
		for i, spec := range q.step.pages {
			q.web.pages[i].end(spec)
		}
	})
}

// pageProcessor reads a page that is there as a whole, as one within another
// document is.
func (c *compiler) pageProcessor(s *benchmark.ParseHTML) processor {
	spec := c.page(s)
	c.addressed = true
	return func(in *instance, value []byte) {
		q := in.s.current
		if q == nil || q.step.talk != nil {
			in.s.w.e.warnOnce("a page was not read, since it is not in an answer of httpRequest", "sequence", in.seq.name)
			return
		}
		st := newPage(q, spec)
		st.begin(spec)
		st.scanner.Write(value)
		st.end(spec)
	}
}
