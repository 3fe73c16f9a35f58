package aws

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/broker"
)

// A Standby is a number of machines of a type in a region that are to be ready at
// all times, on demand and with the pool's image and disk.
type Standby struct {
	Region, Type string
	Count        int
}

// standbyRun is in the place of a run's id for machines that stand by.
const standbyRun = "standby"

// What machines that stand by may live.
const (
	standbyLife  = 12 * time.Hour  // in one term
	standbyLeast = time.Hour       // of the time of its certificate, or another takes its place
	standbyPause = 1 * time.Minute // after one could not be had
)

// matches reports whether the machine is one of those.
func (s Standby) matches(rec record) bool {
	kind := rec.At.Type
	if kind == "" { // not launched yet
		kind = rec.Request.Type
	}
	return rec.Region == s.Region && kind == s.Type && !rec.At.Spot && rec.Request.Image == "" && rec.Request.VolumeGB == 0
}

// standsBy reports whether an idle machine whose time is over is needed to stand
// by: those that are idle for the shortest time do.
func (t *tender) standsBy(rec record, idle []*entry) bool {
	i := slices.IndexFunc(t.pool.cfg.Standby, func(s Standby) bool { return s.matches(rec) })
	if i < 0 || time.Until(rec.Until) < standbyLeast {
		return false
	}
	younger := 0
	for _, e := range idle {
		other := e.read()
		if t.pool.isKept(other) && t.pool.cfg.Standby[i].matches(other) && other.Idle.After(rec.Idle) {
			younger++
		}
	}
	return younger < t.pool.cfg.Standby[i].Count
}

// prolong begins a new term of a machine that stands by, within the time of its
// certificate.
func (t *tender) prolong(ctx context.Context, e *entry) {
	if !t.pool.ledger.hold(e) {
		return
	}
	t.busy.Go(func() {
		defer t.pool.ledger.free(e)
		if e.read().Idle.IsZero() {
			return
		}
		err := e.update(func(rec *record) {
			rec.Term++
			rec.Ends = time.Now().UTC().Add(min(standbyLife, time.Until(rec.Until)))
		})
		if err == nil {
			err = t.pool.renewEntry(ctx, e)
		}
		if err != nil && ctx.Err() == nil {
			t.pool.log.Warn("prolong the time of a machine that stands by", "machine", e.read().Instance, "error", err)
		}
	})
}

// fill launches what is missing.
func (t *tender) fill(ctx context.Context, s Standby, now time.Time) {
	r := t.pool.in(s.Region)
	if now.Before(t.pausedUntil(s)) || now.Sub(r.lastRoom()) < standbyPause {
		return
	}
	have := 0
	for _, e := range t.pool.ledger.list() {
		rec := e.read()
		waits := !rec.Idle.IsZero() && t.pool.isKept(rec) || rec.Request.RunUUID == standbyRun && (rec.Authority == "" || rec.Authority == t.pool.trust.ID())
		if waits && s.matches(rec) {
			have++
		}
	}
	for ; have < s.Count; have++ {
		req := broker.MachineRequest{
			BrokerID: t.broker, RunUUID: standbyRun, StepName: standbyRun, Token: uuid.NewString(), Region: s.Region, Type: s.Type, Life: standbyLife,
		}
		e := t.pool.ledger.open(req, r.name)
		t.busy.Go(func() {
			if err := t.launch(ctx, e); err != nil && ctx.Err() == nil {
				t.pool.log.Warn("have a machine stand by", "type", s.Type, "region", s.Region, "error", err)
				t.mu.Lock()
				t.pauses[s] = time.Now().Add(standbyPause)
				t.mu.Unlock()
			}
		})
	}
}

func (t *tender) pausedUntil(s Standby) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pauses[s]
}

// launch gets a machine and has it wait. What comes of it without success is
// ended, unless ctx is done: then the next process does.
func (t *tender) launch(ctx context.Context, e *entry) error {
	l := t.pool.ledger
	alone := t.pool.cohort(ctx, 1)
	_, err := t.pool.acquire(ctx, e.read().Request, alone)
	alone.busy.Wait()
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return errors.Join(err, t.pool.end(ctx, e))
	}
	if !l.hold(e) {
		return nil // it is being ended
	}
	defer l.free(e)
	return l.rest(e, func(*record) {})
}

// sweep ends what a process before has launched to stand by.
func (t *tender) sweep(ctx context.Context) {
	for _, e := range t.pool.ledger.list() {
		if rec := e.read(); rec.Request.RunUUID != standbyRun || t.pool.isKept(rec) || !rec.Idle.IsZero() {
			continue
		}
		t.busy.Go(func() {
			if err := t.pool.end(ctx, e); err != nil && ctx.Err() == nil {
				t.pool.log.Warn("end a machine that was to stand by", "machine", e.read().Instance, "error", err)
			}
		})
	}
}
