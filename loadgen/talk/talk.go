// Package talk holds conversations over TCP, WebSocket and gRPC for a load
// generator. All its functions wait, and are to be called in goroutines; who
// calls them ends them by the context. Their errors say their kind, see
// h1.KindOf.
package talk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// Conn is a connection on which a session sends and receives. It carries one
// thing at a time.
type Conn interface {
	// Send sends a message, or some bytes.
	Send(ctx context.Context, data []byte, binary bool) error
	// Receive waits for what is expected. What it returns is valid until the next
	// call. A text says what is wrong with the answer, "" for nothing.
	Receive(ctx context.Context, e *Expect) (answer []byte, invalid string, err error)
	// Close ends the connection as the protocol wants it.
	Close(ctx context.Context) error
	// Drop ends the connection, and what is under way on it, at once.
	Drop()
}

// Note is where a conversation notes how it goes. Other goroutines may read it.
type Note struct {
	sent    atomic.Int64 // instant, 0 before
	In, Out atomic.Int64 // bytes
}

// Leave notes that something has left, if it is the first.
func (n *Note) Leave() { n.sent.CompareAndSwap(0, int64(loop.Now())) }

// Sent returns when something first left, 0 if nothing has.
func (n *Note) Sent() loop.Instant { return loop.Instant(n.sent.Load()) }

// Expect is what an answer must be.
type Expect struct {
	// Of TCP, the end of the answer: a text, a number of bytes, or the end of the
	// connection. Without one of them, it is complete once it is as below.
	Until  []byte
	Length int
	Closed bool

	MaxSize  int
	Messages int // of WebSocket: how many may come until the right one has

	Equals   []byte
	Contains []byte
	Matches  *regexp.Regexp
}

// fits reports whether an answer is as expected.
func (e *Expect) fits(answer []byte) bool {
	return (len(e.Equals) == 0 || bytes.Equal(answer, e.Equals)) && bytes.Contains(answer, e.Contains) &&
		(e.Matches == nil || e.Matches.Match(answer))
}

// judge says what is wrong with an answer.
func (e *Expect) judge(answer []byte) string {
	if e.fits(answer) {
		return ""
	}
	return "the answer is not as expected"
}

// end returns the length of a complete answer at the beginning of what has
// come, of which the first scanned bytes were looked at before; -1 while it is
// not complete.
func (e *Expect) end(data []byte, scanned int) int {
	switch {
	case len(e.Until) > 0:
		from := max(0, scanned-len(e.Until)+1)
		if i := bytes.Index(data[from:], e.Until); i >= 0 {
			return from + i + len(e.Until)
		}
	case e.Length > 0:
		if len(data) >= e.Length {
			return e.Length
		}
	case e.Closed:
	case len(data) > 0 && e.fits(data), len(e.Equals) > 0 && len(data) >= len(e.Equals):
		return len(data)
	}
	return -1
}

// errClosedEarly is a server that had more to say.
var errClosedEarly = &h1.Error{Kind: h1.Reset, Err: errors.New("the server closed the connection before its answer was complete")}

// failed gives an error its kind: that of the context, if that is why.
func failed(ctx context.Context, doing string, err error) error {
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.DeadlineExceeded):
		return h1.ErrTimeout
	case cause != nil:
		return h1.ErrCancelled
	}
	return h1.NewError(doing, err, h1.Reset)
}

func tooLong(size int) string { return fmt.Sprintf("the answer has more than %d bytes", size) }
