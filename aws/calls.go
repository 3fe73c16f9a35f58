package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// A call is one of RunInstances that may have been made, and of which it is not
// known yet what came of it. It is a file, that is written after the records of
// its machines and before the call is made, and removed when these have the
// answer, or when there is one that nothing was made. So a call that a record
// names and that has no file was never made, or is over.
type call struct {
	turn turn      // of who makes it, or finds out what came of it
	made time.Time // last, by this process
	// doubt says that it may have been done, though there is no answer.
	doubt bool
	callFile
}

// A callFile is what is on disk of a call.
type callFile struct {
	Run    string // that it is for
	Region string
	// Input is the call as it is made, however often. It has the keys of its
	// machines, which are nowhere else but on them.
	Input *ec2.RunInstancesInput
	At    choice // where it is to
	// Machines are the tokens of the requests that it is for, in the order of
	// launch indexes.
	Machines []string
	Asked    time.Time // when it was planned
}

// token is the client token, and the call's name.
func (f *callFile) token() string { return sdk.ToString(f.Input.ClientToken) }

// calls are those that are under way. Its methods may be called concurrently.
type calls struct {
	dir string

	mu   sync.Mutex
	open map[string]*call // by token
}

func openCalls(dir string) (*calls, error) {
	all := &calls{dir: dir, open: map[string]*call{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open launches: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open launches: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if !strings.HasSuffix(path, suffix) {
			_ = os.Remove(path) // half written when the process was killed
			continue
		}
		c := &call{doubt: true} // the process before may have made it
		if err := readJSON(path, &c.callFile); err != nil {
			return nil, err
		}
		all.open[c.token()] = c
	}
	return all, nil
}

// get returns the call of the token; nil if none is under way.
func (a *calls) get(token string) *call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open[token]
}

func (a *calls) list() []*call {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*call
	for _, c := range a.open {
		out = append(out, c)
	}
	return out
}

func (a *calls) file(c *call) string { return filepath.Join(a.dir, c.token()+suffix) }

// begin keeps a call that is made from now on, on disk.
func (a *calls) begin(c *call) error {
	data, err := json.Marshal(c.callFile)
	if err == nil {
		err = writeWhole(a.file(c), data)
	}
	if err != nil {
		return fmt.Errorf("write down a launch: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[c.token()] = c
	return nil
}

// end forgets a call, on disk.
func (a *calls) end(c *call) error {
	err := os.Remove(a.file(c))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = syncFolder(a.dir)
	}
	if err != nil {
		return fmt.Errorf("remove a launch that is over: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, c.token())
	return nil
}

// underWay returns the call of which it is not known yet whether it has made the
// record's machine; nil if there is none.
func (p *Pool) underWay(rec record) *call {
	if rec.Instance != "" || rec.Call == "" {
		return nil
	}
	return p.calls.get(rec.Call)
}

// openIn returns the entries of the call's machines that it is not known of whether
// it has made them, by launch index.
func (p *Pool) openIn(c *call) map[int]*entry {
	out := map[int]*entry{}
	for i, token := range c.Machines {
		if e := p.ledger.get(token); e != nil && p.underWay(e.read()) == c {
			out[i] = e
		}
	}
	return out
}

// tidy forgets calls whose answer all records have: the process before was killed
// then.
func (p *Pool) tidy() error {
	for _, c := range p.calls.list() {
		if len(p.openIn(c)) > 0 {
			continue
		}
		if err := p.calls.end(c); err != nil {
			return err
		}
	}
	return nil
}

// answered puts the instances that a call has made into the records of its
// machines, by launch index, and into the journal.
func (p *Pool) answered(c *call, instances []types.Instance) error {
	type machine struct {
		id string
		e  *entry
	}
	var found []machine
	var ids []string
	open := p.openIn(c)
	for _, in := range instances {
		if e := open[int(sdk.ToInt32(in.AmiLaunchIndex))]; e != nil {
			id := sdk.ToString(in.InstanceId)
			found, ids = append(found, machine{id, e}), append(ids, id)
		}
	}
	// The journal comes first: what the records have is not looked for again.
	if err := p.journal.note(c.Run, c.Region, ids...); err != nil {
		return err
	}
	return atOnce(found, func(m machine) error {
		return m.e.update(func(rec *record) { rec.Instance, rec.Called = m.id, later(c.made, p.opened) })
	})
}

// settle finds out what came of the call that was to make the machine, when who
// has made it is gone.
func (p *Pool) settle(ctx context.Context, r *region, e *entry) error {
	c := p.underWay(e.read())
	if c == nil {
		return nil
	}
	if err := c.turn.take(ctx); err != nil {
		return err
	}
	defer c.turn.give()
	return p.lookFor(ctx, r, c, func() bool { return p.underWay(e.read()) != c })
}

// lookFor finds out what a call has made, by its client token, until it has
// enough, and for as long as EC2 may take to show it. The call may have been on its
// way until this process was opened. Who calls it has the call's turn.
func (p *Pool) lookFor(ctx context.Context, r *region, c *call, enough func() bool) error {
	for last := later(c.made, p.opened); !enough(); {
		found, err := r.find(ctx, filter("client-token", c.token()))
		if err != nil {
			return err
		}
		if err := p.answered(c, found); err != nil {
			return err
		}
		if len(p.openIn(c)) == 0 || time.Since(last) > unseenLimit { // what is not there was not made
			return p.calls.end(c)
		}
		if !enough() && !sleep(ctx, askEvery) {
			return ctx.Err()
		}
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// atOnce does something for each of a list, and joins the errors.
func atOnce[T any](list []T, do func(T) error) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, one := range list {
		wg.Go(func() { errs[i] = do(one) })
	}
	wg.Wait()
	return summary(errs)
}
