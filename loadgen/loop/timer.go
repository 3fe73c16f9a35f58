//go:build linux

package loop

import "time"

// Timer calls Fire on its loop when it is due. It is armed by Loop.Set, any
// number of times, which allocates nothing, and must not be copied.
type Timer struct {
	Fire func() // set before the timer is armed
	// Early is by how much it may fire before its time, if the loop is awake: so
	// what is due soon needs no waking of its own. It is set like Fire.
	Early time.Duration

	at    Instant
	place int // in the heap, from 1; 0 is not armed
}

// Armed reports whether the timer is going to fire.
func (t *Timer) Armed() bool { return t.place > 0 }

// When returns the instant for which the timer was armed last.
func (t *Timer) When() Instant { return t.at }

// arity is how many children a place of the heap has: with four it is half as
// deep as with two, and they share a cache line.
const arity = 4

// entry has the timer's time beside it, for comparing without a look at it.
type entry struct {
	at Instant
	t  *Timer
}

// timers is a heap, the earliest first.
type timers struct{ heap []entry }

// next returns when the earliest timer is due; ok is false without any.
func (h *timers) next() (at Instant, ok bool) {
	if len(h.heap) == 0 {
		return 0, false
	}
	return h.heap[0].at, true
}

// run fires the timers that are due by now. Those that are armed meanwhile
// are left for the next turn if they were due already, so that files get theirs.
func (h *timers) run(now Instant) {
	for left := len(h.heap); left > 0 && len(h.heap) > 0; left-- {
		t := h.heap[0].t
		if t.at.Add(-t.Early) > now {
			break
		}
		h.stop(t)
		t.Fire()
	}
}

func (h *timers) set(t *Timer, at Instant) {
	t.at = at
	if t.place == 0 {
		h.heap = append(h.heap, entry{at, t})
		t.place = len(h.heap)
	}
	h.fix(t.place-1, entry{at, t})
}

func (h *timers) stop(t *Timer) {
	if t.place == 0 {
		return
	}
	i, last := t.place-1, len(h.heap)-1
	t.place = 0
	moved := h.heap[last]
	h.heap[last] = entry{}
	h.heap = h.heap[:last]
	if i < last {
		h.fix(i, moved)
	}
}

// fix puts e where it belongs, starting at place i, which is free for it.
func (h *timers) fix(i int, e entry) {
	for i > 0 {
		parent := (i - 1) / arity
		if h.heap[parent].at <= e.at {
			break
		}
		h.put(i, h.heap[parent])
		i = parent
	}
	for {
		child := h.earliestChild(i)
		if child < 0 || h.heap[child].at >= e.at {
			break
		}
		h.put(i, h.heap[child])
		i = child
	}
	h.put(i, e)
}

// earliestChild returns the place of the earliest child of i, or -1.
func (h *timers) earliestChild(i int) int {
	first := i*arity + 1
	if first >= len(h.heap) {
		return -1
	}
	best := first
	for c := first + 1; c < min(first+arity, len(h.heap)); c++ {
		if h.heap[c].at < h.heap[best].at {
			best = c
		}
	}
	return best
}

func (h *timers) put(i int, e entry) {
	h.heap[i] = e
	e.t.place = i + 1
}
