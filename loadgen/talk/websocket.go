package talk

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/loads/loads/loadgen/h1"
)

// webSocket is a connection of WebSocket.
type webSocket struct {
	conn *websocket.Conn
	note func() *Note
}

// WebSocketTarget says how to open a connection of WebSocket.
type WebSocketTarget struct {
	URL          string // ws:// or wss://
	Address      string // where to connect to instead of the URL's host; may be empty
	TLS          *tls.Config
	Header       http.Header
	Subprotocols []string
}

// DialWebSocket opens a connection.
func DialWebSocket(ctx context.Context, t *WebSocketTarget, note func() *Note) (Conn, error) {
	transport := &http.Transport{
		TLSClientConfig:   t.TLS,
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if t.Address != "" {
				address = t.Address
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	host := t.Header.Get("Host")
	note().Leave()
	conn, response, err := websocket.Dial(ctx, t.URL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: t.Header, Host: host, Subprotocols: t.Subprotocols,
	})
	if err != nil {
		if response != nil {
			return nil, &h1.Error{Kind: h1.Malformed, Err: errors.New("the server did not open a WebSocket: " + response.Status)}
		}
		return nil, failed(ctx, "open a WebSocket", err)
	}
	return &webSocket{conn, note}, nil
}

func (c *webSocket) Send(ctx context.Context, data []byte, binary bool) error {
	kind := websocket.MessageText
	if binary {
		kind = websocket.MessageBinary
	}
	c.note().Leave()
	if err := c.conn.Write(ctx, kind, data); err != nil {
		return failed(ctx, "send over WebSocket", err)
	}
	c.note().Out.Add(int64(len(data)))
	return nil
}

func (c *webSocket) Receive(ctx context.Context, e *Expect) (answer []byte, invalid string, err error) {
	c.conn.SetReadLimit(int64(e.MaxSize))
	for range max(1, e.Messages) {
		_, answer, err = c.conn.Read(ctx)
		switch {
		case errors.Is(err, websocket.ErrMessageTooBig):
			return nil, tooLong(e.MaxSize), nil
		case ctx.Err() == nil && (errors.Is(err, io.EOF) || websocket.CloseStatus(err) >= 0):
			return nil, "", errClosedEarly
		case err != nil:
			return nil, "", failed(ctx, "receive over WebSocket", err)
		}
		c.note().In.Add(int64(len(answer)))
		if e.fits(answer) {
			return answer, "", nil
		}
	}
	return answer, e.judge(answer), nil
}

func (c *webSocket) Close(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.Drop)()
	// The server may have closed it just before, or not answer: it is closed anyway.
	if err := c.conn.Close(websocket.StatusNormalClosure, ""); err != nil && ctx.Err() != nil {
		return failed(ctx, "close", err)
	}
	return nil
}

func (c *webSocket) Drop() { _ = c.conn.CloseNow() }
