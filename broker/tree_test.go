package broker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func mustNext(t *testing.T, tr *tree, m *machine) (h *holder, lead bool) {
	t.Helper()
	h, lead, err := tr.next(t.Context(), m)
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
				h, lead := mustNext(t, tr, m)
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
				tr.release(h, m, false)
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
	c, d := &machine{}, &machine{}
	if h, lead := mustNext(t, tr, a); h != nil || !lead {
		t.Fatalf("the first got %v, %v", h, lead)
	}
	tr.led(a, "sha256:1", nil)
	tr.join(b, "sha256:1")
	tr.join(b, "sha256:1")
	if n := len(tr.holders); n != 2 {
		t.Errorf("%d sources, want 2", n)
	}
	// c is failed by all, so they may be right and c wrong; it gets the image as
	// the first does.
	for range 2 {
		h, _ := mustNext(t, tr, c)
		if _, peers := tr.sources(h); len(peers) != 2 || peers[0] != peerOf(h.m) {
			t.Errorf("peers %v, want the source first and the other after it", peers)
		}
		tr.release(h, c, true)
	}
	if h, lead := mustNext(t, tr, c); h != nil || !lead || len(tr.holders) != 2 {
		t.Errorf("failed by all: got %v, %v; want it to be the first, and %d sources", h, lead, 2)
	}
	tr.led(c, "sha256:1", errors.New("no room"))
	h, _ := mustNext(t, tr, d)
	tr.release(h, d, true)
	if len(tr.holders) != 1 || tr.holders[0] == h {
		t.Error("a source that has failed two machines is still one")
	}
	h, _ = mustNext(t, tr, d)
	tr.release(h, d, false)
	if len(h.failed) != 0 {
		t.Error("a source that has served another machine is still thought to fail")
	}
}

func TestTree_IsGivenUpWhenNobodyCanBeTheFirst(t *testing.T) {
	tr, a := newTree("key", ImageSpread{}), &machine{}
	for range leadTry {
		if _, lead := mustNext(t, tr, a); !lead {
			t.Fatal("nobody is the first")
		}
		tr.led(&machine{}, "", errors.New("no room"))
	}
	if h, lead := mustNext(t, tr, a); h != nil || lead {
		t.Errorf("got %v, %v; want neither", h, lead)
	}
}

func TestTree_WaitingEndsWithTheContext(t *testing.T) {
	tr := newTree("key", ImageSpread{})
	mustNext(t, tr, &machine{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := tr.next(ctx, &machine{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
