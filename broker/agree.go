package broker

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/loads/loads/agreement"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

const (
	// agreeLead is how far ahead it is fixed from when on machines go by a
	// decision, and agreeAllowance what that takes longer for each machine: by then
	// all should have heard of it. Where that has proved to be too short, it is
	// longer the next time, up to mostAgreeLead.
	agreeLead      = 300 * time.Millisecond
	agreeAllowance = time.Millisecond
	mostAgreeLead  = 2 * time.Second
	// agreeGrace is how long after the end of the step's time generators still
	// wait for others: a broker that is there has stopped them by then.
	agreeGrace = 10 * time.Second
	// lastWords is for how long after the end of a generator its machine's frames
	// have to have come for all its words to be known.
	lastWords = time.Second
)

// agrees reports whether machines of the step tell each other of phases.
func agrees(step strategies.Step) bool { return step.Benchmark != nil && step.InstanceCount > 1 }

// A council has the machines of a step that run one benchmark agree on its
// phases: it hears their words out of frames that are stored, stores what is
// decided, and then brings it to each. A council that follows one that was
// broken off goes on from what is stored.
type council struct {
	x    *execution
	step int
	poke chan struct{} // something has changed that may lead to a decision
	gate map[string]chan struct{}

	mu      sync.Mutex
	table   *agreement.Table
	ending  map[int]int64 // machines whose generator has ended: the time of a frame after which they are waited for no more
	gone    map[int]bool  // machines that are brought nothing any more
	decided []agreement.Decision
	made    time.Time     // when the last of them was
	took    time.Duration // until it was brought to all, as far as it was
	changed chan struct{} // closed and replaced when decided or gone grow
}

// convene makes the council of a step, nil for a step that needs none.
func (x *execution) convene(ctx context.Context, i int, machines []*machine) (*council, error) {
	if !agrees(x.ref.Plan.Steps[i]) {
		return nil, nil
	}
	c := &council{
		x: x, step: i, poke: make(chan struct{}, 1), gate: map[string]chan struct{}{},
		ending: map[int]int64{}, gone: map[int]bool{}, changed: make(chan struct{}),
	}
	var there []int
	for _, m := range machines {
		there = append(there, m.Index)
		c.gate[m.Endpoint.Host] = make(chan struct{}, onEngine)
	}
	c.table = agreement.NewTable(there, nil) // for words that come though what is stored can't be read
	// Words that are stored while it reads come to it as well, once it has read.
	c.mu.Lock()
	defer c.mu.Unlock()
	x.setCouncil(i, c)
	words, decided, err := x.b.cfg.Store.Agreement(ctx, x.ref.UUID, i)
	if err != nil {
		x.setCouncil(i, nil)
		return nil, &storeError{fmt.Errorf("read what machines agree on: %w", err)}
	}
	c.table, c.decided = agreement.NewTable(there, decided), decided
	for _, w := range words {
		c.table.Say(w.Machine, w.Word)
	}
	c.wake()
	return c, nil
}

// councils are those of the steps that run.
type councils struct {
	mu   sync.Mutex
	list map[string]*council // by name of the step
}

func (x *execution) setCouncil(i int, c *council) {
	x.councils.mu.Lock()
	defer x.councils.mu.Unlock()
	if x.councils.list == nil {
		x.councils.list = map[string]*council{}
	}
	x.councils.list[x.ref.Plan.Steps[i].Name] = c
}

// tellCouncil passes on what a frame says that is stored.
func (x *execution) tellCouncil(step string, machine int, f metrics.Frame) {
	x.councils.mu.Lock()
	c := x.councils.list[step]
	x.councils.mu.Unlock()
	if c != nil {
		c.hear(machine, f.Time, f.Words)
	}
}

func (c *council) wake() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *council) hear(machine int, at int64, words []metrics.Word) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range words {
		c.table.Say(machine, w)
	}
	until, ending := c.ending[machine]
	over := ending && at > until
	if over {
		c.table.Leave(machine)
	}
	if over || len(words) > 0 {
		c.wake()
	}
}

// ended notes that the machine's generator has ended. What it said last may be
// under way. A nil council has nothing to note.
func (c *council) ended(m *machine) {
	if c == nil {
		return
	}
	c.mu.Lock()
	if m.FinishedAt != nil {
		c.ending[m.Index] = m.FinishedAt.Add(lastWords).UnixMilli()
	}
	c.dismiss(m.Index)
	c.mu.Unlock()
}

// lost notes that the machine is. A nil council has nothing to note.
func (c *council) lost(m *machine) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.table.Leave(m.Index)
	c.dismiss(m.Index)
	c.mu.Unlock()
	c.wake()
}

// silent notes that the machine can't tell anything any more.
func (c *council) silent(m *machine) {
	c.mu.Lock()
	c.table.Leave(m.Index)
	c.mu.Unlock()
	c.wake()
}

// dismiss has nothing brought to the machine any more. The caller holds mu.
func (c *council) dismiss(machine int) {
	c.gone[machine] = true
	close(c.changed)
	c.changed = make(chan struct{})
}

// run decides, and brings machines what is decided, until the function that it
// returns is called, which waits for the end of that.
func (c *council) run(ctx context.Context, machines []*machine) (stop func()) {
	if c == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { c.decideAll(ctx) })
	for _, m := range machines {
		work.Go(func() { c.follow(ctx, m) })
	}
	return func() {
		cancel()
		work.Wait()
		c.x.setCouncil(c.step, nil)
	}
}

func (c *council) decideAll(ctx context.Context) {
	for {
		select {
		case <-c.poke:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		c.mu.Lock()
		made := c.table.Decide(now.UnixMilli(), now.Add(c.lead()).UnixMilli())
		c.mu.Unlock()
		if len(made) > 0 && !c.store(ctx, now, made) {
			return // not stored, so it is decided again by who goes on
		}
	}
}

// lead is how far ahead decisions are to hold. The caller holds mu.
func (c *council) lead() time.Duration {
	lead := agreeLead + time.Duration(c.x.ref.Plan.Steps[c.step].InstanceCount)*agreeAllowance
	return max(lead, min(c.took*3/2, mostAgreeLead))
}

// store stores decisions, however long that takes, and has them brought to
// machines. It returns false when ctx ended before.
func (c *council) store(ctx context.Context, now time.Time, made []agreement.Decision) bool {
	name := c.x.ref.Plan.Steps[c.step].Name
	var events []Event
	for _, d := range made {
		events = append(events, Event{Kind: EventNote, Step: name, Text: "Step " + name + ": " + sentence(d)})
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := c.x.b.cfg.Store.AddDecisions(ctx, c.x.ref, c.step, made, events...)
		if err == nil || CodeOf(err) == EConflict { // it was stored though that was not said
			break
		}
		if ctx.Err() != nil {
			return false
		}
		c.x.log.Error("store what machines agree on", "step", name, "retry_in", pause, "error", err)
		sleep(ctx, pause)
	}
	for _, e := range events {
		c.x.log.Info(e.Text)
	}
	c.x.b.hub.notify(c.x.ref.UUID)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decided = append(c.decided[:len(c.decided):len(c.decided)], made...)
	c.made, c.took = now, 0
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// sentence says what is decided.
func sentence(d agreement.Decision) string {
	switch d.Is {
	case metrics.WordFinished:
		return fmt.Sprintf("no more users start in phase %s on any machine.", d.Phase)
	case metrics.WordTerminated:
		return fmt.Sprintf("the users of phase %s have ended on all machines.", d.Phase)
	case metrics.WordBroken:
		return fmt.Sprintf("phase %s can't go on: it failed on machine %d.", d.Phase, d.Machine)
	default:
		return fmt.Sprintf("phase %s has failed on machine %d.", d.Phase, d.Machine)
	}
}

// follow brings the machine all that is decided, until its generator has ended
// or ctx is done, and notes when its relay ends, or, once its generator has, no
// frame comes: then no word of it comes any more. One machine that is slow holds
// no other up.
func (c *council) follow(ctx context.Context, m *machine) {
	brought, pause, silent := 0, 100*time.Millisecond, m.reader.done
	var overdue <-chan time.Time // frames that were to bring its last words
	for {
		c.mu.Lock()
		decided, changed, gone, made := c.decided, c.changed, c.gone[m.Index], c.made
		c.mu.Unlock()
		if gone && overdue == nil {
			overdue = time.After(lastWords + c.x.b.cfg.LostAfter)
		}
		if len(decided) > brought && !gone {
			switch err := c.bring(ctx, m, decided); {
			case err == nil:
				brought, pause = len(decided), 100*time.Millisecond
				c.note(made)
			case CodeOf(err) == ENotFound:
				c.mu.Lock()
				c.dismiss(m.Index) // whoever looks after the container tells of it
				c.mu.Unlock()
			default:
				c.x.log.Warn("tell a machine what is agreed", "step", c.x.ref.Plan.Steps[c.step].Name, "machine", m.Index, "retry_in", pause, "error", err)
				if !sleep(ctx, pause) {
					return
				}
				pause = min(2*pause, 5*time.Second)
			}
			continue
		}
		select {
		case <-changed:
		case <-silent:
			silent = nil
			if c.x.b.ctx.Err() == nil { // else it is the broker that ends
				c.silent(m)
			}
		case <-overdue:
			c.silent(m)
		case <-ctx.Done():
			return
		}
	}
}

// note remembers how long it took to bring a machine what was decided then.
func (c *council) note(made time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if made.Equal(c.made) && !made.IsZero() {
		c.took = max(c.took, time.Since(made))
	}
}

// bring writes what is decided into the generator's container.
func (c *council) bring(ctx context.Context, m *machine, decided []agreement.Decision) error {
	text, err := c.x.minutes(m, *c.x.step(c.step).StartAt, decided)
	if err != nil {
		return err
	}
	gate := c.gate[m.Endpoint.Host]
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-gate }()
	return m.engine.PutFiles(ctx, m.ContainerID, map[string][]byte{agreement.File: text})
}

// minutes is the file that tells a machine's generator what is decided.
func (x *execution) minutes(m *machine, start time.Time, decided []agreement.Decision) ([]byte, error) {
	until := start.Add(time.Duration(x.ref.Plan.Steps[m.Step].RunMaxTime)*time.Second + agreeGrace)
	return agreement.Minutes{Until: until.UnixMilli(), Decided: decided}.Encode(m.ahead().Milliseconds())
}

// ahead is how far the machine's clock is ahead of ours for certain.
func (m *machine) ahead() time.Duration {
	switch {
	case m.ClockOffset > m.ClockError:
		return m.ClockOffset
	case m.ClockOffset < -m.ClockError:
		return m.ClockOffset
	}
	return 0
}

// withMinutes adds the file of what is decided, of nothing as yet, to those of
// a container.
func (x *execution) withMinutes(m *machine, start time.Time, files map[string][]byte) (map[string][]byte, error) {
	if !agrees(x.ref.Plan.Steps[m.Step]) {
		return files, nil
	}
	text, err := x.minutes(m, start, nil)
	if err != nil {
		return nil, err
	}
	files = maps.Clone(files)
	if files == nil {
		files = map[string][]byte{}
	}
	files[agreement.File] = text
	return files, nil
}
