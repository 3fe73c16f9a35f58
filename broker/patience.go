package broker

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// A storeError is the failure of what the broker itself keeps its records in.
// It says nothing about the run, which is held up until it has passed.
type storeError struct{ err error }

// Error returns the cause.
func (e *storeError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *storeError) Unwrap() error { return e.err }

func isStoreError(err error) bool {
	var e *storeError
	return errors.As(err, &e)
}

// diskError makes a storeError of an error of the broker's own disk that may
// pass, as when the disk is full, and keeps all others.
func diskError(err error) error {
	for _, passing := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, passing) {
			return &storeError{err}
		}
	}
	return err
}

// patiently calls f until the machine's engine answers it: one that is
// unreachable for a moment, as when it is restarted, is asked again, but not
// after the limit.
func patiently(ctx context.Context, limit time.Duration, f func() error) error {
	until := time.Now().Add(limit)
	for {
		err := f()
		if isStoreError(err) || CodeOf(err) != EUnavailable || time.Now().After(until) || !sleep(ctx, time.Second) {
			return err
		}
	}
}

// untilSilent returns when the machine's engine has not answered for
// LostAfter, or ctx is done. Streams don't tell: an engine that hangs keeps
// its connections.
func (x *execution) untilSilent(ctx context.Context, m *machine) {
	heard := time.Now()
	for sleep(ctx, x.b.cfg.LostAfter/4) {
		limit := heard.Add(x.b.cfg.LostAfter)
		asking, cancel := context.WithDeadline(ctx, limit)
		_, err := m.engine.Inspect(asking, m.ContainerID)
		cancel()
		if CodeOf(err) != EUnavailable {
			heard = time.Now()
			continue
		}
		x.letIn(ctx)
		if !time.Now().Before(limit) {
			return
		}
	}
}
