package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/loadgen/h1"
	"github.com/loads/loads/loadgen/loop"
	"github.com/loads/loads/loadgen/stats"
)

// judged is the verdict of a watcher after a run of which it was told so.
func judged(limits Limits, told func(*watcher, *stats.Totals)) (invalid, notes []string) {
	w := &watcher{limits: limits.filled(), warmup: map[string]bool{"warm": true}}
	totals := stats.NewTotals([]string{"warm", "main"})
	told(w, totals)
	return w.verdict(totals)
}

// What the generator itself is short of makes its numbers invalid, each with
// what to do.
func TestEachShortageOfTheGeneratorIsNamed(t *testing.T) {
	seconds := func(n int, share float64) func(*watcher, *stats.Totals) {
		return func(w *watcher, _ *stats.Totals) {
			for range n {
				w.busy.add(share, time.Second)
			}
			w.sum.Core = share
		}
	}
	lag := func(phase string, ms float64) func(*watcher, *stats.Totals) {
		return func(_ *watcher, t *stats.Totals) { t.Users(phase).Lag.Add(ms, 1) }
	}
	late := func(d time.Duration) func(*watcher, *stats.Totals) {
		return func(w *watcher, _ *stats.Totals) { w.late = d }
	}
	pause := func(w *watcher, _ *stats.Totals) { w.sum.Pause = 150 }
	stat := func(steal int) sample {
		s := sample{}
		s.all, s.steal = processorTicks(fmt.Sprintf("cpu  1000 0 1000 6000 0 0 0 %d 500 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n", steal))
		return s
	}
	stolen := func(w *watcher, _ *stats.Totals) { w.first, w.last = stat(1000), stat(4000) }
	none := Limits{Lag: -1, Pause: -1, Steal: -1}
	for _, tt := range []struct {
		name           string
		limits         Limits
		told           func(*watcher, *stats.Totals)
		invalid, noted string
	}{
		{"nothing", Limits{}, func(*watcher, *stats.Totals) {}, "", ""},
		{"users in time", Limits{}, lag("main", 80), "", ""},
		{"late users", Limits{}, lag("main", 150), "the generator started users late", ""},
		{"late users of a warm-up", Limits{}, lag("warm", 150), "", ""},
		{"late users, no limit", none, lag("main", 150), "", "the generator started users late"},
		{"a pause", Limits{}, pause, "the generator paused for 150 ms to collect garbage, where 100 ms may be; give it", ""},
		{"a pause, no limit", none, pause, "", ""},
		{"steal", Limits{}, stolen, "the machine's host took 100 % of its processors' time, where 20 % may be", ""},
		{"steal, no limit", none, stolen, "", ""},
		{"a busy loop", Limits{}, seconds(11, 0.97), "a loop of the generator used 97 % of a processor for ten seconds", ""},
		{"one busy for a while", Limits{}, seconds(9, 0.97), "", "a loop of the generator used a whole processor for a while"},
		{"one busy, no limit", none, seconds(11, 0.97), "", "a loop of the generator used a whole processor for a while"},
		{"one busy, a higher limit", Limits{Core: 0.98}, seconds(11, 0.97), "", "a loop of the generator used a whole processor"},
		{"a machine in time", Limits{}, late(50 * time.Millisecond), "", ""},
		{"one a little late", Limits{}, late(300 * time.Millisecond), "", "this machine began 300 ms after the time for which all were told to begin"},
		{"one too late", Limits{}, late(3 * time.Second), "this machine began 3000 ms after the time", ""},
		{"one too late, no limit", none, late(3 * time.Second), "", "this machine began 3000 ms after the time"},
		{"one a little late for a limit", Limits{Late: 10 * time.Millisecond}, late(50 * time.Millisecond), "this machine began 50 ms after", ""},
		{"no port left", none, short(unix.EADDRNOTAVAIL), "1 connections could not be made since this machine had no port left: keep connections open", ""},
		{"no descriptor left", none, short(unix.EMFILE), "1 connections could not be made since this machine had no socket left: raise the limit", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			invalid, notes := judged(tt.limits, tt.told)
			if !one(invalid, tt.invalid) || !one(notes, tt.noted) {
				t.Errorf("got invalid %q, notes %q, want %q, %q", invalid, notes, tt.invalid, tt.noted)
			}
		})
	}
}

// Who comes too late begins at once, and who comes early when it is time.
func TestRunsBeginWhenTheyAreToldTo(t *testing.T) {
	for name, after := range map[string]time.Duration{"late": -time.Hour, "early": time.Hour} {
		before := loop.Now()
		e := engine{cfg: Config{Start: time.UnixMilli(time.Now().Add(after).UnixMilli())}}
		at, late := e.startAt()
		passed := loop.Now().Sub(before) + time.Millisecond
		wait, most := at.Sub(before), max(0, after)
		if wait < most-time.Millisecond || wait > most+passed || late < max(0, -after) || late > max(0, -after)+passed {
			t.Errorf("%s: the run begins after %v, %v late, want %v", name, wait, late, after)
		}
	}
	if _, late := (&engine{}).startAt(); late != 0 {
		t.Errorf("a run without a start is %v late", late)
	}
}

// one reports whether the list has the beginning of one text, or none if that is
// empty.
func one(list []string, want string) bool {
	return want == "" && len(list) == 0 || want != "" && len(list) == 1 && strings.HasPrefix(list[0], want)
}

// short is a watcher that was told of one connection which could not be made.
func short(errno unix.Errno) func(*watcher, *stats.Totals) {
	return func(w *watcher, _ *stats.Totals) {
		m := message{}
		m.short.note(&h1.Error{Kind: h1.Exhausted, Err: fmt.Errorf("connect to nowhere: %w", errno)})
		w.note(m)
		w.period(stats.NewReport(0))
	}
}

// Only users on a timetable have to be served in time.
func TestLoopsMayBeBusyWithoutATimetable(t *testing.T) {
	phase := func(name string) *stats.Report {
		r := stats.NewReport(0)
		r.Users(name).Started = 1
		return r
	}
	w := &watcher{open: map[string]bool{"rate": true}}
	for name, want := range map[string]bool{"rate": true, "always": false} {
		if got := w.hasTimetable(phase(name)); got != want {
			t.Errorf("phase %s has a timetable: got %v, want %v", name, got, want)
		}
	}
	for range 9 {
		w.busy.add(1, time.Second)
	}
	w.busy.pause()
	for range 9 {
		w.busy.add(1, time.Second)
	}
	if w.busy.most != 0 {
		t.Errorf("got %v of a window with a pause in it, want none", w.busy.most)
	}
}

// A mean of ten seconds is what counts, whichever they are.
func TestBusiestTenSecondsOfALoop(t *testing.T) {
	tenth := slices.Repeat([]float64{1}, 100)
	for _, tt := range []struct {
		name   string
		took   time.Duration
		shares []float64
		want   float64
	}{
		{"too short to say", time.Second, slices.Repeat([]float64{1}, 9), 0},
		{"ten at the end", time.Second, append(make([]float64, 20), slices.Repeat([]float64{1}, 10)...), 1},
		{"ten in the midst", time.Second, slices.Concat(make([]float64, 5), slices.Repeat([]float64{1}, 10), make([]float64, 20)), 1},
		{"every second one", time.Second, slices.Repeat([]float64{0, 1}, 20), 0.5},
		{"short periods", 100 * time.Millisecond, tenth, 1},
		{"longer ones than ten seconds", 15 * time.Second, []float64{0.2, 0.6, 0.4}, 0.6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b busyLoops
			for _, share := range tt.shares {
				b.add(share, tt.took)
			}
			if b.most < tt.want-1e-9 || b.most > tt.want+1e-9 {
				t.Errorf("got %v, want %v", b.most, tt.want)
			}
		})
	}
}

// What can't be read, when descriptors have run out, is no steal.
func TestStealIsUnknownWithoutAFirstReading(t *testing.T) {
	full := sample{all: 1000, steal: 900}
	for name, pair := range map[string][2]sample{"first missing": {{}, full}, "last missing": {full, {}}} {
		if s := between(pair[0], pair[1]); s.Steal != 0 {
			t.Errorf("%s: got %v, want 0", name, s.Steal)
		}
	}
}
