//go:build linux

package nshost_test

import (
	"context"
	"encoding/base64"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/nshost"
)

// newCloud puts the API before a host of real machines in the folder, and
// returns what the SDK needs to know of it.
func newCloud(t *testing.T, dir string) (aws.Config, *nshost.Host) {
	t.Helper()
	host, err := nshost.New(t.Context(), nshost.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := ec2sim.New(ec2sim.Config{
		Host: host, Drill: ec2sim.DefaultDrill(), Dir: t.TempDir(), AdminToken: "a token",
		Keys: map[string]ec2sim.Key{"AKIASIMULATED0000000": {Secret: "a secret", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL),
		Credentials: credentials.NewStaticCredentialsProvider("AKIASIMULATED0000000", "a secret", ""),
	}, host
}

func TestAPI_RunsAMachineThatTurnsItselfOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, host := newCloud(t, dir)
	api := ec2.NewFromConfig(config)
	group, err := api.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String("loads"), Description: aws.String("for a test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: group.GroupId,
		IpPermissions: []types.IpPermission{{
			IpProtocol: aws.String("tcp"), FromPort: aws.Int32(9000), ToPort: aws.Int32(9001),
			IpRanges: []types.IpRange{{CidrIp: aws.String(host.Outside().String() + "/32")}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// It turns itself off once it has been called on port 9001.
	data := withoutDocker(serving(9000) + serving(9002) + `perl -MIO::Socket::INET -e '
my $s = IO::Socket::INET->new(LocalPort => 9001, Listen => 9) or die; $s->accept; exec "shutdown", "-h", "now"'
`)
	image, err := ssm.NewFromConfig(config).GetParameter(t.Context(), &ssm.GetParameterInput{
		Name: aws.String("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := api.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: image.Parameter.Value, InstanceType: types.InstanceTypeM5Large, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		SecurityGroupIds: []string{*group.GroupId}, UserData: aws.String(base64.StdEncoding.EncodeToString(data)),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
	})
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	in := awaitState(t, api, id, types.InstanceStateNameRunning)
	addr := netip.MustParseAddr(aws.ToString(in.PublicIpAddress))
	eventually(t, "the admitted port is open", func() bool { return isOpen(addr, 9000) })
	if isOpen(addr, 9002) {
		t.Error("a port is open that no rule admits")
	}
	// A call that gets through may seem not to have, on a busy computer.
	eventually(t, "the machine is told to turn itself off", func() bool {
		in, known := instance(t, api, id)
		return isOpen(addr, 9001) || known && in.State.Name != types.InstanceStateNameRunning
	})
	awaitState(t, api, id, types.InstanceStateNameTerminated)
	if left := processesNaming(t, dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// awaitState waits until EC2 says that the machine is so.
func awaitState(t *testing.T, api *ec2.Client, id string, want types.InstanceStateName) types.Instance {
	t.Helper()
	var last types.Instance
	eventually(t, id+" is "+string(want), func() bool {
		in, known := instance(t, api, id)
		last = in
		return known && in.State.Name == want
	})
	return last
}

// instance is what EC2 says of the machine, if it says anything.
func instance(t *testing.T, api *ec2.Client, id string) (in types.Instance, known bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil || len(out.Reservations) == 0 {
		return in, false
	}
	return out.Reservations[0].Instances[0], true
}
