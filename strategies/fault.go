package strategies

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

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

// err returns f as an error: nil when it is empty.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// sort puts the faults in the order of the input. Faults at one place keep
// their order.
func (f Faults) sort() {
	slices.SortStableFunc(f, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// show returns s as a fault shows it: on one line, short, and in quotes when
// its ends could not be seen otherwise.
func show(s string) string {
	if runes := []rune(s); len(runes) > shownLen {
		s = string(runes[:shownLen]) + "…"
	}
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsFunc(s, unseen) {
		return strconv.Quote(s)
	}
	return s
}

// showOf is show for the value of the variable name: secrets are not shown.
func showOf(name, value string) string {
	if isSecret(name) && value != "" {
		return masked
	}
	return show(value)
}

func unseen(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
