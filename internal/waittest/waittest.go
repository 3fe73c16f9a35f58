// Package waittest is for tests of what happens in its own time: it waits for
// conditions, and keeps what others write.
package waittest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// every is the pause between two looks at a condition.
const every = 10 * time.Millisecond

// Until looks at the condition until it holds, and fails the test when that
// takes longer than the limit.
func Until(t testing.TB, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	if !Holds(limit, holds) {
		t.Fatalf("not within %s: %s", limit, what)
	}
}

// Holds looks at the condition until it holds, and reports whether it did
// within the limit.
func Holds(limit time.Duration, holds func() bool) bool {
	tick := time.NewTicker(every)
	defer tick.Stop()
	deadline := time.After(limit)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

// A Buffer keeps what is written to it. It may be used by many goroutines at
// once.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
