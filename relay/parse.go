package relay

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/loads/loads/metrics"
)

// maxLine is the longest line that is taken, in bytes. A datagram is no longer.
const maxLine = 64 << 10

// smallestRate is the least sample rate taken: one in a million.
const smallestRate = 1e-6

// What is wrong with a line.
var (
	errNoName  = errors.New("name is missing")
	errNoValue = errors.New("value is missing")
	errText    = errors.New("text is not printable UTF-8")
	errType    = errors.New("type is unknown")
	errNumber  = errors.New("value is no finite number")
	errRate    = errors.New("sample rate is not between 0.000001 and 1")
	errTwice   = errors.New("section is given twice")
	errSection = errors.New("section is unknown")
	errLong    = errors.New("line is too long")
)

// A line is one parsed line of statsd. Its slices point into the datagram.
type line struct {
	name   []byte
	kind   metrics.Kind
	values []byte  // numbers with colons between them, all well-formed
	rate   float64 // sample rate; values stand for 1 / rate each
	tags   []byte  // as written, with commas between them; see sortedTags
}

// parseLine reads one line, in the forms
//
//	name:value|type
//	name:value:value|type|@rate|#tag:value,tag
//
// with the types c, g, ms, h and d, of which the last three are timers. Sets
// (s) are refused: a count of distinct values can't be added up over machines.
// The sections of DogStatsD for containers, timestamps and cardinality (c:, T,
// e:, card:) are passed over. A line is taken whole or not at all.
func parseLine(text []byte) (line, error) {
	if len(text) > maxLine {
		return line{}, errLong
	}
	if !printable(text) {
		return line{}, errText
	}
	head, rest, found := bytes.Cut(text, []byte{'|'})
	if !found {
		return line{}, errType
	}
	name, values, found := bytes.Cut(head, []byte{':'})
	switch {
	case len(name) == 0:
		return line{}, errNoName
	case !found || len(values) == 0:
		return line{}, errNoValue
	}
	kindText, sections, more := bytes.Cut(rest, []byte{'|'})
	l := line{name: name, values: values, rate: 1}
	if l.kind = kindOf(kindText); l.kind == "" {
		return line{}, errType
	}
	if more {
		if err := l.parseSections(sections); err != nil {
			return line{}, err
		}
	}
	return l, l.checkValues()
}

func kindOf(text []byte) metrics.Kind {
	switch string(text) {
	case "c":
		return metrics.Counter
	case "g":
		return metrics.Gauge
	case "ms", "h", "d":
		return metrics.Timer
	default:
		return ""
	}
}

func (l *line) parseSections(sections []byte) error {
	rated, tagged := false, false
	for more := true; more; {
		var section []byte
		section, sections, more = bytes.Cut(sections, []byte{'|'})
		switch {
		case len(section) == 0:
			return errSection
		case section[0] == '@':
			rate, ok := number(section[1:])
			if !ok || rate < smallestRate || rate > 1 {
				return errRate
			}
			if rated {
				return errTwice
			}
			l.rate, rated = rate, true
		case section[0] == '#':
			if tagged {
				return errTwice
			}
			l.tags, tagged = section[1:], true
		case !passedOver(section):
			return errSection
		}
	}
	return nil
}

// passedOver tells the sections that clients of DogStatsD send and that say
// nothing about the value.
func passedOver(section []byte) bool {
	return section[0] == 'T' || bytes.HasPrefix(section, []byte("c:")) ||
		bytes.HasPrefix(section, []byte("e:")) || bytes.HasPrefix(section, []byte("card:"))
}

func (l *line) checkValues() error {
	for text, more := l.values, true; more; {
		var value []byte
		value, text, more = bytes.Cut(text, []byte{':'})
		if _, ok := number(value); !ok {
			return errNumber
		}
	}
	return nil
}

// each calls take for every value of the line. A gauge's value with a sign is
// a change, which delta says.
func (l *line) each(take func(value float64, delta bool)) {
	for text, more := l.values, true; more; {
		var value []byte
		value, text, more = bytes.Cut(text, []byte{':'})
		v, _ := number(value)
		take(v, l.kind == metrics.Gauge && (value[0] == '+' || value[0] == '-'))
	}
}

// number reads a finite decimal number.
func number(text []byte) (float64, bool) {
	if len(text) == 0 || len(text) > 64 || !decimal(text) {
		return 0, false
	}
	if v, ok := smallInteger(text); ok {
		return v, true
	}
	// The string lives no longer than the call, and text doesn't change in it.
	v, err := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// decimal keeps out what ParseFloat takes and statsd does not know:
// hexadecimal, underscores, NaN and Inf.
func decimal(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

// smallInteger is the quick way for the most usual numbers.
func smallInteger(text []byte) (float64, bool) {
	if len(text) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return float64(n), true
}

// printable reports whether the text is UTF-8 without control characters.
func printable(text []byte) bool {
	ascii := true
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(text)
}
