package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// pointStart is how each line that EncodePoint writes begins. No line of statsd
// that anybody sends does.
var pointStart = []byte(`{"t":"`)

// IsPoint reports whether a line looks as if EncodePoint had written it.
func IsPoint(line []byte) bool { return bytes.HasPrefix(line, pointStart) }

// EncodePoint writes what one metric did in some time as one line of JSON,
// without the newline: what a program sends to the relay that counts much more
// than it could send one by one. It refuses what DecodePoint would refuse.
func EncodePoint(p Point) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("encode point %s: %w", p.Name, err)
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encode point %s: %w", p.Name, err)
	}
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), nil
}

// DecodePoint reads one line that EncodePoint has written. Its cost and memory
// are bounded by the line's length.
func DecodePoint(line []byte) (Point, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var p Point
	if err := dec.Decode(&p); err != nil {
		return Point{}, fmt.Errorf("decode point: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Point{}, errors.New("decode point: something follows it in the line")
	}
	if err := p.check(); err != nil {
		return Point{}, fmt.Errorf("decode point: %w", err)
	}
	return p, nil
}
