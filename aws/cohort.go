package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/loads/loads/aws/boot"
)

// A cohort are machines that are asked for together. Those of them that are to be
// launched wait for each other, and for none that has decided otherwise, and then
// as many as there can be are launched by one call. No time passes in that.
type cohort struct {
	pool *Pool
	ctx  context.Context // of who asks; launches end soon after it
	busy sync.WaitGroup  // launches

	mu       sync.Mutex
	deciding int // that may yet ask for a launch
	waiting  []*wish
}

// A wish is a machine that is to be launched.
type wish struct {
	e    *entry
	done chan struct{} // closed when err is set
	err  error
}

func (p *Pool) cohort(ctx context.Context, n int) *cohort {
	return &cohort{pool: p, ctx: ctx, deciding: n}
}

// launch tries once to launch a machine for the entry; whether it has one then is
// in its record. Who calls it was deciding, and is so again when it returns.
func (c *cohort) launch(e *entry) error {
	a := &wish{e: e, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, a)
	c.mu.Unlock()
	c.leave()
	<-a.done
	return a.err
}

// leave is for who asks for no launch now.
func (c *cohort) leave() {
	c.mu.Lock()
	c.deciding--
	var all []*wish
	if c.deciding == 0 {
		all, c.waiting = c.waiting, nil
	}
	c.mu.Unlock()
	for _, group := range c.groups(all) {
		c.busy.Go(func() { c.launchGroup(group) })
	}
}

// join is for who decides anew.
func (c *cohort) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deciding++
}

// groups are those that one call is for each: one that is under way, or one to be
// made.
func (c *cohort) groups(all []*wish) [][]*wish {
	by := map[string][]*wish{}
	for _, a := range all {
		rec := a.e.read()
		key := rec.Call
		if c.pool.underWay(rec) == nil {
			key = alike(rec)
		}
		by[key] = append(by[key], a)
	}
	var out [][]*wish
	for _, group := range by {
		slices.SortFunc(group, func(a, b *wish) int {
			return cmp.Compare(a.e.read().Request.Index, b.e.read().Request.Index)
		})
		out = slices.AppendSeq(out, slices.Chunk(group, boot.MaxServers))
	}
	return out
}

// alike is the same for records whose machines one call may launch: all that is
// asked for is the same, and all that was tried.
func alike(rec record) string {
	req, tried := rec.Request, slices.Clone(rec.Tried)
	req.Index, req.Token = 0, ""
	for i := range tried {
		tried[i].Reason = ""
	}
	key, _ := json.Marshal([]any{rec.Region, req, tried}) // which can't fail
	return string(key)
}

// errCutShort is told when a call for many neither succeeded nor failed.
var errCutShort = errors.New("the call was cut short")

func (c *cohort) launchGroup(group []*wish) {
	err := errCutShort
	defer func() {
		c.mu.Lock()
		c.deciding += len(group)
		c.mu.Unlock()
		for _, a := range group {
			a.err = err
			close(a.done)
		}
	}()
	var entries []*entry
	for _, a := range group {
		entries = append(entries, a.e)
	}
	err = c.pool.launch(c.ctx, entries)
}
