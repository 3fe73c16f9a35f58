// Package waittest is for tests of what happens in its own time: it waits for
// conditions, keeps what others write, and finds addresses for servers that come
// later.
package waittest

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// The pause between two looks at a condition grows with the time that was waited,
// since a look may cost more than what is waited for, many of which go on at once.
const (
	leastPause = 10 * time.Millisecond
	mostPause  = 50 * time.Millisecond
	ofWaited   = 50 // a pause is this part of the time that was waited
)

// Until looks at the condition until it holds, and fails the test when that
// takes longer than the limit.
func Until(t testing.TB, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	if !Holds(limit, holds) {
		t.Fatalf("not within %s: %s", limit, what)
	}
}

// Holds looks at the condition until it holds, and reports whether it did
// within the limit. When that is over it looks once more: the computer may have
// stood still meanwhile.
func Holds(limit time.Duration, holds func() bool) bool {
	began := time.Now()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for !holds() {
		pause := time.NewTimer(min(max(time.Since(began)/ofWaited, leastPause), mostPause))
		select {
		case <-pause.C:
		case <-deadline.C:
			pause.Stop()
			return holds()
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
