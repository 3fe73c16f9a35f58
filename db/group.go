package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A group makes one transaction of the changes that many goroutines want made
// at once: a transaction waits for the disk, and with a thousand machines
// there are a thousand changes each time that something is done to all. Each
// change still is made as a whole or not at all, whatever becomes of the
// others, and its caller returns when it is on disk.
type group struct {
	mu   sync.Mutex
	next []*member // that no transaction has taken in yet

	turn sync.Mutex // held by whoever makes the transaction
}

// A member is one change in a group.
type member struct {
	ctx  context.Context
	what string
	fn   func(context.Context, *tx) error
	over bool // err is what came of it; guarded by the group's turn
	err  error
}

// together is write, in one transaction with what others change in the same
// way meanwhile. fn may be called again after it was undone, and should not
// take long.
func (d *DB) together(ctx context.Context, what string, fn func(context.Context, *tx) error) error {
	m := &member{ctx: ctx, what: what, fn: fn}
	g := &d.group
	g.mu.Lock()
	g.next = append(g.next, m)
	g.mu.Unlock()
	g.turn.Lock()
	defer g.turn.Unlock()
	if m.over {
		return m.err // whoever had the turn has taken it in
	}
	g.mu.Lock()
	members := g.next
	g.next = nil
	g.mu.Unlock()
	d.writeGroup(members)
	return m.err
}

// writeGroup makes the changes in one transaction, or, when that fails, each in
// its own.
func (d *DB) writeGroup(members []*member) {
	if len(members) == 1 || d.writeAtOnce(members) != nil {
		for _, m := range members {
			m.err = d.write(m.ctx, m.what, m.fn)
		}
	}
	for _, m := range members {
		m.over = true
	}
}

// writeAtOnce returns an error when nothing was changed at all.
func (d *DB) writeAtOnce(members []*member) error {
	// A member that is given up must not take the others with it.
	all := context.WithoutCancel(members[0].ctx)
	return d.write(all, "write changes", func(_ context.Context, t *tx) error {
		for _, m := range members {
			if m.err = m.ctx.Err(); m.err != nil {
				m.err = fmt.Errorf("%s: %w", m.what, m.err)
				continue
			}
			if err := m.within(t); err != nil {
				return err
			}
		}
		return nil
	})
}

// within makes the change in the transaction, or leaves that as it was; an
// error says that there is no transaction any more.
func (m *member) within(t *tx) error {
	ctx := context.WithoutCancel(m.ctx) // SQLite ends the transaction with a call that is cut off
	if _, err := t.ExecContext(ctx, "SAVEPOINT member"); err != nil {
		return err
	}
	if m.err = m.fn(ctx, t); m.err != nil {
		m.err = mapError(m.what, m.err)
		if _, err := t.ExecContext(ctx, "ROLLBACK TO member"); err != nil {
			return errors.Join(m.err, err)
		}
	}
	_, err := t.ExecContext(ctx, "RELEASE member")
	return err
}
