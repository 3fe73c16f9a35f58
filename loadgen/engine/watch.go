package engine

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/stats"
	"github.com/loads/loads/metrics"
)

// Limits are what the generator may do wrong itself before the numbers of a run
// are INVALID. A field of 0 has its default, a negative one is no limit.
type Limits struct {
	Lag   time.Duration // of starting users, at p99; 100 ms
	Pause time.Duration // for collecting garbage; 100 ms
	Steal float64       // share of the machine's time that its host took; 0.2
	Late  time.Duration // of beginning, after Config.Start; 1 s, or none where Lag has none
	Core  float64       // share of a processor that a loop uses over ten seconds; 0.95, or none where Lag has none
}

func (l Limits) filled() Limits {
	if l.Late == 0 && l.Lag < 0 {
		l.Late = -1
	}
	if l.Late == 0 {
		l.Late = time.Second
	}
	if l.Core == 0 && l.Lag < 0 {
		l.Core = -1
	}
	if l.Core == 0 {
		l.Core = 0.95
	}
	if l.Lag == 0 {
		l.Lag = 100 * time.Millisecond
	}
	if l.Pause == 0 {
		l.Pause = 100 * time.Millisecond
	}
	if l.Steal == 0 {
		l.Steal = 0.2
	}
	return l
}

// watcher sees whether the generator itself was a bottleneck.
type watcher struct {
	limits  Limits
	warmup  map[string]bool
	open    map[string]bool // phases with a timetable, which count
	last    sample
	first   sample
	core    float64       // share of the period in which the busiest loop had a processor
	short   shortage      // in this period
	late    time.Duration // by how much the run began after it should
	busy    busyLoops
	sum     stats.SelfReport
	collect uint32 // collections of garbage until now
}

// sample is what the system has counted until a moment.
type sample struct {
	at         loop.Instant
	cpu        time.Duration
	all, steal float64 // of all processors, in ticks
	processors int     // that the program may use
}

func newWatcher(e *engine) *watcher {
	w := &watcher{limits: e.cfg.Limits.filled(), warmup: map[string]bool{}, open: map[string]bool{}}
	for _, p := range e.list {
		w.warmup[p.Name] = p.Warmup
		w.open[p.Name] = p.Kind.IsOpen() && !p.Warmup
	}
	w.last = takeSample(e.cfg.Processors)
	w.first = w.last
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.collect = m.NumGC
	return w
}

// coreWindow is the time over which loops have to be busy to count as a
// bottleneck: shorter peaks show as lateness, if they do harm.
const coreWindow = 10 * time.Second

// busyLoops finds the window in which loops were busiest.
type busyLoops struct {
	periods []busyPeriod // the last ones
	length  time.Duration
	used    float64 // processor time in them, ns
	most    float64 // highest share of a processor in a window
}

// A busyPeriod is what the busiest loop used in a period.
type busyPeriod struct {
	took time.Duration
	used float64 // processor time, ns
}

// pause begins a new window.
func (b *busyLoops) pause() { b.periods, b.length, b.used = nil, 0, 0 }

func (b *busyLoops) add(share float64, took time.Duration) {
	b.periods = append(b.periods, busyPeriod{took, share * float64(took)})
	b.length += took
	b.used += share * float64(took)
	for b.length-b.periods[0].took >= coreWindow {
		b.length -= b.periods[0].took
		b.used -= b.periods[0].used
		b.periods = b.periods[1:]
	}
	if b.length >= coreWindow {
		b.most = max(b.most, b.used/float64(b.length))
	}
}

// note takes what a loop tells of itself at the end of a period.
func (w *watcher) note(m message) {
	w.core = max(w.core, m.busy)
	w.short.ports += m.short.ports
	w.short.sockets += m.short.sockets
}

// period returns how the generator fared in the period that ends.
func (w *watcher) period(r *stats.Report) stats.SelfReport {
	now := takeSample(w.last.processors)
	s := between(w.last, now)
	s.Pause = w.longestPause()
	s.Ports, s.Sockets, w.short = w.short.ports, w.short.sockets, shortage{}
	s.LateMS = inMs(w.late)
	s.LagMS = r.Lag()
	s.Core, w.core = min(w.core, 1), 0
	if w.hasTimetable(r) {
		w.busy.add(s.Core, now.at.Sub(w.last.at))
	} else {
		w.busy.pause()
	}
	w.last = now
	w.sum.Pause = max(w.sum.Pause, s.Pause)
	w.sum.Core = max(w.sum.Core, s.Core)
	w.sum.Ports += s.Ports
	w.sum.Sockets += s.Sockets
	return s
}

// hasTimetable reports whether there were users of a phase with a timetable. To
// send as fast as the processor can is what users who are always busy are for.
func (w *watcher) hasTimetable(r *stats.Report) bool {
	return slices.ContainsFunc(r.Phases, func(p stats.PhaseUsers) bool { return w.open[p.Phase] })
}

// longestPause returns the longest pause for collecting garbage since the last
// call, in ms.
func (w *watcher) longestPause() float64 {
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	longest := time.Duration(0)
	count := min(int(gc.NumGC)-int(w.collect), len(gc.Pause))
	for _, p := range gc.Pause[:max(0, count)] {
		longest = max(longest, p)
	}
	w.collect = uint32(gc.NumGC)
	return inMs(longest)
}

// total returns how the generator fared in the run.
func (w *watcher) total(t *stats.Totals) stats.SelfReport {
	s := between(w.first, w.last)
	s.Pause, s.Core, s.Ports, s.Sockets = w.sum.Pause, w.sum.Core, w.sum.Ports, w.sum.Sockets
	s.LateMS = inMs(w.late)
	s.LagMS = w.lag(t)
	return s
}

// lag is that of phases which count.
func (w *watcher) lag(t *stats.Totals) float64 {
	var all metrics.Sketch
	for i := range t.Phases {
		if p := &t.Phases[i]; !w.warmup[p.Phase] {
			_ = all.Merge(&p.Lag)
		}
	}
	return all.Quantile(0.99)
}

func inMs(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// lateTold is how late a machine may begin before it is told.
const lateTold = 100 * time.Millisecond

// verdict says why the run is invalid, and what else is worth knowing.
func (w *watcher) verdict(t *stats.Totals) (invalid, notes []string) {
	s := w.total(t)
	fault := func(is bool, format string, args ...any) {
		if is {
			invalid = append(invalid, fmt.Sprintf(format, args...))
		}
	}
	l := w.limits
	fault(l.Late > 0 && w.late > l.Late, "this machine began %.4g ms after the time for which all were told to begin, where %.4g ms may be: "+
		"all that it did was as much later than on other machines", s.LateMS, inMs(l.Late))
	fault(l.Lag > 0 && s.LagMS > inMs(l.Lag), "the generator started users late: by %.4g ms at p99, where %.4g ms may be; "+
		"give it more processors, or a lower rate", s.LagMS, inMs(l.Lag))
	fault(l.Pause > 0 && s.Pause > inMs(l.Pause), "the generator paused for %.4g ms to collect garbage, where %.4g ms may be; "+
		"give it more processors, or smaller bodies and files to keep", s.Pause, inMs(l.Pause))
	fault(l.Core > 0 && w.busy.most > l.Core, "a loop of the generator used %.3g %% of a processor for ten seconds, where %.3g %% may be: "+
		"it was the bottleneck; give it more processors (threads), or use more machines", 100*w.busy.most, 100*l.Core)
	fault(l.Steal > 0 && s.Steal > l.Steal, "the machine's host took %.3g %% of its processors' time, where %.3g %% may be: "+
		"it is shared with others; use machines of another type", 100*s.Steal, 100*l.Steal)
	fault(s.Ports > 0, "%d connections could not be made since this machine had no port left: %s", s.Ports, morePorts)
	fault(s.Sockets > 0, "%d connections could not be made since this machine had no socket left: %s", s.Sockets, moreSockets)
	if w.late > lateTold && (l.Late < 0 || w.late <= l.Late) {
		notes = append(notes, fmt.Sprintf("this machine began %.4g ms after the time for which all were told to begin", s.LateMS))
	}
	if lag := inMs(Limits{}.filled().Lag); len(invalid) == 0 && s.LagMS > lag {
		notes = append(notes, fmt.Sprintf("the generator started users late: by %.4g ms at p99", s.LagMS))
	}
	if s.Core > 0.95 && (l.Core < 0 || w.busy.most <= l.Core) {
		notes = append(notes, "a loop of the generator used a whole processor for a while: it may have been the bottleneck")
	}
	return invalid, notes
}

func between(a, b sample) (s stats.SelfReport) {
	if took := b.at.Sub(a.at); took > 0 {
		s.CPU = float64(b.cpu-a.cpu) / float64(took) / float64(a.processors)
	}
	if ticks := b.all - a.all; a.all > 0 && ticks > 0 {
		s.Steal = (b.steal - a.steal) / ticks
	}
	return s
}

// takeSample reads what is counted now; what can't be read is 0.
func takeSample(processors int) sample {
	s := sample{at: loop.Now(), cpu: cpuTime(unix.RUSAGE_SELF), processors: processors}
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		s.all, s.steal = processorTicks(string(text))
	}
	return s
}

// processorTicks returns the time of all processors, and what of it their host
// took, since the machine was switched on. The text is that of /proc/stat.
func processorTicks(text string) (all, stolen float64) {
	line, _, _ := strings.Cut(text, "\n")
	// cpu user nice system idle iowait irq softirq steal guest …, of which
	// guest is in user already.
	const steal, last = 8, 8
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i > last {
			continue
		}
		all += ticks
		if i == steal {
			stolen = ticks
		}
	}
	return all, stolen
}

// cpuTime returns the time that this process, or thread, has had.
func cpuTime(who int) time.Duration {
	var u unix.Rusage
	if unix.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
