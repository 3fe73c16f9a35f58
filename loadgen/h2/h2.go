//go:build linux

// Package h2 is HTTP/2 for a load generator, with and without TLS: requests over
// pools of connections, each of which carries several at once. Connections and
// streams are goroutines of golang.org/x/net/http2; what they have to tell they
// post to an event loop, in batches, and a stream waits until its batch has
// been heard, so that memory does not grow with the size of answers.
//
// The methods of a Pool are to be called on its loop only.
package h2

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
)

// Request is a request that can be sent any number of times. The zero value is
// ready for Begin.
type Request struct {
	method, target, host string
	header               http.Header
	body                 []byte
	size                 int64
	fault                error
}

// Begin starts a request anew. The target is a path with its query.
func (r *Request) Begin(method string, target []byte, host string) {
	// The header is a new one, as a stream that was given up may still read the old.
	*r = Request{method: method, target: string(target), host: host, header: http.Header{}}
	if r.target == "" {
		r.target = "/"
	}
	r.size = int64(len(method) + len(r.target) + len(host))
	if strings.ContainsFunc(r.target, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		r.fault = errors.Join(r.fault, fmt.Errorf("the target %q has white space or control characters; they have to be encoded, as %%20", target))
	}
}

// Header adds a header. Those that are about a connection of HTTP/1.1, and
// the length of the body, are left out.
func (r *Request) Header(name string, value []byte) {
	text := string(value)
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(text) {
		r.fault = errors.Join(r.fault, fmt.Errorf("%q: %q can't be a header", name, text))
		return
	}
	switch key := http.CanonicalHeaderKey(name); key {
	case "Host":
		r.host = text
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Content-Length":
	default:
		r.header[key] = append(r.header[key], text)
		r.size += int64(len(name) + len(value))
	}
}

// End ends the request with its body, nil for none, which must not be changed
// as long as the request is used. It says what is wrong with the request; one
// with a fault must not be sent.
func (r *Request) End(body []byte) error {
	r.body = body
	r.size += int64(len(body))
	if _, told := r.header["User-Agent"]; !told {
		r.header["User-Agent"] = []string{""} // else the library tells its own
	}
	return r.fault
}

// url has the target as it was given.
func (r *Request) url(scheme string) *url.URL {
	return &url.URL{Scheme: scheme, Host: r.host, Opaque: r.target}
}

// Exchange is one request at a time and its answer. The caller owns it; from Do
// to OnEnd it must not be changed.
type Exchange struct {
	Request *Request
	Handler h1.Handler // is told what becomes of it, on the loop
	Timeout time.Duration
	Headers bool // call OnHeader
	Hold    *Hold

	asked, sent loop.Instant
	stream      *stream // that carries it
	waiting     bool
	tries       int // that the server has not processed
	timer       loop.Timer
}

// Blocked returns how long the exchange waited for a connection.
func (x *Exchange) Blocked() time.Duration { return x.sent.Sub(x.asked) }

// A Hold keeps a connection of one pool for one user, as h1.Hold does. It must
// not be copied.
type Hold struct{ conn *conn }
