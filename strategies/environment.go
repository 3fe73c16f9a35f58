package strategies

import (
	"fmt"
	"strings"

	"github.com/loads/loads/internal/source"
)

func (c *checker) environment(field string, env Environment) {
	if len(env) > maxVariables {
		c.add(field, "", fmt.Sprintf("has %d variables", len(env)), fmt.Sprintf("%d are the most", maxVariables))
		return
	}
	seen := map[string]bool{}
	for _, v := range env {
		at := child(field, v.Name)
		switch {
		case seen[v.Name]:
			c.add(at, "", "is given twice", "leave one")
		case !isVariableName(v.Name):
			c.add(at, "", "is not a name for a variable", "use letters, digits and _, no digit first")
		case isBuiltin(v.Name) && v.Value != "$"+v.Name && v.Value != "${"+v.Name+"}":
			c.add(at, source.Show(v.Value), "is given for a built-in variable", "use another name")
		case strings.ContainsRune(v.Value, 0):
			c.add(at, "", "holds a NUL character", "leave it out")
		default:
			c.dollarsOf(at, showOf(v.Name, v.Value), v.Value)
		}
		seen[v.Name] = true
	}
}

// isVariableName accepts what Interpolate does, and dots and hyphens: some
// images are configured by such names.
func isVariableName(name string) bool {
	if nameLen(name) == 0 {
		return false
	}
	plain := strings.NewReplacer(".", "_", "-", "_").Replace(name)
	return nameLen(plain) == len(plain)
}

// blank puts "x" in the place of every variable of a text with sound dollars.
func blank(s string) string {
	out, err := interpolate(s, func(string) (string, error) { return "x", nil })
	if err != nil {
		return s
	}
	return out
}

// dollars checks the use of $ and reports whether it is right.
func (c *checker) dollars(field, text string) bool {
	return c.dollarsOf(field, source.Show(text), text)
}

func (c *checker) dollarsOf(field, shown, text string) bool {
	_, err := variablesIn(text)
	if err == nil {
		return true
	}
	what, want, _ := strings.Cut(err.Error(), ": ")
	c.add(field, shown, "has "+what, want)
	return false
}
