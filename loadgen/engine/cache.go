package engine

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
)

// browses reports whether requests of the step are handled as a browser does.
func (r *requestStep) browses() bool { return r.cache || r.changes || len(r.pages) > 0 }

// cache holds answers for one user, as a browser's does: it is a private cache
// of RFC 9111. What is fresh is not asked for again; what is not, and has a
// validator, is asked for on the condition that it has changed.
type cache struct {
	answers []*answer // the oldest first
	size    int       // of their headers and bodies
}

// Limits of what a user's cache holds; the oldest go first.
const (
	maxCached     = 200
	maxCachedSize = 1 << 20
	maxFresh      = 365 * 24 * time.Hour // an answer is taken for fresh, which may last for ever
)

// answer is an answer that may be kept, as it comes, and then one that is.
type answer struct {
	endpoint   int
	target     string
	asked      string // the headers of the request, if the answer depends on them
	cookies    int    // version of the cookies that were sent, if it depends on them; or -1
	status     int
	headers    []keptHeader // if that step looks at headers
	body       []byte       // if it looks at bodies
	compressed bool
	whole      bool // headers and body are there for who wants them

	etag, modified string
	until          loop.Instant // it is fresh
	check          bool         // it is to be asked for each time (no-cache)

	// Of an answer that is coming:
	noStore   bool
	varies    bool // on what is not known
	maxAge    int64
	age       int64
	date      time.Time
	expires   time.Time
	isExpired bool // Expires has no date
}

type keptHeader struct{ name, value []byte }

// uncached are headers by which a request says itself what it wants of caches:
// the session's leaves it alone.
var uncached = []string{"Cache-Control", "Pragma", "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// caching sees whether the session's cache has to do with a request.
func (c *compiler) caching(r *requestStep, headers benchmark.Headers) {
	own, fixed := false, true
	r.asked = "Accept-Encoding: " + r.encoding
	for _, h := range headers {
		own = own || slices.ContainsFunc(uncached, func(name string) bool { return strings.EqualFold(name, h.Name) })
		value, literal := h.Value.Literal()
		fixed = fixed && literal
		r.asked += "\n" + h.Name + ": " + value
	}
	if !fixed {
		r.asked = "" // they differ from request to request
	}
	for i, e := range c.cfg.Benchmark.HTTP {
		if !e.Cache || r.endpoint >= 0 && r.endpoint != i {
			continue
		}
		switch r.method {
		case http.MethodGet, http.MethodHead:
			r.cache = !own
		case http.MethodOptions, http.MethodTrace, http.MethodConnect:
		default:
			r.changes = true
		}
	}
}

// lookUp finds an answer for the request that is being made: true means that
// nothing needs to be sent. One that has to be checked stays in q.web.kept.
func (q *request) lookUp() bool {
	q.web.kept = nil
	if !q.s.w.e.endpoints[q.endpoint].spec.Cache {
		return false
	}
	a := q.s.cache.find(q)
	switch {
	case a == nil:
	case !a.check && q.s.w.loop.Now() < a.until:
		q.web.kept = a
		return true
	case a.etag != "" || a.modified != "":
		q.web.kept = a
	}
	return false
}

func (c *cache) find(q *request) *answer {
	for _, a := range c.answers {
		if a.endpoint == q.endpoint && a.target == string(q.target) &&
			(a.asked == "" || a.asked == q.step.asked) && (a.cookies < 0 || a.cookies == q.s.cookies.version) && (a.whole || !q.step.looks()) {
			return a
		}
	}
	return nil
}

// looks reports whether the step looks at headers or bodies.
func (r *requestStep) looks() bool {
	return len(r.headerSteps) > 0 || len(r.processors) > 0 || len(r.pages) > 0
}

// remove forgets all answers for a target.
func (c *cache) remove(endpoint int, target []byte) {
	c.answers = slices.DeleteFunc(c.answers, func(a *answer) bool {
		gone := a.endpoint == endpoint && a.target == string(target)
		if gone {
			c.size -= a.size()
		}
		return gone
	})
}

// put keeps an answer instead of the one before.
func (c *cache) put(a *answer) {
	c.remove(a.endpoint, []byte(a.target))
	if a.size() > maxCachedSize {
		return
	}
	c.answers = append(c.answers, a)
	c.size += a.size()
	for len(c.answers) > maxCached || c.size > maxCachedSize {
		c.size -= c.answers[0].size()
		c.answers = slices.Delete(c.answers, 0, 1)
	}
}

func (c *cache) clear() {
	clear(c.answers)
	c.answers, c.size = c.answers[:0], 0
}

func (a *answer) size() int {
	n := len(a.target) + len(a.body)
	for _, h := range a.headers {
		n += len(h.name) + len(h.value)
	}
	return n
}

// validators are the headers that ask whether the answer has changed.
func (a *answer) validators(m Message) {
	if a.etag != "" {
		m.Header("If-None-Match", []byte(a.etag))
	}
	if a.modified != "" {
		m.Header("If-Modified-Since", []byte(a.modified))
	}
}

// newAnswer begins to take down an answer to the request, nil if it can't be
// kept.
func (q *request) newAnswer(status int) *answer {
	if q.method != http.MethodGet && q.web.kept == nil || !q.s.w.e.endpoints[q.endpoint].spec.Cache {
		return nil
	}
	switch status {
	case http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusNoContent, http.StatusNotFound, http.StatusGone, http.StatusNotModified:
		return &answer{endpoint: q.endpoint, target: string(q.target), status: status, cookies: -1, maxAge: -1, whole: q.step.looks()}
	}
	return nil
}

// header takes a header down.
func (a *answer) header(q *request, name, value []byte) {
	if a.whole {
		a.headers = append(a.headers, keptHeader{bytes.Clone(name), bytes.Clone(value)})
	}
	switch {
	case isHeader(name, "Cache-Control"):
		a.control(string(value))
	case isHeader(name, "ETag"):
		a.etag = string(value)
	case isHeader(name, "Last-Modified"):
		a.modified = string(value)
	case isHeader(name, "Expires"):
		var err error
		a.expires, err = http.ParseTime(string(value))
		a.isExpired = err != nil
	case isHeader(name, "Date"):
		a.date, _ = http.ParseTime(string(value))
	case isHeader(name, "Age"):
		age, _ := strconv.ParseInt(string(value), 10, 32) // the largest number for what is larger
		a.age = max(0, age)
	case isHeader(name, "Vary"):
		a.vary(q, string(value))
	}
}

func (a *answer) control(value string) {
	for directive := range strings.SplitSeq(value, ",") {
		name, argument, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store":
			a.noStore = true
		case "no-cache":
			a.check = true
		case "max-age":
			n, err := strconv.ParseInt(strings.Trim(argument, `"`), 10, 64)
			if err != nil || n < 0 {
				n = 0 // what can't be read is stale
			}
			a.maxAge = min(n, 1<<31)
		}
	}
}

// vary notes on which headers of the request the answer depends. Then it is for
// requests with the same headers, if they have no variables in them.
func (a *answer) vary(q *request, value string) {
	for name := range strings.SplitSeq(value, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "*", q.step.asked == "":
			a.varies = true
		case strings.EqualFold(name, "Cookie"):
			a.cookies = q.version
		}
		a.asked = q.step.asked
	}
}

// lifetime is how long the answer is fresh from when it was asked for.
func (a *answer) lifetime() (d time.Duration) {
	switch {
	case a.maxAge >= 0:
		d = time.Duration(a.maxAge) * time.Second
	case a.isExpired || a.expires.IsZero():
		return 0
	case a.date.IsZero():
		d = time.Until(a.expires)
	default:
		d = a.expires.Sub(a.date)
	}
	return min(max(d, 0), maxFresh) - time.Duration(a.age)*time.Second
}

// keep stores the answer that is complete, or brings the stored one up to date.
func (q *request) keep() {
	a, now, asked := q.web.coming, q.s.w.loop.Now(), loop.Instant(q.counts.Sent)
	q.web.coming = nil
	switch {
	case q.step.changes && q.counts.Status < http.StatusBadRequest:
		q.s.cache.remove(q.endpoint, q.target)
	case a == nil:
	case q.unchanged:
		old := q.web.kept
		old.check, old.until = a.check, asked.Add(a.lifetime())
		if a.etag != "" {
			old.etag = a.etag
		}
		if a.modified != "" {
			old.modified = a.modified
		}
		if a.noStore {
			q.s.cache.remove(q.endpoint, q.target)
		}
	case q.method != http.MethodGet || q.tooLarge || a.status == http.StatusNotModified:
	case a.noStore || a.varies:
		q.s.cache.remove(q.endpoint, q.target)
	default:
		a.until, a.compressed = asked.Add(a.lifetime()), q.compressed
		if a.until > now || a.etag != "" || a.modified != "" {
			q.s.cache.put(a)
		}
	}
}

// show hands the answer that was kept to the handlers.
func (q *request) show(a *answer) {
	q.compressed = a.compressed
	q.heed(a.status)
	for _, h := range a.headers {
		q.look(h.name, h.value)
	}
	if q.method != http.MethodHead {
		q.take(a.body)
	}
}

// serve answers the request from the cache: nothing is sent, and nothing but
// that is counted.
func (q *request) serve(at loop.Instant) {
	q.begin(at)
	q.s.w.rec.Cell(q.metric).CacheHits++
	q.show(q.web.kept)
	q.leave(q.outcome(), at)
}
