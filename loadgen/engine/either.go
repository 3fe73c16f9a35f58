package engine

import (
	"net/netip"
	"time"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/h2"
	"github.com/loads/loads/loadgen/loop"
)

// either is HTTP/2 or HTTP/1.1, as the server chooses when TLS is set up. Which
// one is asked before the first request; those that come meanwhile wait.
type either struct {
	loop    *loop.Loop
	cfg     h1.Config // offers both
	make    func(http2 bool) Transport
	chosen  Transport // nil as long as it isn't known
	asking  *h2.Question
	waiting []*exchangeE
	opening func(error) // of Open, until it is known
	closed  bool
}

func newEither(l *loop.Loop, cfg h1.Config, make func(http2 bool) Transport) Transport {
	return &either{loop: l, cfg: cfg, make: make}
}

// Open implements Transport. An endpoint that makes no connections beforehand
// asks nothing either.
func (t *either) Open(ready func(error)) {
	if t.cfg.Min == 0 {
		ready(nil)
		return
	}
	t.opening = ready
	t.ask()
}

// ask makes a connection only to see which protocol the server chooses.
func (t *either) ask() {
	if t.asking != nil || t.closed {
		return
	}
	t.asking = h2.Ask(t.loop, t.cfg, func(http2 bool, err error) {
		t.asking = nil
		t.answered(http2, err)
	})
}

func (t *either) answered(http2 bool, err error) {
	if t.closed {
		return
	}
	waiting, opening := t.waiting, t.opening
	t.waiting, t.opening = nil, nil
	if err == nil {
		t.chosen = t.make(http2)
		if t.cfg.Min > 0 {
			if opening == nil {
				opening = func(error) {}
			}
			t.chosen.Open(opening)
		}
	} else if opening != nil {
		opening(err)
	}
	for _, x := range waiting {
		switch {
		case !x.waiting:
		case err != nil:
			x.fail(err)
		default:
			x.begin()
		}
	}
}

func (t *either) NewMessage() Message { return &messageE{} }

func (t *either) NewHold() Hold { return &holdE{t: t} }

func (t *either) SetAddresses(a []netip.AddrPort) {
	t.cfg.Addresses = a
	if t.chosen != nil {
		t.chosen.SetAddresses(a)
	}
}

func (t *either) Stats() h1.Stats {
	if t.chosen == nil {
		return h1.Stats{Waiting: len(t.waiting)}
	}
	return t.chosen.Stats()
}

func (t *either) Close() {
	t.closed = true
	if t.asking != nil {
		t.asking.Close()
	}
	for _, x := range t.waiting {
		if x.waiting {
			x.fail(h1.ErrClosed)
		}
	}
	if t.chosen != nil {
		t.chosen.Close()
	}
}

// messageE is a request in both forms.
type messageE struct {
	one h1.Request
	two h2.Request
}

func (m *messageE) Begin(method string, target []byte, host string) {
	m.one.Begin(method, target, host)
	m.two.Begin(method, target, host)
}

func (m *messageE) Header(name string, value []byte) {
	m.one.Header(name, value)
	m.two.Header(name, value)
}

func (m *messageE) End(body []byte) error {
	if err := m.one.End(body); err != nil {
		return err
	}
	return m.two.End(body)
}

// exchangeE is an exchange by the protocol that was chosen.
type exchangeE struct {
	t       *either
	handler h1.Handler
	chosen  Exchange // nil as long as it isn't known
	m       *messageE
	o       Options
	waiting bool
	asked   loop.Instant
	waited  loop.Instant // until when
}

func (t *either) NewExchange(h h1.Handler) Exchange { return &exchangeE{t: t, handler: h} }

func (x *exchangeE) Do(m Message, o Options) {
	x.m, _ = m.(*messageE)
	x.o, x.asked = o, x.t.loop.Now()
	x.waited = x.asked
	if x.t.chosen != nil {
		x.begin()
		return
	}
	x.waiting = true
	x.t.waiting = append(x.t.waiting, x)
	if x.t.closed {
		x.t.loop.Post(func() { x.fail(h1.ErrClosed) })
	}
	x.t.ask()
}

// begin hands the exchange to the protocol that was chosen.
func (x *exchangeE) begin() {
	x.waiting, x.waited = false, x.t.loop.Now()
	if x.chosen == nil {
		x.chosen = x.t.chosen.NewExchange(x.handler)
	}
	o := x.o
	if hold, ok := o.Hold.(*holdE); ok {
		o.Hold = hold.get()
	}
	var m Message = &x.m.one
	if _, two := x.chosen.(*exchange2); two {
		m = &x.m.two
	}
	x.chosen.Do(m, o)
}

// fail ends an exchange that waits.
func (x *exchangeE) fail(err error) {
	if x.waiting {
		x.waiting, x.waited = false, x.t.loop.Now()
		x.handler.OnEnd(h1.End{At: x.waited, Err: err})
	}
}

func (x *exchangeE) Cancel() {
	x.fail(h1.ErrCancelled)
	if x.chosen != nil {
		x.chosen.Cancel()
	}
}

func (x *exchangeE) Blocked() (d time.Duration) {
	if x.chosen != nil {
		d = x.chosen.Blocked()
	}
	return d + x.waited.Sub(x.asked)
}

// holdE is a hold of the protocol that was chosen.
type holdE struct {
	t    *either
	hold Hold
}

func (h *holdE) get() Hold {
	if h.hold == nil {
		h.hold = h.t.chosen.NewHold()
	}
	return h.hold
}

func (h *holdE) Release(closing bool) {
	if h.hold != nil {
		h.hold.Release(closing)
	}
}
