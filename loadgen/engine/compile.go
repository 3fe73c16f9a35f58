package engine

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/loads/loads/loadgen/benchmark"
	"github.com/loads/loads/loadgen/pattern"
)

// program is a scenario as the engine runs it. It is shared by all loops and
// not changed.
type program struct {
	sequences    []*sequence
	initial      int
	slots        []string // names of variables
	delays       []string // names of delays
	requests     int      // request steps
	metrics      int      // of those, and of other steps that measure
	maxRequests  int
	maxSequences int
	limits       []metricLimit
	queues       int
	compensation *compensation // nil if no request has one
}

// metricLimit are limits of a metric.
type metricLimit struct {
	metric string
	slas   benchmark.SLAs
}

// defaultMost is how many requests and sequences of a session run at once unless the
// scenario says otherwise.
const defaultMost = 16

// compiler turns a scenario into a program, and finds what can't be run.
type compiler struct {
	cfg       *Config
	prog      *program
	byName    map[string]*sequence
	seq       *benchmark.Sequence // that is compiled
	number    int                 // of stopwatches in it
	closes    bool                // the request that is compiled may close its connection
	addressed bool                // its handlers want to know where it goes
	request   *requestStep        // that was compiled last
	faults    benchmark.Faults
}

// compileAll compiles the scenarios of all phases; those that share one share
// its program.
func compileAll(cfg Config) ([]*program, benchmark.Faults) {
	faults := checkEndpoints(cfg)
	known := map[*benchmark.Scenario]*program{}
	programs := make([]*program, len(cfg.Phases))
	for i := range cfg.Phases {
		s := cfg.Phases[i].Scenario
		if s == nil {
			continue
		}
		if known[s] == nil {
			c := &compiler{cfg: &cfg, prog: &program{}, byName: map[string]*sequence{}}
			c.scenario(s)
			known[s] = c.prog
			faults = append(faults, c.faults...)
		}
		programs[i] = known[s]
		if known[s].compensation != nil && cfg.Phases[i].Kind != benchmark.AlwaysBusy {
			faults = append(faults, benchmark.Fault{
				File: cfg.Name, Line: 1, Column: 1, Field: "phases." + cfg.Phases[i].Base,
				What: "has compensation, which is for phases of the type always", Want: "leave it out: latencies count from the timetable here",
			})
		}
	}
	faults.Sort()
	return programs, slices.Compact(faults)
}

func (c *compiler) scenario(s *benchmark.Scenario) {
	p := c.prog
	p.initial, p.maxRequests, p.maxSequences = s.Initial, s.MaxRequests, s.MaxSequences
	total := 0
	for i := range s.Sequences {
		spec := &s.Sequences[i]
		seq := &sequence{number: i, name: spec.Name, concurrency: max(1, spec.Concurrency)}
		p.sequences = append(p.sequences, seq)
		c.byName[spec.Name] = seq
		total += seq.concurrency
	}
	if p.maxRequests == 0 {
		p.maxRequests = max(defaultMost, total)
	}
	if p.maxSequences == 0 {
		p.maxSequences = max(defaultMost, total+1)
	}
	for i := range s.Sequences {
		c.seq, c.number = &s.Sequences[i], 0
		steps := s.Sequences[i].Steps
		p.sequences[i].steps = c.steps(nil, steps)
		if len(steps) > 0 {
			if _, ok := steps[len(steps)-1].(*benchmark.HTTPRequest); ok {
				c.request.last = !c.request.isHandled()
			}
		}
	}
}

// fault says what the engine can't do, with the place of the sequence.
func (c *compiler) fault(what, want string) {
	c.faults = append(c.faults, benchmark.Fault{
		File: c.cfg.Name, Line: c.seq.Line, Column: c.seq.Column, Field: "sequence " + c.seq.Name, What: what, Want: want,
	})
}

// refuse is for what the language has and the engine has not.
func (c *compiler) refuse(what any) {
	c.fault("has "+benchmark.NameOf(what)+", which the generator can't run yet", "leave it out")
}

// steps appends compiled steps to a program's. Steps within steps become part
// of the same list, with jumps.
func (c *compiler) steps(list []step, specs benchmark.Steps) []step {
	for _, spec := range specs {
		switch s := spec.(type) {
		case *benchmark.HTTPRequest:
			list = append(list, c.httpRequest(s)...)
		case *benchmark.TCP:
			list = append(list, c.tcp(s)...)
		case *benchmark.GRPC:
			list = append(list, c.grpc(s)...)
		case *benchmark.WebSocket:
			list = append(list, c.webSocket(s)...)
		case *benchmark.Loop:
			list = c.loop(list, s)
		case *benchmark.Stopwatch:
			list = c.stopwatch(list, s)
		case benchmark.Action:
			do := c.action(s)
			list = append(list, func(in *instance) verdict { do(in); return next })
		default:
			list = append(list, c.step(s))
		}
	}
	return list
}

// action compiles what never waits. RestartSequence is done by its instance, as
// it leads elsewhere.
func (c *compiler) actions(specs benchmark.Actions) action {
	var all []action
	for _, spec := range specs {
		all = append(all, c.action(spec))
	}
	switch len(all) {
	case 0:
		return func(*instance) {}
	case 1:
		return all[0]
	}
	return func(in *instance) {
		for _, do := range all {
			if do(in); in.s.stopped {
				return
			}
		}
	}
}

// ref gives a variable its slot.
func (c *compiler) ref(v pattern.Variable) ref {
	r := ref{name: v.Name, element: v.Element}
	if v.Name == "" {
		return r
	}
	if slot, ok := pseudos[v.Name]; ok {
		r.slot = slot
		return r
	}
	if strings.HasPrefix(v.Name, "hyperfoil.") {
		c.fault("reads "+v.Name+", which the generator doesn't know", "leave it out")
		return r
	}
	if r.slot = slices.Index(c.prog.slots, v.Name); r.slot < 0 {
		r.slot = len(c.prog.slots)
		c.prog.slots = append(c.prog.slots, v.Name)
	}
	return r
}

func (c *compiler) reads(r benchmark.Reads) ref   { return c.ref(pattern.Variable(r)) }
func (c *compiler) writes(w benchmark.Writes) ref { return c.ref(pattern.Variable(w)) }

// bind gives a pattern's variables their slots.
func (c *compiler) bind(p pattern.Pattern) pattern.Pattern {
	return p.Bind(func(v pattern.Variable) int { return c.ref(v).slot })
}

// text is a compiled text: it writes itself behind dst.
type text struct {
	literal []byte
	fixed   bool // the literal is all
	pattern pattern.Pattern
	from    ref
}

func (c *compiler) text(t benchmark.Text) text {
	if literal, ok := t.Literal(); ok {
		return text{literal: []byte(literal), fixed: true}
	}
	if t.FromVar.Name != "" {
		return text{from: c.reads(t.FromVar)}
	}
	return text{pattern: c.bind(t.Pattern)}
}

func (c *compiler) patternText(p pattern.Pattern) text { return c.text(benchmark.Text{Pattern: p}) }

func (t *text) append(dst []byte, in *instance) ([]byte, error) {
	switch {
	case t.fixed:
		return append(dst, t.literal...), nil
	case t.from.isSet():
		v := in.lookup(t.from)
		if v == nil {
			return dst, fmt.Errorf("variable %s %w", t.from, pattern.ErrUnset)
		}
		return v.appendText(dst), nil
	}
	return t.pattern.Append(dst, in)
}

// delay gives a delay its number.
func (c *compiler) delay(key string) int {
	i := slices.Index(c.prog.delays, key)
	if i < 0 {
		i = len(c.prog.delays)
		c.prog.delays = append(c.prog.delays, key)
	}
	return i
}

// file reads a file that a step names; ok is false after a fault.
func (c *compiler) file(name benchmark.File) (data []byte, ok bool) {
	if c.cfg.Read == nil {
		c.fault("reads the file "+string(name)+", and there are no files", "leave it out")
		return nil, false
	}
	data, err := c.cfg.Read(string(name))
	if err != nil {
		what := "reads a file that can't be read: " + err.Error()
		if os.IsNotExist(err) {
			what = "reads the file " + string(name) + ", which is not there"
		}
		c.fault(what, "names of files are relative to the benchmark's folder")
	}
	return data, err == nil
}

// lines returns the lines of a file that are not empty.
func lines(data []byte) (list [][]byte) {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			list = append(list, line)
		}
	}
	return list
}

// sequenceNamed returns a sequence of the scenario; the parser has seen that it
// is there.
func (c *compiler) sequenceNamed(name benchmark.SequenceRef) *sequence { return c.byName[string(name)] }

// intSource is a number, or a variable that holds one.
type intSource struct {
	value int64
	from  ref
}

func (c *compiler) intSource(s *benchmark.IntSource, otherwise int64) intSource {
	switch {
	case s == nil:
		return intSource{value: otherwise}
	case s.FromVar.Name != "":
		return intSource{from: c.reads(s.FromVar)}
	case s.Value != nil:
		return intSource{value: int64(*s.Value)}
	}
	return intSource{value: otherwise}
}

func (s *intSource) get(in *instance) (int64, bool) {
	if s.from.isSet() {
		return in.number(s.from)
	}
	return s.value, true
}
