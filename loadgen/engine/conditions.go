package engine

import (
	"bytes"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/pattern"
)

// condition reports whether something holds.
type condition func(in *instance) bool

// conditions compiles conditions that must all hold; none of them holds.
func (c *compiler) conditions(s benchmark.Conditions) condition {
	var all []condition
	if s.Int != nil {
		all = append(all, c.intCondition(s.Int))
	}
	if s.Text != nil {
		all = append(all, c.textCondition(s.Text))
	}
	if s.Bool != nil {
		v, fits := c.reads(s.Bool.FromVar), boolMatch(s.Bool.Value)
		all = append(all, func(in *instance) bool { found := in.lookup(v); return found != nil && fits(found) })
	}
	for _, inner := range s.All {
		all = append(all, c.conditions(inner.Conditions))
	}
	if len(all) == 1 {
		return all[0]
	}
	return func(in *instance) bool {
		for _, holds := range all {
			if !holds(in) {
				return false
			}
		}
		return true
	}
}

func (c *compiler) intCondition(s *benchmark.IntCondition) condition {
	v, fits, isSet := c.reads(s.FromVar), c.intMatch(&s.IntMatch), s.IsSet
	return func(in *instance) bool {
		found := in.lookup(v)
		if isSet != nil && (found != nil) != *isSet {
			return false
		}
		if found == nil {
			return isSet != nil // that it is not set was what was asked
		}
		n, ok := in.number(v)
		return ok && fits(in, n)
	}
}

func (c *compiler) textCondition(s *benchmark.TextCondition) condition {
	v, fits, isSet := c.reads(s.FromVar), c.textMatch(&s.TextMatch), s.IsSet
	return func(in *instance) bool {
		found := in.lookup(v)
		if isSet != nil && (found != nil) != *isSet {
			return false
		}
		if found == nil {
			return isSet != nil
		}
		return fits(in, in.textOf(found))
	}
}

// textOf returns a value as text, which is good until the next call.
func (in *instance) textOf(v *value) []byte {
	if v.kind == isText {
		return v.text
	}
	w := in.s.w
	w.buffer = v.appendText(w.buffer[:0])
	return w.buffer
}

// intMatch compiles what must all hold for a number.
func (c *compiler) intMatch(m *benchmark.IntMatch) func(in *instance, n int64) bool {
	type rule struct {
		with intSource
		fits func(a, b int64) bool
	}
	var rules []rule
	add := func(s *benchmark.IntSource, fits func(a, b int64) bool) {
		if s != nil {
			rules = append(rules, rule{c.intSource(s, 0), fits})
		}
	}
	add(m.EqualTo, func(a, b int64) bool { return a == b })
	add(m.NotEqualTo, func(a, b int64) bool { return a != b })
	add(m.LessThan, func(a, b int64) bool { return a < b })
	add(m.LessOrEqualTo, func(a, b int64) bool { return a <= b })
	add(m.GreaterThan, func(a, b int64) bool { return a > b })
	add(m.GreaterOrEqualTo, func(a, b int64) bool { return a >= b })
	return func(in *instance, n int64) bool {
		for i := range rules {
			if with, ok := rules[i].with.get(in); !ok || !rules[i].fits(n, with) {
				return false
			}
		}
		return true
	}
}

// textMatch compiles what must all hold for a text.
func (c *compiler) textMatch(m *benchmark.TextMatch) func(in *instance, text []byte) bool {
	equal, prefix, suffix := bytes.Equal, bytes.HasPrefix, bytes.HasSuffix
	if !m.CaseSensitive {
		equal = bytes.EqualFold
		prefix = func(s, p []byte) bool { return len(s) >= len(p) && bytes.EqualFold(s[:len(p)], p) }
		suffix = func(s, p []byte) bool { return len(s) >= len(p) && bytes.EqualFold(s[len(s)-len(p):], p) }
	}
	var rules []func(in *instance, text []byte) bool
	add := func(s *string, fits func(text, with []byte) bool) {
		if s != nil {
			with := []byte(*s)
			rules = append(rules, func(_ *instance, text []byte) bool { return fits(text, with) })
		}
	}
	add(m.Value, equal)
	add(m.EqualTo, equal)
	add(m.NotEqualTo, func(a, b []byte) bool { return !equal(a, b) })
	add(m.StartsWith, prefix)
	add(m.EndsWith, suffix)
	if m.MatchVar.Name != "" {
		v := c.reads(m.MatchVar)
		rules = append(rules, func(in *instance, text []byte) bool {
			found := in.lookup(v)
			return found != nil && equal(text, found.appendText(nil))
		})
	}
	if m.Length != nil {
		fits := c.intMatch(&m.Length.IntMatch)
		rules = append(rules, func(in *instance, text []byte) bool { return fits(in, int64(len(text))) })
	}
	negate := m.Negate
	return func(in *instance, text []byte) bool {
		for _, fits := range rules {
			if !fits(in, text) {
				return negate
			}
		}
		return !negate
	}
}

// boolMatch fits texts that are true or false.
func boolMatch(wanted bool) func(v *value) bool {
	text := []byte("false")
	if wanted {
		text = []byte("true")
	}
	return func(v *value) bool {
		return v.kind == isText && bytes.EqualFold(v.text, text) || v.kind == isInt && (v.num != 0) == wanted
	}
}

// unsetError says that a variable has no value.
type unsetError ref

func (e unsetError) Error() string {
	return "variable " + ref(e).String() + " " + pattern.ErrUnset.Error()
}
func (e unsetError) Unwrap() error { return pattern.ErrUnset }
