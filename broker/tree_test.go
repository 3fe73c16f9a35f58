package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func mustNext(t *testing.T, tr *tree) (h *holder, lead bool) {
	t.Helper()
	h, lead, err := tr.next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h, lead
}

// TestTree_Doubles has twenty machines get an image of which each transfer takes
// a second: one from outside, and two at once from each that has it.
func TestTree_Doubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTree("key", ImageSpread{})
		began := time.Now()
		var mu sync.Mutex
		leads, most := 0, 0
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				m := &machine{Machine: Machine{ID: int64(i)}}
				h, lead := mustNext(t, tr)
				if h != nil {
					mu.Lock()
					tr.mu.Lock()
					most = max(most, h.busy)
					tr.mu.Unlock()
					mu.Unlock()
				}
				time.Sleep(time.Second) // of the bubble's time
				if lead {
					mu.Lock()
					leads++
					mu.Unlock()
					tr.led(m, "sha256:1", nil)
					return
				}
				tr.join(m, "sha256:1")
				tr.release(h, false)
			})
		}
		wg.Wait()
		// 1, 3, 9, 27
		if took := time.Since(began); took != 4*time.Second || leads != 1 || most > fanout {
			t.Errorf("took %v with %d from outside and up to %d at once from one, want 4s, 1 and %d", took, leads, most, fanout)
		}
	})
}

func TestTree_SourcesThatFailAreNoneAnyMore(t *testing.T) {
	tr := newTree("key", ImageSpread{})
	a, b := &machine{Machine: Machine{Address: "a", Token: "a"}}, &machine{Machine: Machine{Address: "b", Token: "b"}}
	if h, lead := mustNext(t, tr); h != nil || !lead {
		t.Fatalf("the first got %v, %v", h, lead)
	}
	tr.led(a, "sha256:1", nil)
	tr.join(b, "sha256:1")
	tr.join(b, "sha256:1")
	if n := len(tr.holders); n != 2 {
		t.Errorf("%d sources, want 2", n)
	}
	h, _ := mustNext(t, tr)
	if _, peers := tr.sources(h); len(peers) != 2 || peers[0] != peerOf(h.m) {
		t.Errorf("peers %v, want the source first and the other after it", peers)
	}
	tr.release(h, true)
	for range 2 * sourceTry {
		h, _ := mustNext(t, tr)
		if h == nil {
			break
		}
		tr.release(h, h.m == a)
	}
	if slices.ContainsFunc(tr.holders, func(h *holder) bool { return h.m == a }) {
		t.Error("a source that failed twice is still one")
	}
	for len(tr.holders) > 0 {
		h, _ := mustNext(t, tr)
		tr.release(h, true)
	}
	if h, lead := mustNext(t, tr); h != nil || !lead {
		t.Errorf("without a source: got %v, %v; want the next to be the first", h, lead)
	}
}

func TestTree_IsGivenUpWhenNobodyCanBeTheFirst(t *testing.T) {
	tr := newTree("key", ImageSpread{})
	for range leadTry {
		if _, lead := mustNext(t, tr); !lead {
			t.Fatal("nobody is the first")
		}
		tr.led(&machine{}, "", errors.New("no room"))
	}
	if h, lead := mustNext(t, tr); h != nil || lead {
		t.Errorf("got %v, %v; want neither", h, lead)
	}
}

func TestTree_WaitingEndsWithTheContext(t *testing.T) {
	tr := newTree("key", ImageSpread{})
	mustNext(t, tr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := tr.next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
