package source

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// Describe says what a node is, as the What of a fault.
func Describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "is a map"
	case yaml.SequenceNode:
		return "is a list"
	case yaml.AliasNode:
		return "is an alias of an alias"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "is empty"
	case "!!int", "!!float":
		return "is a number"
	case "!!bool":
		return "is a boolean"
	case "!!str", "!!timestamp", "!!merge":
		return "is text"
	default:
		return "has the tag " + Show(tag)
	}
}

// ShowNode shows a scalar as it is written.
func ShowNode(n *yaml.Node) string {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		if s := Show(n.Value); strings.HasPrefix(s, `"`) {
			return s
		}
		return `"` + Show(n.Value) + `"`
	}
	return Show(n.Value)
}

// IsText reports whether n is a string; text without quotes that looks like a
// date is one, too.
func IsText(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	tag := n.ShortTag()
	return tag == "!!str" || tag == "!!timestamp" || tag == "!!merge"
}
