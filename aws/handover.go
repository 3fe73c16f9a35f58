package aws

import (
	"maps"
	"slices"
	"time"

	"github.com/loads/loads/broker"
)

// How a ledger has a machine change hands: whoever changes what a machine is for,
// or ends it, holds its entry meanwhile. The hold is in memory; what comes of it
// is one change of one file.

// rest has the machine of an entry, which is held, be idle from now on.
func (l *ledger) rest(e *entry, change func(*record)) error {
	err := e.update(func(rec *record) {
		rec.Idle = time.Now().UTC()
		change(rec)
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle[e] = true
	return nil
}

// resting returns the entries of idle machines.
func (l *ledger) resting() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.idle))
}

// take finds the idle machine that nobody holds with the lowest rank from 0, the
// one that was used last among equals, and holds it; nil if there is none. What
// has a negative rank is passed over.
func (l *ledger) take(rank func(record) int) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var best *entry
	lowest, since := 0, time.Time{}
	for e := range l.idle {
		if e.held {
			continue
		}
		rec := e.read()
		n := rank(rec)
		if n < 0 || best != nil && (n > lowest || n == lowest && !rec.Idle.After(since)) {
			continue
		}
		best, lowest, since = e, n, rec.Idle
	}
	if best != nil {
		best.held = true
	}
	return best
}

// hold has nobody else change what the machine is for until free; false says
// that somebody does now.
func (l *ledger) hold(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.held {
		return false
	}
	e.held = true
	return true
}

func (l *ledger) free(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.held = false
}

// pass gives a machine that is held to another request, in one change on disk.
// It is found by that request's token from then on.
func (l *ledger) pass(e *entry, req broker.MachineRequest, change func(*record)) error {
	before := e.read().Request.Token
	err := e.update(func(rec *record) {
		rec.Request = req
		change(rec)
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.idle, e)
	delete(l.entries, before)
	l.entries[req.Token] = e
	return nil
}
