package ec2sim_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/aws/ec2sim"
)

// randomDrill is a cloud with delays and faults of all kinds.
func randomDrill(r *rand.Rand) ec2sim.Drill {
	d := ec2sim.DefaultDrill()
	d.Seed = r.Uint64()
	d.Delays.Pending, d.Delays.Terminating = ec2sim.Lognormal(8*time.Second, 0.5), ec2sim.Uniform(time.Second, 20*time.Second)
	d.Delays.Visible, d.Delays.Lag = ec2sim.Uniform(0, 3*time.Second), ec2sim.Uniform(0, 3*time.Second)
	d.Limits.Capacity = []ec2sim.Capacity{{Zone: "us-east-1a", Instances: r.IntN(5)}, {Zone: "us-east-1b", Instances: r.IntN(5)}}
	for _, name := range []ec2sim.FaultName{
		ec2sim.NoCapacity, ec2sim.Throttled, ec2sim.ErrorAfter, ec2sim.AnswerLost, ec2sim.NeverBoots, ec2sim.NoDocker,
		ec2sim.Dies, ec2sim.SpotTaken, ec2sim.NetworkCut, ec2sim.DiskFull,
	} {
		f := ec2sim.Fault{Name: name, Rate: 0.05 + 0.3*r.Float64()}
		switch name {
		case ec2sim.Dies, ec2sim.SpotTaken, ec2sim.NetworkCut:
			f.At = ec2sim.Uniform(0, 5*time.Minute)
		}
		d.Faults = append(d.Faults, f)
	}
	return d
}

// stubborn asks until it is answered, with the same token, and gives up at
// what trying again doesn't mend.
func stubborn(c *cloud, r *rand.Rand, in *ec2.RunInstancesInput) []string {
	for range 50 {
		out, err := c.ec2(virginia).RunInstances(c.t.Context(), in)
		switch {
		case err == nil:
			return ids(out.Instances)
		case isCode(err, "IdempotentParameterMismatch"), isCode(err, "UnknownParameter"):
			c.t.Errorf("%v", err)
			return nil
		case isCode(err, "IdempotentInstanceTerminated"):
			return nil
		}
		time.Sleep(time.Duration(1+r.IntN(3)) * time.Second)
	}
	return nil
}

// drill lets some clients launch and end machines in a cloud that fails, and
// returns what the simulator says in the end.
func drill(t *testing.T, seed uint64) (state ec2sim.State) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		c := startCloud(t, randomDrill(r))
		var mu sync.Mutex
		known, asked := map[string]bool{}, 0
		image := c.imageAtLast()
		together(4, func(client int) {
			r := rand.New(rand.NewPCG(seed, uint64(client+1)))
			for i := range 5 {
				n := int32(1 + r.IntN(3))
				in := &ec2.RunInstancesInput{
					ImageId: image, InstanceType: "m5.large", MinCount: &n, MaxCount: &n,
					ClientToken: name("token ", client, " ", i),
				}
				if r.IntN(2) == 0 {
					in.InstanceMarketOptions = spotMarket("")
				}
				got := stubborn(c, r, in)
				mu.Lock()
				asked += len(got)
				for _, id := range got {
					known[id] = true
				}
				mu.Unlock()
				time.Sleep(time.Duration(r.IntN(60)) * time.Second)
				for _, id := range got {
					if m := c.host.Machine(id); m != nil && r.IntN(3) == 0 {
						m.PowerOff()
					}
				}
			}
		})
		if len(known) != asked {
			t.Errorf("%d ids for %d instances: two tokens have the same", len(known), asked)
		}
		// What no client knows was launched by a call that was never answered.
		for _, m := range c.sim.Machines() {
			for i := 0; c.alive(m.ID) && i < 200; i++ {
				_, _ = c.ec2(virginia).TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{m.ID}})
				time.Sleep(time.Second)
			}
		}
		time.Sleep(5 * time.Minute)
		state = c.sim.State()
		if n := c.host.Len(); n != 0 {
			t.Errorf("%d machines are left", n)
		}
	})
	return state
}

func (c *cloud) alive(id string) bool {
	for _, m := range c.sim.Machines() {
		if m.ID == id {
			return m.State != "terminated"
		}
	}
	return false
}

// imageAtLast asks for the image until it is answered.
func (c *cloud) imageAtLast() *string {
	for range 50 {
		out, err := c.ec2(virginia).DescribeImages(c.t.Context(), &ec2.DescribeImagesInput{
			Filters: []types.Filter{filter("name", "*ecs*"), filter("architecture", "x86_64")},
		})
		if err == nil && len(out.Images) > 0 {
			return out.Images[0].ImageId
		}
		time.Sleep(time.Second)
	}
	return aws.String("")
}

func TestWhateverGoesWrongTheSumIsRight(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			state := drill(t, seed)
			terminated := state.Launched - state.Alive
			if state.Launched == 0 || state.Alive != 0 || state.ByState["terminated"] > terminated {
				t.Errorf("launched %d, alive %d, by state %v", state.Launched, state.Alive, state.ByState)
			}
			for kind, tally := range state.Receipt {
				if tally.Left != 0 {
					t.Errorf("%d of %d %s are left", tally.Left, tally.Made, kind)
				}
			}
			if kind := state.Receipt; kind["volumes"].Made != state.Launched || kind["network-interfaces"].Made != state.Launched {
				t.Errorf("%d instances, %d volumes, %d network interfaces", state.Launched, kind["volumes"].Made, kind["network-interfaces"].Made)
			}
		})
	}
}

func TestATokenLaunchesOnceWhateverGoesWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.Faults = []ec2sim.Fault{
			{Name: ec2sim.ErrorAfter, Action: "RunInstances", Rate: 0.4},
			{Name: ec2sim.AnswerLost, Action: "RunInstances", Rate: 0.4},
			{Name: ec2sim.Throttled, Action: "RunInstances", Rate: 0.3},
			{Name: ec2sim.NoCapacity, Rate: 0.3},
		}
		c := startCloud(t, d)
		r := rand.New(rand.NewPCG(1, 1))
		for i := range 40 {
			in := c.request(virginia, 2)
			in.ClientToken = name("token ", i)
			if got := stubborn(c, r, in); len(got) != 2 {
				t.Errorf("token %d launched %v", i, got)
			}
		}
		if n := c.sim.State().Launched; n != 80 {
			t.Errorf("%d instances were launched for 40 tokens of 2", n)
		}
	})
}
