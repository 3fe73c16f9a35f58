package engine

import (
	"bytes"
	"fmt"
	"time"

	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/stats"
)

// request is a request of a session and its answer. Sessions keep their requests
// for the next ones.
type request struct {
	s        *Session
	in       *instance // that has sent it
	step     *requestStep
	busy     bool
	endpoint int
	metric   int
	method   string
	exchange []Exchange // by endpoint
	dialog   *dialog    // of steps that aren't HTTP; nil if it had none
	own      []Message  // by endpoint: messages that differ between requests
	drawn    *requestStep
	version  int // of the cookies that the message has

	counts     stats.Request
	invalid    string // why the answer is not as it should be
	ignored    bool   // a redirect: only the last answer is handled
	hops       int
	away       bool // redirects have led to another server
	location   []byte
	target     []byte // path of the request, if it isn't always the same
	compressed bool
	body       []byte // if somebody wants it
	tooLarge   bool
	closing    bool   // the connection is to be closed behind the answer
	hold       []Hold // by endpoint: for requests that may close their connection

	web       *browsing // of requests that need it
	inPages   bool      // pages have begun
	hit       bool      // the cache has the answer
	unchanged bool      // the server says that the cache's answer still holds
}

// browsing is what a request needs that is done as a browser does it.
type browsing struct {
	paged   *requestStep // whose pages there are
	pages   []*pageState
	refresh string        // where a page sends the user, and after how long
	pause   time.Duration // a pause that comes before the next hop
	next    hop           // what comes after the pause
	timer   loop.Timer
	kept    *answer // of the cache, for this request
	coming  *answer // that may be kept
}

// maxBody is the largest body that processors get; a larger one is counted, and
// makes the request invalid.
const maxBody = 64 << 20

// send is the step that sends a request. When as many are under way as may,
// it waits, and the wait is in the latency.
func (r *requestStep) send(in *instance) verdict {
	s := in.s
	if s.busy >= s.prog.maxRequests {
		return wait
	}
	q := s.request()
	q.in, q.step, q.hops, q.method = in, r, 0, r.method
	q.busy, q.hit, q.away = true, false, false
	if r.browses() && q.web == nil {
		q.web = &browsing{}
	}
	s.busy++
	s.w.loop.Await(1)
	in.refs++
	if r.sync {
		in.pending = q
	}
	if err := q.prepare(); err != nil {
		q.drop()
		in.fail(err)
		return over
	}
	q.start(in.at)
	return next
}

// awaitAnswer is the step that waits for it. A request that has ended may be
// another instance's by now.
func awaitAnswer(in *instance) verdict {
	if q := in.pending; q != nil && q.busy && q.in == in {
		return wait
	}
	in.pending = nil
	return next
}

// request returns one that is not under way.
func (s *Session) request() *request {
	for _, q := range s.requests {
		if !q.busy {
			return q
		}
	}
	q := &request{s: s, exchange: make([]Exchange, len(s.w.transports)), own: make([]Message, len(s.w.transports))}
	s.requests = append(s.requests, q)
	return q
}

// prepare makes the message, unless it is the one of the request before.
func (q *request) prepare() error {
	r, s := q.step, q.s
	s.cookies.expire(s.w.loop.Now())
	if r.noteTarget && r.fixed {
		q.target = append(q.target[:0], r.fixedTarget...)
	}
	if r.fixed && !r.cache && !r.agent && (!r.keepCookies || s.cookies.isEmpty()) {
		q.endpoint = r.endpoint
		return q.shareMessage()
	}
	if r.fixed && !r.cache && q.drawn == r && q.version == s.cookies.version {
		q.endpoint = r.endpoint
		q.metric = r.metricOf(q.in, "", r.path.literal)
		return nil
	}
	return q.draw()
}

// shareMessage takes the message that all requests of the step share.
func (q *request) shareMessage() error {
	r, p := q.step, q.s.phase
	q.metric = r.metricOf(q.in, q.s.w.e.endpoints[r.endpoint].host, r.path.literal)
	q.drawn = nil
	if p.messages[r.number] != nil {
		return nil
	}
	m := q.s.w.transports[r.endpoint].NewMessage()
	if err := q.fill(m, r.path.literal); err != nil {
		return err
	}
	p.messages[r.number] = m
	return nil
}

// draw makes a message of the request's own.
func (q *request) draw() error {
	r, w := q.step, q.s.w
	q.drawn = nil
	path, err := r.path.append(w.body(), q.in)
	if err != nil {
		return err
	}
	defer func() { w.giveBody(path) }()
	target := path
	if q.endpoint = r.endpoint; q.endpoint < 0 {
		if target, err = q.findEndpoint(path); err != nil {
			return err
		}
	}
	q.metric = r.metricOf(q.in, w.e.endpoints[q.endpoint].host, target)
	if err := q.fill(q.message(), target); err != nil {
		return err
	}
	q.drawn = r
	return nil
}

// path returns where on its server the request goes, with its query.
func (q *request) path() []byte {
	if r := q.step; !r.noteTarget {
		return r.fixedTarget
	}
	return q.target
}

// message returns the request's own message.
func (q *request) message() Message {
	if q.own[q.endpoint] == nil {
		q.own[q.endpoint] = q.s.w.transports[q.endpoint].NewMessage()
	}
	return q.own[q.endpoint]
}

// findEndpoint finds the endpoint that the step names, or the address in its
// path, and returns the path on it.
func (q *request) findEndpoint(path []byte) ([]byte, error) {
	r, w := q.step, q.s.w
	endpoints := w.e.cfg.Benchmark.HTTP
	if r.to.fixed || r.to.from.isSet() || !r.to.pattern.IsEmpty() {
		name, err := r.to.append(nil, q.in)
		if err != nil {
			return nil, err
		}
		if q.endpoint = findEndpoint(endpoints, string(name)); q.endpoint < 0 {
			return nil, fmt.Errorf("%q is no endpoint", name)
		}
		return path, nil
	}
	authority, target, full, err := splitURL(path)
	if err != nil {
		return nil, err
	}
	q.endpoint = defaultEndpoint(endpoints)
	if full {
		if q.endpoint = findEndpoint(endpoints, authority); q.endpoint < 0 {
			return nil, fmt.Errorf("%s is no endpoint", authority)
		}
	}
	return target, nil
}

// fill writes the message.
func (q *request) fill(m Message, target []byte) error {
	r, s, w := q.step, q.s, q.s.w
	s.cookies.expire(w.loop.Now())
	q.version = s.cookies.version
	if authority, path, full, err := splitURL(target); err == nil && full && authority != "" {
		target = path
	}
	if r.noteTarget {
		q.target = append(q.target[:0], target...)
	}
	if q.hit = r.cache && q.lookUp(); q.hit {
		return nil
	}
	host := w.e.endpoints[q.endpoint].host
	if r.ownHost && !q.away {
		host = ""
	}
	m.Begin(q.method, target, host)
	var err error
	value := w.body()
	defer func() { w.giveBody(value) }()
	for i := range r.headers {
		if q.away && r.headers[i].here {
			continue
		}
		if value, err = r.headers[i].value.append(value[:0], q.in); err != nil {
			return fmt.Errorf("header %s: %w", r.headers[i].name, err)
		}
		m.Header(r.headers[i].name, value)
	}
	if r.agent {
		value = s.userAgent(value[:0])
		m.Header("User-Agent", value)
	}
	if r.encoding != "" {
		m.Header("Accept-Encoding", []byte(r.encoding))
	}
	if r.keepCookies {
		if value = s.cookies.append(value[:0], w.e.endpoints[q.endpoint].spec, target); len(value) > 0 {
			m.Header("Cookie", value)
		}
	}
	if r.cache && q.web.kept != nil {
		q.web.kept.validators(m)
	}
	body, err := q.bodyOf(m, value[:0])
	if err != nil {
		return err
	}
	if err := m.End(body); err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	return nil
}

// bodyOf returns the body, written behind dst if it isn't always the same.
func (q *request) bodyOf(m Message, dst []byte) ([]byte, error) {
	r := q.step
	if q.hops > 0 && q.method != r.method {
		return nil, nil // a redirect by GET
	}
	if r.isForm {
		m.Header("Content-Type", []byte("application/x-www-form-urlencoded"))
		for i, f := range r.form {
			if i > 0 {
				dst = append(dst, '&')
			}
			dst = append(append(dst, f.name...), '=')
			var err error
			if dst, err = f.value.append(dst, q.in); err != nil {
				return nil, fmt.Errorf("field %s of the form: %w", f.name, err)
			}
		}
		return bytes.Clone(dst), nil
	}
	if r.body.fixed {
		return r.body.literal, nil
	}
	body, err := r.body.append(dst, q.in)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return bytes.Clone(body), nil
}

// start sends the request, or takes its answer from the cache.
func (q *request) start(intended loop.Instant) {
	if q.hit {
		q.serve(intended)
		return
	}
	q.do(intended)
}

// begin forgets the answer before.
func (q *request) begin(intended loop.Instant) {
	q.counts = stats.Request{Intended: int64(intended)}
	q.invalid, q.ignored, q.compressed, q.tooLarge, q.location = "", false, false, false, q.location[:0]
	q.closing = false
	q.inPages, q.unchanged = false, false
	if q.web != nil {
		q.web.refresh, q.web.coming = "", nil
	}
}

// do hands the request over; intended is when it should have left.
func (q *request) do(intended loop.Instant) {
	r, s, w := q.step, q.s, q.s.w
	q.begin(intended)
	x := q.exchange[q.endpoint]
	if x == nil {
		x = w.transports[q.endpoint].NewExchange(q)
		q.exchange[q.endpoint] = x
	}
	m := q.own[q.endpoint]
	if q.drawn == nil && q.hops == 0 {
		m = s.phase.messages[r.number]
	}
	ep := &w.e.endpoints[q.endpoint]
	o := Options{Timeout: time.Duration(ep.spec.Timeout), Headers: r.wantHeaders, Patient: q.isPatient()}
	if r.timeout != nil {
		o.Timeout = *r.timeout
	}
	switch {
	case ep.holds:
		o.Hold = hold(&s.holds, w, q.endpoint)
	case r.closes:
		o.Hold = hold(&q.hold, w, q.endpoint)
	}
	x.Do(m, o)
}

// isPatient reports whether the user is gone as soon as the answer has come, and
// nothing depends on when that is known.
func (q *request) isPatient() bool {
	return q.step.last && q.s.phase.timetable != nil && len(q.s.instances) == 1 && q.in.seq.queue == nil
}

// hold returns what keeps connections to an endpoint, and makes it if there is
// none.
func hold(list *[]Hold, w *worker, endpoint int) Hold {
	if *list == nil {
		*list = make([]Hold, len(w.transports))
	}
	if (*list)[endpoint] == nil {
		(*list)[endpoint] = w.transports[endpoint].NewHold()
	}
	return (*list)[endpoint]
}

// release gives the connection back that was kept until it was known whether to
// close it.
func (q *request) release() {
	switch {
	case q.hold != nil && q.hold[q.endpoint] != nil:
		q.hold[q.endpoint].Release(q.closing)
	case q.closing && q.s.holds != nil && q.s.holds[q.endpoint] != nil:
		q.s.holds[q.endpoint].Release(true)
	}
}

// drop gives the request back to the session.
func (q *request) drop() {
	if q.busy {
		q.busy = false
		if q.web != nil {
			q.s.w.loop.Stop(&q.web.timer)
		}
		q.s.busy--
		q.s.w.loop.Await(-1)
		q.in.refs--
		q.s.again = true
	}
}

// cancel ends the request if it is under way.
func (q *request) cancel() {
	switch {
	case q.web != nil && q.web.next.target != nil: // it waits for its next hop
		q.web.next = hop{}
		q.drop()
	case q.busy:
		q.carrier().Cancel()
	}
}
