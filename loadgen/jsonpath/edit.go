package jsonpath

import (
	"bytes"
	"fmt"
)

// Edit writes data to dst with each value of the query changed: change writes
// what is to stand for it, as JSON, behind dst, or returns false to have it
// taken out, with its name and comma. All else stays as it
// is. What was written before an error is returned with it.
func (p Path) Edit(dst, data []byte, change func(dst, value []byte) (out []byte, keep bool)) ([]byte, error) {
	base, done := len(dst), 0
	r := &reader{data: data}
	r.found = func(value []byte) bool {
		from := r.at - len(value)
		dst = append(dst, data[done:from]...)
		before := len(dst)
		out, keep := change(dst, value)
		if dst, done = out, r.at; keep {
			return true
		}
		dst = dst[:before-(from-r.outer)]
		rest := bytes.TrimLeft(data[done:], space)
		if len(rest) > 0 && rest[0] == ',' {
			done = len(data) - len(bytes.TrimLeft(rest[1:], space))
			return true
		}
		dst = append(dst[:base], bytes.TrimSuffix(bytes.TrimRight(dst[base:], space), []byte(","))...)
		return true
	}
	r.space()
	if err := r.value(p.steps, 0); err != nil {
		return dst, fmt.Errorf("%w at byte %d", err, r.at)
	}
	return append(dst, data[done:]...), nil
}

const space = " \t\r\n"
