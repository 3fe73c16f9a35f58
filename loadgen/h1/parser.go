//go:build linux

package h1

import (
	"bytes"
	"errors"
	"math"
)

// headMost bounds a head: status line, headers and trailers of one answer, and
// the answers of the class 1xx before it. A longer one is Malformed.
const headMost = 64 << 10

// stage is what part of an answer is expected.
type stage uint8

const (
	atStatus    stage = iota
	atHeader          // or the empty line behind the headers
	atLength          // body whose length is known
	atClose           // body that ends with the connection
	atChunkSize       // line with the size of a chunk
	atChunk           // within a chunk
	atChunkEnd        // line end behind a chunk
	atTrailer         // or the empty line behind the trailers
	atEnd
)

// parser reads one answer at a time, in pieces as they come. What it finds it
// tells its exchange's handler.
type parser struct {
	x      *Exchange // nil: the exchange is over, also within feed
	stage  stage
	keep   bool // the connection can carry another exchange
	minor  byte // '0' or '1' of HTTP/1.1
	status int
	head   int   // bytes of it so far
	length int64 // of the body; below 0 when not told
	left   int64 // of the body or chunk
	coding coding
}

// coding is what Transfer-Encoding said.
type coding uint8

const (
	plain   coding = iota
	chunked        // last of the list
	other          // something that we don't know: it ends with the connection
)

// The faults of answers, shared as they may be many.
var (
	errStatusLine = malformed("the answer does not begin with HTTP/1.1 and a status")
	errHeader     = malformed("the answer has a line among its headers that is none")
	errHead       = malformed("the headers of the answer are over 64 KiB")
	errLength     = malformed("the answer's Content-Length is not a number, or two that differ")
	errChunk      = malformed("a chunk of the answer does not begin with its size, or not end with a line end")
)

func malformed(text string) *Error { return &Error{Malformed, errors.New(text)} }

// begin expects the answer to an exchange.
func (p *parser) begin(x *Exchange) {
	*p = parser{x: x, length: -1}
}

// feed reads what has come, and returns how much of it is used: the rest is
// the beginning of a line, to be given again with more behind it. An error is
// a fault of the answer. When the exchange is cancelled by its handler, feed
// returns at once, and p.x is nil.
func (p *parser) feed(data []byte) (used int, err *Error) {
	for p.stage != atEnd && used < len(data) {
		var n int
		switch p.stage {
		case atLength, atChunk:
			n = p.counted(data[used:])
		case atClose:
			n = len(data) - used
			p.body(data[used:])
		default:
			if n, err = p.line(data[used:]); n == 0 || err != nil {
				return used, err
			}
		}
		used += n
		if p.x == nil {
			return used, nil
		}
	}
	return used, nil
}

// eof reports whether the end of the connection is the right end of the answer.
func (p *parser) eof() bool { return p.stage == atClose }

// line reads a line, and returns its length, 0 if it is not there in full.
func (p *parser) line(data []byte) (int, *Error) {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		if p.head+len(data) > headMost {
			return 0, errHead
		}
		return 0, nil
	}
	n := end + 1
	if end > 0 && data[end-1] == '\r' {
		end--
	}
	text := data[:end]
	switch p.stage {
	case atChunkSize:
		return n, p.chunkSize(text)
	case atChunkEnd:
		if len(text) > 0 {
			return n, errChunk
		}
		p.stage = atChunkSize
		return n, nil
	}
	if p.head += n; p.head > headMost {
		return n, errHead
	}
	switch {
	case p.stage == atStatus:
		return n, p.statusLine(text)
	case len(text) > 0:
		return n, p.header(text)
	case p.stage == atTrailer:
		p.stage = atEnd
	default:
		p.headEnd()
	}
	return n, nil
}

// statusLine reads "HTTP/1.1 200 OK".
func (p *parser) statusLine(s []byte) *Error {
	if len(s) < 12 || string(s[:7]) != "HTTP/1." || s[7] != '0' && s[7] != '1' || s[8] != ' ' || len(s) > 12 && s[12] != ' ' {
		return errStatusLine
	}
	status := 0
	for _, c := range s[9:12] {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		status = 10*status + int(c-'0')
	}
	if status < 100 {
		return errStatusLine
	}
	p.status, p.minor, p.keep, p.stage = status, s[7], s[7] == '1', atHeader
	if !p.interim() {
		p.x.Handler.OnStatus(status)
	}
	return nil
}

// interim reports whether another answer follows.
func (p *parser) interim() bool { return p.status < 200 && p.status != 101 }

// header reads "Name: value".
func (p *parser) header(s []byte) *Error {
	colon := bytes.IndexByte(s, ':')
	if colon <= 0 || s[0] <= ' ' || s[colon-1] <= ' ' {
		return errHeader
	}
	if p.interim() {
		return nil
	}
	name, value := s[:colon], trim(s[colon+1:])
	if p.stage == atHeader {
		if err := p.framing(name, value); err != nil {
			return err
		}
	}
	if p.x.Headers {
		p.x.Handler.OnHeader(name, value)
	}
	return nil
}

// framing takes notice of the headers that tell where the answer ends.
func (p *parser) framing(name, value []byte) *Error {
	switch len(name) {
	case len("connection"):
		if is(name, "connection") {
			each(value, func(token []byte) {
				switch {
				case is(token, "close"):
					p.keep = false
				case is(token, "keep-alive") && p.minor == '0':
					p.keep = true
				}
			})
		}
	case len("content-length"):
		if is(name, "content-length") {
			n, ok := number(value)
			if !ok || p.length >= 0 && n != p.length {
				return errLength
			}
			p.length = n
		}
	case len("transfer-encoding"):
		if is(name, "transfer-encoding") {
			each(value, func(token []byte) {
				p.coding = other
				if is(token, "chunked") {
					p.coding = chunked
				}
			})
		}
	}
	return nil
}

// headEnd decides how the body ends.
func (p *parser) headEnd() {
	connected := p.x.Request.connect && p.status/100 == 2
	if p.status == 101 || connected || p.coding != plain && p.length >= 0 {
		p.keep = false // no HTTP follows, or it is not certain where
	}
	switch {
	case p.interim():
		head := p.head
		p.begin(p.x)
		p.head = head
	case p.x.Request.noBody || connected || p.status == 101 || p.status == 204 || p.status == 304:
		p.stage = atEnd
	case p.coding == chunked:
		p.stage = atChunkSize
	case p.coding == plain && p.length == 0:
		p.stage = atEnd
	case p.coding == plain && p.length > 0:
		p.stage, p.left = atLength, p.length
	default:
		p.stage, p.keep = atClose, false
	}
}

func (p *parser) chunkSize(s []byte) *Error {
	size, digits := int64(0), 0
	for ; digits < len(s) && digits < 16; digits++ {
		d := hex(s[digits])
		if d < 0 {
			break
		}
		size = size<<4 | d
	}
	// Behind the size there may be white space and extensions.
	if digits == 0 || digits == 16 || digits < len(s) && s[digits] != ';' && s[digits] != ' ' && s[digits] != '\t' {
		return errChunk
	}
	if size == 0 {
		p.stage = atTrailer
	} else {
		p.stage, p.left = atChunk, size
	}
	return nil
}

// counted reads from a body or chunk of which p.left bytes are to come.
func (p *parser) counted(data []byte) int {
	n := int(min(int64(len(data)), p.left))
	if p.left -= int64(n); p.left == 0 {
		if p.stage == atLength {
			p.stage = atEnd
		} else {
			p.stage = atChunkEnd
		}
	}
	p.body(data[:n])
	return n
}

func (p *parser) body(piece []byte) { p.x.Handler.OnBody(piece) }

// is reports whether a name or token is, in any case, lower, which is in lower case.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// each calls f for the items of a list with commas.
func each(list []byte, f func([]byte)) {
	for more := true; more; {
		var item []byte
		item, list, more = bytes.Cut(list, []byte{','})
		if item = trim(item); len(item) > 0 {
			f(item)
		}
	}
}

func trim(s []byte) []byte {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

func number(s []byte) (n int64, ok bool) {
	for _, c := range s {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(s) > 0
}

func hex(c byte) int64 {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0')
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10
	}
	return -1
}
