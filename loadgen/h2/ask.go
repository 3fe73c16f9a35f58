//go:build linux

package h2

import (
	"context"
	"net"
	"sync"

	"golang.org/x/net/http2"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// Question asks a server which protocol it chooses.
type Question struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Ask makes a connection to the first address, sets up TLS as cfg says, and tells on the
// loop whether the server has chosen HTTP/2 among what was offered.
func Ask(l *loop.Loop, cfg h1.Config, tell func(http2 bool, err error)) *Question {
	ctx, cancel := context.WithCancel(context.Background())
	q := &Question{cancel: cancel}
	to, timeout := cfg.Addresses[0].String(), cfg.ConnectTimeout
	if timeout == 0 {
		timeout = connectTimeout
	}
	q.running.Go(func() {
		defer cancel()
		two := false
		limited, end := context.WithTimeout(ctx, timeout)
		raw, err := (&net.Dialer{}).DialContext(limited, "tcp", to)
		end()
		if err != nil {
			err = h1.NewError("connect", err, h1.Unreachable)
		} else if secure, failed := Handshake(ctx, raw, cfg.TLS, cfg.HandshakeTimeout); failed != nil {
			err = failed
		} else {
			two = secure.ConnectionState().NegotiatedProtocol == http2.NextProtoTLS
			_ = secure.Close()
		}
		l.Post(func() { tell(two, err) })
	})
	return q
}

// Close gives the question up.
func (q *Question) Close() {
	q.cancel()
	q.running.Wait()
}
