package engine

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/talk"
)

// outcome is how a conversation ended.
type outcome struct {
	conn    talk.Conn // that stays, nil for none
	status  int
	invalid string // why the answer isn't as it should be
	err     error
}

// dialog carries out conversations of a request, one at a time, each in a
// goroutine, and tells the request what becomes of it as a transport does.
type dialog struct {
	q   *request
	run *dialogRun // under way, nil for none
}

// dialogRun is one conversation.
type dialogRun struct {
	d      *dialog
	cancel context.CancelFunc
	note   talk.Note
	told   bool // OnSent was called
	keep   func(talk.Conn)
}

// begin begins a conversation. keep is given the connection that stays, on the
// loop, if the session still wants it.
func (d *dialog) begin(timeout time.Duration, keep func(talk.Conn), work func(ctx context.Context, r *dialogRun) outcome) {
	w := d.q.s.w
	if timeout == 0 {
		timeout = math.MaxInt64
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	r := &dialogRun{d: d, cancel: cancel, keep: keep}
	d.run = r
	w.talks.Go(func() {
		defer cancel()
		o := work(ctx, r)
		at := loop.Now()
		if !w.loop.Post(func() { r.end(o, at) }) && o.conn != nil {
			o.conn.Drop()
		}
	})
}

// answer hands an answer to who wants it, and waits until that has been done.
// It must not be changed afterwards.
func (r *dialogRun) answer(ctx context.Context, data []byte) {
	heard := make(chan struct{})
	posted := r.d.q.s.w.loop.Post(func() {
		if r.d.run == r {
			r.tellSent()
			r.d.q.onMessage(data)
		}
		close(heard)
	})
	if posted {
		select {
		case <-heard:
		case <-ctx.Done():
		}
	}
}

func (r *dialogRun) tellSent() {
	if at := r.note.Sent(); at != 0 && !r.told {
		r.told = true
		r.d.q.OnSent(at)
	}
}

// end tells the request how its conversation ended, unless it has been given up.
func (r *dialogRun) end(o outcome, at loop.Instant) {
	q := r.d.q
	if r.d.run != r {
		if o.conn != nil {
			o.conn.Drop()
		}
		return
	}
	r.keep(o.conn)
	r.tellSent()
	if o.status != 0 {
		q.OnStatus(o.status)
	}
	if o.invalid != "" {
		q.invalidate(o.invalid)
	}
	r.finish(o.err, at)
}

func (r *dialogRun) finish(err error, at loop.Instant) {
	r.d.run = nil
	r.d.q.OnEnd(h1.End{At: at, Err: err, BytesIn: r.note.In.Load(), BytesOut: r.note.Out.Load()})
}

// Cancel implements Exchange: the conversation is given up, and its connection
// with it.
func (d *dialog) Cancel() {
	if r := d.run; r != nil {
		r.cancel()
		r.keep(nil)
		r.tellSent()
		r.finish(h1.ErrCancelled, d.q.s.w.loop.Now())
	}
}

// Do implements Exchange; conversations begin otherwise.
func (d *dialog) Do(Message, Options) { panic("a conversation is no request of HTTP") }

// Blocked implements Exchange: conversations have connections of their own.
func (d *dialog) Blocked() time.Duration { return 0 }

// line is a connection that a session keeps by its name.
type line struct {
	name string
	conn talk.Conn // nil while it is in use, and when it is broken
	busy bool
	note *talk.Note // of the conversation that uses it
}

// line returns the session's connection of a name; nil if it never had one.
func (s *Session) line(name string) *line {
	for _, l := range s.lines {
		if l.name == name {
			return l
		}
	}
	return nil
}

// hangUp ends all connections of the session.
func (s *Session) hangUp() {
	for _, l := range s.lines {
		if l.conn != nil {
			l.conn.Drop()
		}
	}
	s.lines = s.lines[:0]
}

// onMessage gives an answer to the processors.
func (q *request) onMessage(data []byte) {
	if len(q.step.processors) == 0 {
		return
	}
	q.handle(func() {
		for _, p := range q.step.processors {
			if p(q.in, data); q.s.stopped {
				return
			}
		}
	})
}

// carrier is what the request travels by.
func (q *request) carrier() Exchange {
	if q.step.talk != nil {
		return q.dialog
	}
	return q.exchange[q.endpoint]
}

// errBroken is of a step whose connection has broken in an earlier one.
func errBroken(name string) error {
	return &h1.Error{Kind: h1.Reset, Err: fmt.Errorf("the connection %s has broken before", name)}
}
