package ec2sim

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// The limits of tags.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

type xmlTag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func tagSet(tags map[string]string) wire.Set[xmlTag] {
	var set wire.Set[xmlTag]
	for _, key := range sortedKeys(tags) {
		set.Items = append(set.Items, xmlTag{key, tags[key]})
	}
	return set
}

func sortedKeys(tags map[string]string) []string { return slices.Sorted(maps.Keys(tags)) }

func setTags(to, from map[string]string) { maps.Copy(to, from) }

// readTags reads a list of tags and checks them.
func readTags(p *wire.Params) (map[string]string, *wire.Error) {
	tags := map[string]string{}
	for _, tag := range p.Structs("Tag") {
		key, value := tag.Get("Key"), tag.Get("Value")
		_, twice := tags[key]
		switch {
		case key == "":
			return nil, wire.Errorf("InvalidParameterValue", "Tag key cannot be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, wire.Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case len([]rune(key)) > maxTagKey:
			return nil, wire.Errorf("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case len([]rune(value)) > maxTagValue:
			return nil, wire.Errorf("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		case twice:
			return nil, wire.Errorf("InvalidParameterValue", "Duplicate tag key '%s' specified.", key)
		}
		tags[key] = value
	}
	if len(tags) > maxTags {
		return nil, errTooManyTags()
	}
	return tags, nil
}

func errTooManyTags() *wire.Error {
	return wire.Errorf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
}

// readTagSpecs reads the tags for what a call makes, by kind.
func (c *call) readTagSpecs(kinds ...string) (map[string]map[string]string, *wire.Error) {
	all := map[string]map[string]string{}
	for _, spec := range c.params.Structs("TagSpecification") {
		kind := spec.Get("ResourceType")
		if !slices.Contains(kinds, kind) {
			return nil, wire.Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind)
		}
		if all[kind] != nil {
			return nil, wire.Errorf("InvalidParameterValue", "The resource type '%s' is given twice.", kind)
		}
		tags, err := readTags(spec)
		if err != nil {
			return nil, err
		}
		all[kind] = tags
	}
	return all, nil
}

// taggedResources finds what CreateTags and DeleteTags are about.
func (c *call) taggedResources() ([]*resource, *wire.Error) {
	ids := c.params.Strings("ResourceId")
	if len(ids) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	var found []*resource
	for _, id := range ids {
		r := c.region.resource(id, c.now)
		if r == nil {
			return nil, c.noResource(id)
		}
		found = append(found, r)
	}
	return found, nil
}

// notFoundCodes are the errors for ids that nothing has, by how they begin.
var notFoundCodes = map[string]string{
	"i": "InvalidInstanceID", "sg": "InvalidGroup", "vol": "InvalidVolume", "eni": "InvalidNetworkInterfaceID",
	"sir": "InvalidSpotInstanceRequestID", "vpc": "InvalidVpcID", "subnet": "InvalidSubnetID", "ami": "InvalidAMIID",
}

var wellFormed = regexp.MustCompile(`^[a-z]+-[0-9a-f]{8}([0-9a-f]{9})?$`)

func (c *call) noResource(id string) *wire.Error {
	kind, _, _ := strings.Cut(id, "-")
	code, ok := notFoundCodes[kind]
	if !ok {
		return wire.Errorf("InvalidID", "The ID '%s' is not valid", id)
	}
	return notFound(code+".NotFound", "ID", id)
}

func createTags(c *call) (any, *wire.Error) {
	found, err := c.taggedResources()
	if err != nil {
		return nil, err
	}
	tags, err := readTags(c.params)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter Tag")
	}
	for _, r := range found {
		both := maps.Clone(r.tags)
		setTags(both, tags)
		if len(both) > maxTags {
			return nil, errTooManyTags()
		}
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	for _, r := range found {
		setTags(r.tags, tags)
	}
	return done, nil
}

func deleteTags(c *call) (any, *wire.Error) {
	found, err := c.taggedResources()
	if err != nil {
		return nil, err
	}
	doomed := c.params.Structs("Tag")
	for _, tag := range doomed {
		tag.Get("Key")
		tag.Get("Value")
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	for _, r := range found {
		if len(doomed) == 0 {
			clear(r.tags)
		}
		for _, tag := range doomed {
			key := tag.Get("Key")
			if !tag.Has("Value") || r.tags[key] == tag.Get("Value") {
				delete(r.tags, key)
			}
		}
	}
	return done, nil
}

func describeTags(c *call) (any, *wire.Error) {
	type item struct {
		ResourceID   string `xml:"resourceId"`
		ResourceType string `xml:"resourceType"`
		Key          string `xml:"key"`
		Value        string `xml:"value"`
	}
	filters, err := c.filters()
	if err != nil {
		return nil, err
	}
	var all []item
	for _, r := range c.region.resources() {
		if !r.isSeen(c.now) {
			continue
		}
		for _, key := range sortedKeys(r.tags) {
			i := item{r.ID, r.Kind, key, r.tags[key]}
			ok, err := admits(filters, func(name string) ([]string, bool) {
				if wanted, ok := strings.CutPrefix(name, "tag:"); ok {
					if wanted != i.Key {
						return nil, true
					}
					return []string{i.Value}, true
				}
				return table(map[string]string{
					"key": i.Key, "value": i.Value, "resource-id": i.ResourceID, "resource-type": i.ResourceType,
				})(name)
			})
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, i)
			}
		}
	}
	items, next, err := page(c, all, func(i item) string { return i.ResourceID + " " + i.Key }, usualPages)
	return struct {
		Tags wire.Set[item] `xml:"tagSet"`
		Next string         `xml:"nextToken,omitempty"`
	}{wire.SetOf(items...), next}, err
}

// done is the answer of calls that only say that they did it.
var done = struct {
	Return bool `xml:"return"`
}{true}
