package light_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/loads/loads/aws/boot"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/trust"
)

// TestCloud_OfLightMachines goes the way of a broker: it launches a machine through the SDK,
// lets itself in, talks to Docker there, and sees the lease terminate the
// machine.
func TestCloud_OfLightMachines(t *testing.T) {
	c := mustCloud(t)
	drill := ec2sim.DefaultDrill()
	drill.Delays.Pending, drill.Delays.Terminating = ec2sim.Delay{}, ec2sim.Delay{}
	sim, err := ec2sim.New(ec2sim.Config{
		Host: c.Host, Drill: drill, Dir: t.TempDir(), Keys: map[string]ec2sim.Key{"AKIALIGHT": {Secret: "secret", Account: "123456789012"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	client := new(http.Client)
	t.Cleanup(client.CloseIdleConnections)
	config := aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("AKIALIGHT", "secret", ""),
	}
	id := launch(t, c, config)
	instance := func() types.Instance {
		out, err := ec2.NewFromConfig(config).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Reservations[0].Instances[0]
	}
	await(t, "the machine to run", func() bool { return instance().State.Name == types.InstanceStateNameRunning })
	_, err = ec2.NewFromConfig(config).AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: instance().SecurityGroups[0].GroupId, IpProtocol: aws.String("tcp"),
		FromPort: aws.Int32(2376), ToPort: aws.Int32(2376), CidrIp: aws.String("127.0.0.0/8"),
	})
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := c.trust.Endpoint(c.trust.ID(), "machine", aws.ToString(instance().PublicIpAddress))
	if err != nil {
		t.Fatal(err)
	}
	e := mustOpen(t, endpoint)
	await(t, "the machine to have its new rules, and to answer", func() bool { _, err := e.Info(t.Context()); return err == nil })
	_ = renew(t, e, boot.Renewal{Seq: 1, Lease: time.Second, End: time.Hour}) // it may be off before it has answered
	await(t, "the end of the lease to terminate the machine", func() bool {
		return instance().State.Name == types.InstanceStateNameTerminated
	})
	if left := c.Len(); left != 0 {
		t.Errorf("%d machines are left", left)
	}
}

// launch starts a machine that terminates when it powers itself off.
func launch(t *testing.T, c *cloud, config aws.Config) string {
	t.Helper()
	image, err := ssm.NewFromConfig(config).GetParameter(t.Context(), &ssm.GetParameterInput{
		Name: aws.String("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"),
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := c.trust.Mint("machine", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	data, err := boot.UserData(boot.Params{Servers: []trust.Server{server}, Lease: time.Hour, End: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	out, err := ec2.NewFromConfig(config).RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: image.Parameter.Value, InstanceType: types.InstanceTypeM5Large, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		UserData:                          aws.String(base64.StdEncoding.EncodeToString(data)),
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Instances[0].InstanceId)
}
