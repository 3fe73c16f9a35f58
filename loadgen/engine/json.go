package engine

import (
	"fmt"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/jsonpath"
)

// json compiles what takes values out of a document.
func (c *compiler) json(s *benchmark.JSONQuery) processor {
	if s.Delete || len(s.Replace) > 0 {
		return c.changeJSON(s)
	}
	query, first, unquote := s.Query, c.writes(s.ToVar), s.Unquote
	var array processor
	var list ref
	if s.ToArray != nil {
		list = c.writes(s.ToArray.Var)
		array = c.array(list, s.ToArray.Size, false)
	}
	var process processor
	if len(s.Processor) > 0 {
		process = c.processors(s.Processor)
	}
	return func(in *instance, value []byte) {
		if array != nil {
			in.target(list).setList(0)
		}
		found := false
		err := query.Each(value, func(part []byte) bool {
			w := in.s.w
			text := part
			if unquote {
				text = jsonpath.AppendText(w.body(), part)
			}
			if first.isSet() && !found {
				in.target(first).setText(text)
			}
			found = true
			if array != nil {
				array(in, text)
			}
			if process != nil {
				process(in, text)
			}
			if unquote {
				w.giveBody(text)
			}
			return (array != nil || process != nil) && !in.s.stopped
		})
		if err != nil {
			in.badDocument(err)
		}
	}
}

// changeJSON compiles what changes a document, and hands it on as a whole.
func (c *compiler) changeJSON(s *benchmark.JSONQuery) processor {
	query, to := s.Query, c.writes(s.ToVar)
	process := c.processors(s.Processor)
	var changes []func(in *instance, dst, value []byte) ([]byte, error)
	for i := range s.Replace {
		changes = append(changes, c.transformer(&s.Replace[i], s.Unquote))
	}
	return func(in *instance, value []byte) {
		w := in.s.w
		var failed error
		changed, err := query.Edit(w.body(), value, func(dst, old []byte) ([]byte, bool) {
			base := len(dst)
			if failed != nil || in.s.stopped {
				return dst, true // nobody gets the document
			}
			for _, change := range changes {
				if dst, failed = change(in, dst, old); failed != nil {
					return dst, true
				}
				old = append(w.body(), dst[base:]...)
				defer w.giveBody(old)
				dst = dst[:base]
			}
			return append(dst, old...), len(changes) > 0
		})
		defer func() { w.giveBody(changed) }()
		switch {
		case failed != nil:
			in.fail(failed)
		case err != nil:
			in.badDocument(err)
		case !in.s.stopped:
			if to.isSet() {
				in.target(to).setText(changed)
			}
			process(in, changed)
		}
	}
}

// transformer compiles what is written for a value.
func (c *compiler) transformer(s *benchmark.Transformer, unquote bool) func(in *instance, dst, value []byte) ([]byte, error) {
	if s.Actions == nil {
		pattern := c.patternText(s.Pattern)
		return func(in *instance, dst, _ []byte) ([]byte, error) { return pattern.append(dst, in) }
	}
	to, do, pattern := c.writes(s.Actions.Var), c.actions(s.Actions.Actions), c.patternText(s.Actions.Pattern)
	return func(in *instance, dst, value []byte) ([]byte, error) {
		if unquote {
			value = jsonpath.AppendText(in.s.w.body(), value)
			defer in.s.w.giveBody(value)
		}
		in.target(to).setText(value)
		if do(in); in.s.stopped {
			return dst, nil
		}
		return pattern.append(dst, in)
	}
}

// badDocument makes the answer with a document invalid, or fails if there is
// none.
func (in *instance) badDocument(err error) {
	if q := in.s.current; q != nil {
		q.invalidate("its body is " + err.Error())
		return
	}
	in.fail(fmt.Errorf("the document is %w", err))
}
