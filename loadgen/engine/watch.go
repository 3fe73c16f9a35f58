package engine

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
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
}

func (l Limits) filled() Limits {
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
	last    sample
	first   sample
	core    float64 // share of the period in which the busiest loop had a processor
	ports   int64   // in this period
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
	w := &watcher{limits: e.cfg.Limits.filled(), warmup: map[string]bool{}}
	for _, p := range e.list {
		w.warmup[p.Name] = p.Warmup
	}
	w.last = takeSample(e.cfg.Processors)
	w.first = w.last
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.collect = m.NumGC
	return w
}

// note takes what a loop tells of itself at the end of a period.
func (w *watcher) note(m message) {
	w.core = max(w.core, m.busy)
	w.ports += m.ports
}

// period returns how the generator fared in the period that ends.
func (w *watcher) period(r *stats.Report) stats.SelfReport {
	now := takeSample(w.last.processors)
	s := between(w.last, now)
	s.Pause = w.longestPause()
	s.Ports, w.ports = w.ports, 0
	s.LagMS = r.Lag()
	s.Core, w.core = min(w.core, 1), 0
	w.last = now
	w.sum.Pause = max(w.sum.Pause, s.Pause)
	w.sum.Core = max(w.sum.Core, s.Core)
	w.sum.Ports += s.Ports
	return s
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
	return float64(longest) / float64(time.Millisecond)
}

// total returns how the generator fared in the run.
func (w *watcher) total(t *stats.Totals) stats.SelfReport {
	s := between(w.first, w.last)
	s.Pause, s.Core, s.Ports = w.sum.Pause, w.sum.Core, w.sum.Ports
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

// verdict says why the run is invalid, and what else is worth knowing.
func (w *watcher) verdict(t *stats.Totals) (invalid, notes []string) {
	s := w.total(t)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	if w.limits.Lag > 0 && s.LagMS > ms(w.limits.Lag) {
		invalid = append(invalid, fmt.Sprintf("the generator started users late: by %.4g ms at p99, where %.4g ms may be; "+
			"give it more processors, or a lower rate", s.LagMS, ms(w.limits.Lag)))
	}
	if w.limits.Pause > 0 && s.Pause > ms(w.limits.Pause) {
		invalid = append(invalid, fmt.Sprintf("the generator paused for %.4g ms to collect garbage, where %.4g ms may be", s.Pause, ms(w.limits.Pause)))
	}
	if w.limits.Steal > 0 && s.Steal > w.limits.Steal {
		invalid = append(invalid, fmt.Sprintf("the machine's host took %.3g %% of its processors' time, where %.3g %% may be: it is shared with others",
			100*s.Steal, 100*w.limits.Steal))
	}
	if s.Ports > 0 {
		invalid = append(invalid, fmt.Sprintf("%d connections could not be made since this machine had no port or socket left: "+
			"keep connections open, or use more machines", s.Ports))
	}
	if lag := ms(Limits{}.filled().Lag); len(invalid) == 0 && s.LagMS > lag {
		notes = append(notes, fmt.Sprintf("the generator started users late: by %.4g ms at p99", s.LagMS))
	}
	if s.Core > 0.95 {
		notes = append(notes, "a loop of the generator used a whole processor for a while: it may have been the bottleneck")
	}
	return invalid, notes
}

func between(a, b sample) (s stats.SelfReport) {
	if took := b.at.Sub(a.at); took > 0 {
		s.CPU = float64(b.cpu-a.cpu) / float64(took) / float64(a.processors)
	}
	if ticks := b.all - a.all; ticks > 0 {
		s.Steal = (b.steal - a.steal) / ticks
	}
	return s
}

// takeSample reads what is counted now; what can't be read is 0.
func takeSample(processors int) sample {
	s := sample{at: loop.Now(), cpu: cpuTime(unix.RUSAGE_SELF), processors: processors}
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s
	}
	line, _, _ := strings.Cut(string(data), "\n")
	// cpu user nice system idle iowait irq softirq steal guest …, of which
	// guest is in user already.
	const steal, last = 8, 8
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i > last {
			continue
		}
		s.all += ticks
		if i == steal {
			s.steal = ticks
		}
	}
	return s
}

// cpuTime returns the time that this process, or thread, has had.
func cpuTime(who int) time.Duration {
	var u unix.Rusage
	if unix.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
