package ec2sim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

const virginia = "us-east-1"

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
	if n := c.host.Len(); n != 0 {
		t.Errorf("%d machines are left", n)
	}
	_, err := c.ec2(virginia).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
	_ = aws.String
}
