package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/talk"
)

// talkStep is what a step does that is no request of HTTP.
type talkStep interface {
	// prepare evaluates what the conversation depends on, on the loop, and returns
	// the subject of the metric's rules and what is to be done in a goroutine.
	// ready is false when the step has to wait.
	prepare(q *request) (subject string, t talking, ready bool, err error)
}

// talking is a conversation that is about to begin.
type talking struct {
	keep func(talk.Conn)
	work func(ctx context.Context, r *dialogRun) outcome
}

// lineStep is a compiled step of TCP or WebSocket.
type lineStep struct {
	name      string // of the connection
	connect   *text
	to        text // name of an endpoint, of WebSocket
	endpoint  bool
	headers   []header
	protocols []string
	webSocket bool
	tls       *tls.Config
	send      *text
	binary    bool
	expect    *talk.Expect
	close     bool
}

// talk compiles a step into one that begins the conversation and one that
// waits for its end.
func (c *compiler) talk(t talkStep, timeout benchmark.Timeout, metric benchmark.Metric, sla benchmark.SLAs, sync bool, handle benchmark.Processors, done benchmark.Actions) []step {
	limit := time.Duration(timeout)
	r := &requestStep{
		number: c.prog.requests, metric: -1, rules: metric, sync: sync, compensated: -1, talk: t, timeout: &limit,
		stopInvalid: c.cfg.Benchmark.Ergonomics.StopOnInvalid, path: text{fixed: true},
	}
	c.prog.requests++
	c.metricName(r, &benchmark.HTTPRequest{Metric: metric, SLA: sla})
	if len(handle) > 0 {
		r.processors = []processor{c.processors(handle)}
	}
	if len(done) > 0 {
		r.completion = []action{c.actions(done)}
	}
	if !sync {
		return []step{r.talkOver}
	}
	return []step{r.talkOver, awaitAnswer}
}

// talkOver is the step that begins a conversation.
func (r *requestStep) talkOver(in *instance) verdict {
	s := in.s
	if s.busy >= s.prog.maxRequests {
		return wait
	}
	q := s.request()
	q.in, q.step, q.hops, q.endpoint, q.drawn = in, r, 0, 0, nil
	subject, t, ready, err := r.talk.prepare(q)
	switch {
	case err != nil:
		in.fail(err)
		return over
	case !ready:
		return wait
	}
	q.metric = r.metricOf(in, "", []byte(subject))
	q.begin(in.at)
	q.busy = true
	s.busy++
	s.w.loop.Await(1)
	in.refs++
	if r.sync {
		in.pending = q
	}
	if q.dialog == nil {
		q.dialog = &dialog{q: q}
	}
	q.dialog.begin(*r.timeout, t.keep, t.work)
	return next
}

// exchange compiles what TCP and WebSocket have in common.
func (c *compiler) exchange(e *benchmark.Exchange, l *lineStep) []step {
	if e.Connection != "" {
		l.name = e.Connection
	}
	l.close = e.Close
	if e.Connect != nil {
		t := c.text(*e.Connect)
		l.connect = &t
	}
	if e.Send != nil {
		t := c.payload(e.Send)
		l.send, l.binary = &t, e.Send.Binary
	}
	var handle benchmark.Processors
	if x := e.Expect; x != nil {
		l.expect = &talk.Expect{
			Until: []byte(x.Until), Length: int(x.Length), Closed: x.Closed, MaxSize: int(x.MaxSize), Messages: x.Messages,
			Equals: []byte(x.Equals), Contains: []byte(x.Contains), Matches: x.Matches.Regexp,
		}
		handle = x.Handle
	}
	return c.talk(l, e.Timeout, e.Metric, e.SLA, true, handle, nil)
}

func (c *compiler) tcp(s *benchmark.TCP) []step {
	l := &lineStep{name: "tcp"}
	if s.TLS {
		l.tls = &tls.Config{InsecureSkipVerify: true}
	}
	return c.exchange(&s.Exchange, l)
}

func (c *compiler) webSocket(s *benchmark.WebSocket) []step {
	l := &lineStep{name: "webSocket", webSocket: true, protocols: s.Subprotocols, tls: &tls.Config{InsecureSkipVerify: true}}
	if s.Endpoint.IsSet() {
		l.endpoint, l.to = true, c.text(s.Endpoint)
	}
	for _, h := range s.Headers {
		l.headers = append(l.headers, header{name: h.Name, value: c.text(h.Value)})
	}
	return c.exchange(&s.Exchange, l)
}

// payload compiles what is sent.
func (c *compiler) payload(p *benchmark.Payload) text {
	switch {
	case p.Text != "":
		return text{fixed: true, literal: []byte(p.Text)}
	case p.FromVar.Name != "":
		return text{from: c.reads(p.FromVar)}
	case p.FromFile != "":
		data, _ := c.file(p.FromFile)
		return text{fixed: true, literal: data}
	case p.Base64 != "":
		data, err := base64.StdEncoding.DecodeString(p.Base64)
		if err != nil {
			c.fault("sends what is not base64: "+err.Error(), "")
		}
		return text{fixed: true, literal: data}
	case p.Pattern.IsEmpty():
		return text{fixed: true}
	}
	return c.patternText(p.Pattern)
}

// prepare implements talkStep.
func (l *lineStep) prepare(q *request) (subject string, t talking, ready bool, err error) {
	s, in := q.s, q.in
	at := s.line(l.name)
	if at != nil && at.busy {
		return "", t, false, nil
	}
	dial := func(context.Context, func() *talk.Note) (talk.Conn, error) { return nil, errBroken(l.name) }
	switch {
	case l.connect != nil:
		if subject, dial, err = l.dialer(in); err != nil {
			return "", t, false, err
		}
		if at == nil {
			at = &line{name: l.name}
			s.lines = append(s.lines, at)
		}
	case at == nil:
		return "", t, false, fmt.Errorf("there is no connection %s: a step before must connect", l.name)
	}
	var payload []byte
	if l.send != nil {
		if payload, err = l.send.append(nil, in); err != nil {
			return "", t, false, fmt.Errorf("what is sent: %w", err)
		}
	}
	conn, handles := at.conn, len(q.step.processors) > 0
	if l.connect != nil && conn != nil {
		conn.Drop()
		conn = nil
	}
	at.conn, at.busy = nil, true
	t.keep = func(c talk.Conn) { at.conn, at.busy = c, false }
	t.work = func(ctx context.Context, r *dialogRun) outcome {
		at.note = &r.note
		var o outcome
		if o.conn = conn; o.conn == nil {
			if o.conn, o.err = dial(ctx, func() *talk.Note { return at.note }); o.err != nil {
				return outcome{err: o.err}
			}
		}
		if l.converse(ctx, r, &o, payload, handles); o.err != nil || l.close {
			if o.err == nil {
				o.err = o.conn.Close(ctx)
			} else {
				o.conn.Drop()
			}
			o.conn = nil
		}
		return o
	}
	return subject, t, true, nil
}

// converse sends and waits, in a goroutine.
func (l *lineStep) converse(ctx context.Context, r *dialogRun, o *outcome, payload []byte, handles bool) {
	if l.send != nil {
		if o.err = o.conn.Send(ctx, payload, l.binary); o.err != nil {
			return
		}
	}
	if l.expect == nil {
		return
	}
	var answer []byte
	if answer, o.invalid, o.err = o.conn.Receive(ctx, l.expect); o.err == nil && handles {
		r.answer(ctx, bytes.Clone(answer))
	}
}

// dialer evaluates where to connect to.
func (l *lineStep) dialer(in *instance) (subject string, dial func(context.Context, func() *talk.Note) (talk.Conn, error), err error) {
	address, err := l.connect.append(nil, in)
	if err != nil {
		return "", nil, fmt.Errorf("connect: %w", err)
	}
	subject = string(address)
	if !l.webSocket {
		to := strings.TrimPrefix(subject, "tcp://")
		return subject, func(ctx context.Context, note func() *talk.Note) (talk.Conn, error) {
			c, err := talk.DialTCP(ctx, to, l.tls, note)
			return c, err
		}, nil
	}
	target := &talk.WebSocketTarget{URL: subject, TLS: l.tls, Header: http.Header{}, Subprotocols: l.protocols}
	if l.endpoint {
		name, err := l.to.append(nil, in)
		if err != nil {
			return "", nil, fmt.Errorf("endpoint: %w", err)
		}
		w := in.s.w
		i := findEndpoint(w.e.cfg.Benchmark.HTTP, string(name))
		if i < 0 {
			return "", nil, fmt.Errorf("%q is no endpoint", name)
		}
		ep := &w.e.endpoints[i]
		target.URL, target.TLS, target.Address = "ws"+strings.TrimPrefix(ep.spec.Protocol, "http")+"://"+ep.host+subject, alpn(ep.tls, "http/1.1"), ep.dialTo(w)
	}
	for i := range l.headers {
		value, err := l.headers[i].value.append(nil, in)
		if err != nil {
			return "", nil, fmt.Errorf("header %s: %w", l.headers[i].name, err)
		}
		target.Header.Add(l.headers[i].name, string(value))
	}
	return subject, func(ctx context.Context, note func() *talk.Note) (talk.Conn, error) {
		c, err := talk.DialWebSocket(ctx, target, note)
		return c, err
	}, nil
}

// dialTo returns an address for a new connection that the library makes: one of
// those that the endpoint gives, in turn, or its name.
func (ep *endpoint) dialTo(w *worker) string {
	all := ep.spec.Addresses
	if len(all) == 0 {
		return ep.spec.Authority()
	}
	w.turn++
	return withPort(all[w.turn%len(all)], ep.spec.Port)
}
