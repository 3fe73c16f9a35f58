package ec2sim_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/loads/loads/aws/ec2sim"
)

func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// withFaults is a cloud without delays in which these faults are armed.
func withFaults(t *testing.T, faults ...ec2sim.Fault) *cloud {
	d := quick()
	d.Faults = faults
	return startCloud(t, d)
}

func TestAClientTokenLaunchesOnce(t *testing.T) {
	c := startCloud(t, quick())
	client := c.ec2(virginia)
	in := c.request(virginia, 3)
	in.ClientToken = aws.String("once")
	first, err := client.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	together(8, func(int) {
		again, err := client.RunInstances(t.Context(), in)
		if err != nil || !slices.Equal(ids(again.Instances), ids(first.Instances)) {
			t.Errorf("the same token gave %v, error %v; want %v", again, err, ids(first.Instances))
		}
	})
	in.MaxCount = aws.Int32(4)
	_, err = client.RunInstances(t.Context(), in)
	wantCode(t, err, "IdempotentParameterMismatch")
	in.MaxCount = aws.Int32(3)
	in.ClientToken = aws.String("twice")
	if _, err := client.RunInstances(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if n := c.sim.State().Launched; n != 6 {
		t.Errorf("%d instances were launched, want 6", n)
	}
	ended := *first.Instances[1].InstanceId
	c.terminate(virginia, ended)
	c.await(virginia, ended, types.InstanceStateNameTerminated)
	in.ClientToken = aws.String("once")
	_, err = client.RunInstances(t.Context(), in)
	wantCode(t, err, "IdempotentInstanceTerminated")
}

func TestQuotaAndCapacity(t *testing.T) {
	tests := []struct {
		name        string
		limits      ec2sim.Limits
		least, most int32
		spot        bool
		zone        string
		code        string
		got         int
	}{
		{"quota too small", ec2sim.Limits{OnDemandVCPUs: 7}, 4, 4, false, "", "VcpuLimitExceeded", 0},
		{"quota for some", ec2sim.Limits{OnDemandVCPUs: 7}, 1, 4, false, "", "", 3},
		{"quota of spot too small", ec2sim.Limits{OnDemandVCPUs: 100, SpotVCPUs: 2}, 2, 2, true, "", "MaxSpotInstanceCountExceeded", 0},
		{
			"no room in the zone",
			ec2sim.Limits{OnDemandVCPUs: 100, Capacity: []ec2sim.Capacity{{Zone: "us-east-1a", Instances: 2}}},
			3, 3, false, "us-east-1a", "InsufficientInstanceCapacity", 0,
		},
		{
			"room for some in the zone",
			ec2sim.Limits{OnDemandVCPUs: 100, Capacity: []ec2sim.Capacity{{Zone: "us-east-1a", Type: "m5.large", Instances: 2}}},
			1, 3, false, "us-east-1a", "", 2,
		},
		{
			"room for another type",
			ec2sim.Limits{OnDemandVCPUs: 100, Capacity: []ec2sim.Capacity{{Zone: "us-east-1a", Type: "c5.large", Instances: 0}}},
			3, 3, false, "us-east-1a", "", 3,
		},
		{
			"room in another zone, when none is named",
			ec2sim.Limits{OnDemandVCPUs: 100, Capacity: []ec2sim.Capacity{
				{Zone: "us-east-1a"}, {Zone: "us-east-1b"}, {Zone: "us-east-1c"}, {Zone: "us-east-1d"}, {Zone: "us-east-1e"},
			}},
			3, 3, false, "", "", 3,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := quick()
			d.Limits = tt.limits
			c := startCloud(t, d)
			in := c.request(virginia, 1)
			in.MinCount, in.MaxCount = &tt.least, &tt.most
			if tt.spot {
				in.InstanceMarketOptions = spotMarket("")
			}
			if tt.zone != "" {
				in.Placement = &types.Placement{AvailabilityZone: &tt.zone}
			}
			out, err := c.ec2(virginia).RunInstances(t.Context(), in)
			wantCode(t, err, tt.code)
			if err == nil && len(out.Instances) != tt.got {
				t.Errorf("%d instances, want %d", len(out.Instances), tt.got)
			}
			if n := c.sim.State().Launched; n != tt.got {
				t.Errorf("%d instances were launched, want %d", n, tt.got)
			}
		})
	}
}

func TestCapacityComesBack(t *testing.T) {
	d := quick()
	d.Limits.Capacity = []ec2sim.Capacity{{Region: virginia, Instances: 1}}
	c := startCloud(t, d)
	id := c.run(virginia, 1)[0]
	_, err := c.ec2(virginia).RunInstances(t.Context(), c.request(virginia, 1))
	wantCode(t, err, "InsufficientInstanceCapacity")
	c.terminate(virginia, id)
	c.await(virginia, id, types.InstanceStateNameTerminated)
	c.run(virginia, 1)
}

func TestFaultsOfCalls(t *testing.T) {
	lost := func(err error) bool { return err != nil && strings.Contains(err.Error(), "EOF") }
	is := func(code string) func(error) bool { return func(err error) bool { return isCode(err, code) } }
	tests := []struct {
		name     string
		fault    ec2sim.Fault
		wrong    func(error) bool
		launched int // by the call it met
	}{
		{"no capacity", ec2sim.Fault{Name: ec2sim.NoCapacity, Count: 6}, is("InsufficientInstanceCapacity"), 0},
		{"throttled", ec2sim.Fault{Name: ec2sim.Throttled, Action: "RunInstances", Count: 1}, is("RequestLimitExceeded"), 0},
		{"error after doing it", ec2sim.Fault{Name: ec2sim.ErrorAfter, Action: "RunInstances", Count: 1}, is("InternalError"), 1},
		{"answer lost", ec2sim.Fault{Name: ec2sim.AnswerLost, Action: "RunInstances", Count: 1}, lost, 1},
		{"answer lost for a tag", ec2sim.Fault{Name: ec2sim.AnswerLost, Tags: map[string]string{"Name": "x"}, Count: 1}, lost, 1},
		{"of the type", ec2sim.Fault{Name: ec2sim.Throttled, Type: "m5.large", Count: 1}, is("RequestLimitExceeded"), 0},
	}
	for _, tt := range tests {
		for _, way := range []string{"straight in", "over a socket"} {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				c := withFaults(t, tt.fault)
				if way == "over a socket" {
					c.serve()
				}
				in := c.request(virginia, 1)
				in.ClientToken, in.TagSpecifications = aws.String("token"), instanceTags(map[string]string{"Name": "x"})
				_, err := c.ec2(virginia).RunInstances(t.Context(), in)
				if !tt.wrong(err) {
					t.Errorf("error %v", err)
				}
				if n := c.sim.State().Launched; n != tt.launched {
					t.Errorf("%d instances were launched by it, want %d", n, tt.launched)
				}
				if _, err := c.ec2(virginia).RunInstances(t.Context(), in); err != nil {
					t.Errorf("tried again: %v", err)
				}
				if n := c.sim.State().Launched; n != 1 {
					t.Errorf("%d instances were launched in the end, want 1", n)
				}
			})
		}
	}
}

func TestFaultsMeetOnlyWhatIsSelected(t *testing.T) {
	for _, f := range []ec2sim.Fault{
		{Name: ec2sim.Throttled, Region: ireland},
		{Name: ec2sim.Throttled, Action: "StopInstances"},
		{Name: ec2sim.Throttled, Type: "c5.large"},
		{Name: ec2sim.Throttled, Tags: map[string]string{"Name": "x"}},
		{Name: ec2sim.Throttled, Zone: "us-east-1a"},
		{Name: ec2sim.Throttled, Action: "RunInstances", Nth: 2},
		{Name: ec2sim.NoCapacity, Zone: "eu-west-1a"},
	} {
		c := withFaults(t, f)
		if _, err := c.ec2(virginia).RunInstances(t.Context(), c.request(virginia, 1)); err != nil {
			t.Errorf("fault %+v: %v", f, err)
		}
	}
}

func TestFaultsByRate(t *testing.T) {
	count := func(seed uint64) []int {
		d := quick()
		d.Seed, d.Faults = seed, []ec2sim.Fault{{Name: ec2sim.Throttled, Action: "DescribeVpcs", Rate: 0.3}}
		c := startCloud(t, d)
		var hits []int
		for i := range 100 {
			if _, err := c.ec2(virginia).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err != nil {
				hits = append(hits, i)
			}
		}
		return hits
	}
	first := count(1)
	if n := len(first); n < 15 || n > 45 {
		t.Errorf("%d of 100 calls were met, at a rate of 0.3", n)
	}
	if !slices.Equal(first, count(1)) {
		t.Error("the same seed meets other calls")
	}
	if slices.Equal(first, count(2)) {
		t.Error("another seed meets the same calls")
	}
}

func TestFaultsOfMachinesAreHandedOn(t *testing.T) {
	c := withFaults(t,
		ec2sim.Fault{Name: ec2sim.NoDocker, Nth: 1},
		ec2sim.Fault{Name: ec2sim.DiskFull, Nth: 2},
		ec2sim.Fault{Name: ec2sim.ClockWrong, Nth: 3, By: ec2sim.Duration(-time.Hour)},
	)
	all := c.run(virginia, 4)
	for i, id := range all {
		c.await(virginia, id, types.InstanceStateNameRunning)
		spec := c.host.Machine(id).Spec
		if spec.NoDocker != (i == 0) || spec.DiskFull != (i == 1) || (spec.ClockOffset == -time.Hour) != (i == 2) {
			t.Errorf("machine %d: no Docker %v, disk full %v, clock off by %v", i, spec.NoDocker, spec.DiskFull, spec.ClockOffset)
		}
	}
}

func TestAMachineNeverBoots(t *testing.T) {
	c := withFaults(t, ec2sim.Fault{Name: ec2sim.NeverBoots})
	id := c.run(virginia, 1)[0]
	c.await(virginia, id, types.InstanceStateNameRunning)
	if c.host.Machine(id) != nil {
		t.Error("there is a machine")
	}
	out, err := c.ec2(virginia).DescribeInstanceStatus(t.Context(), &ec2.DescribeInstanceStatusInput{InstanceIds: []string{id}})
	if err != nil || out.InstanceStatuses[0].InstanceStatus.Status != types.SummaryStatusImpaired {
		t.Errorf("status %+v, error %v", out, err)
	}
	c.terminate(virginia, id)
	c.await(virginia, id, types.InstanceStateNameTerminated)
}

func TestAMachineDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := withFaults(t, ec2sim.Fault{Name: ec2sim.Dies, At: ec2sim.Fixed(time.Minute), Tags: map[string]string{"Name": "weak"}})
		in := c.request(virginia, 1)
		in.TagSpecifications = instanceTags(map[string]string{"Name": "weak"})
		out, err := c.ec2(virginia).RunInstances(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		weak, strong := *out.Instances[0].InstanceId, c.run(virginia, 1)[0]
		after(time.Minute - time.Second)
		if c.host.Machine(weak) == nil {
			t.Error("the machine died before its time")
		}
		after(time.Second)
		if end := c.instance(virginia, weak); end.State.Name != types.InstanceStateNameTerminated || *end.StateReason.Code != "Server.InternalError" {
			t.Errorf("instance is %s", end.State.Name)
		}
		if c.host.Machine(weak) != nil || c.host.Machine(strong) == nil {
			t.Error("the wrong machine died")
		}
	})
}

func TestTheNetworkIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := withFaults(t, ec2sim.Fault{Name: ec2sim.NetworkCut, At: ec2sim.Fixed(time.Minute), For: ec2sim.Duration(30 * time.Second)})
		id := c.run(virginia, 1)[0]
		cut := func() bool {
			_, cut, _ := c.host.Machine(id).State()
			return cut
		}
		for _, want := range []struct {
			after time.Duration
			cut   bool
		}{{59 * time.Second, false}, {time.Second, true}, {29 * time.Second, true}, {time.Second, false}} {
			after(want.after)
			if cut() != want.cut {
				t.Errorf("network cut %v after %v more, want %v", cut(), want.after, want.cut)
			}
		}
		if got := c.state(virginia, id); got != types.InstanceStateNameRunning {
			t.Errorf("instance is %s", got)
		}
	})
}

func TestAFaultStrikesAMachineThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		id := c.run(virginia, 1)[0]
		after(time.Second)
		if err := c.sim.Strike(id, ec2sim.Fault{Name: ec2sim.SpotTaken}); err == nil {
			t.Error("a machine on demand was taken")
		}
		if err := c.sim.Strike(id, ec2sim.Fault{Name: ec2sim.DiskFull}); err == nil {
			t.Error("a disk was filled while it ran, which no Host can do")
		}
		if err := c.sim.Strike(id, ec2sim.Fault{Name: ec2sim.Dies, At: ec2sim.Fixed(5 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		after(5 * time.Second)
		if got := c.state(virginia, id); got != types.InstanceStateNameTerminated {
			t.Errorf("instance is %s", got)
		}
	})
}

func TestADrillIsReadStrictly(t *testing.T) {
	good := `
seed: 7
delays: {pending: lognormal 8s 0.3, visible: uniform 0s 2s}
limits:
  throttle: true
  capacity: [{zone: us-east-1a, type: m5.large, instances: 5}]
faults:
- {fault: dies, tags: {Plan: x}, rate: 0.1, at: uniform 10s 60s}
- {fault: network-cut, at: 20s, for: 5s}
- {fault: clock-wrong, by: -5m}
- {fault: throttled, action: DescribeInstances, count: 3}
`
	if _, err := ec2sim.ParseDrill([]byte(good)); err != nil {
		t.Errorf("a good drill: %v", err)
	}
	tests := []struct{ name, drill, want string }{
		{"misspelt key", "sead: 7", "line 1: sead is no key of a drill here"},
		{"no number", "seed: 7\nlimits: {on_demand_vcpus: many}", "line 2: many is not the kind of value that is wanted here"},
		{"unknown fault", "faults: [{fault: flood}]", "flood"},
		{"no fault", "faults: [{region: us-east-1}]", "fault is missing"},
		{"rate", "faults: [{fault: dies, rate: 2}]", "rate 2"},
		{"time of a call", "faults: [{fault: throttled, at: 3s}]", "at:"},
		{"clock without by", "faults: [{fault: clock-wrong}]", "by:"},
		{"action of a machine", "faults: [{fault: dies, action: RunInstances}]", "action:"},
		{"delay", "delays: {pending: soon}", "soon"},
		{"backward delay", "delays: {pending: uniform 5s 1s}", "uniform 5s 1s"},
		{"capacity of a type", "limits: {capacity: [{type: m5.enormous}]}", "m5.enormous"},
		{"several at once", "faults: [{fault: flood}, {fault: drought}]", "drought"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ec2sim.ParseDrill([]byte(tt.drill)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
