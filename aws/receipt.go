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
	all, err := p.journal.of(run)
	if err != nil {
		return broker.Receipt{}, err
	}
	if len(all) == 0 { // by a broker whose folder was lost, perhaps
		for _, name := range p.journal.inUse() {
			all[name] = had{}
		}
	}
	out := broker.Receipt{At: time.Now().UTC(), Pool: Name}
	var errs []error
	for name, h := range all {
		errs = append(errs, p.receiptIn(ctx, p.in(name), run, h, &out))
	}
	slices.SortFunc(out.Left, func(a, b broker.Remainder) int {
		return strings.Compare(a.Region+a.Kind+a.ID, b.Region+b.Kind+b.ID)
	})
	return out, summary(errs)
}

// An account is what is being found out of a run's machines in a region.
type account struct {
	left func(kind, id, state string)
	// kept are the machines that the run has had and that are kept for the next
	// one, or that it has already.
	kept map[string]bool
	// waiting says that one of them is still the run's by EC2's list.
	waiting bool
}

func (p *Pool) receiptIn(ctx context.Context, r *region, run string, h had, out *broker.Receipt) error {
	of := []types.Filter{filter("tag:"+tagProject, project), filter("tag:"+tagRun, run)}
	found, err := r.find(ctx, of...)
	if err != nil {
		return err
	}
	a := account{kept: map[string]bool{}, left: func(kind, id, state string) {
		out.Left = append(out.Left, broker.Remainder{Kind: kind, ID: id, Region: r.name, State: state})
	}}
	for id, rec := range p.ledger.byInstance() {
		a.kept[id] = rec.Request.RunUUID != run || p.isKept(rec)
	}
	busy := false
	states := map[string]types.InstanceStateName{}
	for _, in := range found {
		id := sdk.ToString(in.InstanceId)
		states[id] = in.State.Name
		if !slices.Contains(h.ids(), id) {
			h.Launched = append(slices.Clone(h.Launched), id)
		}
		if in.State.Name != types.InstanceStateNameTerminated {
			busy, a.waiting = true, a.waiting || a.kept[id]
		}
	}
	for _, id := range h.ids() {
		switch state := states[id]; {
		case state == types.InstanceStateNameTerminated || state == types.InstanceStateNameShuttingDown:
			out.Terminated++
		case a.kept[id]:
			out.Kept++
		case state == "": // it has ended, and is not listed any more
			out.Terminated++
		default:
			a.left(kindInstance, id, string(state))
		}
	}
	out.Launched += len(h.Launched)
	out.Reused += len(h.Reused)
	if err := r.partsLeft(ctx, of, a); err != nil {
		return err
	}
	return r.groupsLeft(ctx, run, of, busy, a)
}

// partsLeft lists the disks, network interfaces and spot requests that are left,
// but for those of machines that are kept.
func (r *region) partsLeft(ctx context.Context, of []types.Filter, a account) error {
	volumes := ec2.NewDescribeVolumesPaginator(r.ec2, &ec2.DescribeVolumesInput{Filters: of, MaxResults: sdk.Int32(500)})
	for volumes.HasMorePages() {
		page, err := volumes.NextPage(ctx)
		if err != nil {
			return failed("list disks in "+r.name, err)
		}
		for _, v := range page.Volumes {
			kept := slices.ContainsFunc(v.Attachments, func(at types.VolumeAttachment) bool { return a.kept[sdk.ToString(at.InstanceId)] })
			if !kept && v.State != types.VolumeStateDeleting && v.State != types.VolumeStateDeleted {
				a.left("volume", sdk.ToString(v.VolumeId), string(v.State))
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
			if n.Attachment == nil || !a.kept[sdk.ToString(n.Attachment.InstanceId)] {
				a.left("network-interface", sdk.ToString(n.NetworkInterfaceId), string(n.Status))
			}
		}
	}
	spots := ec2.NewDescribeSpotInstanceRequestsPaginator(r.ec2, &ec2.DescribeSpotInstanceRequestsInput{Filters: of, MaxResults: sdk.Int32(500)})
	for spots.HasMorePages() {
		page, err := spots.NextPage(ctx)
		if err != nil {
			return failed("list spot requests in "+r.name, err)
		}
		for _, s := range page.SpotInstanceRequests {
			if kept := a.kept[sdk.ToString(s.InstanceId)]; !kept && (s.State == types.SpotInstanceStateOpen || s.State == types.SpotInstanceStateActive) {
				a.left("spot-request", sdk.ToString(s.SpotInstanceRequestId), string(s.State))
			}
		}
	}
	return nil
}

// groupsLeft deletes the run's security groups, unless machines still use them:
// those that end, or that are kept until the next run puts them into its own.
// One that was made a moment ago may be seen only later.
func (r *region) groupsLeft(ctx context.Context, run string, of []types.Filter, busy bool, a account) error {
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
		delete(unseen, id)
		if a.waiting {
			continue
		}
		if busy {
			a.left(kindGroup, id, "in use")
			continue
		}
		if err := r.deleteGroup(ctx, id); err != nil {
			a.left(kindGroup, id, codeOf(err))
		}
	}
	for id := range unseen {
		a.left(kindGroup, id, "not seen yet")
	}
	return nil
}
