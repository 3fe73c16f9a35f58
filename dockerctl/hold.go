package dockerctl

import (
	"context"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// A conn is a connection to an engine. What is written to it next can be held
// back until a time: then a request has been built, has its connection, and is
// encrypted, before the moment at which it is to be sent.
type conn struct {
	net.Conn
	due    atomic.Pointer[time.Time] // of the next write; nil is at once
	once   sync.Once
	closed chan struct{}
}

// holdable makes the dialer's connections such that they can be held.
func holdable(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, closed: make(chan struct{})}, nil
	}
}

// Write implements net.Conn. A connection that is closed while it is held sends
// nothing any more.
func (c *conn) Write(p []byte) (int, error) {
	if at := c.due.Swap(nil); at != nil {
		timer := time.NewTimer(time.Until(*at))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// sentAt returns a context whose requests are sent at a time, less what they
// take on their way by what the connection knows of that. All that comes before
// is done before. One call of the SDK must make one request with it.
func sentAt(ctx context.Context, at time.Time) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		under := got.Conn
		if secure, ok := under.(interface{ NetConn() net.Conn }); ok {
			under = secure.NetConn() // what TLS writes its records to
		}
		if c, ok := under.(*conn); ok {
			c.due.Store(new(at.Add(-roundTrip(c.Conn) / 2)))
		}
	}})
}
