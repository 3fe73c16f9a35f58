// Package jsonpath finds values in JSON documents for the handlers of benchmark
// files. It reads the bytes of an answer as they are, from front to back, and
// builds nothing.
//
//	.          the document itself
//	.name      the member of an object; .a.b.c goes on
//	[]         every item of an array
//	[2]        its third item
//	[1:3]      its items 1 to 3, both included; [1:] and [:3] are open
//
// so that .orders[].id gives the ids of all orders. A query that goes into
// arrays gives any number of values, in the order of the document.
package jsonpath

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Path is a query. The zero Path is the document itself.
type Path struct {
	source string
	steps  []step
}

// step leads from a value to its member name, or to its items from first to
// last.
type step struct {
	name        []byte
	items       bool
	first, last int
}

// Parse reads a query. The error says what is wrong in words for its writer.
func Parse(s string) (Path, error) {
	if s == "" || s[0] != '.' && s[0] != '[' {
		return Path{}, fmt.Errorf("%q is not a query; it begins with a dot, as .name or .[]", s)
	}
	p := Path{source: s}
	for i := 0; i < len(s); {
		if s[i] == '[' {
			end := strings.IndexByte(s[i:], ']')
			if end < 0 {
				return Path{}, fmt.Errorf(`"[" is not closed by "]" in the query %q`, s)
			}
			next, err := parseItems(s[i+1 : i+end])
			if err != nil {
				return Path{}, fmt.Errorf("%w in the query %q", err, s)
			}
			p.steps = append(p.steps, next)
			i += end + 1
			continue
		}
		if s[i] != '.' {
			return Path{}, fmt.Errorf("a dot or [ is missing before %q in the query %q", s[i:], s)
		}
		i++
		end := i
		for end < len(s) && s[end] != '.' && s[end] != '[' {
			end++
		}
		if end > i {
			p.steps = append(p.steps, step{name: []byte(s[i:end])})
		} else if end < len(s) && s[end] == '.' || end == len(s) && len(s) > 1 {
			return Path{}, fmt.Errorf("a name is missing after a dot in the query %q", s)
		}
		i = end
	}
	return p, nil
}

// parseItems reads what stands between brackets.
func parseItems(s string) (step, error) {
	next := step{items: true, last: math.MaxInt}
	from, to, isRange := strings.Cut(s, ":")
	if !isRange {
		to = from
	}
	for _, bound := range []struct {
		text string
		n    *int
	}{{from, &next.first}, {to, &next.last}} {
		if bound.text == "" {
			continue
		}
		n, err := strconv.ParseUint(bound.text, 10, 31)
		if err != nil {
			return step{}, fmt.Errorf("%q is not the number of an item", bound.text)
		}
		*bound.n = int(n)
	}
	if next.first > next.last {
		return step{}, fmt.Errorf("[%s] ends before it begins", s)
	}
	return next, nil
}

// String returns the query as it was written.
func (p Path) String() string { return p.source }

// ErrSyntax is the error of what is not JSON.
var ErrSyntax = errors.New("not valid JSON")

// errStop ends a reading early, without a fault.
var errStop = errors.New("stop")

// maxDepth is how deep values may lie in each other.
const maxDepth = 1000

// Each calls found with each value of the query, as it stands in data: a part
// of data, with quotes when it is a string. It ends when found returns false.
// Of data it reads no more than it must, so not every fault in it is seen. It
// allocates nothing unless names in data have escapes.
func (p Path) Each(data []byte, found func(value []byte) bool) error {
	r := reader{data: data, found: found}
	r.space()
	if err := r.value(p.steps, 0); err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("%w at byte %d", err, r.at)
	}
	return nil
}

// First returns the first value of the query, and whether there is one.
func (p Path) First(data []byte) (value []byte, ok bool, err error) {
	err = p.Each(data, func(v []byte) bool {
		value, ok = v, true
		return false
	})
	return value, ok, err
}

// reader goes through a document once.
type reader struct {
	data  []byte
	at    int
	outer int // where the value that is found begins, with its name if it has one
	found func([]byte) bool
}

func (r *reader) space() {
	for r.at < len(r.data) {
		switch r.data[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// peek is the byte to be read next, 0 at the end.
func (r *reader) peek() byte {
	if r.at < len(r.data) {
		return r.data[r.at]
	}
	return 0
}

// value reads a value, whose parts the steps want.
func (r *reader) value(steps []step, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w, or deeper than %d values", ErrSyntax, maxDepth)
	}
	if len(steps) == 0 {
		start, outer := r.at, r.outer
		if err := r.skip(depth); err != nil {
			return err
		}
		r.outer = outer
		if !r.found(r.data[start:r.at]) {
			return errStop
		}
		return nil
	}
	switch c := r.peek(); {
	case c == '{' && !steps[0].items:
		return r.object(steps, depth)
	case c == '[' && steps[0].items:
		return r.array(steps, depth)
	}
	return r.skip(depth)
}

// object reads an object. Steps are nil when nothing of it is wanted.
func (r *reader) object(steps []step, depth int) error {
	for r.at++; ; {
		r.space()
		if r.peek() == '}' {
			r.at++
			return nil
		}
		start := r.at
		if err := r.text(); err != nil {
			return err
		}
		key := r.data[start+1 : r.at-1]
		r.space()
		if r.peek() != ':' {
			return ErrSyntax
		}
		r.at++
		r.space()
		r.outer = start
		if err := r.member(key, steps, depth); err != nil {
			return err
		}
		r.space()
		switch r.peek() {
		case ',':
			r.at++
			if r.space(); r.peek() == '}' {
				return ErrSyntax
			}
		case '}':
		default:
			return ErrSyntax
		}
	}
}

func (r *reader) member(key []byte, steps []step, depth int) error {
	if steps == nil || !isName(key, steps[0].name) {
		return r.skip(depth + 1)
	}
	return r.value(steps[1:], depth+1)
}

// isName compares a key as it stands in the document with a name.
func isName(key, name []byte) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return bytes.Equal(key, name)
	}
	return bytes.Equal(unescape(nil, key), name)
}

// array reads an array. Steps are nil when nothing of it is wanted.
func (r *reader) array(steps []step, depth int) error {
	r.at++
	for i := 0; ; i++ {
		r.space()
		if r.peek() == ']' && i == 0 {
			r.at++
			return nil
		}
		var err error
		if steps != nil && i >= steps[0].first && i <= steps[0].last {
			r.outer = r.at
			err = r.value(steps[1:], depth+1)
		} else {
			err = r.skip(depth + 1)
		}
		if err != nil {
			return err
		}
		r.space()
		switch r.peek() {
		case ',':
			r.at++
		case ']':
			r.at++
			return nil
		default:
			return ErrSyntax
		}
	}
}

// skip reads a value of which nothing is wanted.
func (r *reader) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w, or deeper than %d values", ErrSyntax, maxDepth)
	}
	switch c := r.peek(); {
	case c == '{':
		return r.object(nil, depth)
	case c == '[':
		return r.array(nil, depth)
	case c == '"':
		return r.text()
	case c == '-' || '0' <= c && c <= '9':
		return r.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(r.data[r.at:], []byte(word)) {
			r.at += len(word)
			return nil
		}
	}
	return ErrSyntax
}

// text reads a string with its quotes.
func (r *reader) text() error {
	if r.peek() != '"' {
		return ErrSyntax
	}
	for r.at++; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			return nil
		case c == '\\':
			r.at++
		case c < ' ':
			return ErrSyntax
		}
	}
	r.at = len(r.data)
	return ErrSyntax
}

func (r *reader) number() error {
	start := r.at
	for r.at < len(r.data) && bytes.IndexByte([]byte("+-.0123456789eE"), r.data[r.at]) >= 0 {
		r.at++
	}
	if last := r.data[r.at-1]; last < '0' || last > '9' || r.at-start > 1 && r.data[start] == '0' && '0' <= r.data[start+1] && r.data[start+1] <= '9' {
		return ErrSyntax
	}
	return nil
}

// AppendText writes a value as people see it to dst: strings without quotes and
// escapes, all else as it stands.
func AppendText(dst, value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return append(dst, value...)
	}
	return unescape(dst, value[1:len(value)-1])
}

// unescape writes the inside of a string without its escapes.
func unescape(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 || i+1 >= len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'u':
			var r rune
			r, s = unicodeOf(s)
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
}

// unicodeOf reads what follows \u, with the second of a pair of surrogates.
func unicodeOf(s []byte) (rune, []byte) {
	first, s := hex4(s)
	if !utf16.IsSurrogate(first) {
		return first, s
	}
	if bytes.HasPrefix(s, []byte(`\u`)) {
		second, rest := hex4(s[2:])
		if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
			return r, rest
		}
	}
	return utf8.RuneError, s
}

// hex4 reads four hexadecimal digits.
func hex4(s []byte) (rune, []byte) {
	var r rune
	for i := range 4 {
		if i >= len(s) {
			return utf8.RuneError, s[i:]
		}
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return utf8.RuneError, s[i:]
		}
		r = r<<4 | rune(c)
	}
	return r, s[4:]
}
