package relay

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/loads/loads/metrics"
)

// tagList is the tags of a line, sorted by distinct names. Its texts point into
// the line. It is made once and read into again.
type tagList []rawTag

type rawTag struct {
	name, value []byte
	at          int // its place in the line, by which the last of a name is found
}

// read reads tags as DogStatsD writes them: name:value, with commas between. A
// name alone has the value "true"; of a name given twice the last counts; an
// empty tag is none.
func (t *tagList) read(text []byte) {
	tags := (*t)[:0]
	for len(text) > 0 {
		part := text
		if i := bytes.IndexByte(text, ','); i >= 0 {
			part, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		name, value, _ := bytes.Cut(part, []byte{':'})
		if len(name) > 0 {
			tags = append(tags, rawTag{name, value, len(tags)})
		}
	}
	slices.SortFunc(tags, func(a, b rawTag) int {
		return cmp.Or(bytes.Compare(a.name, b.name), cmp.Compare(a.at, b.at))
	})
	kept := tags[:0]
	for i, tag := range tags {
		if i+1 == len(tags) || !bytes.Equal(tags[i+1].name, tag.name) {
			kept = append(kept, tag)
		}
	}
	*t = kept
}

// add adds a tag where it belongs, unless its value is empty or the line has
// one of its name.
func (t *tagList) add(tag rawTag) {
	if len(tag.value) == 0 {
		return
	}
	at, found := slices.BinarySearchFunc(*t, tag, func(a, b rawTag) int { return bytes.Compare(a.name, b.name) })
	if !found {
		*t = slices.Insert(*t, at, tag)
	}
}

func (t tagList) appendKey(key []byte) []byte {
	for _, tag := range t {
		key = appendText(appendText(key, tag.name), tag.text())
	}
	return key
}

// strings returns a copy that lasts.
func (t tagList) strings() []metrics.Tag {
	if len(t) == 0 {
		return nil
	}
	tags := make([]metrics.Tag, 0, len(t))
	for _, tag := range t {
		tags = append(tags, metrics.Tag{Name: string(tag.name), Value: string(tag.text())})
	}
	return tags
}

func (t rawTag) text() []byte {
	if len(t.value) == 0 {
		return []byte("true")
	}
	return t.value
}

// appendText appends a text with its length before it.
func appendText(key, text []byte) []byte {
	return append(binary.AppendUvarint(key, uint64(len(text))), text...)
}
