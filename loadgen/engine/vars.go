package engine

import (
	"fmt"
	"strconv"

	"github.com/loads/loads/loadgen/pattern"
)

// kind is what a variable holds.
type kind uint8

const (
	unset kind = iota
	isText
	isInt
	isList
)

// value is what a variable holds. Its memory is kept for the next value.
type value struct {
	kind kind
	num  int64
	text []byte
	list []value
}

func (v *value) setInt(n int64) { v.kind, v.num = isInt, n }

func (v *value) setText(text []byte) { v.kind, v.text = isText, append(v.text[:0], text...) }

// keptText is the largest text whose memory a user leaves to the next.
const keptText = 64 << 10

// forget unsets the value. Large texts are not kept for the next user: else every
// session would come to have room for the largest there ever was.
func (v *value) forget() {
	v.kind = unset
	if cap(v.text) > keptText {
		v.text = nil
	}
	for i := range v.list[:cap(v.list)] {
		v.list[:cap(v.list)][i].forget()
	}
}

// setList makes the value a list of n items, all unset.
func (v *value) setList(n int) {
	for cap(v.list) < n {
		v.list = append(v.list[:cap(v.list)], value{})
	}
	v.kind, v.list = isList, v.list[:n]
	for i := range v.list {
		v.list[i].kind = unset
	}
}

// grow appends an item to a list.
func (v *value) grow() *value {
	if v.kind != isList {
		v.setList(0)
	}
	if len(v.list) < cap(v.list) {
		v.list = v.list[:len(v.list)+1]
	} else {
		v.list = append(v.list, value{})
	}
	item := &v.list[len(v.list)-1]
	item.kind = unset
	return item
}

// copyFrom makes the value the same as another.
func (v *value) copyFrom(o *value) {
	switch v.kind = o.kind; o.kind {
	case isInt:
		v.num = o.num
	case isText:
		v.setText(o.text)
	case isList:
		v.setList(len(o.list))
		for i := range o.list {
			v.list[i].copyFrom(&o.list[i])
		}
	}
}

// appendText writes the value as text.
func (v *value) appendText(dst []byte) []byte {
	switch v.kind {
	case isInt:
		return strconv.AppendInt(dst, v.num, 10)
	case isText:
		return append(dst, v.text...)
	}
	return dst
}

// same reports whether two values are the same as text.
func (v *value) same(o *value) bool {
	if v.kind == isText && o.kind == isText {
		return string(v.text) == string(o.text)
	}
	return string(v.appendText(nil)) == string(o.appendText(nil))
}

// ref is a variable as a step refers to it.
type ref struct {
	slot    int // in the session, or that of a pseudo-variable, below 0
	element bool
	name    string
}

// String returns the variable as files write it.
func (r ref) String() string { return pattern.Variable{Name: r.name, Element: r.element}.String() }

func (r ref) isSet() bool { return r.name != "" }

// lookup returns the value of a variable, nil if it is not set.
func (in *instance) lookup(r ref) *value {
	v := in.place(r)
	if v == nil || v.kind == unset {
		return nil
	}
	return v
}

// place returns where the value of a variable is, set or not; nil for an item
// that the list does not have.
func (in *instance) place(r ref) *value {
	if r.slot < 0 {
		return in.s.pseudo(r.slot)
	}
	v := &in.s.vars[r.slot]
	if !r.element {
		return v
	}
	if v.kind != isList || in.index >= len(v.list) {
		return nil
	}
	return &v.list[in.index]
}

// target returns where to write a variable. An item of a list that is not there
// fails the session.
func (in *instance) target(r ref) *value {
	v := in.place(r)
	if v == nil || r.slot < 0 {
		in.fail(fmt.Errorf("variable %s has no item %d to set", r, in.index))
		return &value{}
	}
	in.s.again = true // somebody may wait for it
	return v
}

// number reads a variable as a number; what is none fails the session.
func (in *instance) number(r ref) (int64, bool) {
	v := in.lookup(r)
	if v == nil {
		in.fail(fmt.Errorf("variable %s %w", r, pattern.ErrUnset))
		return 0, false
	}
	n, err := v.asInt()
	if err != nil {
		in.fail(fmt.Errorf("variable %s: %w", r, err))
		return 0, false
	}
	return n, true
}

func (v *value) asInt() (int64, error) {
	switch v.kind {
	case isInt:
		return v.num, nil
	case isText:
		n, err := strconv.ParseInt(string(v.text), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", cut(v.text))
		}
		return n, nil
	}
	return 0, fmt.Errorf("is not a number")
}

// cut shortens a text for a message.
func cut(text []byte) []byte { return text[:min(len(text), 40)] }

// Value gives patterns the values of variables.
func (in *instance) Value(slot int, v pattern.Variable) pattern.Value {
	found := in.lookup(ref{slot, v.Element, v.Name})
	if found == nil || found.kind == isList {
		return pattern.Value{}
	}
	return pattern.Value{Text: found.text, Int: found.num, IsInt: found.kind == isInt, IsSet: true}
}

// The slots of variables that are always there.
const (
	pseudoMachine = -1 - iota
	pseudoMachines
	pseudoThread
	pseudoThreads
	pseudoGlobalThread
	pseudoGlobalThreads
	pseudoPhase
	pseudoPhaseNumber
	pseudoIteration
	pseudoPhaseStart
	pseudoRun
	pseudoSession
)

// pseudos are their names in files.
var pseudos = map[string]int{
	"hyperfoil.agent.id":         pseudoMachine,
	"hyperfoil.agents":           pseudoMachines,
	"hyperfoil.agent.thread.id":  pseudoThread,
	"hyperfoil.agent.threads":    pseudoThreads,
	"hyperfoil.global.thread.id": pseudoGlobalThread,
	"hyperfoil.global.threads":   pseudoGlobalThreads,
	"hyperfoil.phase.name":       pseudoPhase,
	"hyperfoil.phase.id":         pseudoPhaseNumber,
	"hyperfoil.phase.iteration":  pseudoIteration,
	// Unix ms.
	"hyperfoil.phase.start.time.as.string": pseudoPhaseStart,

	"hyperfoil.run.id":            pseudoRun,
	"hyperfoil.session.id":        pseudoSession,
	"hyperfoil.session.thread.id": pseudoThread,
}

// pseudo returns the value of such a variable, in memory of the loop.
func (s *Session) pseudo(slot int) *value {
	w, v := s.w, &s.w.scratch
	switch slot {
	case pseudoMachine:
		v.setInt(int64(w.e.cfg.Machine))
	case pseudoMachines:
		v.setInt(int64(w.e.cfg.Machines))
	case pseudoThread:
		v.setInt(int64(w.index))
	case pseudoThreads:
		v.setInt(int64(w.e.loops))
	case pseudoGlobalThread:
		v.setInt(int64(w.e.cfg.Machine*w.e.loops + w.index))
	case pseudoGlobalThreads:
		v.setInt(int64(w.e.cfg.Machines * w.e.loops))
	case pseudoPhase:
		v.kind, v.text = isText, append(v.text[:0], s.phase.share.Phase.Name...)
	case pseudoPhaseNumber:
		v.setInt(int64(s.phase.number))
	case pseudoIteration:
		v.setInt(int64(s.phase.share.Phase.Iteration))
	case pseudoPhaseStart:
		v.kind, v.text = isText, strconv.AppendInt(v.text[:0], s.phase.start.Time().UnixMilli(), 10)
	case pseudoRun:
		v.kind, v.text = isText, append(v.text[:0], w.e.cfg.RunID...)
	case pseudoSession:
		v.setInt(int64(s.id))
	default:
		return nil
	}
	return v
}
