package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// A machine that is given back is kept for the next run, if Config.Idle says so:
//
//	in use ── Release ─► cleaned, checked ─► idle ── Acquire ─► fitting ─► in use
//
// Each arrow is one change of its record. From idle and fitting a machine may be
// ended at any time; what a killed broker has left in either is ended by the next
// one, since nothing is kept that was launched before its start.

// idleGrace is how long after its time an idle machine ends by itself, if the
// pool does not end it.
const idleGrace = time.Minute

// reuseFor is how long after its first term a machine's certificate is good for
// others.
const reuseFor = 24 * time.Hour

// keepsAny reports whether machines are kept at all.
func (p *Pool) keepsAny() bool { return p.cfg.Idle > 0 || len(p.cfg.Standby) > 0 }

// isKept reports whether the pool has the machine on purpose, though no run has
// it: it waits for one, or is launched to.
func (p *Pool) isKept(rec record) bool {
	return rec.Authority == p.trust.ID() && (!rec.Idle.IsZero() || rec.Request.RunUUID == standbyRun)
}

// isWorthKeeping reports whether a machine that is given back may be used again.
func (p *Pool) isWorthKeeping(rec record, m broker.Machine) bool {
	return p.cfg.Idle > 0 && m.Reason == "" && !rec.Fitting && rec.Instance != "" && rec.Seq > 0 &&
		rec.Authority == p.trust.ID() && time.Until(rec.Until) > p.cfg.Idle+idleGrace
}

// keep cleans a machine, which is held, and has it wait for the next run. It
// stays in the security group of the one that it was for, in which nothing
// listens any more, and keeps its tags.
func (p *Pool) keep(ctx context.Context, e *entry) error {
	rec := e.read()
	engine, err := p.cleaned(ctx, rec)
	if err != nil {
		return err
	}
	defer engine.Close()
	life := p.cfg.Idle + idleGrace
	err = p.ledger.rest(e, func(rec *record) {
		rec.Term++
		rec.Ends = time.Now().UTC().Add(life)
	})
	if err != nil {
		return err
	}
	if err := p.renew(ctx, e, engine, life); err != nil {
		return err
	}
	p.log.Info("keep a machine for the next run", "machine", rec.Instance, "at", rec.At, "region", rec.Region, "for", p.cfg.Idle)
	return nil
}

// cleaned opens the engine of a machine that changes hands, on which nothing of
// the run before is left, and notes on disk what the run has had.
func (p *Pool) cleaned(ctx context.Context, rec record) (broker.Engine, error) {
	engine, err := p.dial(rec)
	if err != nil {
		return nil, err
	}
	err = p.wipe(ctx, rec, engine)
	if err == nil {
		err = p.journal.noteHad(rec)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}

// wipe is the function of that name, for no more machines at once than are asked
// for anything.
func (p *Pool) wipe(ctx context.Context, rec record, engine broker.Engine) error {
	select {
	case p.dials <- struct{}{}:
		defer func() { <-p.dials }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return wipe(ctx, engine, rec.Request.BrokerID)
}

// reuse gives an idle machine that suits to the request, on record. It returns
// nil if there is none.
func (p *Pool) reuse(ctx context.Context, r *region, req broker.MachineRequest) (*entry, error) {
	if req.RunUUID == standbyRun || len(p.ledger.resting()) == 0 {
		return nil, nil
	}
	subnets, err := r.subnets(ctx, p.cfg.Subnets)
	if err != nil {
		return nil, err
	}
	home, images := p.home(r, req, subnets), p.imagesFor(ctx, r, req)
	e := p.ledger.take(func(rec record) int {
		if !p.isKept(rec) || rec.Region != r.name || rec.At.Zone != home {
			return -1
		}
		return suits(rec, req, images)
	})
	if e == nil {
		return nil, nil
	}
	defer p.ledger.free(e)
	err = p.ledger.pass(e, req, func(rec *record) {
		now := time.Now().UTC()
		rec.Idle, rec.Taken, rec.Fitting, rec.Tried = time.Time{}, now, true, nil
		rec.Term++
		rec.Ends = now.Add(cmp.Or(req.Life, defaultLife))
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// imagesFor are the images that machines of the request's types would boot, by
// type. What there is none for is told when a machine is launched.
func (p *Pool) imagesFor(ctx context.Context, r *region, req broker.MachineRequest) map[string]string {
	out := map[string]string{}
	for _, name := range typesOf(req) {
		t, err := r.machineType(ctx, name)
		if err != nil {
			continue
		}
		if img, err := r.image(ctx, cmp.Or(req.Image, p.cfg.Image), t.arch); err == nil {
			out[name] = img.id
		}
	}
	return out
}

func typesOf(req broker.MachineRequest) []string {
	return append([]string{req.Type}, req.Alternatives...)
}

// suits reports how well an idle machine of the region suits the request: the
// place of its type among those asked for, or -1 if it does not. With spot:
// prefer none on demand does, since a cheaper one may be had.
func suits(rec record, req broker.MachineRequest, images map[string]string) int {
	if rec.At.Spot != (req.Spot != strategies.SpotNever) || rec.Image != images[rec.At.Type] || rec.Request.VolumeGB != req.VolumeGB ||
		time.Until(rec.Until) < cmp.Or(req.Life, defaultLife) {
		return -1
	}
	return slices.Index(typesOf(req), rec.At.Type)
}

// fit makes a machine that was another run's ready for the one that has it now.
// errNotUp says that it is of no use.
func (p *Pool) fit(ctx context.Context, r *region, e *entry) error {
	rec := e.read()
	if rec.Authority != p.trust.ID() {
		return &errNotUp{"the broker was ended while the machine changed hands"}
	}
	began := time.Now()
	if err := p.fitOut(ctx, r, e); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &errNotUp{fmt.Sprintf("can't be used again: %v", err)}
	}
	p.log.Info("use a machine again", "machine", rec.Instance, "at", rec.At, "region", rec.Region,
		"run", rec.Request.RunUUID, "took", time.Since(began).Round(time.Millisecond))
	return e.update(func(rec *record) { rec.Fitting = false })
}

func (p *Pool) fitOut(ctx context.Context, r *region, e *entry) error {
	rec := e.read()
	in, found, err := r.instances.ask(ctx, rec.Instance)
	if err != nil {
		return err
	}
	if !found || in.State.Name != types.InstanceStateNameRunning {
		return fmt.Errorf("EC2 does not have it running")
	}
	engine, err := p.cleaned(ctx, rec)
	if err != nil {
		return err
	}
	defer engine.Close()
	if err := p.regroup(ctx, r, rec); err != nil {
		return err
	}
	if err := r.retag(ctx, in, rec); err != nil {
		return err
	}
	return p.renew(ctx, e, engine, time.Until(rec.Ends))
}

// regroup puts a machine into the security group of its run, and out of that of
// the one before.
func (p *Pool) regroup(ctx context.Context, r *region, rec record) error {
	subnets, err := r.subnets(ctx, p.cfg.Subnets)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		group, err := p.group(ctx, r, rec.Request, subnets)
		if err != nil {
			return err
		}
		_, err = r.ec2.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
			InstanceId: sdk.String(rec.Instance), Groups: []string{group},
		})
		if err == nil {
			return nil
		}
		if kindOf(err) != refusedUnseen || try == unseenTries {
			return failed("change the security group of machine "+rec.Instance, err)
		}
		r.forgetGroup(groupKey(rec.Request)) // made a moment ago, or gone
		if !sleep(ctx, seenEvery) {
			return ctx.Err()
		}
	}
}

// retag puts the tags of the run on the machine and its parts, in place of those
// of the one before.
func (r *region) retag(ctx context.Context, in types.Instance, rec record) error {
	ids := []string{rec.Instance}
	for _, d := range in.BlockDeviceMappings {
		if d.Ebs != nil {
			ids = append(ids, sdk.ToString(d.Ebs.VolumeId))
		}
	}
	for _, card := range in.NetworkInterfaces {
		ids = append(ids, sdk.ToString(card.NetworkInterfaceId))
	}
	if in.SpotInstanceRequestId != nil {
		ids = append(ids, *in.SpotInstanceRequestId)
	}
	tags := machineTags(rec.Request, fromTags(in.Tags)[tagToken], []int{rec.Request.Index}, rec.Ends)
	for _, old := range in.Tags { // one that the run has no value for is emptied
		has := func(t types.Tag) bool { return sdk.ToString(t.Key) == sdk.ToString(old.Key) }
		if isOurs(sdk.ToString(old.Key)) && !slices.ContainsFunc(tags, has) {
			tags = append(tags, types.Tag{Key: old.Key, Value: sdk.String("")})
		}
	}
	_, err := r.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: ids, Tags: tags})
	if err != nil {
		return failed("tag machine "+rec.Instance+" for its run", err)
	}
	return nil
}

// home is the zone that the machines of a run begin with in a region, so that
// their traffic stays in it: that in which the run has machines, or the one with
// the most idle ones of the types asked for, or any, by the run's id.
func (p *Pool) home(r *region, req broker.MachineRequest, subnets []types.Subnet) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if zone := r.homes[req.RunUUID]; zone != "" {
		return zone
	}
	zone := byChance(req.RunUUID, subnets)
	counts, most := map[string]int{}, 0
	for _, e := range p.ledger.resting() {
		rec := e.read()
		if rec.Region != r.name || !p.isKept(rec) || !slices.Contains(typesOf(req), rec.At.Type) || subnetIn(subnets, rec.At.Zone) == "" {
			continue
		}
		if counts[rec.At.Zone]++; counts[rec.At.Zone] > most {
			zone, most = rec.At.Zone, counts[rec.At.Zone]
		}
	}
	runs := map[string]bool{}
	for _, rec := range p.ledger.all() { // by a process before, perhaps
		runs[rec.Request.RunUUID] = true
		if rec.Request.RunUUID == req.RunUUID && rec.Region == r.name && rec.Instance != "" {
			zone = rec.At.Zone
		}
	}
	maps.DeleteFunc(r.homes, func(run, _ string) bool { return !runs[run] }) // whose machines are gone
	r.homes[req.RunUUID] = zone
	return zone
}

// endIdle ends an idle machine, unless somebody holds it or a run has it.
func (p *Pool) endIdle(ctx context.Context, e *entry, why string) error {
	if !p.ledger.hold(e) {
		return nil
	}
	defer p.ledger.free(e)
	rec := e.read()
	if rec.Idle.IsZero() {
		return nil
	}
	p.log.Info("end an idle machine", "machine", rec.Instance, "at", rec.At, "region", rec.Region, "reason", why)
	return p.end(ctx, e)
}

// makeRoom ends the idle machines of the region, since the account's quota is
// used up, and waits until they count no more. It reports whether a launch that
// was asked for at the time given may now succeed.
func (p *Pool) makeRoom(ctx context.Context, r *region, asked time.Time) bool {
	if err := r.room.take(ctx); err != nil {
		return false
	}
	defer r.room.give()
	if r.lastRoom().After(asked) {
		return true
	}
	idle := slices.DeleteFunc(p.ledger.resting(), func(e *entry) bool { return e.read().Region != r.name })
	if len(idle) == 0 {
		return false
	}
	r.noteRoom()
	var ended []string
	for _, e := range idle {
		rec := e.read()
		if err := p.endIdle(ctx, e, "the quota is used up"); err != nil {
			p.log.Warn("end an idle machine", "machine", rec.Instance, "error", err)
		} else if p.ledger.of(rec.Instance) == nil {
			ended = append(ended, rec.Instance)
		}
	}
	if len(ended) == 0 {
		return false
	}
	for until := time.Now().Add(roomLimit); time.Now().Before(until); {
		left, err := r.find(ctx, filter("instance-id", ended...), filter("instance-state-name", "pending", "running", "shutting-down"))
		if err == nil && len(left) == 0 {
			break
		}
		if !sleep(ctx, askEvery) {
			return false
		}
	}
	r.noteRoom()
	return true
}

func (r *region) noteRoom() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roomMade = time.Now()
}

// lastRoom is when machines were last ended to make room.
func (r *region) lastRoom() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roomMade
}

// roomLimit is how long machines that end are waited for.
const roomLimit = 2 * time.Minute
