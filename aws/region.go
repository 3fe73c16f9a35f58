package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"golang.org/x/time/rate"

	"github.com/loads/loads/broker"
)

// How many RunInstances calls are made in a region: so many at once, and then so
// many a second. EC2 takes 5 and 2. Calls don't arrive as evenly as they are
// sent, and one that is refused takes another's turn when it is made again.
const (
	launchBurst     = 4
	launchPerSecond = 1.95
)

// imageParameters are the public parameters of Systems Manager that name the
// newest ECS-optimized image of Amazon Linux 2023, which has Docker.
var imageParameters = map[types.ArchitectureType]string{
	types.ArchitectureTypeX8664: "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
	types.ArchitectureTypeArm64: "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
}

// A region is EC2 in one region, with what was learnt of it. What hardly
// ever changes is asked once an hour.
type region struct {
	name      string
	ec2       *ec2.Client
	ssm       *ssm.Client
	quotasAPI *servicequotas.Client
	// launches admits calls of RunInstances.
	launches  *rate.Limiter
	instances batcher[types.Instance]
	ends      batcher[error]

	typesSeen  known[instanceType]
	imagesSeen known[image]
	paramsSeen known[string]
	netsSeen   known[[]types.Subnet]

	mu     sync.Mutex
	full   map[choice]time.Time // until when there is thought to be no room
	groups map[string]*group    // by run
	lastUp time.Duration        // see up
	homes  map[string]string    // zones, by run; see Pool.home
	// roomMade is when idle machines were last ended to make room.
	roomMade time.Time

	room turn // to make room
}

// An instanceType is what is to be known of a type of machines in a region.
type instanceType struct {
	arch  types.ArchitectureType
	vcpus int
	zones []string // that offer it
}

// An image is what is to be known of one.
type image struct {
	id     string
	device string // of its root
}

func newRegion(c sdk.Config, name string) *region {
	c = c.Copy()
	c.Region = name
	r := &region{
		name: name, ec2: ec2.NewFromConfig(c), ssm: ssm.NewFromConfig(c), quotasAPI: servicequotas.NewFromConfig(c),
		launches: rate.NewLimiter(launchPerSecond, launchBurst),
		full:     map[choice]time.Time{}, groups: map[string]*group{}, homes: map[string]string{},
	}
	r.instances = batcher[types.Instance]{window: 200 * time.Millisecond, most: 150, call: r.describe}
	r.ends = batcher[error]{window: 100 * time.Millisecond, most: 150, call: r.terminateAll}
	return r
}

// describe finds instances by their ids; those that are not known yet, or not
// any more, are missing.
func (r *region) describe(ctx context.Context, ids []string) (map[string]types.Instance, error) {
	found, err := r.find(ctx, filter("instance-id", ids...))
	if err != nil {
		return nil, err
	}
	out := map[string]types.Instance{}
	for _, in := range found {
		out[*in.InstanceId] = in
	}
	return out, nil
}

// find lists the instances that all filters match.
func (r *region) find(ctx context.Context, filters ...types.Filter) ([]types.Instance, error) {
	var out []types.Instance
	pages := ec2.NewDescribeInstancesPaginator(r.ec2, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: sdk.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failed("list machines in "+r.name, err)
		}
		for _, reservation := range page.Reservations {
			out = append(out, reservation.Instances...)
		}
	}
	return out, nil
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: sdk.String(name), Values: values}
}

// terminate ends an instance. One that EC2 does not know is asked for again for
// a while if it is young: EC2 may not know it yet.
func (r *region) terminate(ctx context.Context, id string, launched time.Time) error {
	for {
		err, _, asked := r.ends.ask(ctx, id)
		if asked != nil {
			return asked
		}
		if kindOf(err) != refusedUnseen || err == nil {
			return err
		}
		if time.Since(launched) > unseenLimit {
			return nil // it is gone, and not listed any more
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// unseenLimit is how long EC2 may take to know everywhere what it has made.
const unseenLimit = 30 * time.Second

// terminateAll ends instances, and says of each whether that failed.
func (r *region) terminateAll(ctx context.Context, ids []string) (map[string]error, error) {
	out := map[string]error{}
	_, err := r.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	if err == nil {
		return out, nil
	}
	for _, id := range ids { // EC2 refuses all for one
		if len(ids) > 1 {
			_, err = r.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
		}
		if err != nil {
			out[id] = failed("end machine "+id, err)
		}
	}
	return out, nil
}

// machineType asks about a type: EInvalid says that there is none of this name.
func (r *region) machineType(ctx context.Context, name string) (instanceType, error) {
	return r.typesSeen.get(ctx, name, func() (instanceType, error) {
		out, err := r.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceType(name)}})
		if codeOf(err) == "InvalidInstanceType" || err == nil && len(out.InstanceTypes) == 0 {
			return instanceType{}, broker.Errorf(broker.EInvalid,
				"EC2 has no machine type %s in %s; give another as instance_type, such as t3.micro or m7g.large", name, r.name)
		}
		if err != nil {
			return instanceType{}, failed("describe the machine type "+name, err)
		}
		info := out.InstanceTypes[0]
		var t instanceType
		if info.VCpuInfo != nil {
			t.vcpus = int(sdk.ToInt32(info.VCpuInfo.DefaultVCpus))
		}
		for _, a := range []types.ArchitectureType{types.ArchitectureTypeX8664, types.ArchitectureTypeArm64} {
			if info.ProcessorInfo != nil && slices.Contains(info.ProcessorInfo.SupportedArchitectures, a) {
				t.arch = a
			}
		}
		if t.arch == "" {
			return t, broker.Errorf(broker.EInvalid, "machines of type %s are neither x86_64 nor arm64; give another as instance_type", name)
		}
		t.zones, err = r.offering(ctx, name)
		return t, err
	})
}

// offering lists the zones that offer the type.
func (r *region) offering(ctx context.Context, name string) ([]string, error) {
	out, err := r.ec2.DescribeInstanceTypeOfferings(ctx, &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: types.LocationTypeAvailabilityZone, Filters: []types.Filter{filter("instance-type", name)},
	})
	if err != nil {
		return nil, failed("find the zones that offer "+name, err)
	}
	var zones []string
	for _, o := range out.InstanceTypeOfferings {
		zones = append(zones, sdk.ToString(o.Location))
	}
	slices.Sort(zones)
	return zones, nil
}

// image finds the image of the id, or the newest one of the architecture.
func (r *region) image(ctx context.Context, id string, arch types.ArchitectureType) (image, error) {
	if id == "" {
		var err error
		id, err = r.paramsSeen.get(ctx, string(arch), func() (string, error) {
			out, err := r.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: sdk.String(imageParameters[arch])})
			if err != nil {
				return "", failed("look up the newest image for "+string(arch)+" in "+r.name, err)
			}
			return sdk.ToString(out.Parameter.Value), nil
		})
		if err != nil {
			return image{}, err
		}
	}
	return r.imagesSeen.get(ctx, id+" "+string(arch), func() (image, error) {
		out, err := r.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
		if strings.HasPrefix(codeOf(err), "InvalidAMIID") || err == nil && len(out.Images) == 0 {
			return image{}, broker.Errorf(broker.EInvalid, "there is no image %s in %s; images are different ones in each region", id, r.name)
		}
		if err != nil {
			return image{}, failed("describe the image "+id, err)
		}
		if have := out.Images[0].Architecture; string(have) != string(arch) {
			return image{}, broker.Errorf(broker.EInvalid, "the image %s is for %s, and the machine type for %s", id, have, arch)
		}
		return image{id: id, device: sdk.ToString(out.Images[0].RootDeviceName)}, nil
	})
}

// subnets are those given, as far as they are in this region, or the default
// ones, in the order of their zones. They are of one VPC.
func (r *region) subnets(ctx context.Context, given []string) ([]types.Subnet, error) {
	return r.netsSeen.get(ctx, "", func() ([]types.Subnet, error) {
		by, what := filter("default-for-az", "true"), "a default subnet; make a default VPC there (aws ec2 create-default-vpc), or give subnets with --ec2-subnet"
		if len(given) > 0 {
			by, what = filter("subnet-id", given...), "any of the subnets given with --ec2-subnet; give one there"
		}
		out, err := r.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{by}})
		if err != nil {
			return nil, failed("list the subnets of "+r.name, err)
		}
		if len(out.Subnets) == 0 {
			return nil, broker.Errorf(broker.EInvalid, "region %s does not have %s", r.name, what)
		}
		slices.SortFunc(out.Subnets, func(a, b types.Subnet) int {
			return strings.Compare(sdk.ToString(a.AvailabilityZone), sdk.ToString(b.AvailabilityZone))
		})
		for _, s := range out.Subnets {
			if sdk.ToString(s.VpcId) != sdk.ToString(out.Subnets[0].VpcId) {
				return nil, broker.Errorf(broker.EInvalid, "the subnets %s and %s are of different VPCs; the machines of a region must be in one",
					sdk.ToString(out.Subnets[0].SubnetId), sdk.ToString(s.SubnetId))
			}
		}
		return out.Subnets, nil
	})
}

// sleep waits, and reports whether ctx was not done before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func zonesOf(subnets []types.Subnet) string {
	var zones []string
	for _, s := range subnets {
		zones = append(zones, sdk.ToString(s.AvailabilityZone))
	}
	return fmt.Sprint(strings.Join(zones, ", "))
}
