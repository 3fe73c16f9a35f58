// Package source reads the files that people write, YAML or JSON, into nodes
// with lines and columns, and says what is wrong with them in words: it has the
// faults, the hints ("did you mean"), and how values are shown.
package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxSource is the largest file in bytes that is read.
const maxSource = 1 << 20

// A Reader reads one kind of file.
type Reader struct {
	Want string // what an empty file should have, for faults
	One  string // what a file holds one of, for faults
}

// Read returns the root map of a YAML or JSON file, or the one fault that
// keeps it from being read at all.
func (r Reader) Read(data []byte) (*yaml.Node, *Fault) {
	if len(data) > maxSource {
		return nil, &Fault{
			What: fmt.Sprintf("the file has %d bytes", len(data)),
			Want: fmt.Sprintf("%d are the most", maxSource),
		}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if fault := checkText(data); fault != nil {
		return nil, fault
	}
	if json.Valid(data) {
		n, err := JSON(data)
		if err != nil {
			return nil, &Fault{What: "not valid JSON: " + err.Error()}
		}
		return r.rootMap(n)
	}
	return r.readYAML(data)
}

func (r Reader) readYAML(data []byte) (*yaml.Node, *Fault) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, syntaxFault(data, err)
	}
	var doc, second yaml.Node
	err = loader.Load(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, &Fault{Line: 1, Column: 1, What: "the file is empty", Want: r.Want}
	}
	if err != nil {
		return nil, syntaxFault(data, err)
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
		return r.rootMap(doc.Content[0])
	case err != nil:
		return nil, syntaxFault(data, err)
	}
	return nil, &Fault{
		Line: second.Line, Column: second.Column,
		What: "a second document begins", Want: "put one " + r.One + " in a file",
	}
}

func (r Reader) rootMap(n *yaml.Node) (*yaml.Node, *Fault) {
	if n.Kind == yaml.MappingNode {
		return n, nil
	}
	if n.ShortTag() == "!!null" {
		return nil, &Fault{Line: n.Line, Column: n.Column, What: "the file is empty", Want: r.Want}
	}
	return nil, &Fault{Line: n.Line, Column: n.Column, What: "the file " + Describe(n), Want: r.Want}
}

// syntaxFault turns an error of the YAML decoder into a fault.
func syntaxFault(data []byte, err error) *Fault {
	f := &Fault{What: "not valid YAML: " + err.Error(), Want: "see that quotes, brackets and indentation are right"}
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return f
	}
	f.What = "not valid YAML: " + strings.TrimPrefix(e.Message, "yaml: ")
	f.Line, f.Column = e.Mark.Line, e.Mark.Column
	if f.Line == 0 {
		f.Line, f.Column = e.ContextMark.Line, e.ContextMark.Column
	}
	if start := bytes.TrimSpace(data); bytes.HasPrefix(start, []byte("{")) || bytes.HasPrefix(start, []byte("[")) {
		return syntaxFaultJSON(data, f)
	}
	if strings.Contains(e.Message, "cannot start any token") && startsWithTab(data, f.Line) {
		f.What, f.Want = "not valid YAML: a tab indents the line", "indent with spaces"
	}
	return f
}

// syntaxFaultJSON prefers what the JSON decoder says of a file that looks like
// JSON, which is about the text its writer thinks of.
func syntaxFaultJSON(data []byte, f *Fault) *Fault {
	var e *json.SyntaxError
	var v any
	if err := json.Unmarshal(data, &v); !errors.As(err, &e) {
		return f
	}
	f.Line, f.Column = Position(data, int(e.Offset)-1)
	f.What, f.Want = "not valid JSON, nor YAML: "+e.Error(), "see that quotes, brackets and commas are right"
	return f
}

func startsWithTab(data []byte, line int) bool {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) {
		return false
	}
	return bytes.HasPrefix(bytes.TrimLeft(lines[line-1], " "), []byte("\t"))
}

// checkText declines what is not text: broken UTF-8, and control characters
// that neither YAML nor JSON allow anywhere.
func checkText(data []byte) *Fault {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if what, want := wrongRune(r, size); what != "" {
			f := &Fault{What: what, Want: want}
			f.Line, f.Column = Position(data, i)
			return f
		}
		i += size
	}
	return nil
}

func wrongRune(r rune, size int) (what, want string) {
	switch {
	case r == utf8.RuneError && size <= 1:
		return "the file is not UTF-8", "save it as UTF-8 text"
	case r < ' ' && r != '\t' && r != '\n' && r != '\r':
		return fmt.Sprintf("the file holds the control character %U", r), "leave it out"
	}
	return "", ""
}

// Position returns the line and the column, in characters, of a byte offset.
func Position(data []byte, offset int) (line, column int) {
	before := data[:min(max(offset, 0), len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
}
