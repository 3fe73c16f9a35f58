//go:build linux

package h1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/loop"
)

// heard is what a parser told of an answer.
type heard struct {
	log    []string
	status int
	body   []byte
	err    *Error
	over   bool // the answer has come to its end
	rest   int  // bytes behind it
}

func (h *heard) OnSent(loop.Instant) {}
func (h *heard) OnStatus(code int) {
	h.status = code
	h.log = append(h.log, fmt.Sprint(code))
}

func (h *heard) OnHeader(name, value []byte) {
	h.log = append(h.log, fmt.Sprintf("%q=%q", name, value))
}
func (h *heard) OnBody(piece []byte) { h.body = append(h.body, piece...) }
func (h *heard) OnEnd(End)           {}

// hear feeds an answer to a parser in pieces, cut where cuts say, and then
// the end of the connection.
func hear(method string, data []byte, cuts []byte) (h heard) {
	r := &Request{}
	r.Begin(method, nil, "")
	var p parser
	p.begin(&Exchange{Request: r, Handler: &h, Headers: true})
	from, to := 0, 0
	for i := 0; to < len(data) && p.stage != atEnd; i++ {
		step := len(data)
		if len(cuts) > 0 {
			step = 1 + int(cuts[i%len(cuts)])
		}
		to = min(to+step, len(data))
		used, err := p.feed(data[from:to])
		if from += used; err != nil {
			h.err = err
			return h
		}
	}
	h.over, h.rest = p.stage == atEnd || p.eof(), len(data)-from
	return h
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 500 Oh\nConnection: keep-alive, x\nContent-Length: 1\n\nx and more",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw",
		"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	} {
		f.Add(s, []byte{0}, false)
		f.Add(s, []byte{3, 11}, true)
	}
	f.Fuzz(func(t *testing.T, answer string, cuts []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		whole, cut := hear(method, []byte(answer), nil), hear(method, []byte(answer), cuts)
		if whole.err != cut.err || whole.over != cut.over || !slices.Equal(whole.log, cut.log) || !bytes.Equal(whole.body, cut.body) {
			t.Fatalf("whole: %+v\nin pieces %v: %+v", whole, cuts, cut)
		}
		if whole.err == nil && whole.over {
			compare(t, method, answer, whole)
		}
	})
}

// compare holds what was heard against what net/http reads, where both take
// an answer for a right one.
func compare(t *testing.T, method, answer string, h heard) {
	theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: method})
	// It leaves answers before the last to its caller, and takes no notice of chunks in HTTP/1.0.
	if err != nil || theirs.StatusCode < 200 || theirs.ProtoMinor != 1 {
		return
	}
	body, err := io.ReadAll(theirs.Body)
	if err != nil {
		return
	}
	if theirs.StatusCode != h.status || !bytes.Equal(body, h.body) {
		t.Errorf("status %d and body %q; net/http: %d and %q", h.status, h.body, theirs.StatusCode, body)
	}
}

func BenchmarkAnswer(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 08:43:42 GMT\r\n" +
		"Content-Type: text/plain\r\nContent-Length: 18\r\nConnection: keep-alive\r\n\r\nhello world, hello")
	var p parser
	x := &Exchange{Request: &Request{}, Handler: silent{}}
	b.ReportAllocs()
	for b.Loop() {
		p.begin(x)
		if used, err := p.feed(answer); err != nil || used != len(answer) {
			b.Fatal(used, err)
		}
	}
}

type silent struct{}

func (silent) OnSent(loop.Instant)  {}
func (silent) OnStatus(int)         {}
func (silent) OnHeader(_, _ []byte) {}
func (silent) OnBody([]byte)        {}
func (silent) OnEnd(End)            {}
