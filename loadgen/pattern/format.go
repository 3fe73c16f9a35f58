package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

type formatKind int

const (
	formatPlain formatKind = iota
	formatURL
	formatBase64
	formatUnbase64
	formatInt
	formatReplace
)

// format is how the value of a variable is written.
type format struct {
	kind formatKind

	// of formatInt
	base        int
	upper, left bool // big letters; at the left of its width
	zero, plus  bool // zeros before it; a sign also when it is not negative
	width       int

	// of formatReplace
	re  *regexp.Regexp
	all bool
	by  []replacement
}

// replacement is some text, and a group of the match after it unless that is -1.
type replacement struct {
	text  string
	group int
}

// maxWidth bounds what a format can be made to write.
const maxWidth = 1000

func parseFormat(s string) (format, error) {
	switch strings.ToLower(s) {
	case "urlencode":
		return format{kind: formatURL}, nil
	case "base64encode":
		return format{kind: formatBase64}, nil
	case "base64decode":
		return format{kind: formatUnbase64}, nil
	}
	if strings.HasPrefix(s, "%") {
		return parseInt(s)
	}
	return format{}, fmt.Errorf("%q is not a format; there are urlencode, base64encode, base64decode, "+
		"replace/RE/TEXT/ and those of whole numbers such as %%05d", s)
}

// parseInt reads a format of printf for whole numbers.
func parseInt(s string) (format, error) {
	f := format{kind: formatInt, base: 10}
	body, verb := s[1:max(1, len(s)-1)], s[len(s)-1]
	switch verb {
	case 'd':
	case 'o':
		f.base = 8
	case 'x', 'X':
		f.base, f.upper = 16, verb == 'X'
	default:
		return format{}, fmt.Errorf("the format %q is not for whole numbers; use one that ends with d, o, x or X", s)
	}
	flags := len(body) - len(strings.TrimLeft(body, "-0+"))
	f.left = strings.Contains(body[:flags], "-")
	f.zero = strings.Contains(body[:flags], "0") && !f.left
	f.plus = strings.Contains(body[:flags], "+")
	if digits := body[flags:]; digits != "" {
		width, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || width > maxWidth {
			return format{}, fmt.Errorf("the format %q has no width up to %d", s, maxWidth)
		}
		f.width = int(width)
	}
	return f, nil
}

func (f *format) appendInt(dst []byte, v Value) ([]byte, error) {
	n := v.Int
	if !v.IsInt {
		var err error
		if n, err = parseNumber(v.Text); err != nil {
			return dst, err
		}
	}
	var buf [24]byte
	digits := strconv.AppendUint(buf[:0], magnitude(n), f.base)
	if f.upper {
		for i, c := range digits {
			if 'a' <= c && c <= 'f' {
				digits[i] = c - 'a' + 'A'
			}
		}
	}
	signed := n < 0 || f.plus
	pad := f.width - len(digits)
	if signed {
		pad--
	}
	if !f.left && !f.zero {
		dst = appendN(dst, ' ', pad)
	}
	if n < 0 {
		dst = append(dst, '-')
	} else if f.plus {
		dst = append(dst, '+')
	}
	if f.zero {
		dst = appendN(dst, '0', pad)
	}
	dst = append(dst, digits...)
	if f.left {
		dst = appendN(dst, ' ', pad)
	}
	return dst, nil
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// parseNumber reads a whole number without allocating.
func parseNumber(text []byte) (int64, error) {
	if len(text) == 0 || len(text) > 20 {
		return 0, errNotNumber
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, errNotNumber
	}
	return n, nil
}

var errNotNumber = errors.New("is not a whole number")

func appendN(dst []byte, c byte, n int) []byte {
	for range n {
		dst = append(dst, c)
	}
	return dst
}

const replacePrefix = "replace"

// errNotReplace says that what looks like replace is a variable of that name.
var errNotReplace = errors.New("not a replacement")

// parseReplace reads replace/RE/TEXT/FLAGS: and returns its length with the
// colon. Braces and colons in RE and TEXT are theirs.
func parseReplace(s string) (format, int, error) {
	rest := s[len(replacePrefix):]
	separator, size := utf8.DecodeRuneInString(rest)
	if size == 0 || separator == '}' || separator == '[' || separator == '-' || separator == '_' || separator == '.' || isWord(separator) {
		return format{}, 0, errNotReplace
	}
	const want = "a replacement is ${replace/RE/TEXT/FLAGS:variable}, where / may be any character"
	parts := strings.SplitN(rest[size:], string(separator), 3)
	if len(parts) < 3 {
		return format{}, 0, errors.New(want)
	}
	flags, _, found := strings.Cut(parts[2], ":")
	if !found || flags != "" && flags != "g" {
		return format{}, 0, errors.New(want + ", and FLAGS g or nothing")
	}
	re, err := regexp.Compile(parts[0])
	if err != nil {
		return format{}, 0, fmt.Errorf("the regular expression %q: %w", parts[0], err)
	}
	f := format{kind: formatReplace, re: re, all: flags == "g"}
	if f.by, err = parseReplacement(parts[1], re.NumSubexp()); err != nil {
		return format{}, 0, err
	}
	return f, len(replacePrefix) + size + len(parts[0]) + size + len(parts[1]) + size + len(flags) + 1, nil
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// parseReplacement reads the text that replaces a match: $N is a group, and a
// backslash takes the meaning from what follows it.
func parseReplacement(s string, groups int) ([]replacement, error) {
	var list []replacement
	var text strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			text.WriteByte(s[i])
		case s[i] == '$' && i+1 < len(s) && '0' <= s[i+1] && s[i+1] <= '9':
			i++
			group := int(s[i] - '0')
			if group > groups {
				return nil, fmt.Errorf("the replacement %q wants group %d of %d", s, group, groups)
			}
			list = append(list, replacement{text.String(), group})
			text.Reset()
		default:
			text.WriteByte(s[i])
		}
	}
	return append(list, replacement{text.String(), -1}), nil
}

func (f *format) replace(dst, text []byte) []byte {
	n := 1
	if f.all {
		n = -1
	}
	from := 0
	for _, match := range f.re.FindAllSubmatchIndex(text, n) {
		dst = append(dst, text[from:match[0]]...)
		for _, by := range f.by {
			dst = append(dst, by.text...)
			if by.group >= 0 && match[2*by.group] >= 0 {
				dst = append(dst, text[match[2*by.group]:match[2*by.group+1]]...)
			}
		}
		from = match[1]
	}
	return append(dst, text[from:]...)
}
