package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
)

// askEvery is the time between two looks at a machine that is not up.
const askEvery = time.Second

// seenEvery is the time between two looks at what EC2 has just made.
const seenEvery = 500 * time.Millisecond

// Acquire launches a machine for each request, or finds the one that was, or
// takes an idle one, and returns when their Docker answers. Where one zone or type has no room, and
// where a machine does not come up, it tries others. A machine that is up
// before the others is kept alive meanwhile.
func (p *Pool) Acquire(ctx context.Context, reqs []broker.MachineRequest) ([]broker.Machine, error) {
	machines := make([]broker.Machine, len(reqs))
	errs := make([]error, len(reqs))
	waiting, done := context.WithCancel(ctx)
	defer done()
	var getting, keeping sync.WaitGroup
	together := p.cohort(ctx, len(reqs))
	for i, req := range reqs {
		getting.Go(func() {
			machines[i], errs[i] = p.acquire(ctx, req, together)
			if errs[i] == nil {
				m := machines[i]
				keeping.Go(func() { p.keepAlive(waiting, m, req.Token) })
			}
		})
	}
	getting.Wait()
	together.busy.Wait()
	done()
	keeping.Wait()
	return machines, summary(errs)
}

// keepAlive renews the machine's lease until ctx is done. An error is for the
// next renewal to mend, or for who uses the machine to notice.
func (p *Pool) keepAlive(ctx context.Context, m broker.Machine, token string) {
	m.Token = token
	for sleep(ctx, p.LeaseEvery()) {
		if err := p.renewByItself(ctx, m); err != nil && ctx.Err() == nil {
			p.log.Warn("renew the lease of a machine that waits for others", "machine", m.ProviderID, "error", err)
		}
	}
}

// acquire gets one machine of a cohort, in which it is deciding. What it has
// launched and can't use it ends again.
func (p *Pool) acquire(ctx context.Context, req broker.MachineRequest, together *cohort) (broker.Machine, error) {
	r := p.in(req.Region)
	e, err := p.entryFor(ctx, r, req)
	if err != nil {
		together.leave()
		return broker.Machine{}, err
	}
	for ; ; together.join() {
		for err == nil && ctx.Err() == nil && e.read().Instance == "" {
			err = together.launch(e)
		}
		together.leave()
		if err := cmp.Or(givenUp(ctx), err); err != nil {
			return broker.Machine{}, err
		}
		getReady := p.awaitUp
		if e.read().Fitting {
			getReady = p.fit
		}
		why := getReady(ctx, r, e)
		if why == nil {
			p.images.note(p.cfg.Standby, e.read())
			return p.machine(ctx, e.read())
		}
		if err := givenUp(ctx); err != nil { // Release ends the machine
			return broker.Machine{}, err
		}
		if err := p.giveUp(ctx, r, e, why); err != nil {
			return broker.Machine{}, err
		}
	}
}

// givenUp says that nobody waits for machines any more.
func givenUp(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &broker.Error{Code: broker.EUnavailable, Message: "asking EC2 for machines was given up", Err: err}
	}
	return nil
}

// entryFor returns the entry of a request, which has an idle machine if there is
// one that suits.
func (p *Pool) entryFor(ctx context.Context, r *region, req broker.MachineRequest) (*entry, error) {
	e := p.ledger.open(req, r.name)
	if rec := e.read(); rec.Instance != "" || p.underWay(rec) != nil || len(rec.Tried) > 0 {
		return e, nil
	}
	idle, err := p.reuse(ctx, r, req)
	if idle != nil {
		e = idle
	}
	return e, err
}

// errNotUp says why a machine is of no use.
type errNotUp struct{ why string }

func (e *errNotUp) Error() string { return e.why }

// giveUp ends a machine that did not come up, so that another can be tried.
func (p *Pool) giveUp(ctx context.Context, r *region, e *entry, why error) error {
	var notUp *errNotUp
	if !errors.As(why, &notUp) {
		return why
	}
	rec := e.read()
	p.log.Warn("a machine is of no use and is ended", "machine", rec.Instance, "at", rec.At, "reason", why)
	if err := r.terminate(ctx, rec.Instance, rec.Called); err != nil {
		return err
	}
	return e.update(func(rec *record) {
		k := outcomeUnknown
		if rec.Fitting {
			k = notFit
		}
		rec.Tried = append(rec.Tried, attempt{rec.At, k, fmt.Sprintf("%s (%v) %s", rec.Instance, rec.At, why)})
		rec.Call, rec.Instance, rec.Private, rec.Public = "", "", "", ""
		rec.Taken, rec.Fitting = time.Time{}, false
	})
}

// awaitUp returns when the machine's Docker has answered and its lease has
// been renewed; errNotUp says that it can't be waited for any longer.
func (p *Pool) awaitUp(ctx context.Context, r *region, e *entry) error {
	began := time.Now()
	until := e.read().Called.Add(p.cfg.BootLimit)
	if soonest := began.Add(p.cfg.BootLimit / 5); until.Before(soonest) {
		until = soonest // the broker was away, and may find it up
	}
	fresh := began.Sub(e.read().Called) < callLimit // not from before a restart
	var engine broker.Engine
	defer func() {
		if engine != nil {
			engine.Close()
		}
	}()
	last := errors.New("it has no address")
	for {
		err := p.look(ctx, r, e)
		if err != nil {
			return err
		}
		if engine == nil && e.read().Private != "" {
			if engine, err = p.dial(e.read()); err != nil {
				return notReachable(err)
			}
		}
		if engine != nil {
			if last = p.greet(ctx, e, engine, until); last == nil {
				if fresh {
					r.noteUp(time.Since(e.read().Called))
				}
				return nil
			}
		}
		if time.Now().After(until) {
			return &errNotUp{fmt.Sprintf("did not answer within %v: %v", p.cfg.BootLimit, last)}
		}
		if !sleep(ctx, askEvery) {
			return ctx.Err()
		}
	}
}

// notReachable makes of certificates that are lost the end of the machine they
// were for.
func notReachable(err error) error {
	if broker.CodeOf(err) == broker.ENotFound {
		return &errNotUp{err.Error()}
	}
	return err
}

// look asks EC2 about the machine, and keeps its addresses.
func (p *Pool) look(ctx context.Context, r *region, e *entry) error {
	rec := e.read()
	in, found, err := r.instances.ask(ctx, rec.Instance)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case kindOf(err) == refusedDenied && err != nil:
		return err
	case err != nil:
		p.log.Warn("ask EC2 about a machine", "machine", rec.Instance, "error", err)
		return nil // it is asked again
	case !found && time.Since(rec.Called) > p.cfg.BootLimit:
		return &errNotUp{"is not known to EC2 any more"}
	case !found:
		return nil // not yet
	}
	if isEnding(in) {
		return &errNotUp{fmt.Sprintf("is %s: %s", in.State.Name, reasonOf(in))}
	}
	private, public := sdk.ToString(in.PrivateIpAddress), sdk.ToString(in.PublicIpAddress)
	if private == rec.Private && public == rec.Public || private == "" {
		return nil
	}
	if public == "" && !p.cfg.Private && in.State.Name == types.InstanceStateNamePending {
		return nil // it may get one yet
	}
	return e.update(func(rec *record) { rec.Private, rec.Public = private, public })
}

func reasonOf(in types.Instance) string {
	if in.StateReason != nil {
		return sdk.ToString(in.StateReason.Message)
	}
	return sdk.ToString(in.StateTransitionReason)
}

// isEnding reports whether the instance is over, or on the way to it. One that
// was stopped is of no use to anybody either.
func isEnding(in types.Instance) bool {
	switch in.State.Name {
	case types.InstanceStateNamePending, types.InstanceStateNameRunning:
		return false
	}
	return true
}

// greet asks the machine's engine, no more than so many at once, and renews
// the lease, which has run since the machine's birth. The renewal needs an
// image, which may take long to get there: as long as a machine may take.
func (p *Pool) greet(ctx context.Context, e *entry, engine broker.Engine, until time.Time) error {
	select {
	case p.dials <- struct{}{}:
		defer func() { <-p.dials }()
	case <-ctx.Done():
		return ctx.Err()
	}
	asking, cancel := context.WithTimeout(ctx, greetLimit)
	_, err := engine.Info(asking)
	cancel()
	if err != nil {
		return err
	}
	renewing, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return p.renew(renewing, e, engine, time.Until(e.read().Ends))
}

// greetLimit is how long an engine may take over saying what it is.
const greetLimit = 10 * time.Second

// endpoint is how to reach the machine.
func (p *Pool) endpoint(rec record) (broker.Endpoint, error) {
	return p.trust.Endpoint(rec.Authority, rec.name(), p.reachedAt(rec))
}

// reachedAt is the address that the broker talks to.
func (p *Pool) reachedAt(rec record) string {
	if p.cfg.Private || rec.Public == "" {
		return rec.Private
	}
	return rec.Public
}

func (p *Pool) dial(rec record) (broker.Engine, error) {
	ep, err := p.endpoint(rec)
	if err != nil {
		return nil, err
	}
	return p.cfg.Dial(ep)
}

// machine is what Acquire answers.
func (p *Pool) machine(ctx context.Context, rec record) (broker.Machine, error) {
	ep, err := p.endpoint(rec)
	if err != nil {
		return broker.Machine{}, err
	}
	m := broker.Machine{
		Pool: Name, ProviderID: providerID(rec.Region, rec.Instance), Address: rec.Private, PublicIP: rec.Public, Endpoint: ep,
		Region: rec.Region, Type: rec.At.Type, Spot: rec.At.Spot, Reused: !rec.Taken.IsZero(), LaunchedAt: sdk.Time(rec.Asked),
	}
	if !rec.Taken.IsZero() { // it costs this run only from then on
		m.LaunchedAt = sdk.Time(rec.Taken)
	}
	if m.PublicIP == "" {
		m.PublicIP = rec.Private
	}
	m.HourUSD, err = p.hourly(ctx, rec)
	if err != nil {
		p.log.Warn("look up what a machine costs", "machine", m.ProviderID, "error", err)
	}
	return m, nil
}
