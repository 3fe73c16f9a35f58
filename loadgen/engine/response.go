package engine

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/stats"
)

// OnSent implements h1.Handler.
func (q *request) OnSent(at loop.Instant) { q.counts.Sent = int64(at) }

// OnStatus implements h1.Handler.
func (q *request) OnStatus(code int) {
	q.counts.Status = code
	q.ignored = q.step.redirects && isRedirect(code)
	if q.step.cache {
		q.unchanged = q.web.kept != nil && code == http.StatusNotModified
		q.web.coming = q.newAnswer(code)
	}
	if !q.ignored && !q.unchanged {
		q.heed(code)
	}
}

// heed hands the status to who wants it.
func (q *request) heed(code int) {
	r := q.step
	if r.rangeCheck && (code < 200 || code > 399) {
		q.invalidate("its status is out of range")
	}
	if len(r.statuses) > 0 {
		q.handle(func() {
			for _, h := range r.statuses {
				h(q.in, q, code)
			}
		})
	}
}

// OnHeader implements h1.Handler.
func (q *request) OnHeader(name, value []byte) {
	r := q.step
	switch {
	case r.keepCookies && isHeader(name, "Set-Cookie"):
		q.s.cookies.set(q.s.w.e.endpoints[q.endpoint].spec.Host, q.path(), value, q.s.w.loop.Now())
	case q.ignored && isHeader(name, "Location"):
		q.location = append(q.location[:0], value...)
	case r.encoding != "" && isHeader(name, "Content-Encoding"):
		q.compressed = isHeader(value, "gzip") || isHeader(value, "x-gzip")
	}
	if r.cache && q.web.coming != nil {
		q.web.coming.header(q, name, value)
	}
	if !q.ignored && !q.unchanged {
		q.look(name, value)
	}
}

// look hands a header to who wants it.
func (q *request) look(name, value []byte) {
	if list := q.step.headerSteps; len(list) > 0 {
		q.handle(func() {
			for _, h := range list {
				h(q.in, q, name, value)
			}
		})
	}
}

func isHeader(name []byte, wanted string) bool {
	return len(name) == len(wanted) && bytes.EqualFold(name, []byte(wanted))
}

// OnBody implements h1.Handler.
func (q *request) OnBody(piece []byte) {
	if q.ignored || q.unchanged {
		return
	}
	if q.step.cache {
		if a := q.web.coming; a != nil && a.whole {
			if a.body = append(a.body, piece...); len(a.body) > maxCachedSize {
				q.web.coming = nil
			}
		}
	}
	q.take(piece)
	if s := q.s; len(q.step.pages) > 0 && (s.again || s.stopped) && !s.running {
		q.wakeAt(s.w.loop.Now()) // handlers have found something: the session goes on in the next turn
	}
}

// take gives a piece of the body to pages, and keeps it for others.
func (q *request) take(piece []byte) {
	r := q.step
	paged := len(r.pages) > 0
	if paged && !q.compressed {
		q.readPages(piece)
	}
	if len(r.processors) == 0 && !(paged && q.compressed) || q.tooLarge {
		return
	}
	if q.body == nil {
		q.body = q.s.w.body()
	}
	if len(q.body)+len(piece) > maxBody {
		q.tooLarge = true
		return
	}
	q.body = append(q.body, piece...)
}

// handle runs handlers of the request, in which actions know it.
func (q *request) handle(f func()) {
	before := q.s.current
	q.s.current = q
	f()
	q.s.current = before
}

// OnEnd implements h1.Handler: the answer is complete, or there will be none.
func (q *request) OnEnd(end h1.End) {
	s, r := q.s, q.step
	c := &q.counts
	c.End, c.BytesIn, c.BytesOut = int64(end.At), end.BytesIn, end.BytesOut
	c.Blocked = int64(q.carrier().Blocked())
	var to hop
	if end.Err != nil {
		q.failed(end.Err)
		q.endPages()
	} else {
		if q.unchanged {
			q.show(q.web.kept)
		}
		if r.cache || r.changes {
			q.keep()
		}
		to = q.outcome()
	}
	c.Invalid = q.invalid != ""
	s.w.rec.Cell(q.metric).Add(c)
	if r.compensated >= 0 && s.pace != nil {
		s.phase.measured(r.compensated, r.compensatedName).Add(&stats.Request{Intended: int64(s.pace.due), End: c.End, Status: c.Status, Failure: c.Failure, Invalid: c.Invalid})
	}
	q.leave(to, end.At)
}

// outcome hands a complete answer to who wants it, and says where it leads on to.
func (q *request) outcome() (to hop) {
	if q.ignored {
		return q.nextHop(string(q.location))
	}
	if len(q.step.pages) > 0 {
		q.endOfPages()
		if q.web.refresh != "" && !q.s.stopped {
			to = q.nextHop(q.web.refresh)
			to.pause, to.get = q.web.pause, true
			return to
		}
	}
	q.complete()
	return to
}

// leave ends the request, or has it follow a redirect.
func (q *request) leave(to hop, at loop.Instant) {
	r, s := q.step, q.s
	if r.closes {
		q.release()
	}
	if q.body != nil {
		s.w.giveBody(q.body)
		q.body = nil
	}
	if to.target != nil && !s.stopped {
		q.follow(to, at)
		return
	}
	bad := q.counts.Failure != stats.None || q.invalid != ""
	if r.sync {
		q.in.at = at
	}
	q.drop()
	if bad && r.stopInvalid {
		s.stopped = true
	}
	s.run()
}

// failed counts what became of a request without an answer.
func (q *request) failed(err error) {
	c := &q.counts
	q.s.w.noteFailure(err)
	switch h1.KindOf(err) {
	case h1.Timeout:
		c.Failure = stats.Timeout
	case h1.Cancelled:
		c.Failure = stats.Cancelled
	case h1.Internal:
		c.Failure = stats.Internal
	case h1.Exhausted:
		c.Failure = stats.Connection
		q.s.w.short.note(err)
	case h1.None, h1.Refused, h1.Unreachable, h1.Handshake, h1.Reset, h1.Stale, h1.Malformed:
		c.Failure = stats.Connection
	}
}

// complete hands the answer to who wants it.
func (q *request) complete() {
	r := q.step
	if q.tooLarge {
		q.invalidate(fmt.Sprintf("its body has more than %d bytes, which handlers don't get", maxBody))
	}
	processors := len(r.processors) > 0 && r.talk == nil // answers of others were handed over one by one
	if !processors && len(r.completion) == 0 || q.s.stopped {
		return
	}
	q.handle(func() {
		if processors && !q.tooLarge {
			q.process()
		}
		for _, do := range r.completion {
			if do(q.in); q.s.stopped {
				return
			}
		}
	})
}

// process gives the body to the processors, without its compression if that
// was asked for.
func (q *request) process() {
	if !q.inflate() {
		return
	}
	for _, p := range q.step.processors {
		if p(q.in, q.body); q.s.stopped {
			return
		}
	}
}

// inflate takes the body's compression off. Where there is no body, as of HEAD,
// there is none.
func (q *request) inflate() bool {
	if !q.compressed || len(q.body) == 0 {
		return true
	}
	plain, err := gunzip(q.body)
	if err != nil {
		q.invalidate("its body can't be decompressed: " + err.Error())
		return false
	}
	q.s.w.giveBody(q.body)
	q.body, q.compressed = plain, false
	return true
}

// invalidate marks the answer as not as it should be.
func (q *request) invalidate(why string) {
	if q.invalid == "" {
		q.invalid = why
	}
}
