package relay

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/loads/loads/metrics"
)

// ellipsis ends a note that was cut.
const ellipsis = "…"

// notes collects the first examples of what could not be taken in. It never
// changes a metrics.Notes that it has given out.
type notes struct {
	given *metrics.Notes
}

// malformed notes a line and what is wrong with it, if there is room.
func (n *notes) malformed(text []byte, why error) {
	if n.given != nil && len(n.given.Malformed) >= metrics.MaxNotes {
		return
	}
	tail := ": " + why.Error()
	line := shortened(text, metrics.MaxNoteSize-len(tail))
	now := n.copied()
	now.Malformed = append(now.Malformed, line+tail)
	n.given = &now
}

// dropped notes the name of a metric beyond the limit, if there is room.
func (n *notes) dropped(name []byte) {
	if n.given != nil {
		known := func(note string) bool { return isNoteOf(note, name) }
		if len(n.given.Dropped) >= metrics.MaxNotes || slices.ContainsFunc(n.given.Dropped, known) {
			return
		}
	}
	now := n.copied()
	now.Dropped = append(now.Dropped, shortened(name, metrics.MaxNoteSize))
	n.given = &now
}

// isNoteOf reports whether the note is of the text, or of one that begins
// alike. It allocates nothing.
func isNoteOf(note string, text []byte) bool {
	if begin, cut := strings.CutSuffix(note, ellipsis); cut {
		return len(text) > len(begin) && string(text[:len(begin)]) == begin
	}
	return note == string(text)
}

func (n *notes) copied() metrics.Notes {
	if n.given == nil {
		return metrics.Notes{}
	}
	return metrics.Notes{Malformed: slices.Clone(n.given.Malformed), Dropped: slices.Clone(n.given.Dropped)}
}

// shortened returns the beginning of a text as printable UTF-8 of at most so
// many bytes, with a dot for each character that can't be shown.
func shortened(text []byte, most int) string {
	cut := len(text) > most
	if cut {
		text = text[:most]
	}
	var b strings.Builder
	for _, r := range string(text) {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '.'
		}
		if cut && b.Len()+utf8.RuneLen(r) > most-len(ellipsis) {
			break
		}
		b.WriteRune(r)
	}
	if cut {
		b.WriteString(ellipsis)
	}
	return b.String()
}
