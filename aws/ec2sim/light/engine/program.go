package engine

import (
	"flag"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A program is what a container does, all of it known beforehand.
type program interface {
	// length is how long it runs unless it is ended before; forever if negative.
	length() time.Duration
	// status is what it ends with by itself, and asked what it ends with when it
	// is asked to by a signal, which all do at once.
	status() int
	asked() int
	// count is how many lines a run of it has written until the time.
	count(r run, until time.Time) int
	// at is when a run writes line i, from 0, if it goes on; zero for never. text
	// is a line that was written.
	at(r run, i int) time.Time
	text(r run, i int) []byte
}

// A run is a time of a container's running.
type run struct {
	began, ended time.Time // by the machine's clock
	over         bool      // it has ended, that is
	orderly      bool      // it was asked to end, and did
}

// nodeEntrypoint is how images of the node program are known.
const nodeEntrypoint = "/loads-node"

// programOf tells what a container does, by its image and its command: the
// node program is known, and everything else goes on until it is ended.
func (e *Engine) programOf(img *image, command []string) program {
	argv := slices.Concat(img.entrypoint, command)
	if len(argv) < 2 || argv[0] != nodeEntrypoint {
		return idle{}
	}
	switch argv[1] {
	case "relay":
		return newRelaying(e, argv[2:])
	case "sleep":
		return newSleeping(argv[2:])
	case "gen":
		return newGenerating(argv[2:])
	case "serve":
		return waiting{lasts: forever}
	case "images":
		return imaging(argv[2:])
	case "version":
		return waiting{lasts: 0}
	case "survey":
		return surveying{}
	}
	return failing{}
}

const forever = time.Duration(-1)

// silent is the part of programs that write nothing.
type silent struct{}

func (silent) count(run, time.Time) int { return 0 }
func (silent) at(run, int) time.Time    { return time.Time{} }
func (silent) text(run, int) []byte     { return nil }

// idle is an unknown program, which SIGTERM ends as it ends one that doesn't
// care.
type idle struct{ silent }

func (idle) length() time.Duration { return forever }
func (idle) status() int           { return 0 }
func (idle) asked() int            { return 143 }

// failing is one that ends at once since its arguments are wrong.
type failing struct{ silent }

func (failing) length() time.Duration { return 0 }
func (failing) status() int           { return 1 }
func (failing) asked() int            { return 1 }

// waiting is the node program with nothing to say for a while.
type waiting struct {
	silent
	lasts time.Duration
}

func (w waiting) length() time.Duration { return w.lasts }
func (waiting) status() int             { return 0 }
func (waiting) asked() int              { return 0 }

// surveying is the node program's look at a machine between two runs: the disk
// is empty, and nothing was ever left.
type surveying struct{ waiting }

func (surveying) count(run, time.Time) int  { return 1 }
func (surveying) at(r run, _ int) time.Time { return r.began }
func (surveying) text(_ run, _ int) []byte {
	return []byte(`{"free":32212254720,"total":32212254720}` + "\n")
}

// newGenerating is the plain load generator, which sends nothing here.
func newGenerating(args []string) program {
	for i, arg := range args {
		value, found := strings.CutPrefix(strings.TrimLeft(arg, "-"), "duration")
		if !found || !strings.HasPrefix(arg, "-") {
			continue
		}
		if value = strings.TrimPrefix(value, "="); value == "" && i+1 < len(args) {
			value = args[i+1]
		}
		if d, err := time.ParseDuration(value); err == nil && d >= 0 {
			return waiting{lasts: d}
		}
		return failing{}
	}
	return waiting{lasts: forever} // a benchmark file knows
}

// sleeping is the node program's sleep: see there for what it prints.
type sleeping struct {
	lasts time.Duration
	exit  int
	print string
	times int
}

func newSleeping(args []string) program {
	var s sleeping
	fs := flag.NewFlagSet("sleep", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.IntVar(&s.exit, "exit", 0, "")
	fs.StringVar(&s.print, "print", "", "")
	fs.IntVar(&s.times, "repeat", 0, "")
	var positional []string
	for rest := args; len(rest) > 0; {
		if fs.Parse(rest) != nil {
			return failing{}
		}
		if rest = fs.Args(); len(rest) > 0 {
			positional, rest = append(positional, rest[0]), rest[1:]
		}
	}
	if len(positional) != 1 {
		return failing{}
	}
	var err error
	if s.lasts, err = time.ParseDuration(positional[0]); err != nil || s.lasts < 0 {
		return failing{}
	}
	return s
}

func (s sleeping) length() time.Duration { return s.lasts }
func (s sleeping) status() int           { return s.exit }
func (sleeping) asked() int              { return 0 }

func (s sleeping) count(r run, until time.Time) int {
	until = r.last(until)
	return sort.Search(s.lines(), func(i int) bool { return s.at(r, i).After(until) })
}

func (s sleeping) lines() int {
	if s.times <= 0 {
		return min(len(s.print), 1)
	}
	return s.times
}

func (s sleeping) at(r run, i int) time.Time {
	if s.times <= 0 {
		return r.began
	}
	return r.began.Add(min(s.lasts, time.Duration(float64(s.lasts)*float64(i+1)/float64(s.times))))
}

func (s sleeping) text(_ run, i int) []byte {
	if s.times <= 0 {
		return []byte(s.print + "\n")
	}
	return []byte(strings.ReplaceAll(s.print, "{n}", strconv.Itoa(i+1)) + "\n")
}

// last is the time, or the run's end if that came before.
func (r run) last(t time.Time) time.Time {
	if r.over && r.ended.Before(t) {
		return r.ended
	}
	return t
}
