package relay

import (
	"cmp"
	"slices"
	"strings"

	"github.com/loads/loads/metrics"
)

// sortedTags reads tags as DogStatsD writes them: name:value, with commas
// between. A name alone has the value "true"; of a name given twice the last
// counts; an empty tag is none.
func sortedTags(text []byte) []metrics.Tag {
	if len(text) == 0 {
		return nil
	}
	var tags []metrics.Tag
	for part := range strings.SplitSeq(string(text), ",") {
		name, value, _ := strings.Cut(part, ":")
		if name == "" {
			continue
		}
		if value == "" {
			value = "true"
		}
		tags = append(tags, metrics.Tag{Name: name, Value: value})
	}
	slices.SortStableFunc(tags, func(a, b metrics.Tag) int { return cmp.Compare(a.Name, b.Name) })
	return lastOfEach(tags)
}

// lastOfEach keeps the last of the tags that share a name.
func lastOfEach(sorted []metrics.Tag) []metrics.Tag {
	kept := sorted[:0]
	for i, tag := range sorted {
		if i+1 == len(sorted) || sorted[i+1].Name != tag.Name {
			kept = append(kept, tag)
		}
	}
	return kept
}

// withType adds the tag type to sorted tags that lack it, unless it is empty.
func withType(sorted []metrics.Tag, value string) []metrics.Tag {
	at, found := slices.BinarySearchFunc(sorted, "type", func(t metrics.Tag, name string) int { return cmp.Compare(t.Name, name) })
	if found || value == "" {
		return sorted
	}
	return slices.Insert(sorted, at, metrics.Tag{Name: "type", Value: value})
}
