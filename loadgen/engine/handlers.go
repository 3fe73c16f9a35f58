package engine

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/stats"
)

type (
	// statusHandler does something with the status of an answer, headerHandler
	// with a header, and processor with a value; that is not kept.
	statusHandler func(in *instance, q *request, status int)
	headerHandler func(in *instance, q *request, name, value []byte)
	processor     func(in *instance, value []byte)
)

// handlers compiles what is done with an answer.
func (c *compiler) handlers(r *requestStep, h *benchmark.HTTPHandler) {
	closes, addressed := c.closes, c.addressed // of a request around it, whose page it fetches resources of
	c.closes, c.addressed = false, false
	if h != nil {
		r.statuses = c.statusHandlers(h.Status)
		for _, spec := range h.Header {
			r.headerSteps = append(r.headerSteps, c.headerHandler(spec))
		}
		for _, spec := range h.Body {
			if html, ok := spec.(*benchmark.ParseHTML); ok {
				r.pages = append(r.pages, c.page(html))
				continue
			}
			r.processors = append(r.processors, c.processor(spec))
		}
		if len(h.OnCompletion) > 0 {
			r.completion = append(r.completion, c.actions(h.OnCompletion))
		}
		if h.RawBytes.Sizes != nil {
			r.completion = append(r.completion, c.sizes(h.RawBytes.Sizes))
		}
	}
	r.closes = c.closes
	r.wantHeaders = r.keepCookies || r.redirects || r.cache || len(r.headerSteps) > 0 || r.encoding != "" && r.looks()
	r.noteTarget = !r.fixed || c.addressed || r.redirects || r.cache || r.changes || len(r.pages) > 0
	c.closes, c.addressed = closes, addressed
}

// sizes counts bytes under a name of their own.
func (c *compiler) sizes(s *benchmark.SizeRecorder) action {
	metric, name := c.prog.metrics, []byte(s.Key)
	c.prog.metrics++
	return func(in *instance) {
		q := in.s.current
		cell := in.s.phase.measured(metric, name)
		cell.BytesIn += q.counts.BytesIn
		cell.BytesOut += q.counts.BytesOut
	}
}

func (c *compiler) statusHandlers(specs benchmark.StatusHandlers) (list []statusHandler) {
	for _, spec := range specs {
		list = append(list, c.statusHandler(spec))
	}
	return list
}

func (c *compiler) statusHandler(spec benchmark.StatusHandler) statusHandler {
	switch s := spec.(type) {
	case *benchmark.RangeCheck:
		return func(_ *instance, q *request, status int) {
			if status < s.Min || status > s.Max {
				q.invalidate("its status is out of range")
			}
		}
	case *benchmark.StatusCounter:
		return c.statusCounter(s)
	case *benchmark.StatusStore:
		to := c.writes(s.ToVar)
		return func(in *instance, _ *request, status int) { in.target(to).setInt(int64(status)) }
	case *benchmark.StatusAction:
		return c.statusCases(s.Cases, func(one benchmark.StatusCase) statusHandler {
			do := c.actions(one.Actions)
			return func(in *instance, _ *request, _ int) { do(in) }
		})
	case *benchmark.StatusMultiplex:
		return c.statusCases(s.Cases, func(one benchmark.StatusCase) statusHandler {
			list := c.statusHandlers(one.Handlers)
			return func(in *instance, q *request, status int) {
				for _, h := range list {
					h(in, q, status)
				}
			}
		})
	case *benchmark.StatusStats:
		return func(*instance, *request, int) {} // statuses are always counted
	}
	c.refuse(spec)
	return nil
}

// statusCases does what is for the status, or what is for all others.
func (c *compiler) statusCases(cases []benchmark.StatusCase, compile func(benchmark.StatusCase) statusHandler) statusHandler {
	list := make([]statusHandler, len(cases))
	for i, one := range cases {
		list[i] = compile(one)
	}
	return func(in *instance, q *request, status int) {
		others := -1
		for i := range cases {
			if len(cases[i].Ranges) == 0 {
				others = i
			}
			for _, r := range cases[i].Ranges {
				if status >= r.Min && status <= r.Max {
					list[i](in, q, status)
					return
				}
			}
		}
		if others >= 0 {
			list[others](in, q, status)
		}
	}
}

func (c *compiler) statusCounter(s *benchmark.StatusCounter) statusHandler {
	v := c.writes(s.Var)
	return func(in *instance, _ *request, status int) {
		if s.Init != nil && in.lookup(v) == nil {
			in.target(v).setInt(int64(*s.Init))
		}
		if s.Expect != 0 && status != s.Expect {
			return
		}
		if s.Set != nil {
			in.target(v).setInt(int64(*s.Set))
			return
		}
		old := int64(0)
		if in.lookup(v) != nil {
			old, _ = in.number(v)
		}
		in.target(v).setInt(old + int64(*s.Add))
	}
}

func (c *compiler) headerHandler(spec benchmark.HeaderHandler) headerHandler {
	switch s := spec.(type) {
	case *benchmark.HeaderFilter:
		match := s.Header
		match.CaseSensitive = false // names of headers never are
		fits, process := c.textMatch(&match), c.processors(s.Processor)
		return func(in *instance, _ *request, name, value []byte) {
			if fits(in, name) {
				process(in, value)
			}
		}
	case *benchmark.HeaderConditional:
		holds := c.conditions(s.Conditions)
		var list []headerHandler
		for _, inner := range s.Handler {
			list = append(list, c.headerHandler(inner))
		}
		return func(in *instance, q *request, name, value []byte) {
			if holds(in) {
				for _, h := range list {
					h(in, q, name, value)
				}
			}
		}
	case *benchmark.HeaderTime:
		return c.headerTime(s)
	case *benchmark.HeaderCount:
		return func(in *instance, q *request, name, _ []byte) {
			w := in.s.w
			w.buffer = append(w.buffer[:0], name...)
			for i, b := range w.buffer { // names come in any case
				if 'A' <= b && b <= 'Z' {
					w.buffer[i] = b + 'a' - 'A'
				}
			}
			w.rec.Cell(q.metric).Count(w.buffer, 1)
		}
	case *benchmark.HeaderLogInvalid:
		return func(in *instance, q *request, name, value []byte) {
			if q.invalid != "" {
				in.s.w.e.cfg.Log.Warn("header of an invalid answer", "why", q.invalid, "name", string(name), "value", string(value))
			}
		}
	}
	c.refuse(spec)
	return nil
}

func (c *compiler) headerTime(s *benchmark.HeaderTime) headerHandler {
	unit, known := map[string]time.Duration{"": time.Millisecond, "ms": time.Millisecond, "ns": 1, "us": time.Microsecond, "s": time.Second}[s.Unit]
	if !known {
		c.fault("records times of a header in "+s.Unit, "give ns, us, ms or s")
	}
	header, metric, name := s.Header, c.prog.metrics, []byte(s.Metric)
	c.prog.metrics++
	if len(name) == 0 {
		name = []byte(header)
	}
	return func(in *instance, q *request, given, value []byte) {
		if !isHeader(given, header) {
			return
		}
		n, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			q.invalidate("its header " + header + " is not a number")
			return
		}
		in.s.phase.measured(metric, name).Add(&stats.Request{End: int64(n * float64(unit))})
	}
}

func (c *compiler) processors(specs benchmark.Processors) processor {
	var all []processor
	for _, spec := range specs {
		all = append(all, c.processor(spec))
	}
	return func(in *instance, value []byte) {
		for _, p := range all {
			if p(in, value); in.s.stopped {
				return
			}
		}
	}
}

func (c *compiler) processor(spec benchmark.Processor) processor {
	switch s := spec.(type) {
	case *benchmark.JSONQuery:
		return c.json(s)
	case *benchmark.Store:
		to := c.writes(s.ToVar)
		return func(in *instance, value []byte) { in.target(to).setText(value) }
	case *benchmark.StoreInt:
		return c.storeInt(s)
	case *benchmark.Array:
		return c.array(c.writes(s.ToVar), s.MaxSize, s.Silent)
	case *benchmark.Collection:
		to := c.writes(s.ToVar)
		return func(in *instance, value []byte) { in.target(to).grow().setText(value) }
	case *benchmark.CountValues:
		to := c.writes(s.ToVar)
		return func(in *instance, _ []byte) {
			n := int64(0)
			if in.lookup(to) != nil {
				n, _ = in.number(to)
			}
			in.target(to).setInt(n + 1)
		}
	case *benchmark.Gunzip:
		return c.gunzip(s)
	case *benchmark.ConditionalProcessor:
		holds, process := c.conditions(s.Conditions), c.processors(s.Processor)
		return func(in *instance, value []byte) {
			if holds(in) {
				process(in, value)
			}
		}
	case *benchmark.LogInvalid:
		return func(in *instance, value []byte) {
			if q := in.s.current; q != nil && q.invalid != "" {
				in.s.w.e.cfg.Log.Warn("body of an invalid answer", "why", q.invalid, "status", q.counts.Status, "body", string(value[:min(len(value), 2000)]))
			}
		}
	case *benchmark.Queue:
		return c.queue(s)
	case *benchmark.ParseHTML:
		return c.pageProcessor(s)
	case *benchmark.CloseConnection:
		c.closes = true
		return func(in *instance, _ []byte) {
			if q := in.s.current; q != nil {
				q.closing = true
			}
		}
	case benchmark.Action:
		do := c.action(s)
		return func(in *instance, _ []byte) { do(in) }
	}
	c.refuse(spec)
	return nil
}

func (c *compiler) storeInt(s *benchmark.StoreInt) processor {
	to, override := c.writes(s.ToVar), s.Override
	return func(in *instance, value []byte) {
		if !override && in.lookup(to) != nil {
			return
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		if err != nil {
			in.fail(fmt.Errorf("%q is not a whole number for variable %s", cut(value), to))
			return
		}
		in.target(to).setInt(n)
	}
}

// array appends to a list that has room for some items.
func (c *compiler) array(to ref, most int, silent bool) processor {
	return func(in *instance, value []byte) {
		v := in.target(to)
		if v.kind == isList {
			for i := range v.list { // an item that was unset is free
				if v.list[i].kind == unset {
					v.list[i].setText(value)
					return
				}
			}
		}
		if v.kind == isList && len(v.list) >= most {
			if !silent {
				in.s.w.e.warnOnce("a value was left out, since the array has no room", "variable", to.String(), "size", most)
			}
			return
		}
		v.grow().setText(value)
	}
}

// gunzip passes on what is not compressed as it is: an answer need not be.
func (c *compiler) gunzip(s *benchmark.Gunzip) processor {
	encoding, process := c.reads(s.EncodingVar), c.processors(s.Processor)
	return func(in *instance, value []byte) {
		if encoding.isSet() {
			if v := in.lookup(encoding); v == nil || !bytes.Contains(bytes.ToLower(in.textOf(v)), []byte("gzip")) {
				process(in, value)
				return
			}
		}
		if !bytes.HasPrefix(value, []byte{0x1f, 0x8b}) {
			process(in, value)
			return
		}
		plain, err := gunzip(value)
		if err != nil {
			if q := in.s.current; q != nil {
				q.invalidate("its body can't be decompressed: " + err.Error())
			}
			return
		}
		process(in, plain)
	}
}

// gunzip decompresses, up to the size of the largest body.
func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(plain) > maxBody {
		err = fmt.Errorf("it has more than %d bytes", maxBody)
	}
	return plain, err
}
