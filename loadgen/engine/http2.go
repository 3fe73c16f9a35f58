package engine

import (
	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/h2"
	"github.com/loads/loads/loadgen/loop"
)

// http2 is HTTP/2, with or without TLS.
type http2 struct{ *h2.Pool }

func newHTTP2(l *loop.Loop, cfg h1.Config, streams int) Transport {
	return http2{h2.NewPool(l, cfg, streams)}
}

func (t http2) NewMessage() Message { return &h2.Request{} }
func (t http2) NewHold() Hold       { return &hold2{pool: t.Pool} }

func (t http2) NewExchange(h h1.Handler) Exchange {
	return &exchange2{pool: t.Pool, Exchange: h2.Exchange{Handler: h}}
}

type exchange2 struct {
	h2.Exchange
	pool *h2.Pool
}

func (x *exchange2) Do(m Message, o Options) {
	x.Request, _ = m.(*h2.Request)
	x.Timeout, x.Headers, x.Hold = o.Timeout, o.Headers, nil
	if hold, ok := o.Hold.(*hold2); ok {
		x.Hold = &hold.Hold
	}
	x.pool.Do(&x.Exchange)
}

func (x *exchange2) Cancel() { x.pool.Cancel(&x.Exchange) }

type hold2 struct {
	h2.Hold
	pool *h2.Pool
}

func (h *hold2) Release(closing bool) { h.pool.Release(&h.Hold, closing) }
