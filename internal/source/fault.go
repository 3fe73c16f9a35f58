package source

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A Fault is one mistake in a plan file, or in a request's body.
type Fault struct {
	File   string `json:"file,omitempty"`   // as the caller named it; empty for a request's body
	Line   int    `json:"line,omitempty"`   // from 1; 0 when the input has no position
	Column int    `json:"column,omitempty"` // from 1, in characters
	Field  string `json:"field"`            // path, for example plans[0].steps[1].run_delay
	Value  string `json:"value,omitempty"`  // as written, shortened; empty when the field is missing
	Want   string `json:"want"`             // a phrase that says what would be right
	What   string `json:"what"`             // a phrase that says what is wrong
}

// Faults are all mistakes of one input, in the order of the input. It is an
// error; an empty Faults must be returned as a nil error.
type Faults []Fault

// Error lists the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// shownLen is how many characters of a value a fault shows.
const shownLen = 60

// String returns the fault as one line: file, line and column as compilers
// write them, the field, the value, what is wrong and what would be right.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File + ":")
	}
	if f.Line > 0 {
		b.WriteString(strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column) + ":")
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(f.subject())
	b.WriteString(f.What)
	if f.Want != "" {
		b.WriteString("; " + f.Want)
	}
	return b.String()
}

// subject is what the phrase What speaks of: the value, the field when there
// is no value to show, or nothing when the fault is the whole file's.
func (f Fault) subject() string {
	switch {
	case f.Field == "" && f.Value == "":
		return ""
	case f.Field == "":
		return f.Value + " "
	case f.Value == "":
		return f.Field + " "
	}
	return f.Field + ": " + f.Value + " "
}

// Err returns f as an error: nil when it is empty.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Sort puts the faults in the order of the input. Faults at one place keep
// their order.
func (f Faults) Sort() {
	slices.SortStableFunc(f, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// Show returns s as a fault shows it: on one line, short, and in quotes when
// its ends could not be seen otherwise.
func Show(s string) string {
	if runes := []rune(s); len(runes) > shownLen {
		s = string(runes[:shownLen]) + "…"
	}
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, unseen) {
		return strconv.Quote(s)
	}
	return s
}

func unseen(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
