//go:build linux

// Package h1 is HTTP/1.1, with or without TLS, for a load generator: requests over pools
// of connections, in an event loop, on sockets of its own. In a steady state it
// allocates nothing, and it tells of each answer when it comes, piece by piece,
// so that memory does not grow with the size of answers.
//
// Everything in this package belongs to the loop of its pool: it is to be used
// on that loop's goroutine only, or before the loop runs.
package h1

import (
	"errors"
	"time"

	"github.com/loads/loads/loadgen/loop"
)

// Handler is told what becomes of an exchange. All its methods are called on
// the loop, in this order: OnSent once, OnStatus once, OnHeader for each header,
// OnBody for each piece of the body, OnHeader for each trailer, OnEnd. An
// exchange that fails has only OnEnd after what was told before; OnEnd always
// comes, exactly once. None is called before Do returns, but for OnSent.
//
// What a handler gets as bytes is the connection's buffer: valid in the call only.
// A handler may call Do and Cancel for any exchange; in OnEnd also Do for the
// exchange that ended.
type Handler interface {
	// OnSent tells when the request was handed to the kernel, whole or its first part.
	OnSent(at loop.Instant)
	// OnStatus tells the status. Answers of the class 1xx are left out.
	OnStatus(code int)
	// OnHeader tells a header or trailer as it was sent; the value has no
	// white space around. It is called for exchanges with Headers only.
	OnHeader(name, value []byte)
	// OnBody tells a piece of the body, without chunked encoding, but compressed as it came.
	OnBody(piece []byte)
	// OnEnd tells the end.
	OnEnd(End)
}

// End is how an exchange ended.
type End struct {
	At       loop.Instant // the last byte of the answer came, or the exchange failed
	Err      error        // nil when the answer came in full; else see KindOf
	BytesIn  int64        // of the answer on the connection, all included
	BytesOut int64        // of the request, likewise
}

// Exchange is one request and its answer. The caller owns it, for as many
// requests as it likes, one at a time; from Do to OnEnd it must not be changed
// or copied.
type Exchange struct {
	Request *Request // may be shared with other exchanges: it is only read
	Handler Handler
	Timeout time.Duration // from sending until the end of the answer; 0 is none
	Headers bool          // call OnHeader
	Hold    *Hold         // keep the connection for the user; nil is to share them
	// Patient says that nobody does anything when the answer comes but count it: it
	// is told when the loop has rested, with the time at which the kernel had it.
	Patient bool

	asked, sent loop.Instant
	lies        bool      // its answer may, as the kernel says when it comes
	conn        *conn     // that carries it
	queue       *queue    // in which it waits: for a connection, or to be told that it failed
	next, prev  *Exchange // in queue
	err         *Error    // of which it is to be told
}

// Blocked returns how long the exchange waited for a connection; it is known
// from OnSent, or OnEnd, on.
func (x *Exchange) Blocked() time.Duration { return x.sent.Sub(x.asked) }

// A Hold keeps connections of one pool for one user: an exchange with it takes
// one that the hold has, else one of the pool, and leaves it to the hold
// afterwards, until Pool.Release. The zero value is ready. It must not be copied.
type Hold struct{ conns []*conn }

// free returns a connection of the hold that carries nothing, nil for none.
func (h *Hold) free() *conn {
	if h == nil {
		return nil
	}
	for _, c := range h.conns {
		if c.x == nil {
			return c
		}
	}
	return nil
}

// Kind is why an exchange failed.
type Kind uint8

// The kinds of failures.
const (
	None        Kind = iota
	Refused          // nobody listens at the address
	Unreachable      // no way to the address, or no answer to the attempt to connect
	Handshake        // TLS could not be set up
	Reset            // the connection broke, or was closed within the answer or before it
	Stale            // a connection that had been used before was closed before a byte of this answer came
	Timeout          // the exchange took longer than its Timeout
	Malformed        // what came is not HTTP/1.1
	Exhausted        // this machine has no port or descriptor left
	Cancelled        // by Cancel, or since the pool was closed
	Internal         // anything else
)

func (k Kind) String() string {
	return [...]string{
		"none", "refused", "unreachable", "handshake", "reset", "stale", "timeout", "malformed", "exhausted", "cancelled", "internal",
	}[k]
}

// Error is why an exchange failed. Errors that occur at high rates are shared,
// so an Error must not be changed.
type Error struct {
	Kind Kind
	Err  error // says what was being done
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Failures that are the same each time.
var (
	errStale     = &Error{Stale, errors.New("the server closed the connection, which had been used before, and did not answer")}
	errNoAnswer  = &Error{Reset, errors.New("the server closed the connection and did not answer")}
	errCut       = &Error{Reset, errors.New("the server closed the connection within its answer")}
	errNoConnect = &Error{Unreachable, errors.New("the server did not answer to the attempt to connect")}
	errTimeout   = &Error{Timeout, errors.New("the answer was not complete in time")}
	errCancelled = &Error{Cancelled, errors.New("the request was cancelled")}
	errClosed    = &Error{Cancelled, errors.New("the connections were closed")}
)

// KindOf returns the kind of an exchange's error: None for nil.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return None
	case errors.As(err, &e):
		return e.Kind
	}
	return Internal
}
