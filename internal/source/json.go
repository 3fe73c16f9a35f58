package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// JSON builds the tree of a valid JSON document, with positions, as the
// YAML decoder would. JSON has its own reader since not every JSON document is
// read by the YAML decoder: it knows no surrogate pairs, for example.
func JSON(data []byte) (*yaml.Node, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return (&jsonReader{data: data, dec: dec, line: 1, column: 1}).value()
}

// A jsonReader follows the tokens of a document through its text.
type jsonReader struct {
	data         []byte
	dec          *json.Decoder
	offset       int // of what line and column speak of
	line, column int
}

// next returns the next token in an otherwise empty node at its position.
func (r *jsonReader) next() (json.Token, *yaml.Node, error) {
	start := int(r.dec.InputOffset())
	for start < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[start]) >= 0 {
		start++
	}
	for r.offset < start {
		c, size := utf8.DecodeRune(r.data[r.offset:])
		r.offset += size
		if r.column++; c == '\n' {
			r.line, r.column = r.line+1, 1
		}
	}
	token, err := r.dec.Token()
	return token, &yaml.Node{Line: r.line, Column: r.column}, err
}

func (r *jsonReader) value() (*yaml.Node, error) {
	token, n, err := r.next()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		fillScalar(n, token)
		return n, nil
	}
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	if delim == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for r.dec.More() { // the keys and the values of an object alternate
		child, err := r.value()
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err = r.dec.Token() // the closing bracket
	return n, err
}

func fillScalar(n *yaml.Node, token json.Token) {
	n.Kind = yaml.ScalarNode
	switch t := token.(type) {
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(t)
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	}
}
