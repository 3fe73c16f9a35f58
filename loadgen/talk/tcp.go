package talk

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/loads/loads/loadgen/h1"
)

// tcp is a connection of TCP, with or without TLS.
type tcp struct {
	net.Conn
	note func() *Note
	data []byte // that has come; the first used bytes are of the answer before
	used int
}

// DialTCP connects to an address, and sets up TLS if cfg is not nil. The note
// is asked for each time.
func DialTCP(ctx context.Context, address string, cfg *tls.Config, note func() *Note) (Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, failed(ctx, "connect", err)
	}
	if cfg == nil {
		return &tcp{Conn: raw, note: note}, nil
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(raw, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, failed(ctx, "", err)
		}
		return nil, h1.NewError("set up TLS with "+address, err, h1.Handshake)
	}
	return &tcp{Conn: secure, note: note}, nil
}

// within ends what waits on the connection with the context, until the
// function that it returns is called.
func (c *tcp) within(ctx context.Context) (stop func() bool) {
	_ = c.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
}

func (c *tcp) Send(ctx context.Context, data []byte, _ bool) error {
	defer c.within(ctx)()
	c.note().Leave()
	n, err := c.Write(data)
	c.note().Out.Add(int64(n))
	if err != nil {
		return failed(ctx, "send over TCP", err)
	}
	return nil
}

func (c *tcp) Receive(ctx context.Context, e *Expect) (answer []byte, invalid string, err error) {
	defer c.within(ctx)()
	c.data = c.data[:copy(c.data, c.data[c.used:])]
	c.used = 0
	for scanned := 0; ; {
		if n := e.end(c.data, scanned); n >= 0 {
			c.used = n
			if n > e.MaxSize {
				return nil, tooLong(e.MaxSize), nil
			}
			return c.data[:n], e.judge(c.data[:n]), nil
		}
		if scanned = len(c.data); scanned > e.MaxSize {
			c.used = scanned
			return nil, tooLong(e.MaxSize), nil
		}
		if cap(c.data)-len(c.data) < 512 {
			c.data = append(make([]byte, 0, 2*cap(c.data)+4096), c.data...)
		}
		n, err := c.Read(c.data[len(c.data):cap(c.data)])
		c.data = c.data[:len(c.data)+n]
		c.note().In.Add(int64(n))
		switch {
		case n > 0 || err == nil:
		case errors.Is(err, io.EOF) && e.Closed:
			c.used = len(c.data)
			return c.data, e.judge(c.data), nil
		case errors.Is(err, io.EOF):
			return nil, "", errClosedEarly
		default:
			return nil, "", failed(ctx, "receive over TCP", err)
		}
	}
}

// Close implements Conn.
func (c *tcp) Close(ctx context.Context) error {
	defer c.within(ctx)()
	if err := c.Conn.Close(); err != nil {
		return failed(ctx, "close", err)
	}
	return nil
}

func (c *tcp) Drop() {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close() // tls.Conn may wait until it has said so
		return
	}
	_ = c.Conn.Close()
}
