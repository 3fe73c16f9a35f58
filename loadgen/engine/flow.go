package engine

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/stats"
)

// step compiles a step that is no action, and has no steps in it.
func (c *compiler) step(spec benchmark.Step) step {
	switch s := spec.(type) {
	case *benchmark.NextSequence:
		seq := c.sequenceNamed(s.Sequence)
		return func(in *instance) verdict { in.startSequence(seq, -1, false); return next }
	case *benchmark.BreakSequence:
		return c.breakSequence(s)
	case *benchmark.BreakIfFinished:
		return func(in *instance) verdict {
			if in.s.phase.finishing {
				return over
			}
			return next
		}
	case *benchmark.Foreach:
		return c.foreach(s)
	case *benchmark.Stop:
		return func(in *instance) verdict { in.s.stop(); return over }
	case *benchmark.NoopStep:
		return func(*instance) verdict { return next }
	case *benchmark.ThinkTime:
		return c.thinkTime(s)
	case *benchmark.ScheduleDelay:
		length, key := c.length(&s.Delay), c.delay(s.Key)
		fromLast := bool(s.FromLast)
		return func(in *instance) verdict { in.schedule(key, length(in), fromLast); return next }
	case *benchmark.AwaitDelay:
		key := c.delay(s.Key)
		return func(in *instance) verdict { return in.awaitUntil(in.s.delays[key]) }
	case *benchmark.AwaitVar:
		return c.awaitVar(s)
	case *benchmark.AwaitInt:
		return c.awaitInt(s)
	case *benchmark.AwaitAllResponses:
		return func(in *instance) verdict {
			if in.s.busy > 0 {
				in.mark()
				return wait
			}
			return in.goOn()
		}
	}
	return c.dataStep(spec)
}

// mark notes that the instance has to wait for others, goOn that it need not
// any more: what comes next is due from now on.
func (in *instance) mark() { in.until = -1 }

func (in *instance) goOn() verdict {
	if in.until == -1 {
		in.until, in.at = 0, in.s.w.loop.Now()
	}
	return next
}

// due is since when what the instance starts is due: since its last step was
// done, or since the answer came that is being handled.
func (in *instance) due() loop.Instant {
	if in.s.current != nil {
		return in.s.w.loop.Now()
	}
	return in.at
}

// startSequence starts an instance of a sequence when the policy doesn't forbid it.
func (in *instance) startSequence(seq *sequence, index int, warn bool) {
	if in.s.start(seq, index, in.due()) {
		return
	}
	if warn {
		in.s.w.e.cfg.Log.Warn("a sequence was not started, as as many run as may", "sequence", seq.name, "most", seq.concurrency)
		return
	}
	in.fail(fmt.Errorf("can't start %s, of which %d run already: write %s[%d] to let more run at once",
		seq.name, seq.concurrency, seq.name, seq.concurrency+1))
}

func (c *compiler) newSequence(s *benchmark.NewSequence) action {
	seq, same, warn := c.sequenceNamed(s.Sequence), s.ForceSameIndex, s.ConcurrencyPolicy == "WARN"
	if seq != nil && s.MaxSequences > seq.concurrency {
		seq.concurrency = s.MaxSequences
		c.prog.maxSequences = max(c.prog.maxSequences, seq.concurrency+1)
	}
	return func(in *instance) {
		index := -1
		if same {
			index = in.index
		}
		in.startSequence(seq, index, warn)
	}
}

func (c *compiler) breakSequence(s *benchmark.BreakSequence) step {
	holds, onBreak, dependency := c.conditions(s.Conditions), c.actions(s.OnBreak), c.reads(s.Dependency)
	return func(in *instance) verdict {
		if dependency.isSet() && in.lookup(dependency) == nil {
			in.mark()
			return wait
		}
		in.goOn()
		if !holds(in) {
			return next
		}
		onBreak(in)
		return over
	}
}

func (c *compiler) foreach(s *benchmark.Foreach) step {
	from, seq, counter, dependency := c.reads(s.FromVar), c.sequenceNamed(s.Sequence), c.writes(s.CounterVar), c.reads(s.Dependency)
	return func(in *instance) verdict {
		list := in.lookup(from)
		if list == nil || dependency.isSet() && in.lookup(dependency) == nil {
			in.mark()
			return wait
		}
		in.goOn()
		if list.kind != isList {
			in.fail(fmt.Errorf("variable %s is not a list", from))
			return over
		}
		count := 0
		for i := range list.list {
			if list.list[i].kind == unset {
				break
			}
			if count++; i >= seq.concurrency || !in.s.start(seq, i, in.at) {
				in.fail(fmt.Errorf("can't start %s for item %d: write %s[%d]", seq.name, i, seq.name, len(list.list)))
				return over
			}
		}
		if counter.isSet() {
			in.target(counter).setInt(int64(count))
		}
		return next
	}
}

// loop puts steps and two jumps into the list: the counter is checked before,
// and counts after each turn. It begins anew whenever its sequence does.
func (c *compiler) loop(list []step, s *benchmark.Loop) []step {
	counter, repeats := c.writes(s.CounterVar), int64(s.Repeats)
	list = append(list, func(in *instance) verdict { in.target(counter).setInt(0); return next })
	check := len(list)
	end := 0
	list = append(list, func(in *instance) verdict {
		if n, ok := in.number(counter); ok && n < repeats {
			return next
		}
		in.pc = end
		return jump
	})
	list = c.steps(list, s.Steps)
	list = append(list, func(in *instance) verdict {
		if n, ok := in.number(counter); ok {
			in.target(counter).setInt(n + 1)
		}
		in.pc = check
		return jump
	})
	end = len(list)
	return list
}

// stopwatch measures the steps between two of its own.
func (c *compiler) stopwatch(list []step, s *benchmark.Stopwatch) []step {
	number, metric, name := c.number, c.prog.metrics, []byte(c.seq.Name)
	c.number++
	c.prog.metrics++
	list = append(list, func(in *instance) verdict {
		for len(in.watches) <= number {
			in.watches = append(in.watches, 0)
		}
		in.watches[number] = in.at
		return next
	})
	list = c.steps(list, s.Steps)
	return append(list, func(in *instance) verdict {
		began, now := in.watches[number], in.at
		in.s.phase.measured(metric, name).Add(&stats.Request{Intended: int64(began), Sent: int64(began), End: int64(now)})
		return next
	})
}

// cell returns where a step counts; name is its metric's.
func (p *phaseRun) cell(step int, name []byte) *stats.Cell {
	if p.metrics[step] < 0 {
		p.metrics[step] = p.w.rec.Metric(p.number, name)
	}
	return p.w.rec.Cell(p.metrics[step])
}

// measured returns where a step counts what it measures beside requests.
func (p *phaseRun) measured(step int, name []byte) *stats.Cell {
	if p.metrics[step] < 0 {
		p.metrics[step] = p.w.rec.Measured(p.number, name)
	}
	return p.w.rec.Cell(p.metrics[step])
}

// length compiles the length of a pause, which is drawn anew each time.
func (c *compiler) length(d *benchmark.Delay) func(in *instance) time.Duration {
	var mean, least, most time.Duration
	if d.Duration != nil {
		mean = time.Duration(*d.Duration)
	}
	bounded := d.Max != nil
	if d.Min != nil {
		least = time.Duration(*d.Min)
	}
	if d.Max != nil {
		most = time.Duration(*d.Max)
	}
	switch d.Random {
	case "LINEAR":
		return func(in *instance) time.Duration {
			return least + time.Duration(in.s.w.random.Int64N(int64(most-least)+1))
		}
	case "NEGATIVE_EXPONENTIAL":
		return func(in *instance) time.Duration {
			drawn := min(in.s.w.random.ExpFloat64()*float64(mean), math.MaxInt64/4)
			if bounded {
				drawn = min(drawn, float64(most))
			}
			return max(time.Duration(drawn), least)
		}
	}
	return func(*instance) time.Duration { return mean }
}

// thinkTime counts from when the step before was done, as a user's pause does,
// or from the end of the pause before.
func (c *compiler) thinkTime(s *benchmark.ThinkTime) step {
	length, fromLast, key := c.length(&s.Delay), bool(s.FromLast), -1
	if s.Key != "" {
		key = c.delay(s.Key)
	}
	return func(in *instance) verdict {
		if in.until == 0 {
			d := length(in)
			if key < 0 {
				in.until = in.at.Add(d)
			} else {
				in.schedule(key, d, fromLast)
				in.until = in.s.delays[key]
			}
		}
		return in.awaitUntil(in.until)
	}
}

// schedule sets the end of a pause.
func (in *instance) schedule(key int, d time.Duration, fromLast bool) {
	from := in.at
	if last := in.s.delays[key]; fromLast && last != 0 {
		from = last
	}
	in.s.delays[key] = from.Add(d)
}

// awaitUntil waits for the end of a pause. What comes next is due then, however
// late the loop comes to it.
func (in *instance) awaitUntil(at loop.Instant) verdict {
	if at > in.s.w.loop.Now() {
		in.until = at
		in.pauseUntil(at)
		return wait
	}
	in.until = 0
	in.at = max(in.at, at)
	return next
}

func (c *compiler) awaitVar(s *benchmark.AwaitVar) step {
	v, wanted := c.reads(s.Var), !s.Unset
	return func(in *instance) verdict {
		if (in.lookup(v) != nil) != wanted {
			in.mark()
			return wait
		}
		return in.goOn()
	}
}

func (c *compiler) awaitInt(s *benchmark.AwaitInt) step {
	v, fits := c.reads(s.Var), c.intMatch(&s.IntMatch)
	return func(in *instance) verdict {
		if found := in.lookup(v); found != nil {
			if n, ok := in.number(v); ok && fits(in, n) {
				return in.goOn()
			}
		}
		in.mark()
		return wait
	}
}

func (c *compiler) fail(s *benchmark.Fail) action {
	holds, message := c.conditions(s.Conditions), s.Message
	if message == "" {
		message = "the scenario asked for it"
	}
	return func(in *instance) {
		if holds(in) {
			in.fail(errors.New(message))
		}
	}
}
