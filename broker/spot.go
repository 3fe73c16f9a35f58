package broker

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// noticeEvery is the pause between two looks for machines that are about to be
// taken back: a notice comes two minutes ahead.
const noticeEvery = 5 * time.Second

// takenSlack is how long before its time a machine may begin to end that is
// taken back.
const takenSlack = 15 * time.Second

// notices are those that a run's machines have been given. Providers are asked
// by one goroutine at a time.
type notices struct {
	mu    sync.Mutex // held while providers are asked, and for what follows
	asked time.Time  // when that last began
	at    map[string]time.Time
}

// watchNotices tells of machines that are about to be taken back, until ctx
// ends.
func (x *execution) watchNotices(ctx context.Context) {
	for sleep(ctx, noticeEvery) {
		x.askNotices(ctx, time.Now())
	}
}

// askNotices asks the providers of the run's spot machines which of them are
// being taken back, unless that was done since the time, and tells of new ones. A
// broker that took over tells of them again.
func (x *execution) askNotices(ctx context.Context, since time.Time) {
	x.notices.mu.Lock()
	defer x.notices.mu.Unlock()
	if x.notices.asked.After(since) {
		return
	}
	asked := time.Now()
	spots := map[Renter][]Machine{}
	for _, le := range x.leases.all() {
		if le.m.Spot {
			spots[le.renter] = append(spots[le.renter], le.m)
		}
	}
	for r, machines := range spots {
		found, err := r.Notices(ctx, machines)
		for _, n := range found {
			x.noteNotice(ctx, n, machines)
		}
		if err != nil {
			x.log.Warn("ask which spot machines are taken back", "error", err)
			return
		}
	}
	x.notices.asked = asked
}

// noteNotice keeps a notice, and tells of it if it is new.
func (x *execution) noteNotice(ctx context.Context, n Notice, machines []Machine) {
	_, known := x.notices.at[n.ProviderID]
	if x.notices.at == nil {
		x.notices.at = map[string]time.Time{}
	}
	x.notices.at[n.ProviderID] = n.At
	if known {
		return
	}
	for _, m := range machines {
		if m.ProviderID != n.ProviderID {
			continue
		}
		text := fmt.Sprintf("The provider takes machine %s back, which is a spot machine: in %s.", n.ProviderID, time.Until(n.At).Round(time.Second))
		if !n.At.After(time.Now()) {
			text = fmt.Sprintf("The provider has taken machine %s back, which was a spot machine.", n.ProviderID)
		}
		x.log.Info(text)
		e := Event{Kind: EventNote, Step: x.ref.Plan.Steps[m.Step].Name, Machine: &m.Index, Text: text}
		if err := x.b.cfg.Store.AddEvents(ctx, x.ref, e); err != nil {
			x.log.Warn("store event", "error", err)
		}
		x.b.hub.notify(x.ref.UUID)
	}
}

// isTaken reports whether the provider has taken the machine back by the time: a
// machine that is taken shuts down first, which ends its container in the order
// of things.
func (x *execution) isTaken(ctx context.Context, m *machine, by time.Time) bool {
	if !m.Spot {
		return false
	}
	x.askNotices(ctx, by)
	x.notices.mu.Lock()
	defer x.notices.mu.Unlock()
	at, noticed := x.notices.at[m.ProviderID]
	return noticed && by.After(at.Add(-takenSlack))
}

// errTaken is why a machine is lost that was taken back.
func errTaken() error {
	return Errorf(EUnavailable, "its provider has taken it back, as it may with spot machines")
}
