package engine

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/talk"
)

// grpcStep is a compiled call.
type grpcStep struct {
	endpoint text // name; not set is the default endpoint
	named    bool
	method   text
	found    *talk.Method // if it is always the same
	services *talk.Services
	messages []text
	metadata []header
	expect   string
}

func (c *compiler) grpc(s *benchmark.GRPC) []step {
	g := &grpcStep{method: c.text(s.Method), expect: s.Expect, named: s.Endpoint.IsSet()}
	if g.named {
		g.endpoint = c.text(s.Endpoint)
	}
	if !talk.IsStatus(s.Expect) {
		c.fault("expects the status "+strconv.Quote(s.Expect)+", which gRPC doesn't have", "give one such as OK or NOT_FOUND")
	}
	c.grpcEndpoint(g)
	if data, ok := c.file(s.Descriptors); ok {
		var err error
		if g.services, err = talk.ReadServices(data); err != nil {
			c.fault("has descriptors that can't be used: "+err.Error(), "make them with protoc --include_imports --descriptor_set_out")
		} else if g.method.fixed {
			if g.found, err = g.services.Method(string(g.method.literal)); err != nil {
				c.fault("has a method that can't be called: "+err.Error(), "give package.Service/Method")
			}
		}
	}
	switch {
	case len(s.Stream) > 0:
		for _, p := range s.Stream {
			g.messages = append(g.messages, c.patternText(p))
		}
	case s.Message != nil:
		g.messages = []text{c.payload(s.Message)}
	default:
		g.messages = []text{{fixed: true, literal: []byte("{}")}}
	}
	c.grpcMessages(g)
	for _, h := range s.Metadata {
		g.metadata = append(g.metadata, header{name: h.Name, value: c.text(h.Value)})
	}
	return c.talk(g, s.Timeout, s.Metric, s.SLA, s.Sync, s.Handler.Message, s.Handler.OnCompletion)
}

// grpcEndpoint wants an endpoint that may be spoken to by HTTP/2.
func (c *compiler) grpcEndpoint(g *grpcStep) {
	i := -1
	switch all := c.cfg.Benchmark.HTTP; {
	case len(all) == 0:
	case !g.named:
		i = defaultEndpoint(all)
	case g.endpoint.fixed:
		i = findEndpoint(all, string(g.endpoint.literal))
	}
	if i >= 0 && !c.cfg.Benchmark.HTTP[i].HTTP2 {
		c.fault("has grpc for an endpoint that doesn't allow HTTP/2", "set allowHttp2: true")
	}
}

// grpcMessages wants messages that the method takes, as far as both are always
// the same.
func (c *compiler) grpcMessages(g *grpcStep) {
	if g.found == nil {
		return
	}
	if n := len(g.messages); n != 1 && !g.found.ClientStreams() {
		c.fault(fmt.Sprintf("has %d messages for %s, which takes one", n, g.method.literal), "give it as message")
	}
	for i := range g.messages {
		if m := &g.messages[i]; m.fixed {
			if err := g.found.Check(m.literal); err != nil {
				c.fault("has a message that the method doesn't take: "+err.Error(), "give it as JSON")
			}
		}
	}
}

// prepare implements talkStep.
func (g *grpcStep) prepare(q *request) (subject string, t talking, ready bool, err error) {
	in, w := q.in, q.s.w
	i, err := g.to(in)
	if err != nil {
		return "", t, false, err
	}
	conn, err := w.grpcTo(i)
	if err != nil {
		return "", t, false, err
	}
	call := &talk.Call{Method: g.found}
	method, err := g.method.append(nil, in)
	if err != nil {
		return "", t, false, fmt.Errorf("method: %w", err)
	}
	if call.Method == nil {
		if call.Method, err = g.services.Method(string(method)); err != nil {
			return "", t, false, err
		}
	}
	if len(g.messages) != 1 && !call.Method.ClientStreams() {
		return "", t, false, fmt.Errorf("the method %s takes one message, and there are %d", method, len(g.messages))
	}
	for j := range g.messages {
		message, err := g.messages[j].append(nil, in)
		if err != nil {
			return "", t, false, fmt.Errorf("message: %w", err)
		}
		call.Messages = append(call.Messages, message)
	}
	for j := range g.metadata {
		value, err := g.metadata[j].value.append(nil, in)
		if err != nil {
			return "", t, false, fmt.Errorf("metadata %s: %w", g.metadata[j].name, err)
		}
		call.Metadata = append(call.Metadata, g.metadata[j].name, string(value))
	}
	handles := len(q.step.processors) > 0
	t.keep = func(talk.Conn) {}
	t.work = func(ctx context.Context, r *dialogRun) (o outcome) {
		var answer func([]byte)
		if handles {
			answer = func(data []byte) { r.answer(ctx, data) }
		}
		code, err := conn.Do(ctx, call, &r.note, answer)
		if o.err = err; err == nil {
			o.status = talk.HTTPStatus(code)
			if name := talk.StatusName(code); name != g.expect {
				o.invalid = "its status is " + name
			}
		}
		return o
	}
	return string(method), t, true, nil
}

// to returns the endpoint's number.
func (g *grpcStep) to(in *instance) (int, error) {
	endpoints := in.s.w.e.cfg.Benchmark.HTTP
	if !g.named {
		return defaultEndpoint(endpoints), nil
	}
	name, err := g.endpoint.append(nil, in)
	if err != nil {
		return 0, fmt.Errorf("endpoint: %w", err)
	}
	i := findEndpoint(endpoints, string(name))
	if i < 0 {
		return 0, fmt.Errorf("%q is no endpoint", name)
	}
	return i, nil
}

// grpcConns are connections to an endpoint, used in turn.
type grpcConns struct {
	all  []*talk.GRPC
	next int
}

// grpcTo returns a connection to an endpoint: as many are made as the loop may
// have, and calls go over them in turn.
func (w *worker) grpcTo(endpoint int) (*talk.GRPC, error) {
	if w.grpc == nil {
		w.grpc = make([]grpcConns, len(w.e.endpoints))
	}
	conns, ep := &w.grpc[endpoint], &w.e.endpoints[endpoint]
	most := max(1, ep.shareOf(w.e, w).max)
	if conns.next++; conns.next >= most {
		conns.next = 0
	}
	if len(conns.all) < most {
		to := ep.dialTo(w)
		conn, err := talk.NewGRPC(ep.spec.Authority(), to, ep.tls, time.Duration(ep.spec.Handshake))
		if err != nil {
			return nil, err
		}
		conns.all = append(conns.all, conn)
		return conn, nil
	}
	return conns.all[conns.next], nil
}

// closeGRPC closes all connections.
func (w *worker) closeGRPC() {
	for i := range w.grpc {
		for _, c := range w.grpc[i].all {
			c.Close()
		}
	}
}
