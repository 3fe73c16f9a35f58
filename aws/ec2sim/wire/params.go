package wire

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Params are the parameters of a request in the form that EC2 uses: lists are
// Name.1, Name.2, and structures Name.Field. It remembers which were read, so
// that what nobody reads can be told to the client instead of being ignored.
// It is for one goroutine.
type Params struct {
	values url.Values
	prefix string
	read   map[string]bool
}

// NewParams wraps the values of a form.
func NewParams(values url.Values) *Params {
	return &Params{values: values, read: map[string]bool{}}
}

// Has reports whether the parameter was given.
func (p *Params) Has(name string) bool {
	_, ok := p.values[p.prefix+name]
	return ok
}

// Get is the value of a parameter, "" if it wasn't given.
func (p *Params) Get(name string) string {
	p.read[p.prefix+name] = true
	return p.values.Get(p.prefix + name)
}

// Default is the value of a parameter, or another if it wasn't given.
func (p *Params) Default(name, value string) string {
	if v := p.Get(name); v != "" {
		return v
	}
	return value
}

// Int is the value of a number, or another if it wasn't given.
func (p *Params) Int(name string, otherwise int) (int, *Error) {
	text := p.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. An integer is expected.", text, p.prefix+name)
	}
	return n, nil
}

// Bool is the value of a truth, or another if it wasn't given.
func (p *Params) Bool(name string, otherwise bool) (bool, *Error) {
	text := p.Get(name)
	if text == "" {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It is true or false.", text, p.prefix+name)
	}
	return b, nil
}

// Strings are the values of a list, in its order.
func (p *Params) Strings(name string) []string {
	var list []string
	for _, i := range p.indexes(name) {
		list = append(list, p.Get(name+"."+strconv.Itoa(i)))
	}
	return list
}

// Structs are the structures of a list, in its order.
func (p *Params) Structs(name string) []*Params {
	var list []*Params
	for _, i := range p.indexes(name) {
		list = append(list, p.In(name+"."+strconv.Itoa(i)))
	}
	return list
}

// In is a structure.
func (p *Params) In(name string) *Params {
	return &Params{values: p.values, prefix: p.prefix + name + ".", read: p.read}
}

// Given reports whether any field of the structure was given.
func (p *Params) Given() bool {
	for name := range p.values {
		if strings.HasPrefix(name, p.prefix) {
			return true
		}
	}
	return false
}

// Unread are the names of parameters that nobody has asked for.
func (p *Params) Unread() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !p.read[name] {
			names = append(names, name)
		}
	}
	return names
}

// Canonical is all that was given, save some parameters, in one string: two
// requests that ask for the same have the same.
func (p *Params) Canonical(without ...string) string {
	values := maps.Clone(p.values)
	for _, name := range without {
		delete(values, name)
	}
	return values.Encode()
}

// indexes are the numbers in a list, ascending.
func (p *Params) indexes(name string) []int {
	found := map[int]bool{}
	for key := range p.values {
		rest, ok := strings.CutPrefix(key, p.prefix+name+".")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ".")
		if i, err := strconv.Atoi(number); err == nil {
			found[i] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Narrowed reports whether a list of ids, names or filters was given.
func (p *Params) Narrowed() bool {
	for name := range p.values {
		if strings.Contains(name, ".1") {
			return true
		}
	}
	return false
}

// Accept takes all parameters as read: they were the same before.
func (p *Params) Accept() {
	for name := range p.values {
		p.read[name] = true
	}
}
