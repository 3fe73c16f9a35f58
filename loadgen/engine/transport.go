package engine

import (
	"net/netip"
	"time"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// Message is a request in the form in which a transport sends it. Begin starts
// it anew, in the memory it has; End says what is wrong with it.
type Message interface {
	Begin(method string, target []byte, host string)
	Header(name string, value []byte)
	End(body []byte) error
}

// Exchange is one request at a time and its answer. What becomes of it is told to
// the handler that it was made for, on the loop, in the order that h1.Handler
// promises.
type Exchange interface {
	// Do sends a message, which must be one of the same transport, and must not
	// be changed until the end.
	Do(m Message, o Options)
	// Cancel ends the exchange if it is under way, and its connection with it.
	Cancel()
	// Blocked returns how long it waited for a connection, from when it was sent.
	Blocked() time.Duration
}

// Options say how an exchange is to be done.
type Options struct {
	Timeout time.Duration // from sending to the end of the answer; 0 is none
	Headers bool          // the handler wants headers
	Hold    Hold          // nil is a connection that all share
	Patient bool          // nothing is done when the answer comes but counting it
}

// Hold keeps connections for one session.
type Hold interface {
	// Release gives the connections back, or closes them.
	Release(closing bool)
}

// Transport is the way of one protocol to one endpoint, for one loop. It belongs
// to the loop's goroutine. Those that work with goroutines of their own post
// what they have to tell to the loop.
type Transport interface {
	Open(ready func(error)) // makes the connections that are wanted beforehand
	NewMessage() Message
	NewExchange(h h1.Handler) Exchange
	NewHold() Hold
	SetAddresses(a []netip.AddrPort) // where new connections go
	Stats() h1.Stats
	Close() // ends all exchanges
}

// http1 is HTTP/1.1, with or without TLS.
type http1 struct{ pool *h1.Pool }

// newHTTP1 returns the transport over a pool of its own.
func newHTTP1(l *loop.Loop, cfg h1.Config) Transport { return http1{h1.NewPool(l, cfg)} }

func (t http1) Open(ready func(error)) { t.pool.Open(ready) }
func (t http1) NewMessage() Message    { return &h1.Request{} }
func (t http1) NewHold() Hold          { return &hold1{pool: t.pool} }
func (t http1) Stats() h1.Stats        { return t.pool.Stats() }
func (t http1) Close()                 { t.pool.Close() }

func (t http1) SetAddresses(a []netip.AddrPort) { t.pool.SetAddresses(a) }

func (t http1) NewExchange(h h1.Handler) Exchange {
	return &exchange1{pool: t.pool, Exchange: h1.Exchange{Handler: h}}
}

type exchange1 struct {
	h1.Exchange
	pool *h1.Pool
}

func (x *exchange1) Do(m Message, o Options) {
	x.Request, _ = m.(*h1.Request)
	x.Timeout, x.Headers, x.Hold, x.Patient = o.Timeout, o.Headers, nil, o.Patient
	if hold, ok := o.Hold.(*hold1); ok {
		x.Hold = &hold.Hold
	}
	x.pool.Do(&x.Exchange)
}

func (x *exchange1) Cancel() { x.pool.Cancel(&x.Exchange) }

type hold1 struct {
	h1.Hold
	pool *h1.Pool
}

func (h *hold1) Release(closing bool) { h.pool.Release(&h.Hold, closing) }
