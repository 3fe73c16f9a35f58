package aws

import (
	"context"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
)

var _ broker.Renter = (*Pool)(nil)

// Receipt asks EC2, in all regions that the run was in, for what carries the
// run's tag. The run's security groups are deleted on the way, once no machine
// uses them any more.
func (p *Pool) Receipt(ctx context.Context, run string) (broker.Receipt, error) {
	launched, err := p.journal.of(run)
	if err != nil {
		return broker.Receipt{}, err
	}
	if len(launched) == 0 { // by a broker whose folder was lost, perhaps
		for _, name := range p.journal.inUse() {
			launched[name] = nil
		}
	}
	out := broker.Receipt{At: time.Now().UTC(), Pool: Name}
	var errs []error
	for name, ids := range launched {
		errs = append(errs, p.receiptIn(ctx, p.in(name), run, ids, &out))
	}
	slices.SortFunc(out.Left, func(a, b broker.Remainder) int {
		return strings.Compare(a.Region+a.Kind+a.ID, b.Region+b.Kind+b.ID)
	})
	return out, summary(errs)
}

func (p *Pool) receiptIn(ctx context.Context, r *region, run string, launched []string, out *broker.Receipt) error {
	of := []types.Filter{filter("tag:"+tagProject, project), filter("tag:"+tagRun, run)}
	found, err := r.find(ctx, of...)
	if err != nil {
		return err
	}
	left := func(kind, id, state string) {
		out.Left = append(out.Left, broker.Remainder{Kind: kind, ID: id, Region: r.name, State: state})
	}
	busy := false
	all := slices.Clone(launched)
	ending := len(launched) // those not found have ended, and are not listed any more
	for _, in := range found {
		id := sdk.ToString(in.InstanceId)
		if slices.Contains(launched, id) {
			ending--
		} else {
			all = append(all, id)
		}
		switch in.State.Name {
		case types.InstanceStateNameTerminated:
			ending++
		case types.InstanceStateNameShuttingDown:
			ending++
			busy = true
		default:
			left(kindInstance, id, string(in.State.Name))
			busy = true
		}
	}
	out.Launched += len(all)
	out.Terminated += ending
	if err := r.partsLeft(ctx, of, left); err != nil {
		return err
	}
	return r.groupsLeft(ctx, run, of, busy, left)
}

// partsLeft lists the disks, network interfaces and spot requests that are
// left.
func (r *region) partsLeft(ctx context.Context, of []types.Filter, left func(kind, id, state string)) error {
	volumes := ec2.NewDescribeVolumesPaginator(r.ec2, &ec2.DescribeVolumesInput{Filters: of, MaxResults: sdk.Int32(500)})
	for volumes.HasMorePages() {
		page, err := volumes.NextPage(ctx)
		if err != nil {
			return failed("list disks in "+r.name, err)
		}
		for _, v := range page.Volumes {
			if v.State != types.VolumeStateDeleting && v.State != types.VolumeStateDeleted {
				left("volume", sdk.ToString(v.VolumeId), string(v.State))
			}
		}
	}
	cards := ec2.NewDescribeNetworkInterfacesPaginator(r.ec2, &ec2.DescribeNetworkInterfacesInput{Filters: of, MaxResults: sdk.Int32(500)})
	for cards.HasMorePages() {
		page, err := cards.NextPage(ctx)
		if err != nil {
			return failed("list network interfaces in "+r.name, err)
		}
		for _, n := range page.NetworkInterfaces {
			left("network-interface", sdk.ToString(n.NetworkInterfaceId), string(n.Status))
		}
	}
	spots := ec2.NewDescribeSpotInstanceRequestsPaginator(r.ec2, &ec2.DescribeSpotInstanceRequestsInput{Filters: of, MaxResults: sdk.Int32(500)})
	for spots.HasMorePages() {
		page, err := spots.NextPage(ctx)
		if err != nil {
			return failed("list spot requests in "+r.name, err)
		}
		for _, s := range page.SpotInstanceRequests {
			if s.State == types.SpotInstanceStateOpen || s.State == types.SpotInstanceStateActive {
				left("spot-request", sdk.ToString(s.SpotInstanceRequestId), string(s.State))
			}
		}
	}
	return nil
}

// groupsLeft deletes the run's security groups, unless machines still use them.
// One that was made a moment ago may be seen only later.
func (r *region) groupsLeft(ctx context.Context, run string, of []types.Filter, busy bool, left func(kind, id, state string)) error {
	unseen, err := r.madeLately(ctx, run)
	if err != nil {
		return err
	}
	groups, err := r.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: of})
	if err != nil {
		return failed("list security groups in "+r.name, err)
	}
	for _, g := range groups.SecurityGroups {
		id := sdk.ToString(g.GroupId)
		key, lately := unseen[id]
		delete(unseen, id)
		if busy {
			left(kindGroup, id, "in use")
			continue
		}
		if err := r.deleteGroup(ctx, id); err != nil {
			left(kindGroup, id, codeOf(err))
			continue
		}
		if lately {
			r.forgetGroup(key)
		}
	}
	for id := range unseen {
		left(kindGroup, id, "not seen yet")
	}
	return nil
}
