// Package pattern is the language in which benchmark files put variables into
// texts: paths, headers, bodies. A pattern is parsed once and then written out
// for each request, into memory that the caller keeps.
//
//	${name}                     the value of a variable
//	${name[.]}                  its element at the index of the sequence's instance
//	${urlencode:name}           as in a query: "+" for a space, %XX for what needs it
//	${base64encode:name}        in standard base64; base64decode is the way back
//	${%05d:name}                a number, with the formats d, o, x and X of printf
//	${replace/RE/TEXT/g:name}   with what RE matches replaced; g is for all matches,
//	                            $1 in TEXT for a group; any character may be the separator
//	$${                         the characters ${ themselves
package pattern

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Variable is a variable as files name it: name, or name[.] for the element at
// the index of the sequence's instance.
type Variable struct {
	Name    string
	Element bool
}

// String returns the variable as files write it.
func (v Variable) String() string {
	if v.Element {
		return v.Name + "[.]"
	}
	return v.Name
}

// ParseVariable reads a variable.
func ParseVariable(s string) (Variable, error) {
	name, element := strings.CutSuffix(strings.TrimSpace(s), "[.]")
	v := Variable{Name: strings.TrimSpace(name), Element: element}
	if v.Name == "" || strings.ContainsAny(v.Name, "[]{}$:!\n\t ") {
		return Variable{}, fmt.Errorf("%q is not the name of a variable", s)
	}
	return v, nil
}

// Value is what a variable holds.
type Value struct {
	Text  []byte // only read, and not kept
	Int   int64
	IsInt bool // Int counts, not Text
	IsSet bool // neither counts otherwise
}

// Values has the values of a session's variables. Slot is the number that Bind
// has given the variable.
type Values interface {
	Value(slot int, v Variable) Value
}

// ErrUnset is the error of a variable without a value.
var ErrUnset = errors.New("is not set")

// Pattern is a text with places for variables. The zero Pattern is the empty
// text. It is not changed by use, so all sessions share one.
type Pattern struct {
	source string
	parts  []part
}

// part is some text, and the value of a variable after it.
type part struct {
	text   string
	place  bool // there is a variable
	slot   int
	v      Variable
	format format
}

// Parse reads a pattern. The error says what is wrong in words for its writer.
func Parse(s string) (Pattern, error) {
	p := Pattern{source: s}
	var text strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$${"):
			text.WriteString("${")
			i += len("$${")
		case strings.HasPrefix(s[i:], "${"):
			next, n, err := parsePlace(s[i+len("${"):])
			if err != nil {
				return Pattern{}, err
			}
			next.text, i = text.String(), i+len("${")+n
			text.Reset()
			p.parts = append(p.parts, next)
		default:
			text.WriteByte(s[i])
			i++
		}
	}
	if text.Len() > 0 {
		p.parts = append(p.parts, part{text: text.String()})
	}
	return p, nil
}

// parsePlace reads what follows "${", and returns its length with the brace.
func parsePlace(s string) (p part, n int, err error) {
	p.place = true
	if strings.HasPrefix(s, replacePrefix) {
		f, length, err := parseReplace(s)
		if err == nil {
			p.format, n = f, length
		} else if !errors.Is(err, errNotReplace) {
			return part{}, 0, err
		}
	}
	end := strings.IndexByte(s[n:], '}')
	if end < 0 {
		return part{}, 0, errors.New(`"${" is not closed by "}"`)
	}
	inside := s[n : n+end]
	if n == 0 {
		if name, rest, found := strings.Cut(inside, ":"); found {
			if p.format, err = parseFormat(strings.TrimSpace(name)); err != nil {
				return part{}, 0, err
			}
			inside = rest
		}
	}
	if p.v, err = ParseVariable(inside); err != nil {
		return part{}, 0, err
	}
	return p, n + end + 1, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.source }

// IsEmpty reports whether the pattern is the empty text.
func (p Pattern) IsEmpty() bool { return p.source == "" }

// Literal returns the text of a pattern without variables, and whether it is
// one.
func (p Pattern) Literal() (string, bool) {
	switch {
	case len(p.parts) == 0:
		return "", true
	case len(p.parts) > 1 || p.parts[0].place:
		return "", false
	}
	return p.parts[0].text, true
}

// Variables lists the variables in the order of the text, some maybe twice.
func (p Pattern) Variables() []Variable {
	var list []Variable
	for _, part := range p.parts {
		if part.place {
			list = append(list, part.v)
		}
	}
	return list
}

// Bind returns the pattern with a slot for each variable, by which Append asks
// for its value.
func (p Pattern) Bind(slotOf func(Variable) int) Pattern {
	parts := make([]part, len(p.parts))
	for i, part := range p.parts {
		if part.place {
			part.slot = slotOf(part.v)
		}
		parts[i] = part
	}
	p.parts = parts
	return p
}

// URLEncoded returns the pattern with each variable encoded as in a query that
// has no format of its own, as the fields of a form are sent. It refuses
// variables that are URL-encoded already.
func (p Pattern) URLEncoded() (Pattern, error) {
	parts := make([]part, len(p.parts))
	for i, part := range p.parts {
		if part.place {
			switch part.format.kind {
			case formatPlain:
				part.format.kind = formatURL
			case formatURL:
				return Pattern{}, fmt.Errorf("%s would be URL-encoded twice", part.v)
			}
		}
		parts[i] = part
	}
	p.parts = parts
	return p, nil
}

// Append writes the text to dst and returns it. It allocates nothing when dst
// has room, but for replace and base64decode. The error names the variable;
// what dst then holds doesn't count.
func (p Pattern) Append(dst []byte, values Values) ([]byte, error) {
	for i := range p.parts {
		part := &p.parts[i]
		dst = append(dst, part.text...)
		if !part.place {
			continue
		}
		value := values.Value(part.slot, part.v)
		if !value.IsSet {
			return dst, fmt.Errorf("variable %s %w", part.v, ErrUnset)
		}
		var err error
		if dst, err = part.format.append(dst, value); err != nil {
			return dst, fmt.Errorf("variable %s: %w", part.v, err)
		}
	}
	return dst, nil
}

// append writes a value as the format wants it.
func (f *format) append(dst []byte, v Value) ([]byte, error) {
	if f.kind == formatInt {
		return f.appendInt(dst, v)
	}
	if f.kind == formatReplace {
		text := v.Text
		if v.IsInt {
			text = strconv.AppendInt(nil, v.Int, 10)
		}
		return f.replace(dst, text), nil
	}
	var digits [20]byte // apart from the one above, which the regular expression makes escape
	text := v.Text
	if v.IsInt {
		text = strconv.AppendInt(digits[:0], v.Int, 10)
	}
	switch f.kind {
	case formatURL:
		return appendURL(dst, text), nil
	case formatBase64:
		return base64.StdEncoding.AppendEncode(dst, text), nil
	case formatUnbase64:
		return base64.StdEncoding.AppendDecode(dst, bytes.TrimSpace(text))
	default:
		return append(dst, text...), nil
	}
}

// appendURL encodes text as forms do.
func appendURL(dst, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.' || c == '*':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
