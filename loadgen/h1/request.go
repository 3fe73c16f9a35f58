//go:build linux

package h1

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// copyMost is up to which size a body is copied behind the head, so that both
// go out together; a larger one is sent from where it is.
const copyMost = 16 << 10

// Request is a request in the form in which it is sent. It is made by Begin,
// Header and End, in the memory of the request before, and can be sent any
// number of times. The zero value is ready for Begin.
type Request struct {
	head    []byte
	body    []byte // a large one, which follows head
	noBody  bool   // the answer has none, whatever its headers say
	length  bool   // a header has told the length of the body
	needLen bool   // the method means that a body is expected
	connect bool   // the method is CONNECT
	fault   error
}

// Begin starts a request anew. The target is a path with its query, or
// whatever the method asks for; an empty one is "/". An empty host is for
// those who send the header Host themselves.
func (r *Request) Begin(method string, target []byte, host string) {
	*r = Request{head: r.head[:0]}
	r.noBody, r.connect = method == "HEAD", method == "CONNECT"
	r.needLen = method == "POST" || method == "PUT" || method == "PATCH"
	if !isToken(method) {
		r.fail("a method can't be %q", method)
	}
	if !isTarget(target) {
		r.fail("the target %q has white space or control characters; they have to be encoded, as %%20", target)
	}
	r.head = append(append(r.head, method...), ' ')
	if len(target) == 0 {
		r.head = append(r.head, '/')
	}
	r.head = append(append(r.head, target...), " HTTP/1.1\r\n"...)
	if host != "" {
		if !isLine(host) {
			r.fail("the host %q has more than one line", host)
		}
		r.head = append(append(append(r.head, "Host: "...), host...), "\r\n"...)
	}
}

// Header adds a header.
func (r *Request) Header(name string, value []byte) {
	if !isToken(name) {
		r.fail("a header can't have the name %q", name)
	}
	if !isLine(value) {
		r.fail("the header %s would have more than one line: %q", name, value)
	}
	r.length = r.length || strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding")
	r.head = append(append(append(append(r.head, name...), ": "...), value...), "\r\n"...)
}

// End ends the request with its body, nil for none, and says what is wrong
// with it; one with a fault must not be sent. A body of over 16 KiB is not
// copied: it must not be changed as long as the request is used.
func (r *Request) End(body []byte) error {
	if !r.length && (len(body) > 0 || r.needLen) {
		r.head = append(r.head, "Content-Length: "...)
		r.head = strconv.AppendInt(r.head, int64(len(body)), 10)
		r.head = append(r.head, "\r\n"...)
	}
	r.head = append(r.head, "\r\n"...)
	if len(body) <= copyMost {
		r.head = append(r.head, body...)
	} else {
		r.body = body
	}
	return r.fault
}

// Size returns how many bytes are sent.
func (r *Request) Size() int { return len(r.head) + len(r.body) }

func (r *Request) fail(format string, args ...any) {
	r.fault = errors.Join(r.fault, fmt.Errorf(format, args...))
}

func isTarget(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func isLine[S string | []byte](s S) bool {
	for i := range len(s) {
		if c := s[i]; c == '\r' || c == '\n' || c == 0 {
			return false
		}
	}
	return true
}

// isToken reports whether s can be a method or the name of a header.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
