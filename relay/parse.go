package relay

import (
	"bytes"
	"errors"
	"unicode/utf8"

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
	values []byte  // numbers with colons between them, all well-formed; of a set any one text
	rate   float64 // sample rate; values stand for 1 / rate each
	tags   []byte  // as written, with commas between them; see tagList
	suffix []byte  // all that follows the values, beginning with a bar
	// passing says that the suffix has in it what will soon be another, such as
	// a time.
	passing bool
}

// parseLine reads one line, in the forms
//
//	name:value|type
//	name:value:value|type|@rate|#tag:value,tag
//
// with the types c, g, ms, h, d and s, of which ms, h and d are timers and s is
// a set, whose value may be any text, and whose sample rate means nothing.
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
	l := line{name: name, values: values, rate: 1, suffix: text[len(head):]}
	return l, l.parseRest(rest)
}

// parseRest reads what follows the first bar, and checks the values.
func (l *line) parseRest(rest []byte) error {
	kind, sections, more := bytes.Cut(rest, []byte{'|'})
	if l.kind = kindOf(kind); l.kind == "" {
		return errType
	}
	if more {
		if err := l.parseSections(sections); err != nil {
			return err
		}
	}
	if len(l.name)+len(l.tags) > longestIdentity {
		return errLong
	}
	if l.kind == metrics.Set {
		return nil
	}
	return l.checkValues()
}

// eachPart reads a line in the form of Etsy's statsd that holds several values
// of types of their own,
//
//	name:value|type|@rate:value|type
//
// and calls take, if not nil, for each. It reports whether all of the line is
// well-formed; only then call it with take. There are no tags in this form, so
// a line with a hash sign is none.
func eachPart(text []byte, take func(line)) bool {
	name, parts, found := bytes.Cut(text, []byte{':'})
	if !found || len(name) == 0 || len(text) > maxLine || bytes.IndexByte(parts, '#') >= 0 || !printable(text) {
		return false
	}
	for more := true; more; {
		var part []byte
		part, parts, more = bytes.Cut(parts, []byte{':'})
		value, rest, found := bytes.Cut(part, []byte{'|'})
		l := line{name: name, values: value, rate: 1, suffix: part[len(value):]}
		if !found || len(value) == 0 || l.parseRest(rest) != nil {
			return false
		}
		if take != nil {
			take(l)
		}
	}
	return true
}

func kindOf(text []byte) metrics.Kind {
	switch string(text) {
	case "c":
		return metrics.Counter
	case "g":
		return metrics.Gauge
	case "ms", "h", "d":
		return metrics.Timer
	case "s":
		return metrics.Set
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
		case passedOver(section):
			l.passing = true
		default:
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

// count returns the number of values.
func (l *line) count() int {
	if l.kind == metrics.Set {
		return 1
	}
	return bytes.Count(l.values, []byte{':'}) + 1
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
