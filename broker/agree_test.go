package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/internal/waittest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// An agreeStore keeps words and decisions of one step, after failing a number of
// times.
type agreeStore struct {
	Store
	mu      sync.Mutex
	fail    int
	unread  bool   // what is stored can't be read
	reading func() // called before that
	words   []MachineWord
	decided []agreement.Decision
	texts   []string
}

func (s *agreeStore) AddFrames(_ context.Context, frames []StoredFrame, _ map[int64]uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range frames {
		for _, w := range f.Words {
			s.words = append(s.words, MachineWord{Machine: int(f.MachineID), Word: w})
		}
	}
	return nil
}

func (s *agreeStore) Agreement(context.Context, string, int) ([]MachineWord, []agreement.Decision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread {
		s.reading()
		return nil, nil, errors.New("disk is gone")
	}
	return slices.Clone(s.words), slices.Clone(s.decided), nil
}

func (s *agreeStore) AddDecisions(_ context.Context, _ *Run, _ int, decided []agreement.Decision, events ...Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail--; s.fail >= 0 {
		return errors.New("disk is full")
	}
	s.decided = append(s.decided, decided...)
	for _, e := range events {
		s.texts = append(s.texts, e.Text)
	}
	return nil
}

func (s *agreeStore) made() []agreement.Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.decided)
}

// A fileEngine keeps what is put into its container, after failing a number of
// times, if it is there.
type fileEngine struct {
	Engine
	mu      sync.Mutex
	fail    int
	gone    bool
	hang    chan struct{} // until it is closed nothing can be put; nil is at once
	minutes agreement.Minutes
}

func (e *fileEngine) PutFiles(ctx context.Context, _ string, files map[string][]byte) error {
	if e.hang != nil {
		select {
		case <-e.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return Errorf(ENotFound, "There is no such container.")
	}
	if e.fail--; e.fail >= 0 {
		return Errorf(EUnavailable, "the link broke")
	}
	var err error
	e.minutes, err = agreement.Decode(files[agreement.File])
	return err
}

func (e *fileEngine) words() (words []metrics.Word) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.minutes.Decided {
		words = append(words, d.Word)
	}
	return words
}

// A parlor is a council at work with three machines.
type parlor struct {
	t        *testing.T
	x        *execution
	store    *agreeStore
	engines  []*fileEngine
	machines []*machine
	council  *council
	end      func() // of the broker
	adjourn  func()
}

func newParlor(t *testing.T, store *agreeStore) *parlor {
	t.Helper()
	p := &parlor{t: t, store: store}
	for i := range 3 {
		e := &fileEngine{}
		p.engines = append(p.engines, e)
		p.machines = append(p.machines, &machine{
			engine: e, reader: &frameReader{done: make(chan struct{})},
			Machine: Machine{ID: int64(i), Index: i, Endpoint: Endpoint{Host: fmt.Sprint(i)}, ContainerID: "c"},
		})
	}
	return p
}

// sit begins a council, as a broker does that starts.
func (p *parlor) sit() {
	p.t.Helper()
	if err := p.convene(); err != nil {
		p.t.Fatal(err)
	}
	p.adjourn = sync.OnceFunc(p.council.run(p.t.Context(), p.machines))
	p.t.Cleanup(p.adjourn)
}

func (p *parlor) convene() (err error) {
	b := New(Config{Store: p.store})
	b.ctx, p.end = context.WithCancel(p.t.Context())
	p.t.Cleanup(p.end)
	start := time.UnixMilli(1_000_000)
	plan := strategies.Plan{Steps: []strategies.Step{{Name: "s", InstanceCount: 3, RunMaxTime: 60, Benchmark: &strategies.Benchmark{}}}}
	p.x = newExecution(b, Run{UUID: "r", State: Running, Plan: plan, StepRecords: []StepRecord{{StartAt: &start}}})
	p.council, err = p.x.convene(p.t.Context(), 0, p.machines)
	return err
}

// frame has a frame of the machine come, of the second at the time.
func (p *parlor) frame(machine int, at int64, words ...metrics.Word) {
	p.t.Helper()
	f := metrics.Frame{Seq: 1, Time: at, Words: words}
	p.x.storeBatch(p.t.Context(), []frameItem{{id: int64(machine), machine: machine, step: "s", frame: f, body: []byte("{}")}})
}

// told waits until the machines have been told these, and nothing else.
func (p *parlor) told(machines []int, want ...metrics.Word) {
	p.t.Helper()
	for _, m := range machines {
		waittest.Until(p.t, fmt.Sprintf("machine %d has been told", m), 5*time.Minute, func() bool { return len(p.engines[m].words()) >= len(want) })
		if diff := cmp.Diff(want, p.engines[m].words()); diff != "" {
			p.t.Errorf("machine %d: %s", m, diff)
		}
	}
}

var (
	endOfA  = metrics.Word{Phase: "a", Is: metrics.WordTerminated}
	endOfB  = metrics.Word{Phase: "b", Is: metrics.WordTerminated}
	failedA = metrics.Word{Phase: "a", Is: metrics.WordFailed}
	all     = []int{0, 1, 2}
)

func TestCouncilTellsAllByTheirClocks(t *testing.T) {
	p := newParlor(t, &agreeStore{fail: 2})
	p.machines[1].ClockOffset, p.machines[1].ClockError = 400*time.Millisecond, 5*time.Millisecond
	p.machines[2].ClockOffset, p.machines[2].ClockError = 4*time.Millisecond, 5*time.Millisecond // it may be right as well
	p.engines[0].fail = 2
	p.sit()
	before := time.Now().UnixMilli()
	for _, m := range all {
		p.frame(m, 5000, endOfA)
	}
	p.told(all, endOfA)
	at := func(m int) int64 { return p.engines[m].minutes.Decided[0].At }
	if at(0) != at(2) || at(1) != at(0)+400 || at(0) < before+agreeLead.Milliseconds() {
		t.Errorf("told %d, %d and %d ms after the last word", at(0)-before, at(1)-before, at(2)-before)
	}
	if until := p.engines[0].minutes.Until; until != 1_000_000+60_000+agreeGrace.Milliseconds() {
		t.Errorf("machines wait until %d", until)
	}
	if want := []string{"Step s: the users of phase a have ended on all machines."}; !slices.Equal(p.store.texts, want) {
		t.Errorf("got events %q, want %q", p.store.texts, want)
	}
}

func TestCouncilGoesOnFromWhatIsStored(t *testing.T) {
	p := newParlor(t, &agreeStore{})
	p.sit()
	p.frame(0, 5000, endOfA)
	p.frame(1, 5000, endOfA, endOfB)
	p.adjourn()
	p.frame(2, 6000, endOfA) // stored, but nobody has heard it when the broker is killed
	p.sit()
	p.told(all, endOfA)
	decided := p.store.decided[0]
	p.adjourn()
	for _, e := range p.engines { // as if the broker had been killed before it told them
		e.minutes = agreement.Minutes{}
	}
	p.sit()
	p.told(all, endOfA)
	p.frame(0, 7000, endOfB)
	p.frame(2, 7000, endOfB)
	p.told(all, endOfA, endOfB)
	if got := p.engines[1].minutes.Decided[0]; got != decided || len(p.store.decided) != 2 {
		t.Errorf("got %+v, want %+v; decided was %+v", got, decided, p.store.decided)
	}
}

func TestCouncilWaitsForNobodyWhoIsLost(t *testing.T) {
	p := newParlor(t, &agreeStore{})
	p.engines[1].hang = make(chan struct{}) // it takes nothing, and holds nobody up
	defer close(p.engines[1].hang)
	p.sit()
	for _, m := range all {
		p.frame(m, 5000, endOfA)
	}
	p.told([]int{0, 2}, endOfA)
	p.frame(0, 6000, endOfB)
	p.frame(2, 6000, endOfB)
	p.council.lost(p.machines[1])
	p.told([]int{0, 2}, endOfA, endOfB)
}

func TestCouncilWaitsForNobodyWhoseRelayHasEnded(t *testing.T) {
	p := newParlor(t, &agreeStore{})
	p.sit()
	p.frame(0, 6000, endOfA)
	p.frame(2, 6000, endOfA)
	close(p.machines[1].reader.done)
	p.told(all, endOfA)
}

// A broker that ends reads no frames any more, which is not the end of relays.
func TestCouncilThatEndsDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlor(t, &agreeStore{})
		p.sit()
		p.frame(0, 6000, endOfA)
		p.frame(2, 6000, endOfA)
		p.end()
		close(p.machines[1].reader.done)
		synctest.Wait()
		if made := p.store.made(); len(made) > 0 {
			t.Errorf("without machine 1 it was decided: %+v", made)
		}
	})
}

// A machine may be lost after its generator has ended: then nobody looks after
// it, and what its generator said last does not come.
func TestCouncilDoesNotWaitForLastWordsForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParlor(t, &agreeStore{})
		p.machines[1].FinishedAt = new(time.UnixMilli(7000))
		p.sit()
		p.frame(0, 7000, endOfA)
		p.frame(2, 7000, endOfA)
		p.council.ended(p.machines[1])
		time.Sleep(lastWords + p.x.b.cfg.LostAfter - time.Nanosecond)
		synctest.Wait()
		if made := p.store.made(); len(made) > 0 {
			t.Errorf("machine 1 was not waited for: %+v", made)
		}
		time.Sleep(time.Nanosecond)
		p.told([]int{0, 2}, endOfA)
	})
}

// A frame that is stored while what was stored can't be read may be told to the
// council that will not be.
func TestCouncilThatCantReadHearsAllTheSame(t *testing.T) {
	p := newParlor(t, &agreeStore{unread: true})
	var c *council
	p.store.reading = func() { c = p.x.councils.list["s"] } // as whoever is to tell it has got it
	if err := p.convene(); !isStoreError(err) {
		t.Fatalf("got %v, want an error of the store", err)
	}
	c.hear(0, 5000, []metrics.Word{endOfA})
}

// A generator that has ended may have said something last that has not come
// yet: until it must have come nothing is decided without it.
func TestCouncilHearsTheLastWords(t *testing.T) {
	p := newParlor(t, &agreeStore{})
	p.engines[1].gone = true
	p.machines[1].FinishedAt = new(time.UnixMilli(7000))
	p.sit()
	p.frame(0, 7000, endOfA)
	p.frame(2, 7000, endOfA)
	p.council.ended(p.machines[1])
	p.frame(1, 8000) // its second may have been over when it said the last word
	p.frame(1, 8000, failedA)
	p.frame(1, 9000)
	p.told([]int{0, 2}, failedA, endOfA)
	if text := strings.Join(p.store.texts, "\n"); !strings.Contains(text, "phase a has failed on machine 1.") {
		t.Errorf("got events %q", text)
	}
}

func TestStepsWithoutABenchmarkHaveNoCouncil(t *testing.T) {
	for name, step := range map[string]strategies.Step{
		"no benchmark": {Name: "s", InstanceCount: 3},
		"one machine":  {Name: "s", InstanceCount: 1, Benchmark: &strategies.Benchmark{}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newExecution(New(Config{Store: &agreeStore{}}), Run{UUID: "r", Plan: strategies.Plan{Steps: []strategies.Step{step}}})
			c, err := x.convene(t.Context(), 0, nil)
			if c != nil || err != nil {
				t.Fatalf("got %v, %v", c, err)
			}
			c.run(t.Context(), nil)()
			files, err := x.withMinutes(&machine{}, time.Now(), nil)
			if len(files) > 0 || err != nil {
				t.Errorf("its containers get %v, %v", files, err)
			}
			x.tellCouncil("s", 0, metrics.Frame{Words: []metrics.Word{endOfA}})
		})
	}
}
