package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/metrics"
)

// circle is machines that agree as they do through a broker: by its table.
type circle struct {
	lead  time.Duration // how far ahead decisions are to hold
	deaf  bool          // nobody decides anything
	after func(machine int, w metrics.Word)

	mu    sync.Mutex
	table *agreement.Table
	heard []chan agreement.Decision
}

func newCircle(machines int) *circle {
	c := &circle{lead: 50 * time.Millisecond}
	var all []int
	for m := range machines {
		all = append(all, m)
		c.heard = append(c.heard, make(chan agreement.Decision, metrics.MaxWords))
	}
	c.table = agreement.NewTable(all, nil)
	return c
}

func (c *circle) decide() {
	if c.deaf {
		return
	}
	now := time.Now()
	for _, d := range c.table.Decide(now.UnixMilli(), now.Add(c.lead).UnixMilli()) {
		for _, heard := range c.heard {
			heard <- d
		}
	}
}

func (c *circle) lose(machine int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table.Leave(machine)
	c.decide()
}

// member is one machine of it.
type member struct {
	*circle
	machine int
}

func (m member) Heard() <-chan agreement.Decision { return m.heard[m.machine] }

func (m member) Tell(w metrics.Word) {
	m.mu.Lock()
	m.table.Say(m.machine, w)
	m.decide()
	m.mu.Unlock()
	if m.after != nil {
		m.after(m.machine, w)
	}
}

// runAll runs the benchmark on several machines, each with a server of its own.
func runAll(t *testing.T, ctx context.Context, c *circle, file string, server func(machine int) http.HandlerFunc, change ...func(int, *engine.Config)) []*engine.Result {
	t.Helper()
	results := make([]*engine.Result, len(c.heard))
	start := time.Now().Add(100 * time.Millisecond)
	var machines sync.WaitGroup
	for i := range results {
		s := httptest.NewServer(server(i))
		t.Cleanup(s.Close)
		cfg := config(t, s.URL, file)
		cfg.Machine, cfg.Machines, cfg.Threads, cfg.Start, cfg.Others = i, len(results), 1, start, member{c, i}
		for _, f := range change {
			f(i, &cfg)
		}
		machines.Go(func() {
			var err error
			if results[i], err = engine.Run(ctx, cfg); err != nil {
				t.Errorf("machine %d: %v", i, err)
			}
		})
	}
	machines.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return results
}

func delays(d ...time.Duration) func(int) http.HandlerFunc {
	return func(machine int) http.HandlerFunc { return slow(d[machine]) }
}

// moments returns when phases began and ended on each machine.
func moments(t *testing.T, results []*engine.Result, phase string) (began, ended []time.Time) {
	t.Helper()
	for i, r := range results {
		at := slices.IndexFunc(r.Phases, func(p engine.PhaseResult) bool { return p.Name == phase })
		p := r.Phases[at]
		if p.Status != "terminated" || p.EndMS == 0 {
			t.Fatalf("phase %s is %s on machine %d, and ended at %v ms; notes %q", phase, p.Status, i, p.EndMS, r.Notes)
		}
		since := func(ms float64) time.Time { return r.Start.Add(time.Duration(ms * float64(time.Millisecond))) }
		began, ended = append(began, since(p.StartMS)), append(ended, since(p.EndMS))
	}
	return began, ended
}

// inTurn fails the test unless the phases have come one after the other on all
// machines, and logs how far apart these began them.
func inTurn(t *testing.T, results []*engine.Result, names ...string) {
	t.Helper()
	var before time.Time
	for _, name := range names {
		began, ended := moments(t, results, name)
		first, last := slices.MinFunc(began, time.Time.Compare), slices.MaxFunc(began, time.Time.Compare)
		t.Logf("phase %s began within %s", name, last.Sub(first))
		if !before.IsZero() {
			t.Logf("%s after the one before had ended", first.Sub(before))
		}
		if first.Before(before) {
			t.Errorf("phase %s began %s before the last machine had ended the one before", name, before.Sub(first))
		}
		before = slices.MaxFunc(ended, time.Time.Compare)
	}
}

// sequence is phases of three users each, with these properties.
func sequence(phases ...string) string {
	text := "name: b\nhttp: {host: HOST, sharedConnections: 9}\nphases:\n"
	for _, p := range phases {
		name, properties, _ := strings.Cut(p, " ")
		text += fmt.Sprintf("- %s: {%s, scenario: [{s: [{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}}}]}]}}\n", name, properties)
	}
	return text
}

func TestNoMachineBeginsBeforeAllHaveEnded(t *testing.T) {
	for _, c := range []struct {
		name, file string
		phases     []string
	}{
		{"strictly after another", sequence("a atOnce: {users: 3", "b atOnce: {users: 3, startAfterStrict: a", "c atOnce: {users: 3, startAfterStrict: b"), []string{"a", "b", "c"}},
		{"iterations", sequence("a atOnce: {users: 3, maxIterations: 3"), []string{"a/000", "a/001", "a/002"}},
		{"after a pause that is strictly after", sequence("a atOnce: {users: 3") + "- pause: {noop: {duration: 50ms, startAfterStrict: a}}\n" +
			strings.SplitAfter(sequence("b atOnce: {users: 3, startAfter: pause"), "phases:\n")[1], []string{"a", "b"}},
		{"forks in iterations", `name: b
http: {host: HOST, sharedConnections: 9}
phases:
- a:
    atOnce:
      users: 6
      maxIterations: 2
      forks:
        x: {scenario: &s [{s: [{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}}}]}]}
        y: {scenario: *s}
- b: {constantRate: {usersPerSec: 60, duration: 100ms, maxSessions: 6, sessionLimitPolicy: CONTINUE, startAfterStrict: a, scenario: *s}}
- c: {always: {users: 3, duration: 50ms, startAfter: b, startAfterStrict: a/000/y, scenario: *s}}
`, []string{"a/000/x", "a/001/y", "b"}},
		{"a phase without users on most machines", sequence("a atOnce: {users: 1", "b atOnce: {users: 1, startAfterStrict: a", "c atOnce: {users: 1, startAfterStrict: b"), nil},
		{"with a phase that is strictly after", sequence("a atOnce: {users: 3", "b atOnce: {users: 3, startAfterStrict: a", "c atOnce: {users: 3, startWith: b"), []string{"a", "c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			results := runAll(t, t.Context(), newCircle(3), c.file, delays(0, 150*time.Millisecond, 30*time.Millisecond))
			inTurn(t, results, c.phases...)
			for i, r := range results {
				if r.Failed() || len(r.Invalid) > 0 || r.Stopped {
					t.Errorf("machine %d: %+v", i, r)
				}
			}
		})
	}
}

// A phase of a limited number of users goes on starting those who had to wait;
// what comes after it waits for that on all machines.
func TestUsersWhoWaitOnOneMachineHoldAllUp(t *testing.T) {
	file := sequence("a constantRate: {usersPerSec: 30, duration: 200ms, variance: false, maxSessions: 3, sessionLimitPolicy: CONTINUE", "b atOnce: {users: 3, startAfter: a")
	results := runAll(t, t.Context(), newCircle(3), file, delays(0, 0, 300*time.Millisecond))
	began, _ := moments(t, results, "b")
	// Machine 2 starts the second of its two users once the first has ended.
	if first := slices.MinFunc(began, time.Time.Compare).Sub(results[2].Start); first < 300*time.Millisecond {
		t.Errorf("phase b began after %s, want 300 ms at least", first)
	}
}

func TestFailureOnOneMachineCancelsOnAll(t *testing.T) {
	for _, policy := range []string{"CANCEL", "CONTINUE"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			file := strings.ReplaceAll(sequence("a atOnce: {users: 3", "b atOnce: {users: 3, startAfterStrict: a"), "sla: {blockedRatio: 1}", "sla: {errorRatio: 0, invalidRatio: 0, blockedRatio: 1}") +
				"failurePolicy: " + policy + "\n"
			results := runAll(t, t.Context(), newCircle(3), file, func(machine int) http.HandlerFunc {
				return func(w http.ResponseWriter, _ *http.Request) {
					if machine == 1 {
						w.WriteHeader(http.StatusInternalServerError)
					}
				}
			})
			want := map[string]string{"CANCEL": "cancelled", "CONTINUE": "terminated"}[policy]
			for i, r := range results {
				if got := r.Phases[1].Status; got != want {
					t.Errorf("phase b is %s on machine %d, want %s", got, i, want)
				}
				if r.Failed() != (i == 1) {
					t.Errorf("machine %d: failed %v, %+v", i, r.Failed(), r.Phases)
				}
				if told := strings.Contains(fmt.Sprint(r.Notes), "failed elsewhere: a on machine 1"); told != (i != 1) {
					t.Errorf("machine %d has the notes %q", i, r.Notes)
				}
			}
		})
	}
}

// A scenario that can't go on ends its phase on all machines.
func TestBrokenScenarioEndsThePhaseOnAllMachines(t *testing.T) {
	file := "name: b\nhttp: {host: HOST}\nphases:\n- main: {always: {users: 2, duration: 10m, scenario: [{s: [" +
		"{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}, handler: {body: {json: {query: .goods, toVar: goods}}}}}, " +
		"{conditional: {stringCondition: {fromVar: goods, equalTo: none}, actions: [{fail: {message: no more goods}}]}}]}]}}\n"
	begun, once := make(chan struct{}), sync.Once{}
	results := runAll(t, t.Context(), newCircle(2), file, func(machine int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if machine == 1 {
				<-begun
				fmt.Fprint(w, `{"goods":"none"}`)
				return
			}
			once.Do(func() { close(begun) })
			<-time.After(5 * time.Millisecond)
			fmt.Fprint(w, `{"goods":"many"}`)
		}
	})
	for i, r := range results {
		if r.Phases[0].Status != "terminated" || r.Elapsed > 5*time.Minute || r.Failed() != (i == 1) {
			t.Errorf("machine %d after %s: %+v", i, r.Elapsed, r.Phases)
		}
	}
}

// So it does on a machine that begins later than it was told.
func TestBrokenPhaseEndsWhereItBeginsLater(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := newCircle(2)
	broken, once := make(chan struct{}), sync.Once{}
	c.after = func(_ int, w metrics.Word) {
		if w.Is == metrics.WordBroken {
			once.Do(func() { close(broken) })
		}
	}
	file := "name: b\nhttp: {host: HOST}\nfailurePolicy: CONTINUE\nphases:\n- main: {always: {users: 2, duration: 10m, startTime: 200ms, scenario: [{s: [" +
		"{httpRequest: {GET: /, timeout: 2m, sla: {blockedRatio: 1}, handler: {body: {json: {query: .goods, toVar: goods}}}}}, " +
		"{conditional: {stringCondition: {fromVar: goods, equalTo: none}, actions: [{fail: {message: no more goods}}]}}]}]}}\n"
	results := runAll(t, ctx, c, file, func(machine int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(5 * time.Millisecond)
			fmt.Fprint(w, map[int]string{0: `{"goods":"none"}`, 1: `{"goods":"many"}`}[machine])
		}
	}, func(machine int, cfg *engine.Config) {
		if machine == 1 {
			<-broken
			cfg.Start = time.Now()
		}
	})
	for i, r := range results {
		if r.Phases[0].Status != "terminated" || r.Stopped || r.Failed() != (i == 0) {
			t.Errorf("machine %d after %s: %+v", i, r.Elapsed, r.Phases)
		}
	}
}

func TestLostMachineHoldsNobodyUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newCircle(3)
	var mu sync.Mutex
	said := map[string]int{}
	c.after = func(machine int, w metrics.Word) {
		mu.Lock()
		defer mu.Unlock()
		said[w.Phase]++
		if w.Phase == "a" && said["a"] == 1 {
			c.lose(2)
		}
		if said["b"] == 2 {
			cancel() // for the lost one, whose server never answers
		}
	}
	file := sequence("a atOnce: {users: 3", "b atOnce: {users: 3, startAfterStrict: a", "c atOnce: {users: 3, startAfterStrict: b")
	results := runAll(t, ctx, c, file, delays(0, 0, time.Hour))
	inTurn(t, results[:2], "a", "b")
	if r := results[2]; !r.Stopped || r.Phases[1].Status != "cancelled" {
		t.Errorf("the lost machine has %+v", r.Phases)
	}
}

func TestMachinesDontWaitForever(t *testing.T) {
	c := newCircle(2)
	c.deaf = true
	file := sequence("a atOnce: {users: 2", "b atOnce: {users: 2, startAfterStrict: a")
	results := runAll(t, t.Context(), c, file, delays(0, 0), func(machine int, cfg *engine.Config) {
		cfg.Until = cfg.Start.Add(500 * time.Millisecond)
	})
	for i, r := range results {
		if len(r.Invalid) != 1 || !strings.Contains(r.Invalid[0], "had ended a") || !r.Stopped || r.Phases[1].Status != "cancelled" {
			t.Errorf("machine %d: invalid %q, %+v, want that phase a was not agreed on", i, r.Invalid, r.Phases)
		}
	}
}

func TestStoppedMachineSaysThatItWaited(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := newCircle(2)
	c.deaf = true
	var mu sync.Mutex
	said := 0
	c.after = func(int, metrics.Word) {
		mu.Lock()
		defer mu.Unlock()
		if said++; said == 2 {
			cancel()
		}
	}
	results := runAll(t, ctx, c, sequence("a atOnce: {users: 2", "b atOnce: {users: 2, startAfterStrict: a"), delays(0, 0))
	for i, r := range results {
		if !strings.Contains(fmt.Sprint(r.Notes), "waited for others to end a") || len(r.Invalid) > 0 {
			t.Errorf("machine %d: notes %q, invalid %q", i, r.Notes, r.Invalid)
		}
	}
}

// A decision that is heard late holds from then on: users who were due before
// don't come all at once.
func TestLateDecisionIsTold(t *testing.T) {
	c := newCircle(2)
	c.lead = -10 * time.Second
	results := runAll(t, t.Context(), c, sequence("a atOnce: {users: 2", "b atOnce: {users: 2, startAfterStrict: a"), delays(0, 0))
	inTurn(t, results, "a", "b")
	for i, r := range results {
		if !strings.Contains(fmt.Sprint(r.Notes), "later than agreed on") {
			t.Errorf("machine %d has the notes %q", i, r.Notes)
		}
	}
}

// What the clock decides on is agreed on without a word, and who is alone has
// nobody to ask.
func TestNoWordIsSaidWithoutNeed(t *testing.T) {
	c := newCircle(2)
	c.after = func(machine int, w metrics.Word) { t.Errorf("machine %d says %+v", machine, w) }
	file := sequence("a constantRate: {usersPerSec: 20, duration: 100ms", "b always: {users: 2, duration: 100ms, startAfter: a", "c atOnce: {users: 2, startTime: 200ms")
	inTurn(t, runAll(t, t.Context(), c, file, delays(0, 0)), "a")
	alone := newCircle(1)
	alone.after = c.after
	inTurn(t, runAll(t, t.Context(), alone, sequence("a atOnce: {users: 2", "b atOnce: {users: 2, startAfterStrict: a"), delays(0)), "a", "b")
}

// Who decides alone though there are others says so.
func TestWhoDecidesAloneSaysSo(t *testing.T) {
	results := runAll(t, t.Context(), newCircle(2), sequence("a atOnce: {users: 2", "b atOnce: {users: 2, startAfterStrict: a"), delays(0, 0),
		func(_ int, cfg *engine.Config) { cfg.Others = nil })
	for i, r := range results {
		if !strings.Contains(fmt.Sprint(r.Notes), "b began when users of other phases had ended on this machine") {
			t.Errorf("machine %d has the notes %q", i, r.Notes)
		}
	}
}
