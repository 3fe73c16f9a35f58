package ec2sim

import (
	"encoding/base64"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// A filter admits resources one of whose values for a name matches one of its
// patterns.
type filter struct {
	name     string
	patterns []string
}

func (c *call) filters() ([]filter, *wire.Error) {
	var all []filter
	for _, p := range c.params.Structs("Filter") {
		f := filter{p.Get("Name"), p.Strings("Value")}
		if f.name == "" {
			return nil, wire.Errorf("InvalidParameterValue", "The filter 'null' is invalid")
		}
		if len(f.patterns) == 0 {
			return nil, wire.Errorf("InvalidParameterValue", "The filter '%s' has no values", f.name)
		}
		all = append(all, f)
	}
	return all, nil
}

// values are what a resource has for the name of a filter; known says whether
// there is such a filter.
type values func(name string) (list []string, known bool)

// admits reports whether all filters admit what has these values.
func admits(filters []filter, v values) (bool, *wire.Error) {
	for _, f := range filters {
		list, known := v(f.name)
		if !known {
			return false, wire.Errorf("InvalidParameterValue", "The filter '%s' is invalid", f.name)
		}
		if !slices.ContainsFunc(f.patterns, func(pattern string) bool {
			return slices.ContainsFunc(list, func(value string) bool { return matches(pattern, value) })
		}) {
			return false, nil
		}
	}
	return true, nil
}

// matches reports whether the value is like the pattern, in which * stands for
// any characters, ? for one, and \ takes the next one's meaning away.
func matches(pattern, value string) bool {
	if !strings.ContainsAny(pattern, `*?\`) {
		return pattern == value
	}
	// path.Match stops * at slashes, and knows brackets.
	swap := strings.NewReplacer("/", "\x00", "[", `\[`)
	ok, err := path.Match(swap.Replace(pattern), strings.ReplaceAll(value, "/", "\x00"))
	return ok && err == nil
}

// tagValues answers the filters on tags, and leaves others to more.
func (r resource) tagValues(more values) values {
	return func(name string) ([]string, bool) {
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			value, there := r.tags[key]
			if !there {
				return nil, true
			}
			return []string{value}, true
		}
		switch name {
		case "tag-key":
			return sortedKeys(r.tags), true
		case "tag-value":
			var list []string
			for _, key := range sortedKeys(r.tags) {
				list = append(list, r.tags[key])
			}
			return list, true
		}
		return more(name)
	}
}

// table answers filters from values that are there already.
func table(m map[string]string) values {
	return func(name string) ([]string, bool) {
		v, ok := m[name]
		return []string{v}, ok
	}
}

// tableOfLists is the same with several values for a name.
func tableOfLists(m map[string][]string) values {
	return func(name string) ([]string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

// pageSizes are the smallest and the largest MaxResults.
type pageSizes struct{ least, most int }

var usualPages = pageSizes{5, 1000}

// page cuts the part out of a list that the call asks for, and says where the
// next one begins. The key of each item says where it stands, and stays when
// others come and go.
func page[T any](c *call, all []T, key func(T) string, sizes pageSizes) (items []T, next string, fault *wire.Error) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	size, err := c.params.Int("MaxResults", sizes.most)
	if err != nil {
		return nil, "", err
	}
	if c.params.Has("MaxResults") && size < sizes.least {
		return nil, "", wire.Errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than %d.", size, sizes.least)
	}
	size = min(size, sizes.most)
	if token := c.params.Get("NextToken"); token != "" {
		after, ok := readToken(c.action, token)
		if !ok {
			return nil, "", wire.Errorf("InvalidNextToken", "The token '%s' is invalid", token)
		}
		first := slices.IndexFunc(all, func(item T) bool { return key(item) > after })
		if first < 0 {
			first = len(all)
		}
		all = all[first:]
	}
	if len(all) > size {
		all = all[:size]
		next = makeToken(c.action, key(all[size-1]))
	}
	return all, next, nil
}

func makeToken(action, after string) string {
	return base64.URLEncoding.EncodeToString([]byte(strconv.Quote(action) + after))
}

func readToken(action, token string) (after string, ok bool) {
	data, err := base64.URLEncoding.DecodeString(token)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(string(data), strconv.Quote(action))
}

// pick finds what was asked for by id, or everything that is seen, by the
// filters, in pages.
func pick[T any](c *call, all map[string]T, about func(T) *resource, list string, v func(T) values, missing func(id string) *wire.Error) ([]T, string, *wire.Error) {
	filters, err := c.filters()
	if err != nil {
		return nil, "", err
	}
	ids := c.params.Strings(list)
	if len(ids) > 0 {
		named := map[string]T{}
		for _, id := range ids {
			item, ok := all[id]
			if !ok || !about(item).isSeen(c.now) {
				return nil, "", missing(id)
			}
			named[id] = item
		}
		all = named
	}
	var found []T
	for _, item := range all {
		if !about(item).isSeen(c.now) {
			continue
		}
		ok, err := admits(filters, v(item))
		if err != nil {
			return nil, "", err
		}
		if ok {
			found = append(found, item)
		}
	}
	sizes := usualPages
	if len(ids) > 0 {
		sizes.most = max(sizes.most, len(ids))
	}
	return page(c, found, func(item T) string { return about(item).order }, sizes)
}
