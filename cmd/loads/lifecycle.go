package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// closeLimit bounds each clean-up, so that a stuck part is named, not waited
// for without end.
const closeLimit = 30 * time.Second

// cleanups undo what was built, last first. Each is added on the line after its
// resource exists, so that a half-started program and a whole one are torn down
// by the same path.
type cleanups struct {
	once  sync.Once
	err   error
	stack []cleanup
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

// add puts a clean-up on top of the stack.
func (c *cleanups) add(name string, run func(context.Context) error) {
	c.stack = append(c.stack, cleanup{name, run})
}

// run carries all clean-ups out, going on past failures, and joins their
// errors. Run again it only returns them again.
func (c *cleanups) run() error {
	c.once.Do(func() {
		for i := len(c.stack) - 1; i >= 0; i-- {
			if err := c.stack[i].bounded(); err != nil {
				c.err = errors.Join(c.err, fmt.Errorf("close %s: %w", c.stack[i].name, err))
			}
		}
	})
	return c.err
}

// bounded gives up on a clean-up after closeLimit; its goroutine is then left
// to the end of the process, which is near.
func (c cleanup) bounded() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not done within %v", closeLimit)
	}
}
