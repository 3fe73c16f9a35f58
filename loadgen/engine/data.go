package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
)

// action compiles an action.
func (c *compiler) action(spec benchmark.Action) action {
	switch s := spec.(type) {
	case *benchmark.NewSequence:
		return c.newSequence(s)
	case *benchmark.RestartSequence:
		return func(in *instance) { in.restart = true }
	case *benchmark.Conditional:
		holds, do := c.conditions(s.Conditions), c.actions(s.Actions)
		return func(in *instance) {
			if holds(in) {
				do(in)
			}
		}
	case *benchmark.Fail:
		return c.fail(s)
	case *benchmark.Log:
		return c.log(s)
	case *benchmark.Set:
		return c.set(s)
	case *benchmark.SetInt:
		return c.setInt(s)
	case *benchmark.Unset:
		v := c.writes(s.Var)
		return func(in *instance) { in.target(v).kind = unset }
	case *benchmark.AddToInt:
		return c.addToInt(s)
	case *benchmark.StringToInt:
		from, to := c.reads(s.FromVar), c.writes(s.ToVar)
		return func(in *instance) {
			if n, ok := in.number(from); ok {
				in.target(to).setInt(n)
			}
		}
	case *benchmark.MarkRequestInvalid:
		return func(in *instance) {
			if r := in.s.current; r != nil {
				r.invalidate("the scenario marked it so")
			}
		}
	case *benchmark.ClearHTTPCache:
		return func(in *instance) { in.s.cache.clear() }
	}
	if do := c.listAction(spec); do != nil {
		return do
	}
	return c.sharedAction(spec)
}

// log writes a line; {} in it stands for the next of the variables.
func (c *compiler) log(s *benchmark.Log) action {
	message := c.patternText(s.Message)
	vars := make([]ref, len(s.Vars))
	for i, v := range s.Vars {
		vars[i] = c.reads(v)
	}
	return func(in *instance) {
		line, err := message.append(nil, in)
		if err != nil {
			in.fail(err)
			return
		}
		text := string(line)
		for _, v := range vars {
			shown := "(not set)"
			if found := in.lookup(v); found != nil {
				shown = string(found.appendText(nil))
			}
			text = strings.Replace(text, "{}", shown, 1)
		}
		in.s.w.e.cfg.Log.Info(text, "phase", in.s.phase.share.Phase.Name, "session", in.s.id)
	}
}

func (c *compiler) set(s *benchmark.Set) action {
	to, value := c.writes(s.Var), s.Value
	size := s.ObjectArray
	if size == nil {
		size = s.IntArray
	}
	if size == nil {
		return func(in *instance) { in.target(to).setText([]byte(value)) }
	}
	from, fixed := c.reads(size.FromVar), size.Size
	return func(in *instance) {
		n := fixed
		if from.isSet() {
			if list := in.lookup(from); list != nil && list.kind == isList {
				n = len(list.list)
			}
		}
		in.target(to).setList(n)
	}
}

func (c *compiler) setInt(s *benchmark.SetInt) action {
	to, from, onlyUnset := c.writes(s.Var), c.reads(s.FromVar), s.OnlyUnset
	var fits func(in *instance, n int64) bool
	if s.Condition != nil {
		fits = c.intMatch(s.Condition)
	}
	sources := make([]intSource, 0, len(s.Min)+len(s.Max))
	for _, list := range []benchmark.IntSources{s.Min, s.Max} {
		for i := range list {
			sources = append(sources, c.intSource(&list[i], 0))
		}
	}
	smallest := len(s.Min) > 0
	var fixed int64
	if s.Value != nil {
		fixed = int64(*s.Value)
	}
	return func(in *instance) {
		old := in.lookup(to)
		if onlyUnset && old != nil {
			return
		}
		if fits != nil {
			if old == nil {
				return
			}
			if n, ok := in.number(to); !ok || !fits(in, n) {
				return
			}
		}
		n := fixed
		switch {
		case from.isSet():
			var ok bool
			if n, ok = in.number(from); !ok {
				return
			}
		case len(sources) > 0:
			for i := range sources {
				v, ok := sources[i].get(in)
				if !ok {
					return
				}
				if i == 0 || smallest && v < n || !smallest && v > n {
					n = v
				}
			}
		}
		in.target(to).setInt(n)
	}
}

func (c *compiler) addToInt(s *benchmark.AddToInt) action {
	v, n, orElse := c.writes(s.Var), int64(s.Value), s.OrElse
	return func(in *instance) {
		if orElse != nil && in.lookup(v) == nil {
			in.target(v).setInt(int64(*orElse))
			return
		}
		if old, ok := in.number(v); ok {
			in.target(v).setInt(old + n)
		}
	}
}

// listAction compiles what is done with lists.
func (c *compiler) listAction(spec benchmark.Action) action {
	switch s := spec.(type) {
	case *benchmark.SetItem:
		list, index, value, from := c.writes(s.ToVar), c.intSource(s.Index, 0), s.Value, c.reads(s.FromVar)
		return func(in *instance) {
			if item := in.item(list, &index); item != nil {
				in.assign(item, value, from)
			}
		}
	case *benchmark.GetItem:
		list, index, to := c.reads(s.FromVar), c.intSource(s.Index, 0), c.writes(s.ToVar)
		return func(in *instance) {
			if item := in.item(list, &index); item != nil {
				in.target(to).copyFrom(item)
			}
		}
	case *benchmark.AddItem:
		list, value, from := c.writes(s.ToVar), s.Value, c.reads(s.FromVar)
		return func(in *instance) { in.assign(in.target(list).grow(), value, from) }
	case *benchmark.RemoveItem:
		list, index := c.reads(s.FromVar), c.intSource(s.Index, 0)
		return func(in *instance) {
			if in.item(list, &index) == nil {
				return
			}
			n, _ := index.get(in)
			v := in.lookup(list)
			removed := v.list[n]
			v.list = append(v.list[:n], v.list[n+1:]...)
			v.list[:len(v.list)+1][len(v.list)] = removed // its memory serves the next
			in.s.again = true
		}
	case *benchmark.GetIndex:
		return c.getIndex(s)
	case *benchmark.GetSize:
		return c.getSize(s)
	}
	return nil
}

// assign gives an item the value of a text or a variable.
func (in *instance) assign(item *value, literal string, from ref) {
	in.s.again = true
	if !from.isSet() {
		item.setText([]byte(literal))
		return
	}
	v := in.lookup(from)
	if v == nil {
		in.fail(unsetError(from))
		return
	}
	item.copyFrom(v)
}

// item returns an item of a list. One that is not there fails the session.
func (in *instance) item(list ref, index *intSource) *value {
	v := in.lookup(list)
	if v == nil || v.kind != isList {
		in.fail(fmt.Errorf("variable %s is not a list", list))
		return nil
	}
	n, ok := index.get(in)
	if !ok {
		return nil
	}
	if n < 0 || n >= int64(len(v.list)) {
		in.fail(fmt.Errorf("variable %s has no item %d, but %d items", list, n, len(v.list)))
		return nil
	}
	return &v.list[n]
}

func (c *compiler) getIndex(s *benchmark.GetIndex) action {
	list, to := c.reads(s.Collection), c.writes(s.ToVar)
	var wanted string
	var from ref
	if s.Item != nil {
		wanted, from = s.Item.Value, c.reads(s.Item.FromVar)
	}
	return func(in *instance) {
		var like value
		in.assign(&like, wanted, from)
		at := int64(-1)
		if v := in.lookup(list); v != nil && v.kind == isList {
			at = int64(slices.IndexFunc(v.list, func(item value) bool { return item.kind != unset && item.same(&like) }))
		}
		in.target(to).setInt(at)
	}
}

func (c *compiler) getSize(s *benchmark.GetSize) action {
	list, to, undefined := c.reads(s.FromVar), c.writes(s.ToVar), s.Undefined
	var filters []func(in *instance, v *value) bool
	if s.Text != nil {
		fits := c.textMatch(s.Text)
		filters = append(filters, func(in *instance, v *value) bool { return fits(in, v.appendText(nil)) })
	}
	if s.Int != nil {
		fits := c.intMatch(s.Int)
		filters = append(filters, func(in *instance, v *value) bool {
			n, err := v.asInt()
			return err == nil && fits(in, n)
		})
	}
	if s.Bool != nil {
		fits := boolMatch(s.Bool.Value)
		filters = append(filters, func(_ *instance, v *value) bool { return fits(v) })
	}
	return func(in *instance) {
		v := in.lookup(list)
		if v == nil && undefined != nil {
			in.target(to).setInt(int64(*undefined))
			return
		}
		if v == nil || v.kind != isList {
			in.fail(fmt.Errorf("variable %s is not a list", list))
			return
		}
		n := int64(0)
		for i := range v.list {
			item := &v.list[i]
			if item.kind != unset && !slices.ContainsFunc(filters, func(f func(*instance, *value) bool) bool { return !f(in, item) }) {
				n++
			}
		}
		in.target(to).setInt(n)
	}
}

// dataStep compiles the steps that make data and are no actions.
func (c *compiler) dataStep(spec benchmark.Step) step {
	done := func(do action) step { return func(in *instance) verdict { do(in); return next } }
	switch s := spec.(type) {
	case *benchmark.Template:
		t, to := c.patternText(s.Pattern), c.writes(s.ToVar)
		return done(func(in *instance) {
			w := in.s.w
			var err error
			if w.buffer, err = t.append(w.buffer[:0], in); err != nil {
				in.fail(err)
				return
			}
			in.target(to).setText(w.buffer)
		})
	case *benchmark.Timestamp:
		return done(c.timestamp(s))
	case *benchmark.Divide:
		from, to, by := c.reads(s.FromVar), c.writes(s.ToVar), int64(s.Divisor)
		return done(func(in *instance) {
			if n, ok := in.number(from); ok {
				in.target(to).setInt(n / by)
			}
		})
	case *benchmark.JSONQuery:
		from, process := c.reads(s.FromVar), c.processor(s)
		return done(func(in *instance) {
			v := in.lookup(from)
			if v == nil {
				in.fail(unsetError(from))
				return
			}
			process(in, v.appendText(nil))
		})
	}
	return c.randomStep(spec, done)
}

// timestamp writes the time as ms since 1970, or as a pattern of Java's letters.
func (c *compiler) timestamp(s *benchmark.Timestamp) action {
	to := c.writes(s.ToVar)
	if s.Pattern == "" {
		return func(in *instance) { in.target(to).setInt(time.Now().UnixMilli()) }
	}
	if s.Locale != "" && !strings.EqualFold(s.Locale, "US") && !strings.EqualFold(s.Locale, "GB") {
		c.fault("has a timestamp with names of "+s.Locale, "only English names are known: leave localeCountry out")
	}
	layout, err := javaLayout(s.Pattern)
	if err != nil {
		c.fault("has a timestamp that can't be written: "+err.Error(), "use the letters y M d H h m s S a E z Z X")
	}
	return func(in *instance) { in.target(to).setText([]byte(time.Now().Format(layout))) }
}

// javaLayout turns a pattern of Java's letters into a layout of package time.
func javaLayout(pattern string) (string, error) {
	known := map[string]string{
		"yyyy": "2006", "y": "2006", "yy": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1", "dd": "02", "d": "2",
		"HH": "15", "hh": "03", "h": "3", "mm": "04", "m": "4", "ss": "05", "s": "5", "SSS": "000", "SSSSSS": "000000", "SS": "00", "S": "0",
		"a": "PM", "EEEE": "Monday", "EEE": "Mon", "EE": "Mon", "E": "Mon", "z": "MST", "Z": "-0700", "X": "Z07", "XX": "Z0700", "XXX": "Z07:00",
	}
	var out strings.Builder
	for i := 0; i < len(pattern); {
		b := pattern[i]
		if b == '\'' {
			end := strings.IndexByte(pattern[i+1:], '\'')
			if end < 0 {
				return "", fmt.Errorf("a quote is not closed")
			}
			if quoted := pattern[i+1 : i+1+end]; quoted == "" {
				out.WriteByte('\'')
			} else {
				out.WriteString(quoted)
			}
			i += end + 2
			continue
		}
		if b < 'A' || b > 'Z' && b < 'a' || b > 'z' {
			out.WriteByte(b)
			i++
			continue
		}
		end := i
		for end < len(pattern) && pattern[end] == b {
			end++
		}
		layout, ok := known[pattern[i:end]]
		if !ok {
			return "", fmt.Errorf("%q is not known", pattern[i:end])
		}
		out.WriteString(layout)
		i = end
	}
	return out.String(), nil
}
