package aws

import (
	"context"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
)

// Kinds of things in Owned.
const (
	kindInstance = "instance"
	kindGroup    = "security-group"
)

// Release keeps the machine for the next run, if it is to be kept and good for
// that, or ends it and forgets its key. A machine that another run has by now is
// left alone.
func (p *Pool) Release(ctx context.Context, m broker.Machine) error {
	e := p.ledger.get(m.Token)
	if e == nil || e.read().Request.Token != m.Token {
		r, id, ok := p.split(m.ProviderID)
		if !ok || p.ledger.of(id) != nil {
			return nil // nothing was ever launched for it, or it has been passed on
		}
		return r.terminate(ctx, id, time.Time{})
	}
	if rec := e.read(); !rec.Idle.IsZero() && p.isKept(rec) {
		return nil // it was given back before
	}
	for !p.ledger.hold(e) { // it is being ended
		if !sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	defer p.ledger.free(e)
	if p.ledger.get(m.Token) != e {
		return nil
	}
	if rec := e.read(); p.isWorthKeeping(rec, m) {
		err := p.keep(ctx, e)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		p.log.Warn("a machine is not kept for the next run", "machine", rec.Instance, "at", rec.At, "reason", err)
	}
	return p.end(ctx, e)
}

// end ends the machine of an entry, and forgets it.
func (p *Pool) end(ctx context.Context, e *entry) error {
	rec := e.read()
	r := p.in(rec.Region)
	if err := p.settle(ctx, r, e); err != nil {
		return err
	}
	if rec = e.read(); rec.Instance != "" {
		if err := p.journal.noteHad(rec); err != nil {
			return err
		}
		if err := r.terminate(ctx, rec.Instance, rec.Called); err != nil {
			return err
		}
	}
	return p.ledger.drop(e)
}

// split takes a provider id apart.
func (p *Pool) split(id string) (r *region, instance string, ok bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 || parts[0] != Name {
		return nil, "", false
	}
	return p.in(parts[1]), parts[2], true
}

// Owned lists the machines that carry the broker's tag and have not ended, and
// the security groups of runs that have no machine any more. At the first time
// all regions of the account are looked at, and from then on those in which
// something was seen. An empty brokerID is any broker's, in all regions.
func (p *Pool) Owned(ctx context.Context, brokerID string) ([]broker.Owned, error) {
	names, all, err := p.whereToLook(ctx, brokerID == "")
	if err != nil {
		return nil, err
	}
	results, errs := make([][]broker.Owned, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { results[i], errs[i] = p.ownedIn(ctx, p.in(name), brokerID) })
	}
	wg.Wait()
	var out []broker.Owned
	for i, name := range names {
		out = append(out, results[i]...)
		if len(results[i]) > 0 {
			errs = append(errs, p.journal.see(name))
		}
	}
	if err := summary(errs); err != nil {
		return out, err
	}
	if all {
		p.mu.Lock()
		p.scanned = true
		p.mu.Unlock()
	}
	return out, nil
}

// whereToLook returns the regions to list, and whether these are all.
func (p *Pool) whereToLook(ctx context.Context, everywhere bool) (names []string, all bool, err error) {
	p.mu.Lock()
	scanned := p.scanned
	p.mu.Unlock()
	if scanned && !everywhere {
		return p.journal.inUse(), false, nil
	}
	names, err = p.regionNames(ctx)
	return names, err == nil, err
}

// regionNames are the regions that the account has enabled.
func (p *Pool) regionNames(ctx context.Context) ([]string, error) {
	out, err := p.in("").ec2.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	if err != nil {
		return nil, failed("list regions", err)
	}
	var names []string
	for _, r := range out.Regions {
		names = append(names, sdk.ToString(r.RegionName))
	}
	return names, nil
}

func (p *Pool) ownedIn(ctx context.Context, r *region, brokerID string) ([]broker.Owned, error) {
	ours := []types.Filter{filter("tag:"+tagProject, project)}
	if brokerID == "" {
		ours = append(ours, filter("tag-key", tagBroker))
	} else {
		ours = append(ours, filter("tag:"+tagBroker, brokerID))
	}
	found, err := r.find(ctx, ours...)
	if err != nil {
		return nil, err
	}
	var out []broker.Owned
	records := p.ledger.byInstance()
	busy := map[string]bool{} // runs with a machine that EC2 has not ended
	for _, in := range found {
		if in.State.Name != types.InstanceStateNameTerminated {
			busy[fromTags(in.Tags)[tagRun]] = true
		}
		switch in.State.Name {
		case types.InstanceStateNameTerminated, types.InstanceStateNameShuttingDown:
		default:
			o := p.ownedInstance(r, in)
			if rec, ok := records[sdk.ToString(in.InstanceId)]; ok { // which is ahead of EC2's list
				o.RunUUID, o.Idle = rec.Request.RunUUID, p.isKept(rec)
				busy[o.RunUUID] = true
			}
			out = append(out, o)
		}
	}
	groups, err := r.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: ours})
	if err != nil {
		return out, failed("list security groups in "+r.name, err)
	}
	for _, g := range groups.SecurityGroups {
		tags := fromTags(g.Tags)
		if !busy[tags[tagRun]] {
			out = append(out, broker.Owned{
				ProviderID: providerID(r.name, sdk.ToString(g.GroupId)), Kind: kindGroup, BrokerID: tags[tagBroker],
				RunUUID: tags[tagRun], Region: r.name, Name: sdk.ToString(g.GroupName), State: "unused", Placement: r.name, Tags: tags,
			})
		}
	}
	return out, nil
}

func (p *Pool) ownedInstance(r *region, in types.Instance) broker.Owned {
	tags := fromTags(in.Tags)
	o := broker.Owned{
		ProviderID: providerID(r.name, sdk.ToString(in.InstanceId)), Kind: kindInstance, BrokerID: tags[tagBroker],
		RunUUID: tags[tagRun], Region: r.name, Name: tags[tagName], Address: sdk.ToString(in.PrivateIpAddress),
		State: string(in.State.Name), Type: string(in.InstanceType), Placement: r.name, Tags: tags,
	}
	if !p.cfg.Private && in.PublicIpAddress != nil {
		o.Address = *in.PublicIpAddress
	}
	if in.Placement != nil {
		o.Placement = sdk.ToString(in.Placement.AvailabilityZone)
	}
	return o
}

// Discard ends a machine, or deletes a security group.
func (p *Pool) Discard(ctx context.Context, o broker.Owned) error {
	r, id, ok := p.split(o.ProviderID)
	if !ok {
		return broker.Errorf(broker.EInvalid, "%s is not from EC2", o.ProviderID)
	}
	switch o.Kind {
	case kindInstance:
		e := p.ledger.of(id)
		if e == nil {
			return r.terminate(ctx, id, time.Time{})
		}
		rec := e.read()
		switch {
		case rec.Request.RunUUID != o.RunUUID || p.isKept(rec) != o.Idle:
			return nil // it has changed hands since it was listed
		case rec.Idle.IsZero():
			return r.terminate(ctx, id, rec.Called)
		}
		return p.endIdle(ctx, e, "it was asked for")
	case kindGroup:
		return r.deleteGroup(ctx, id)
	}
	return broker.Errorf(broker.EInvalid, "the pool %s has nothing of the kind %q", Name, o.Kind)
}

// deleteGroup deletes a security group that nothing uses any more.
func (r *region) deleteGroup(ctx context.Context, id string) error {
	_, err := r.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: sdk.String(id)})
	if err == nil || codeOf(err) == "InvalidGroup.NotFound" {
		return r.forgetDeleted(ctx, id)
	}
	return failed("delete the security group "+id, err)
}
