package aws

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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

// launch has one call made for the entries, which are alike: the one that is under
// way for them, or one that is planned now. Where it has made machines, the
// records have them; where not, another may.
func (p *Pool) launch(ctx context.Context, entries []*entry) error {
	rec := entries[0].read()
	r := p.in(rec.Region)
	c := p.underWay(rec)
	if c == nil {
		var err error
		if c, err = p.plan(ctx, r, entries); err != nil {
			return err
		}
	}
	return p.make(ctx, r, c)
}

// plan fixes the next call, and writes it down as it will be made: first into the
// records, then as a call, which may be made from then on.
func (p *Pool) plan(ctx context.Context, r *region, entries []*entry) (*call, error) {
	subnets, err := r.subnets(ctx, p.cfg.Subnets)
	if err != nil {
		return nil, err
	}
	// The turn comes before the choice, and the record: what is recorded is asked
	// at once.
	if err := r.launches.Wait(ctx); err != nil {
		return nil, &broker.Error{Code: broker.EUnavailable, Message: "asking EC2 for machines was given up", Err: err}
	}
	rec := entries[0].read()
	at, err := r.choose(ctx, rec, subnets, p.home(r, rec.Request, subnets))
	if err != nil {
		return nil, err
	}
	if err := p.journal.note(rec.Request.RunUUID, r.name); err != nil {
		return nil, err
	}
	group, err := p.group(ctx, r, rec.Request, subnets)
	if err != nil {
		return nil, err
	}
	kind, err := r.machineType(ctx, at.Type)
	if err != nil {
		return nil, err
	}
	img, err := r.image(ctx, cmp.Or(rec.Request.Image, p.cfg.Image), kind.arch)
	if err != nil {
		return nil, err
	}
	asked := time.Now().UTC()
	life := cmp.Or(rec.Request.Life, defaultLife) + p.cfg.BootLimit
	ends := asked.Add(life)
	until := ends
	if p.keepsAny() {
		until = ends.Add(reuseFor)
	}
	token := strings.ToLower(crand.Text())
	data, err := p.userData(token, len(entries), life, until)
	if err != nil {
		return nil, err
	}
	c := &call{callFile: callFile{Run: rec.Request.RunUUID, Region: r.name, At: at, Asked: asked}}
	var numbers []int
	for _, e := range entries {
		req := e.read().Request
		c.Machines, numbers = append(c.Machines, req.Token), append(numbers, req.Index)
	}
	c.Input = p.input(rec.Request, at, img, subnetIn(subnets, at.Zone), group, data)
	c.Input.ClientToken, c.Input.MaxCount = sdk.String(token), sdk.Int32(int32(len(entries)))
	tag(c.Input, machineTags(rec.Request, token, numbers, ends))
	var indexes []int
	for i := range entries {
		indexes = append(indexes, i)
	}
	err = atOnce(indexes, func(i int) error {
		return entries[i].update(func(rec *record) {
			rec.Call, rec.At, rec.Image, rec.Asked, rec.Called, rec.Ends = token, at, img.id, asked, asked, ends
			rec.Authority, rec.Name, rec.Until, rec.Seq, rec.Term = p.trust.ID(), certName(token, i), until, 0, 0
			rec.Instance, rec.Private, rec.Public = "", "", ""
		})
	})
	if err != nil {
		return nil, err
	}
	return c, p.calls.begin(c)
}

// certName is what the certificate of a machine is for: equally long for all of a
// call, and with little that is another for each.
func certName(token string, index int) string { return fmt.Sprintf("%s-%02d", token, index) }

func subnetIn(subnets []types.Subnet, zone string) string {
	for _, s := range subnets {
		if sdk.ToString(s.AvailabilityZone) == zone {
			return sdk.ToString(s.SubnetId)
		}
	}
	return ""
}

// userData is what the machines of a call are told; their key pairs, which are
// good until the time given, are made here and nowhere else. A lease that is longer
// than the term would say nothing.
func (p *Pool) userData(token string, n int, life time.Duration, until time.Time) ([]byte, error) {
	params := boot.Params{Lease: whole(p.cfg.Lease), End: whole(life)}
	for i := range n {
		server, err := p.trust.Mint(certName(token, i), until.Add(boot.Overrun))
		if err != nil {
			return nil, err
		}
		params.Servers = append(params.Servers, server)
	}
	return boot.UserData(params)
}

// whole makes whole seconds of a duration, one at least.
func whole(d time.Duration) time.Duration { return max(d.Truncate(time.Second), time.Second) }

// input is the call that makes machines, but for what is each call's own.
func (p *Pool) input(req broker.MachineRequest, at choice, img image, subnet, group string, data []byte) *ec2.RunInstancesInput {
	disk := &types.EbsBlockDevice{DeleteOnTermination: sdk.Bool(true), VolumeType: types.VolumeTypeGp3, Encrypted: sdk.Bool(true)}
	if req.VolumeGB > 0 {
		disk.VolumeSize = sdk.Int32(int32(req.VolumeGB))
	}
	card := types.InstanceNetworkInterfaceSpecification{
		DeviceIndex: sdk.Int32(0), SubnetId: sdk.String(subnet), Groups: []string{group}, DeleteOnTermination: sdk.Bool(true),
	}
	if !p.cfg.Private {
		card.AssociatePublicIpAddress = sdk.Bool(true)
	}
	in := &ec2.RunInstancesInput{
		MinCount: sdk.Int32(1), ImageId: sdk.String(img.id), InstanceType: types.InstanceType(at.Type),
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
	}
	return in
}

// tag has the call put tags on all that it makes.
func tag(in *ec2.RunInstancesInput, tags []types.Tag) {
	kinds := []types.ResourceType{types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface}
	if in.InstanceMarketOptions != nil {
		kinds = append(kinds, types.ResourceTypeSpotInstancesRequest)
	}
	for _, kind := range kinds {
		in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{ResourceType: kind, Tags: tags})
	}
}

// make makes a call until there is an answer: the same call makes the same
// machines. Each time is one request, so that it is known what was answered.
func (p *Pool) make(ctx context.Context, r *region, c *call) error {
	if err := c.turn.take(ctx); err != nil {
		return err
	}
	defer c.turn.give()
	for giveUp, pause := time.Now().Add(againLimit), leastPause; p.calls.get(c.token()) == c; pause = min(2*pause, mostPause) {
		if err := ctx.Err(); err != nil {
			if !c.doubt { // nothing was made
				return cmp.Or(p.calls.end(c), err)
			}
			return err
		}
		c.made = time.Now().UTC()
		// Not cut off by an abort: EC2 would go on with it.
		calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*callLimit)
		out, err := r.ec2.RunInstances(calling, c.Input, func(o *ec2.Options) { o.RetryMaxAttempts = 1 })
		cancel()
		if err == nil {
			if err := p.answered(c, out.Instances); err != nil {
				return err
			}
			p.log.Info("launched machines", "launched", len(out.Instances), "asked", len(c.Machines), "at", c.At, "region", r.name, "run", c.Run, "call", c.token())
			return p.calls.end(c)
		}
		k := kindOf(err)
		if k == doneBefore {
			return p.lookFor(ctx, r, c, func() bool { return p.calls.get(c.token()) != c })
		}
		if k != outcomeUnknown && k != refusedSoon {
			return p.refused(ctx, r, c, k, err)
		}
		c.doubt = c.doubt || k == outcomeUnknown
		p.log.Warn("launching machines is tried again", "machines", len(c.Machines), "at", c.At, "error", err)
		if k == outcomeUnknown && time.Now().After(giveUp) {
			return failed("launch machines in "+r.name, err)
		}
		sleep(ctx, pause/2+rand.N(pause))
	}
	return nil // somebody else has found out what came of it
}

// Between two requests of a call.
const (
	leastPause = 400 * time.Millisecond
	mostPause  = 3 * time.Second
)

// refused deals with a call that was refused: nothing was made. That is on disk
// before any of its machines is asked for anew.
func (p *Pool) refused(ctx context.Context, r *region, c *call, k kind, cause error) error {
	var entries []*entry
	for _, e := range p.openIn(c) {
		entries = append(entries, e)
	}
	if err := p.calls.end(c); err != nil || len(entries) == 0 {
		return err
	}
	rec := entries[0].read()
	if k == refusedQuota && rec.Request.RunUUID != standbyRun && p.makeRoom(ctx, r, c.Asked) {
		return nil
	}
	p.log.Info("EC2 refused machines", "machines", len(c.Machines), "at", c.At, "region", r.name, "code", codeOf(cause))
	reason := fmt.Sprintf("%v: %s", c.At, codeOf(cause))
	err := atOnce(entries, func(e *entry) error {
		return e.update(func(rec *record) { rec.Tried = append(slices.Clone(rec.Tried), attempt{c.At, k, reason}) })
	})
	switch {
	case err != nil:
		return err
	case k == refusedUnseen && unseen(rec.Tried) < unseenTries-1:
		r.forgetGroup(groupKey(rec.Request)) // made a moment ago, or gone
		sleep(ctx, seenEvery)
		return nil
	case k == refusedFull, k == refusedQuota, k == refusedSpot:
		r.noRoom(c.At)
		return nil
	}
	return failed("launch machines of type "+c.At.Type+" in "+r.name, cause)
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
