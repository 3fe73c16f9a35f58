package engine

import (
	"fmt"
	"sync"

	"github.com/loads/loads/loadgen/benchmark"
)

// shared is what sessions of a loop share.
type shared struct {
	counters map[string]int64
	maps     map[string][]sharedMap
}

// sharedMap has values of variables by their names: scenarios give them
// different slots.
type sharedMap map[string]*value

// maxSharedMaps bounds how many maps of a name a loop keeps.
const maxSharedMaps = 100_000

func (w *worker) counters() map[string]int64 {
	if w.shared.counters == nil {
		w.shared.counters = map[string]int64{}
	}
	return w.shared.counters
}

// agentData is what sessions publish for all of the machine, each name once.
type agentData struct {
	mu     sync.Mutex
	values map[string]*value
}

// publish keeps a value, and reports false if the name has one already.
func (a *agentData) publish(name string, v *value) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.values == nil {
		a.values = map[string]*value{}
	}
	if a.values[name] != nil {
		return false
	}
	kept := &value{}
	kept.copyFrom(v)
	a.values[name] = kept
	return true
}

// read returns a value, which is not changed any more.
func (a *agentData) read(name string) *value {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.values[name]
}

// sharedAction compiles the actions on what sessions share.
func (c *compiler) sharedAction(spec benchmark.Action) action {
	switch s := spec.(type) {
	case *benchmark.SetSharedCounter:
		key, n := s.Key, c.counterValue(s.Value, s.FromVar, 0)
		return func(in *instance) {
			if v, ok := n.get(in); ok {
				in.s.w.counters()[key] = v
			}
		}
	case *benchmark.GetSharedCounter:
		key, to := s.Key, c.writes(s.ToVar)
		return func(in *instance) { in.target(to).setInt(in.s.w.counters()[key]) }
	case *benchmark.AddToSharedCounter:
		key, n, sign := s.Key, c.counterValue(s.Value, s.FromVar, 1), int64(1)
		if s.Operator == "SUBTRACT" {
			sign = -1
		}
		return func(in *instance) {
			if v, ok := n.get(in); ok {
				in.s.w.counters()[key] += sign * v
			}
		}
	case *benchmark.PublishAgentData:
		name, from := s.Name, c.reads(s.FromVar)
		return func(in *instance) {
			v := in.lookup(from)
			if v == nil {
				in.fail(unsetError(from))
			} else if !in.s.w.e.agent.publish(name, v) {
				in.fail(fmt.Errorf("%s has been published already", name))
			}
		}
	case *benchmark.ReadAgentData:
		name, to := s.Name, c.writes(s.ToVar)
		return func(in *instance) {
			v := in.s.w.e.agent.read(name)
			if v == nil {
				in.fail(fmt.Errorf("%s has not been published: read it in a phase that starts after the publishing one has ended", name))
				return
			}
			in.target(to).copyFrom(v)
		}
	}
	if s, ok := spec.(*benchmark.PublishGlobalCounters); ok {
		return c.globalCounters(s)
	}
	c.refuse(spec)
	return func(*instance) {}
}

// globalCounters adds variables up in the statistics, which add up over loops
// and machines.
func (c *compiler) globalCounters(s *benchmark.PublishGlobalCounters) action {
	type counter struct {
		name []byte
		from ref
	}
	var list []counter
	for _, v := range s.Vars {
		list = append(list, counter{[]byte(v.Name), c.reads(v.FromVar)})
	}
	metric, key := c.prog.metrics, []byte(s.Key)
	c.prog.metrics++
	return func(in *instance) {
		cell := in.s.phase.cell(metric, key)
		for _, one := range list {
			if in.lookup(one.from) == nil {
				continue
			}
			n, ok := in.number(one.from)
			if !ok {
				return
			}
			cell.Count(one.name, n)
		}
	}
}

func (c *compiler) counterValue(n *int, from benchmark.Reads, otherwise int64) intSource {
	if from.Name != "" {
		return intSource{from: c.reads(from)}
	}
	if n != nil {
		return intSource{value: int64(*n)}
	}
	return intSource{value: otherwise}
}

// sharedStep compiles the steps on what sessions share, and refuses steps that
// are not known.
func (c *compiler) sharedStep(spec benchmark.Step, done func(action) step) step {
	switch s := spec.(type) {
	case *benchmark.PushSharedMap:
		key := s.Key
		vars := make([]ref, len(s.Vars))
		for i, v := range s.Vars {
			vars[i] = c.reads(v)
		}
		return done(func(in *instance) { in.pushMap(key, vars) })
	case *benchmark.PullSharedMap:
		key, match := s.Key, c.reads(s.Match)
		vars := make([]ref, len(s.Vars))
		for i, v := range s.Vars {
			vars[i] = c.writes(v)
		}
		return done(func(in *instance) { in.pullMap(key, match, vars) })
	}
	c.refuse(spec)
	return func(*instance) verdict { return next }
}

func (in *instance) pushMap(key string, vars []ref) {
	w := in.s.w
	if w.shared.maps == nil {
		w.shared.maps = map[string][]sharedMap{}
	}
	m := sharedMap{}
	for _, r := range vars {
		if v := in.lookup(r); v != nil {
			kept := &value{}
			kept.copyFrom(v)
			m[r.name] = kept
		}
	}
	if len(w.shared.maps[key]) >= maxSharedMaps {
		in.fail(fmt.Errorf("more than %d maps wait under the key %s", maxSharedMaps, key))
		return
	}
	w.shared.maps[key] = append(w.shared.maps[key], m)
}

// pullMap takes a map out, the oldest that fits, and leaves variables alone if
// there is none.
func (in *instance) pullMap(key string, match ref, vars []ref) {
	w := in.s.w
	list := w.shared.maps[key]
	for i, m := range list {
		if match.isSet() {
			mine, theirs := in.lookup(match), m[match.name]
			if mine == nil || theirs == nil || !mine.same(theirs) {
				continue
			}
		}
		w.shared.maps[key] = append(list[:i], list[i+1:]...)
		if len(vars) == 0 {
			for slot, name := range in.s.prog.slots {
				if v := m[name]; v != nil {
					in.s.vars[slot].copyFrom(v)
				}
			}
		}
		for _, r := range vars {
			if v := m[r.name]; v != nil {
				in.target(r).copyFrom(v)
			}
		}
		in.s.again = true
		return
	}
}
