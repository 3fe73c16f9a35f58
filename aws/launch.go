package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/broker"
)

// defaultLife is a machine's when its request has none.
const defaultLife = 24 * time.Hour

// againLimit is how long a launch without an answer is repeated.
const againLimit = 5 * time.Minute

// plan fixes the next launch, and writes it down as it will be made.
func (p *Pool) plan(ctx context.Context, r *region, e *entry) error {
	subnets, err := r.subnets(ctx, p.cfg.Subnets)
	if err != nil {
		return err
	}
	rec := e.read()
	at, err := r.choose(ctx, rec, subnets, p.home(r, rec.Request, subnets))
	if err != nil {
		return err
	}
	if err := p.journal.note(rec.Request.RunUUID, r.name, ""); err != nil {
		return err
	}
	group, err := p.group(ctx, r, rec.Request, subnets)
	if err != nil {
		return err
	}
	kind, err := r.machineType(ctx, at.Type)
	if err != nil {
		return err
	}
	img, err := r.image(ctx, cmp.Or(rec.Request.Image, p.cfg.Image), kind.arch)
	if err != nil {
		return err
	}
	// The turn comes before the record: what is recorded is asked at once.
	if err := r.launches.Wait(ctx); err != nil {
		return &broker.Error{Code: broker.EUnavailable, Message: "asking EC2 for machines was given up", Err: err}
	}
	asked := time.Now().UTC()
	life := cmp.Or(rec.Request.Life, defaultLife) + p.cfg.BootLimit
	ends := asked.Add(life)
	until := ends
	if p.keepsAny() {
		until = ends.Add(reuseFor)
	}
	data, err := p.userData(rec.Request.Token, life, until)
	if err != nil {
		return err
	}
	in := p.input(rec, at, img, subnetIn(subnets, at.Zone), group, data, ends)
	return e.update(func(rec *record) {
		rec.Launch, rec.At, rec.Asked, rec.Called, rec.Ends = in, at, asked, asked, ends
		rec.Authority, rec.Name, rec.Until, rec.Seq, rec.Term = p.trust.ID(), rec.Request.Token, until, 0, 0
		rec.Instance, rec.Private, rec.Public = "", "", ""
	})
}

func subnetIn(subnets []types.Subnet, zone string) string {
	for _, s := range subnets {
		if sdk.ToString(s.AvailabilityZone) == zone {
			return sdk.ToString(s.SubnetId)
		}
	}
	return ""
}

// userData is what the machine is told; its key pair, which is good until the
// time given, is made here and nowhere else. A lease that is longer than the term
// would say nothing.
func (p *Pool) userData(token string, life time.Duration, until time.Time) ([]byte, error) {
	server, err := p.trust.Mint(token, until.Add(boot.Overrun))
	if err != nil {
		return nil, err
	}
	return boot.UserData(boot.Params{
		Server: server, Lease: whole(p.cfg.Lease), End: whole(life),
	})
}

// whole makes whole seconds of a duration, one at least.
func whole(d time.Duration) time.Duration { return max(d.Truncate(time.Second), time.Second) }

// clientToken is the same for the same launch, and for no other.
func clientToken(rec record, at choice) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %v %d", rec.Request.Token, rec.Region, at, len(rec.Tried)))
	return hex.EncodeToString(sum[:])
}

// input is the call that makes the machine.
func (p *Pool) input(rec record, at choice, img image, subnet, group string, data []byte, ends time.Time) *ec2.RunInstancesInput {
	disk := &types.EbsBlockDevice{DeleteOnTermination: sdk.Bool(true), VolumeType: types.VolumeTypeGp3, Encrypted: sdk.Bool(true)}
	if rec.Request.VolumeGB > 0 {
		disk.VolumeSize = sdk.Int32(int32(rec.Request.VolumeGB))
	}
	card := types.InstanceNetworkInterfaceSpecification{
		DeviceIndex: sdk.Int32(0), SubnetId: sdk.String(subnet), Groups: []string{group}, DeleteOnTermination: sdk.Bool(true),
	}
	if !p.cfg.Private {
		card.AssociatePublicIpAddress = sdk.Bool(true)
	}
	tags := machineTags(rec.Request, ends)
	kinds := []types.ResourceType{types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface}
	in := &ec2.RunInstancesInput{
		MinCount: sdk.Int32(1), MaxCount: sdk.Int32(1), ClientToken: sdk.String(clientToken(rec, at)),
		ImageId: sdk.String(img.id), InstanceType: types.InstanceType(at.Type),
		UserData:                          sdk.String(base64.StdEncoding.EncodeToString(data)),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: sdk.Int32(1),
			HttpEndpoint: types.InstanceMetadataEndpointStateEnabled,
		},
		NetworkInterfaces:   []types.InstanceNetworkInterfaceSpecification{card},
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: sdk.String(img.device), Ebs: disk}},
	}
	if at.Spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{
			MarketType: types.MarketTypeSpot,
			SpotOptions: &types.SpotMarketOptions{
				SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate,
			},
		}
		kinds = append(kinds, types.ResourceTypeSpotInstancesRequest)
	}
	for _, kind := range kinds {
		in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{ResourceType: kind, Tags: tags})
	}
	return in
}

// launch makes the call that is on record, until there is an answer: the same
// call gives the same machine. again says that it was refused and another is
// to be planned.
func (p *Pool) launch(ctx context.Context, r *region, e *entry) (again bool, err error) {
	for giveUp := time.Now().Add(againLimit); ; {
		if err := e.called(); err != nil {
			return false, err
		}
		rec := e.read()
		// Not cut off by an abort: EC2 would go on with it.
		calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*callLimit)
		out, err := r.ec2.RunInstances(calling, rec.Launch)
		cancel()
		if err := e.called(); err != nil { // the SDK repeats calls, too
			return false, err
		}
		if err == nil {
			id := sdk.ToString(out.Instances[0].InstanceId)
			p.log.Info("launched a machine", "machine", id, "at", rec.At, "region", rec.Region, "run", rec.Request.RunUUID)
			if err := e.update(func(rec *record) { rec.Instance, rec.Launch = id, answered(rec.Launch) }); err != nil {
				return false, err
			}
			return false, p.journal.note(rec.Request.RunUUID, r.name, id)
		}
		k := kindOf(err)
		if k != outcomeUnknown && k != refusedSoon {
			return p.refused(ctx, r, e, k, err)
		}
		p.log.Warn("launching a machine is tried again", "at", rec.At, "error", err)
		if k == outcomeUnknown && time.Now().After(giveUp) {
			return false, failed("launch a machine in "+r.name, err)
		}
		if !sleep(ctx, time.Second+rand.N(4*time.Second)) {
			if k == refusedSoon { // nothing was made
				return false, e.update(func(rec *record) { rec.Launch = nil })
			}
			return false, ctx.Err()
		}
	}
}

// called notes that the launch is made now, unless it did so a moment ago.
func (e *entry) called() error {
	now := time.Now().UTC()
	if now.Sub(e.read().Called) < time.Second {
		return nil
	}
	return e.update(func(rec *record) { rec.Called = now })
}

// answered is what is kept of a call that EC2 has answered: not the user data with
// the machine's key, which is of no use any more.
func answered(in *ec2.RunInstancesInput) *ec2.RunInstancesInput {
	kept := *in
	kept.UserData = nil
	return &kept
}

// refused deals with a launch that was refused: nothing was made.
func (p *Pool) refused(ctx context.Context, r *region, e *entry, k kind, cause error) (again bool, err error) {
	rec := e.read()
	if k == refusedQuota && rec.Request.RunUUID != standbyRun && p.makeRoom(ctx, r, rec.Asked) {
		return true, e.update(func(rec *record) { rec.Launch = nil })
	}
	p.log.Info("EC2 refused a machine", "at", rec.At, "region", rec.Region, "code", codeOf(cause))
	reason := fmt.Sprintf("%v: %s", rec.At, codeOf(cause))
	err = e.update(func(rec *record) {
		rec.Launch = nil
		rec.Tried = append(rec.Tried, attempt{rec.At, k, reason})
	})
	switch {
	case err != nil:
		return false, err
	case k == refusedUnseen && unseen(e.read().Tried) < unseenTries:
		r.forgetGroup(groupKey(rec.Request)) // made a moment ago, or gone
		sleep(ctx, seenEvery)
		return true, nil
	case k == refusedFull, k == refusedQuota, k == refusedSpot:
		r.noRoom(rec.At)
		return true, nil
	}
	return false, failed("launch a machine of type "+rec.At.Type+" in "+r.name, cause)
}

// unseenTries is how often a launch may be refused as its security group is
// not known yet.
const unseenTries = 20

func unseen(tried []attempt) int {
	n := 0
	for _, a := range tried {
		if a.Kind == refusedUnseen {
			n++
		}
	}
	return n
}

// seen repeats f while EC2 does not know yet what was just made.
func seen(ctx context.Context, f func() error) error {
	for until := time.Now().Add(unseenLimit); ; {
		err := f()
		if err == nil || kindOf(err) != refusedUnseen || time.Now().After(until) || !sleep(ctx, seenEvery) {
			return err
		}
	}
}
