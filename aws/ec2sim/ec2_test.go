package ec2sim_test

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/internal/waittest"
)

const (
	virginia = "us-east-1"
	ireland  = "eu-west-1"
)

func TestAnInstanceLivesAndEnds(t *testing.T) {
	c := startCloud(t, quick()).serve()
	ids := c.run(virginia, 2)
	c.await(virginia, ids[0], types.InstanceStateNameRunning)
	in := c.instance(virginia, ids[0])
	if *in.PrivateIpAddress == "" || *in.PublicIpAddress == "" || len(in.NetworkInterfaces) != 1 || len(in.BlockDeviceMappings) != 1 {
		t.Errorf("instance %+v has no addresses, network interface or volume", in)
	}
	c.terminate(virginia, ids...)
	for _, id := range ids {
		c.await(virginia, id, types.InstanceStateNameTerminated)
	}
	state := c.sim.State()
	if n := c.host.Len(); n != 0 || state.Launched != 2 || state.Alive != 0 || state.ByState["terminated"] != 2 {
		t.Errorf("%d machines are left; state %+v", n, state)
	}
	for kind, tally := range state.Receipt {
		if tally.Left != 0 {
			t.Errorf("%d %s are left", tally.Left, kind)
		}
	}
}

func TestNothingOfATerminatedInstanceIsListed(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	id := c.run(virginia, 1)[0]
	c.terminate(virginia, id)
	c.await(virginia, id, types.InstanceStateNameTerminated)
	volumes, err := client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
	if err != nil || len(volumes.Volumes) != 0 {
		t.Errorf("volumes %+v, error %v", volumes, err)
	}
	cards, err := client.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{})
	if err != nil || len(cards.NetworkInterfaces) != 0 {
		t.Errorf("network interfaces %+v, error %v", cards, err)
	}
}

// A smallHost has few addresses.
type smallHost struct{ *ec2sim.NoMachines }

func (smallHost) Addresses() netip.Prefix { return netip.MustParsePrefix("10.1.2.0/23") }

func TestAddressesComeBack(t *testing.T) {
	c := startCloudOn(t, quick(), func(h *ec2sim.NoMachines) ec2sim.Host { return smallHost{h} })
	in := c.request(virginia, 1)
	in.Placement = &types.Placement{AvailabilityZone: aws.String("us-east-1a")}
	var before []string
	for range 3 {
		seen := map[string]bool{}
		var all []string
		for range 100 {
			in.ClientToken = nil // the SDK leaves one there
			out, err := c.ec2(virginia).RunInstances(t.Context(), in)
			if isCode(err, "InsufficientFreeAddressesInSubnet") {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got := out.Instances[0]
			for _, text := range []string{*got.PrivateIpAddress, *got.PublicIpAddress} {
				if seen[text] || !(smallHost{}).Addresses().Contains(netip.MustParseAddr(text)) {
					t.Errorf("address %s is given twice, or not of the host's", text)
				}
				seen[text] = true
			}
			all = append(all, *got.InstanceId)
		}
		if len(all) == 0 || (len(before) > 0 && len(all) != len(before)) {
			t.Errorf("%d instances have room, %d had before", len(all), len(before))
		}
		c.terminate(virginia, all...)
		for _, id := range all {
			c.await(virginia, id, types.InstanceStateNameTerminated)
		}
		before = all
	}
}

func TestRunInstancesSaysWhatIsWrong(t *testing.T) {
	c := startCloud(t, quick())
	arm := "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id"
	tests := []struct {
		name   string
		change func(*ec2.RunInstancesInput)
		code   string
	}{
		{"unknown image", func(r *ec2.RunInstancesInput) { r.ImageId = aws.String("ami-0123456789abcdef0") }, "InvalidAMIID.NotFound"},
		{"malformed image", func(r *ec2.RunInstancesInput) { r.ImageId = aws.String("debian") }, "InvalidAMIID.Malformed"},
		{"no image", func(r *ec2.RunInstancesInput) { r.ImageId = nil }, "MissingParameter"},
		{"image of another region", func(r *ec2.RunInstancesInput) { r.ImageId = c.image(ireland) }, "InvalidAMIID.NotFound"},
		{"unknown type", func(r *ec2.RunInstancesInput) { r.InstanceType = "m5.enormous" }, "InvalidParameterValue"},
		{"another architecture", func(r *ec2.RunInstancesInput) { r.ImageId = c.parameter(virginia, arm) }, "InvalidParameterValue"},
		{"none at all", func(r *ec2.RunInstancesInput) { r.MinCount = aws.Int32(0) }, "InvalidParameterValue"},
		{"at least more than at most", func(r *ec2.RunInstancesInput) { r.MinCount = aws.Int32(3) }, "InvalidParameterCombination"},
		{"unknown group", func(r *ec2.RunInstancesInput) { r.SecurityGroupIds = []string{"sg-0123456789abcdef0"} }, "InvalidGroup.NotFound"},
		{"unknown subnet", func(r *ec2.RunInstancesInput) { r.SubnetId = aws.String("subnet-0123456789abcdef0") }, "InvalidSubnetID.NotFound"},
		{"unknown zone", func(r *ec2.RunInstancesInput) {
			r.Placement = &types.Placement{AvailabilityZone: aws.String("us-east-1z")}
		}, "InvalidParameterValue"},
		{"user data too large", func(r *ec2.RunInstancesInput) {
			r.UserData = aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16385)))
		}, "InvalidParameterValue"},
		{"user data not encoded", func(r *ec2.RunInstancesInput) { r.UserData = aws.String("#!/bin/sh\n") }, "InvalidParameterValue"},
		{"disk smaller than the image", func(r *ec2.RunInstancesInput) {
			r.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(5)}}}
		}, "InvalidBlockDeviceMapping"},
		{"a key pair", func(r *ec2.RunInstancesInput) { r.KeyName = aws.String("mine") }, "InvalidKeyPair.NotFound"},
		{"too many tags", func(r *ec2.RunInstancesInput) { r.TagSpecifications = instanceTags(manyTags(51)) }, "TagLimitExceeded"},
		{"a tag of AWS", func(r *ec2.RunInstancesInput) {
			r.TagSpecifications = instanceTags(map[string]string{"aws:x": "y"})
		}, "InvalidParameterValue"},
		{"what is not simulated", func(r *ec2.RunInstancesInput) {
			r.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("x")}
		}, "UnknownParameter"},
		{"spot price too low", func(r *ec2.RunInstancesInput) { r.InstanceMarketOptions = spotMarket("0.0001") }, "SpotMaxPriceTooLow"},
		{"a dry run", func(r *ec2.RunInstancesInput) { r.DryRun = aws.Bool(true) }, "DryRunOperation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := c.request(virginia, 1)
			tt.change(in)
			_, err := c.ec2(virginia).RunInstances(t.Context(), in)
			wantCode(t, err, tt.code)
		})
	}
	if n := c.sim.State().Launched; n != 0 {
		t.Errorf("%d instances were launched", n)
	}
}

func instanceTags(tags map[string]string) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: tagList(tags)}}
}

func tagList(tags map[string]string) []types.Tag {
	var list []types.Tag
	for key, value := range tags {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return list
}

func manyTags(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[*name("key", i)] = "value"
	}
	return tags
}

func spotMarket(price string) *types.InstanceMarketOptionsRequest {
	o := &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{}}
	if price != "" {
		o.SpotOptions.MaxPrice = aws.String(price)
	}
	return o
}

func TestAnInstanceIsAsItWasAskedFor(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(ireland)
	group, err := client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	in := c.request(ireland, 1)
	in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n")))
	in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
	in.Placement = &types.Placement{AvailabilityZone: aws.String("eu-west-1c")}
	in.MetadataOptions = &types.InstanceMetadataOptionsRequest{
		HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1), InstanceMetadataTags: types.InstanceMetadataTagsStateEnabled,
	}
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(60)}}}
	in.SecurityGroupIds = []string{*group.GroupId}
	in.TagSpecifications = append(instanceTags(map[string]string{"RunId": "7"}),
		types.TagSpecification{ResourceType: types.ResourceTypeVolume, Tags: tagList(map[string]string{"RunId": "8"})})
	out, err := client.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	c.await(ireland, id, types.InstanceStateNameRunning)
	got := c.host.Machine(id).Spec
	if got.Region != ireland || got.Zone != "eu-west-1c" || got.Type != "m5.large" || got.VCPUs != 2 || got.Memory != 8<<30 ||
		string(got.UserData) != "#!/bin/sh\n" || got.RootVolumeBytes != 60<<30 || !slices.Equal(got.Groups, []string{*group.GroupId}) {
		t.Errorf("machine %+v is not as asked for", got)
	}
	meta := got.Metadata()
	if !meta.Enabled || !meta.TokenRequired || meta.HopLimit != 1 || meta.Tags["RunId"] != "7" || meta.TagsHidden || meta.Account != account {
		t.Errorf("metadata %+v is not as asked for", meta)
	}
	volumes, err := client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("tag:RunId", "8")}})
	if err != nil || len(volumes.Volumes) != 1 || *volumes.Volumes[0].Attachments[0].InstanceId != id || *volumes.Volumes[0].Size != 60 {
		t.Errorf("volumes %+v, error %v", volumes, err)
	}
	cards, err := client.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{filter("attachment.instance-id", id)}})
	if err != nil || len(cards.NetworkInterfaces) != 1 || *cards.NetworkInterfaces[0].PrivateIpAddress != got.PrivateIP.String() {
		t.Errorf("network interfaces %+v, error %v", cards, err)
	}
	console, err := client.GetConsoleOutput(t.Context(), &ec2.GetConsoleOutputInput{InstanceId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := base64.StdEncoding.DecodeString(*console.Output); err != nil || !strings.Contains(string(text), id) {
		t.Errorf("console says %q, error %v", text, err)
	}
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

func TestFiltersAndPages(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	for _, plan := range []string{"alpha", "alphabet", "beta"} {
		in := c.request(virginia, 4)
		in.TagSpecifications = instanceTags(map[string]string{"Plan": plan, "Project": "loads"})
		if _, err := client.RunInstances(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		filters []types.Filter
		want    int
	}{
		{"a tag's value", []types.Filter{filter("tag:Plan", "alpha")}, 4},
		{"a pattern with a star", []types.Filter{filter("tag:Plan", "alpha*")}, 8},
		{"a pattern with a question mark", []types.Filter{filter("tag:Plan", "?eta")}, 4},
		{"one of several values", []types.Filter{filter("tag:Plan", "alpha", "beta")}, 8},
		{"several filters", []types.Filter{filter("tag:Plan", "alpha*"), filter("tag:Project", "x")}, 0},
		{"a tag's key", []types.Filter{filter("tag-key", "Plan")}, 12},
		{"the type", []types.Filter{filter("instance-type", "m5.*")}, 12},
		{"a state it isn't in", []types.Filter{filter("instance-state-name", "stopped")}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := 0
			pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{Filters: tt.filters, MaxResults: aws.Int32(5)})
			for pages.HasMorePages() {
				out, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, r := range out.Reservations {
					n += len(r.Instances)
				}
				if n > 5 {
					t.Errorf("a page has %d instances, want at most 5", n)
				}
				got += n
			}
			if got != tt.want {
				t.Errorf("%d instances, want %d", got, tt.want)
			}
		})
	}
	_, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{filter("colour", "red")}})
	wantCode(t, err, "InvalidParameterValue")
	_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{NextToken: aws.String("x")})
	wantCode(t, err, "InvalidNextToken")
	_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
	_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"machine"}})
	wantCode(t, err, "InvalidInstanceID.Malformed")
}

func TestTags(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	id := c.run(virginia, 1)[0]
	create := func(tags map[string]string) error {
		_, err := client.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: tagList(tags)})
		return err
	}
	if err := create(map[string]string{"a": "1", "b": "2"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, create(manyTags(49)), "TagLimitExceeded")
	_, err := client.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{id}, Tags: []types.Tag{
		{Key: aws.String("a")}, {Key: aws.String("b"), Value: aws.String("another")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := client.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{filter("resource-id", id)}})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "b" || *out.Tags[0].Value != "2" || out.Tags[0].ResourceType != types.ResourceTypeInstance {
		t.Errorf("tags %+v, error %v; want b=2 only", out, err)
	}
	_, err = client.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{"i-0123456789abcdef0"}, Tags: tagList(map[string]string{"a": "1"})})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestSecurityGroups(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	create := func(name string) (*ec2.CreateSecurityGroupOutput, error) {
		return client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("for a test")})
	}
	group, err := create("mine")
	if err != nil {
		t.Fatal(err)
	}
	_, err = create("mine")
	wantCode(t, err, "InvalidGroup.Duplicate")

	in := c.request(virginia, 1)
	in.SecurityGroupIds = []string{*group.GroupId}
	out, err := client.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	c.await(virginia, id, types.InstanceStateNameRunning)

	docker := types.IpPermission{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(2376), ToPort: aws.Int32(2376),
		IpRanges: []types.IpRange{{CidrIp: aws.String("192.0.2.7/32"), Description: aws.String("the broker")}},
	}
	each := types.IpPermission{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8000), ToPort: aws.Int32(8999),
		UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: group.GroupId}},
	}
	authorize := func(permissions ...types.IpPermission) error {
		_, err := client.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: permissions})
		return err
	}
	if err := authorize(docker, each); err != nil {
		t.Fatal(err)
	}
	wantCode(t, authorize(docker), "InvalidPermission.Duplicate")
	wantCode(t, authorize(types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(1), IpRanges: []types.IpRange{{CidrIp: aws.String("192.0.2.7/24")}}}), "InvalidParameterValue")
	c.awaitRules(id, func(rules []ec2sim.Rule) bool {
		return slices.ContainsFunc(rules, func(r ec2sim.Rule) bool {
			return !r.Egress && r.FromPort == 2376 && r.ToPort == 2376 && r.Peer.String() == "192.0.2.7/32"
		}) && slices.ContainsFunc(rules, func(r ec2sim.Rule) bool { return r.Group == *group.GroupId && r.ToPort == 8999 })
	})
	seen, err := client.DescribeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("group-name", "mine")}})
	if err != nil || len(seen.SecurityGroups) != 1 || len(seen.SecurityGroups[0].IpPermissions) != 2 || len(seen.SecurityGroups[0].IpPermissionsEgress) != 1 {
		t.Errorf("groups %+v, error %v", seen, err)
	}
	revoke := &ec2.RevokeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: []types.IpPermission{docker}}
	if _, err := client.RevokeSecurityGroupIngress(t.Context(), revoke); err != nil {
		t.Fatal(err)
	}
	_, err = client.RevokeSecurityGroupIngress(t.Context(), revoke)
	wantCode(t, err, "InvalidPermission.NotFound")
	c.awaitRules(id, func(rules []ec2sim.Rule) bool {
		return !slices.ContainsFunc(rules, func(r ec2sim.Rule) bool { return r.FromPort == 2376 })
	})
	remove := func() error {
		_, err := client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: group.GroupId})
		return err
	}
	wantCode(t, remove(), "DependencyViolation")
	c.terminate(virginia, id)
	c.await(virginia, id, types.InstanceStateNameTerminated)
	wantCode(t, remove(), "")
	wantCode(t, remove(), "InvalidGroup.NotFound")
}

func TestEgressRules(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	group, err := client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	if err != nil {
		t.Fatal(err)
	}
	all := []types.IpPermission{{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}}
	if _, err := client.RevokeSecurityGroupEgress(t.Context(), &ec2.RevokeSecurityGroupEgressInput{GroupId: group.GroupId, IpPermissions: all}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AuthorizeSecurityGroupEgress(t.Context(), &ec2.AuthorizeSecurityGroupEgressInput{GroupId: group.GroupId, IpPermissions: all}); err != nil {
		t.Fatal(err)
	}
}

func TestTheMachineTurnsItselfOff(t *testing.T) {
	for behaviour, want := range map[types.ShutdownBehavior]types.InstanceStateName{
		types.ShutdownBehaviorTerminate: types.InstanceStateNameTerminated,
		types.ShutdownBehaviorStop:      types.InstanceStateNameStopped,
	} {
		t.Run(string(behaviour), func(t *testing.T) {
			c := startCloud(t, quick())
			id := c.run(virginia, 1)[0]
			c.await(virginia, id, types.InstanceStateNameRunning)
			_, err := c.ec2(virginia).ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{
				InstanceId: &id, InstanceInitiatedShutdownBehavior: &types.AttributeValue{Value: aws.String(string(behaviour))},
			})
			if err != nil {
				t.Fatal(err)
			}
			c.host.Machine(id).PowerOff()
			c.await(virginia, id, want)
			if got := *c.instance(virginia, id).StateReason.Code; got != "Client.InstanceInitiatedShutdown" {
				t.Errorf("reason %s", got)
			}
		})
	}
}

func TestAMachineChangesItsSecurityGroups(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	id := c.run(virginia, 1)[0]
	c.await(virginia, id, types.InstanceStateNameRunning)
	group, err := client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("another"), Description: aws.String("another")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: group.GroupId, IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8000), ToPort: aws.Int32(8000), CidrIp: aws.String("192.0.2.0/24"),
	})
	if err != nil {
		t.Fatal(err)
	}
	move := func(ids ...string) error {
		_, err := client.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{InstanceId: &id, Groups: ids})
		return err
	}
	if err := move("sg-0123456789abcdef0"); err == nil || !strings.Contains(err.Error(), "InvalidGroup.NotFound") {
		t.Errorf("a group that isn't there: %v", err)
	}
	if err := move(*group.GroupId); err != nil {
		t.Fatal(err)
	}
	if got := c.instance(virginia, id).SecurityGroups; len(got) != 1 || *got[0].GroupId != *group.GroupId {
		t.Errorf("groups %v, want the other one alone", got)
	}
	waittest.Until(t, "the machine is told", 5*time.Minute, func() bool {
		_, _, rules := c.host.Machine(id).State()
		return slices.ContainsFunc(rules, func(r ec2sim.Rule) bool { return !r.Egress && r.FromPort == 8000 && r.Peer.String() == "192.0.2.0/24" })
	})
}

func TestStopAndStart(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	id := c.run(virginia, 1)[0]
	c.await(virginia, id, types.InstanceStateNameRunning)
	if _, err := client.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	c.await(virginia, id, types.InstanceStateNameStopped)
	if on, _, _ := c.host.Machine(id).State(); on {
		t.Error("the machine of a stopped instance is on")
	}
	if in := c.instance(virginia, id); in.PublicIpAddress != nil || in.PrivateIpAddress == nil {
		t.Errorf("a stopped instance has public address %v and private address %v", in.PublicIpAddress, in.PrivateIpAddress)
	}
	if _, err := client.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	c.await(virginia, id, types.InstanceStateNameRunning)
	if on, _, _ := c.host.Machine(id).State(); !on {
		t.Error("the machine of a running instance is off")
	}
	c.terminate(virginia, id)
	c.await(virginia, id, types.InstanceStateNameTerminated)
	_, err := client.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}})
	wantCode(t, err, "IncorrectInstanceState")
}

func TestVolumesThatStay(t *testing.T) {
	c := startCloud(t, quick())
	in := c.request(virginia, 1)
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{
		DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(10), DeleteOnTermination: aws.Bool(false)},
	}}
	out, err := c.ec2(virginia).RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	c.terminate(virginia, id)
	c.await(virginia, id, types.InstanceStateNameTerminated)
	if got, want := c.sim.State().Receipt["volumes"], (ec2sim.Tally{Made: 2, Left: 1}); got != want {
		t.Errorf("volumes %+v, want %+v", got, want)
	}
	left, err := c.ec2(virginia).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("status", "available")}})
	if err != nil || len(left.Volumes) != 1 {
		t.Errorf("volumes %+v, error %v", left, err)
	}
}

func TestInstancesKnowTheirPlaceInTheLaunch(t *testing.T) {
	c := startCloud(t, quick())
	out, err := c.ec2(ireland).RunInstances(t.Context(), c.request(ireland, 3))
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range out.Instances {
		c.await(ireland, *in.InstanceId, types.InstanceStateNameRunning)
		if got := c.host.Machine(*in.InstanceId).Spec.LaunchIndex; got != i || int(*in.AmiLaunchIndex) != i {
			t.Errorf("instance %d is number %d by its metadata, and %d by the API", i, got, *in.AmiLaunchIndex)
		}
	}
}

// TestRunInstances_GivesFewerWhereThereIsNoRoomForAll asks for one to five, again
// and again: it gets what there is room for, and then says why not.
func TestRunInstances_GivesFewerWhereThereIsNoRoomForAll(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*ec2sim.Drill)
		why    string
	}{
		{"the zone has room for three", func(d *ec2sim.Drill) {
			d.Limits.Capacity = []ec2sim.Capacity{{Zone: ireland + "a", Instances: 3}}
		}, "InsufficientInstanceCapacity"},
		{"the quota has room for three", func(d *ec2sim.Drill) { d.Limits.OnDemandVCPUs = 7 }, "VcpuLimitExceeded"},
		{"a fault leaves room for three", func(d *ec2sim.Drill) {
			d.Faults = []ec2sim.Fault{{Name: ec2sim.NoCapacity, Type: "m5.large", Room: 3}}
		}, "InsufficientInstanceCapacity"},
	} {
		t.Run(row.name, func(t *testing.T) {
			drill := quick()
			row.change(&drill)
			c := startCloud(t, drill)
			in := c.request(ireland, 5)
			in.MinCount, in.ClientToken = aws.Int32(1), aws.String("one to five")
			in.Placement = &types.Placement{AvailabilityZone: aws.String(ireland + "a")}
			var ids []string
			for range 2 { // the second time is the same launch
				out, err := c.ec2(ireland).RunInstances(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				for i, one := range out.Instances {
					if int(*one.AmiLaunchIndex) != i {
						t.Errorf("instance %d has launch index %d", i, *one.AmiLaunchIndex)
					}
					ids = append(ids, *one.InstanceId)
				}
			}
			if len(ids) != 6 || !slices.Equal(ids[:3], ids[3:]) {
				t.Errorf("got %v, want the same three twice", ids)
			}
			in.ClientToken = aws.String("again")
			_, err := c.ec2(ireland).RunInstances(t.Context(), in)
			wantCode(t, err, row.why)
		})
	}
}
