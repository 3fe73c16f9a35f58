package strategies

import (
	"errors"
	"fmt"
	"strings"
)

// maxExpanded is the longest a text may become, in bytes: what Linux allows
// for one argument or variable.
const maxExpanded = 128 << 10

// errDollar says what a lone dollar sign should have been.
var errDollar = errors.New("a lone $: write $$ for a dollar sign, $NAME or ${NAME} for a variable")

// unsetError names a variable, without $, that is used and not set.
type unsetError string

func (e unsetError) Error() string { return "variable $" + string(e) + " is not set" }

// interpolate replaces $NAME and ${NAME} in s by what lookup answers, and $$ by
// a dollar sign. A name consists of ASCII letters, digits and underscores and
// does not begin with a digit. Any other use of $ is an error, and so is what
// lookup can't answer. What it answers is taken as it is.
func interpolate(s string, lookup func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		name, rest, err := cutVariable(s[i+1:])
		if err != nil {
			return "", err
		}
		value := "$"
		if name != "" {
			if value, err = lookup(name); err != nil {
				return "", err
			}
		}
		b.WriteString(value)
		if b.Len()+len(rest) > maxExpanded {
			return "", fmt.Errorf("the text grows beyond %d bytes", maxExpanded)
		}
		s = rest
	}
	b.WriteString(s)
	return b.String(), nil
}

// cutVariable splits what follows a dollar sign into the name of the variable
// and the rest. The name is empty for a second dollar sign.
func cutVariable(s string) (name, rest string, err error) {
	if strings.HasPrefix(s, "$") {
		return "", s[1:], nil
	}
	body, braced := strings.CutPrefix(s, "{")
	n := nameLen(body)
	switch {
	case braced && n > 0 && n < len(body) && body[n] == '}':
		return body[:n], body[n+1:], nil
	case braced:
		return "", "", errors.New("${ without a name and a }: write ${NAME}, or $$ for a dollar sign")
	case n == 0:
		return "", "", errDollar
	}
	return body[:n], body[n:], nil
}

// nameLen is the length of the variable name that s begins with.
func nameLen(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return i
		}
	}
	return len(s)
}

// variablesIn lists the variables used in s, once each, in their order.
func variablesIn(s string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	_, err := interpolate(s, func(name string) (string, error) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		return "", nil
	})
	return names, err
}
