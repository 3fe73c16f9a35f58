package broker

import (
	"context"
	"slices"
	"sync"

	"github.com/loads/loads/images/order"
)

// How an image goes from machine to machine.
const (
	fanout     = 2 // machines that one serves at once
	sourceTry  = 2 // machines that a source may fail, one after the other
	spreadTry  = 3 // sources that a machine tries, one after the other
	leadTry    = 2 // machines that may fail to be the first
	peersAtOne = 3 // sources that are named to a machine, the first of them meant
)

// A tree is how one image comes to the machines of a region: to the first from
// the broker or from a registry, and from each that has it to others.
type tree struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when something below has changed
	manifest string        // its digest, once a machine has it
	holders  []*holder
	leading  bool // a machine is getting it from outside
	failed   int  // machines that could not be the first
	stats    ImageSpread
	before   int               // machines that an earlier broker has counted
	got      map[*machine]bool // that are counted
	key      string            // by which machines know the image
}

// A holder is a machine that has the image for others.
type holder struct {
	m      *machine
	busy   int
	failed []*machine // that could not get the image from it, since another could
}

// newTree begins with the figures of an earlier broker, but for the machines,
// which are looked at again: there are no fewer than it has counted.
func newTree(key string, stats ImageSpread) *tree {
	before := stats.Machines
	stats.Machines = 0
	return &tree{changed: make(chan struct{}), got: map[*machine]bool{}, key: key, stats: stats, before: before}
}

// change tells those who wait. It is called with the lock held.
func (t *tree) change() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// next waits until there is a source with room that has not failed the machine,
// which release gives back, or says that the machine is the first, which led
// ends. Neither says that the image can't be spread.
func (t *tree) next(ctx context.Context, m *machine) (h *holder, lead bool, err error) {
	for {
		t.mu.Lock()
		sources := 0
		for _, o := range t.holders {
			if slices.Contains(o.failed, m) {
				continue
			}
			sources++
			if o.busy < fanout && (h == nil || o.busy < h.busy) {
				h = o
			}
		}
		switch {
		case h != nil:
			h.busy++
		case sources == 0 && t.failed >= leadTry:
		case sources == 0 && !t.leading:
			t.leading, lead = true, true
		default:
			changed := t.changed
			t.mu.Unlock()
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, false, ctx.Err()
			}
		}
		t.mu.Unlock()
		return h, lead, nil
	}
}

// led ends a lead. With an error the machine is no source.
func (t *tree) led(m *machine, manifest string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leading = false
	if err != nil {
		t.failed++
	} else {
		t.manifest = manifest
		t.holders = append(t.holders, &holder{m: m})
	}
	t.change()
}

// release gives a source back that was m's. One that has failed two machines is
// none any more: it could be one machine that is at fault itself.
func (t *tree) release(h *holder, m *machine, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.busy--
	if failed {
		h.failed = append(h.failed, m)
	} else {
		h.failed = nil
	}
	if len(h.failed) >= sourceTry {
		t.holders = slices.DeleteFunc(t.holders, func(o *holder) bool { return o == h })
	}
	t.change()
}

// join makes a machine a source that has got the image.
func (t *tree) join(m *machine, manifest string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.manifest = manifest
	if !slices.ContainsFunc(t.holders, func(h *holder) bool { return h.m == m }) {
		t.holders = append(t.holders, &holder{m: m})
	}
	t.change()
}

// leave takes a machine from the sources that is given back.
func (t *tree) leave(m *machine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holders = slices.DeleteFunc(t.holders, func(h *holder) bool { return h.m == m })
	t.change()
}

// sources are the peers that a machine is told of: the holder first, then the
// least busy others, should it fail.
func (t *tree) sources(h *holder) (manifest string, peers []order.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	peers = append(peers, peerOf(h.m))
	for busy := 0; busy <= fanout && len(peers) < peersAtOne; busy++ {
		for _, o := range t.holders {
			if o != h && o.busy == busy && len(peers) < peersAtOne {
				peers = append(peers, peerOf(o.m))
			}
		}
	}
	return t.manifest, peers
}

// count changes the tree's figures.
func (t *tree) count(change func(*ImageSpread)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
}

// has counts a machine that has the image, once, and with it how it came.
func (t *tree) has(m *machine, how func(*ImageSpread)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.got[m] {
		return
	}
	t.got[m] = true
	t.stats.Machines++
	how(&t.stats)
}

// figures returns them.
func (t *tree) figures() ImageSpread {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.stats
	f.Machines = max(f.Machines, t.before)
	f.FromMachines = max(f.Machines-f.Uploads-f.Pulls, 0)
	return f
}
