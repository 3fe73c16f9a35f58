package ec2sim_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/aws/ec2sim"
)

// after lets the bubble's time go by.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestStatesTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.Delays.Pending, d.Delays.Checks = ec2sim.Fixed(20*time.Second), ec2sim.Fixed(time.Minute)
		d.Delays.Terminating, d.Delays.Stopping = ec2sim.Fixed(30*time.Second), ec2sim.Fixed(15*time.Second)
		c := startCloud(t, d)
		client := c.ec2(virginia)
		id := c.run(virginia, 1)[0]
		wantState := func(want types.InstanceStateName) {
			t.Helper()
			if got := c.state(virginia, id); got != want {
				t.Errorf("instance is %s, want %s", got, want)
			}
		}
		wantChecks := func(want types.SummaryStatus) {
			t.Helper()
			out, err := client.DescribeInstanceStatus(t.Context(), &ec2.DescribeInstanceStatusInput{InstanceIds: []string{id}, IncludeAllInstances: aws.Bool(true)})
			if err != nil {
				t.Fatal(err)
			}
			if got := out.InstanceStatuses[0].InstanceStatus.Status; got != want {
				t.Errorf("status is %s, want %s", got, want)
			}
		}
		after(19 * time.Second)
		wantState(types.InstanceStateNamePending)
		wantChecks(types.SummaryStatusNotApplicable)
		after(time.Second)
		wantState(types.InstanceStateNameRunning)
		wantChecks(types.SummaryStatusInitializing)
		after(time.Minute)
		wantChecks(types.SummaryStatusOk)
		if _, err := client.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
			t.Fatal(err)
		}
		after(14 * time.Second)
		wantState(types.InstanceStateNameStopping)
		after(time.Second)
		wantState(types.InstanceStateNameStopped)
		c.terminate(virginia, id)
		after(29 * time.Second)
		wantState(types.InstanceStateNameShuttingDown)
		after(time.Second)
		wantState(types.InstanceStateNameTerminated)
		after(time.Hour - time.Second)
		wantState(types.InstanceStateNameTerminated)
		after(time.Second)
		_, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		wantCode(t, err, "InvalidInstanceID.NotFound")
	})
}

func TestTerminatedWhilePending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.Delays.Pending = ec2sim.Fixed(time.Minute)
		c := startCloud(t, d)
		id := c.run(virginia, 1)[0]
		after(time.Second)
		c.terminate(virginia, id)
		after(time.Second)
		if got := c.state(virginia, id); got != types.InstanceStateNameTerminated {
			t.Errorf("instance is %s", got)
		}
		if c.host.Machine(id) != nil {
			t.Error("a machine was booted for it")
		}
	})
}

// A deafHost has machines that don't shut down when they are told to.
type deafHost struct{ *ec2sim.NoMachines }

type deafMachine struct{ ec2sim.Machine }

func (h deafHost) Boot(ctx context.Context, spec ec2sim.MachineSpec) (ec2sim.Machine, error) {
	m, err := h.NoMachines.Boot(ctx, spec)
	return deafMachine{m}, err
}

func (m deafMachine) Stop(ctx context.Context, hard bool) error {
	if !hard {
		<-ctx.Done()
	}
	return m.Machine.Stop(ctx, true)
}

func TestMachinesThatDoNotShutDown(t *testing.T) {
	tests := []struct {
		name  string
		then  func(c *cloud, id string)
		limit time.Duration
		want  types.InstanceStateName
	}{
		{"the plug is pulled at last", func(*cloud, string) {}, 2 * time.Minute, types.InstanceStateNameStopped},
		{"ending it pulls the plug", func(c *cloud, id string) { c.terminate(virginia, id) }, time.Second, types.InstanceStateNameTerminated},
		{"a stop by force pulls the plug", nil, time.Second, types.InstanceStateNameStopped},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startCloudOn(t, quick(), func(h *ec2sim.NoMachines) ec2sim.Host { return deafHost{h} })
				id := c.run(virginia, 1)[0]
				after(time.Second)
				_, err := c.ec2(virginia).StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}, Force: aws.Bool(tt.then == nil)})
				if err != nil {
					t.Fatal(err)
				}
				if tt.then != nil {
					after(10 * time.Second)
					if got := c.state(virginia, id); got != types.InstanceStateNameStopping {
						t.Errorf("instance is %s", got)
					}
					tt.then(c, id)
				}
				after(tt.limit)
				if got := c.state(virginia, id); got != tt.want {
					t.Errorf("instance is %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestASpotMachineThatTurnsItselfOffIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		in := c.request(virginia, 1)
		in.InstanceMarketOptions, in.InstanceInitiatedShutdownBehavior = spotMarket(""), types.ShutdownBehaviorStop
		out, err := c.ec2(virginia).RunInstances(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		id := *out.Instances[0].InstanceId
		after(time.Second)
		c.host.Machine(id).PowerOff()
		after(time.Second)
		if got := c.state(virginia, id); got != types.InstanceStateNameTerminated {
			t.Errorf("instance is %s", got)
		}
	})
}

// bootTimes are when each of some machines began to run.
func bootTimes(t *testing.T, d ec2sim.Drill) []time.Duration {
	var times []time.Duration
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, d)
		begin := time.Now()
		c.run(virginia, 5)
		for len(times) < 5 && time.Since(begin) < time.Hour {
			after(time.Second)
			for range c.sim.State().ByState["running"] - len(times) {
				times = append(times, time.Since(begin))
			}
		}
	})
	return times
}

func TestASeedRepeatsWhatIsDrawn(t *testing.T) {
	for _, delay := range []ec2sim.Delay{
		ec2sim.Uniform(time.Second, 20*time.Second), ec2sim.Lognormal(8*time.Second, 0.4),
	} {
		t.Run(delay.String(), func(t *testing.T) {
			d := quick()
			d.Delays.Pending = delay
			first, again := bootTimes(t, d), bootTimes(t, d)
			d.Seed = 2
			other := bootTimes(t, d)
			if !slices.Equal(first, again) {
				t.Errorf("one seed gives %v and %v", first, again)
			}
			if slices.Equal(first, other) {
				t.Errorf("two seeds give %v", first)
			}
		})
	}
}

func TestWhatWasMadeIsNotSeenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.Delays.Visible, d.Delays.Lag = ec2sim.Fixed(5*time.Second), ec2sim.Fixed(3*time.Second)
		c := startCloud(t, d)
		client := c.ec2(virginia)
		in := c.request(virginia, 1)
		in.ClientToken = aws.String("one")
		out, err := client.RunInstances(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		id := *out.Instances[0].InstanceId
		_, err = client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		wantCode(t, err, "InvalidInstanceID.NotFound")
		_, err = client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
		wantCode(t, err, "InvalidInstanceID.NotFound")
		list, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
		if err != nil || len(list.Reservations) != 0 {
			t.Errorf("the list has %d reservations at once, error %v", len(list.Reservations), err)
		}
		again, err := client.RunInstances(t.Context(), in)
		if err != nil || *again.Instances[0].InstanceId != id {
			t.Errorf("the same token gave %v, error %v; want %s", again, err, id)
		}
		after(5 * time.Second)
		if got := c.state(virginia, id); got != types.InstanceStateNameRunning {
			t.Errorf("instance is %s", got)
		}
		c.terminate(virginia, id)
		after(time.Second)
		if got := c.state(virginia, id); got != types.InstanceStateNameRunning {
			t.Errorf("instance is seen %s before the lag is over", got)
		}
		after(3 * time.Second)
		if got := c.state(virginia, id); got != types.InstanceStateNameTerminated {
			t.Errorf("instance is seen %s after the lag", got)
		}
	})
}

func TestCallsAreLimited(t *testing.T) {
	run := func(c *cloud, n int32) error {
		_, err := c.ec2(virginia).RunInstances(c.t.Context(), c.request(virginia, n))
		return err
	}
	list := func(c *cloud, filters ...types.Filter) error {
		_, err := c.ec2(virginia).DescribeInstances(c.t.Context(), &ec2.DescribeInstancesInput{Filters: filters})
		return err
	}
	tests := []struct {
		name  string
		call  func(c *cloud) error
		burst int           // so many at once
		then  int           // so many more
		pause time.Duration // after this
	}{
		{"RunInstances", func(c *cloud) error { return run(c, 1) }, 5, 2, time.Second},
		{"the instances of RunInstances", func(c *cloud) error { return run(c, 250) }, 4, 0, time.Second},
		{"reading all", func(c *cloud) error { return list(c) }, 50, 10, time.Second},
		{"reading by a filter", func(c *cloud) error { return list(c, filter("tag-key", "x")) }, 100, 20, time.Second},
		{"changing", func(c *cloud) error {
			_, err := c.ec2(virginia).StopInstances(c.t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
			return err
		}, 50, 5, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := quick()
				d.Limits.Throttle, d.Limits.OnDemandVCPUs = true, 1<<20
				c := startCloud(t, d)
				passed := func() int {
					n := 0
					for range 200 {
						err := tt.call(c)
						if err != nil && isCode(err, "RequestLimitExceeded") {
							return n
						}
						n++
					}
					return n
				}
				if got := passed(); got != tt.burst {
					t.Errorf("%d calls pass at once, want %d", got, tt.burst)
				}
				after(tt.pause)
				if got := passed(); got != tt.then {
					t.Errorf("%d calls pass after %v, want %d", got, tt.pause, tt.then)
				}
				if err := list(c, filter("tag-key", "other")); tt.name == "RunInstances" && err != nil {
					t.Errorf("another action has the same limit: %v", err)
				}
			})
		})
	}
}

func TestRegionsHaveLimitsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.Limits.Throttle = true
		c := startCloud(t, d)
		for range 5 {
			c.run(virginia, 1)
		}
		_, err := c.ec2(virginia).RunInstances(t.Context(), c.request(virginia, 1))
		wantCode(t, err, "RequestLimitExceeded")
		c.run(ireland, 1)
	})
}

func TestSpotMachinesAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.Faults = []ec2sim.Fault{{Name: ec2sim.SpotTaken, Nth: 1, At: ec2sim.Fixed(10 * time.Minute)}}
		c := startCloud(t, d)
		client := c.ec2(virginia)
		in := c.request(virginia, 2)
		in.InstanceMarketOptions = spotMarket("")
		out, err := client.RunInstances(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		all := ids(out.Instances)
		status := func(id string) (types.SpotInstanceState, string) {
			t.Helper()
			out, err := client.DescribeSpotInstanceRequests(t.Context(), &ec2.DescribeSpotInstanceRequestsInput{Filters: []types.Filter{filter("instance-id", id)}})
			if err != nil || len(out.SpotInstanceRequests) != 1 {
				t.Fatalf("spot requests %+v, error %v", out, err)
			}
			return out.SpotInstanceRequests[0].State, *out.SpotInstanceRequests[0].Status.Code
		}
		after(10*time.Minute - time.Second)
		if state, code := status(all[0]); state != types.SpotInstanceStateActive || code != "fulfilled" {
			t.Errorf("request is %s, %s", state, code)
		}
		after(time.Second)
		taken := -1
		for i, id := range all {
			if c.host.Machine(id).Spec.Metadata().SpotAction.Action == "terminate" {
				taken = i
			}
		}
		if taken < 0 {
			t.Fatal("no machine was given notice")
		}
		notice := c.host.Machine(all[taken]).Spec.Metadata().SpotAction
		if left := time.Until(notice.Time); left != 2*time.Minute {
			t.Errorf("notice is %v ahead", left)
		}
		if _, code := status(all[taken]); code != "marked-for-termination" {
			t.Errorf("status is %s after the notice", code)
		}
		after(2*time.Minute - time.Second)
		if got := c.state(virginia, all[taken]); got != types.InstanceStateNameRunning {
			t.Errorf("instance is %s before its time", got)
		}
		after(2 * time.Second)
		end := c.instance(virginia, all[taken])
		if end.State.Name != types.InstanceStateNameTerminated || *end.StateReason.Code != "Server.SpotInstanceTermination" {
			t.Errorf("instance is %s for %s", end.State.Name, *end.StateReason.Code)
		}
		if state, code := status(all[taken]); state != types.SpotInstanceStateClosed || code != "instance-terminated-no-capacity" {
			t.Errorf("request is %s, %s", state, code)
		}
		other := all[1-taken]
		if end := c.instance(virginia, other); end.State.Name != types.InstanceStateNameRunning || end.InstanceLifecycle != types.InstanceLifecycleTypeSpot {
			t.Errorf("the other instance is %s, %s", end.State.Name, end.InstanceLifecycle)
		}
		request := *c.instance(virginia, other).SpotInstanceRequestId
		cancelled, err := client.CancelSpotInstanceRequests(t.Context(), &ec2.CancelSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{request}})
		if err != nil || cancelled.CancelledSpotInstanceRequests[0].State != types.CancelSpotInstanceRequestStateCancelled {
			t.Errorf("cancelled %+v, error %v", cancelled, err)
		}
		if got := c.state(virginia, other); got != types.InstanceStateNameRunning {
			t.Errorf("cancelling the request left the instance %s", got)
		}
		if got, want := c.sim.State().Receipt["spot-requests"], (ec2sim.Tally{Made: 2, Left: 0}); got != want {
			t.Errorf("spot requests %+v, want %+v", got, want)
		}
	})
}

func TestSpotPrices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		out, err := c.ec2(virginia).DescribeSpotPriceHistory(t.Context(), &ec2.DescribeSpotPriceHistoryInput{
			InstanceTypes: []types.InstanceType{types.InstanceTypeM5Large}, ProductDescriptions: []string{"Linux/UNIX"},
			AvailabilityZone: aws.String("us-east-1a"), StartTime: aws.Time(time.Now().Add(-24 * time.Hour)),
		})
		if err != nil || len(out.SpotPriceHistory) != 5 {
			t.Fatalf("%d prices, error %v; want 5 for a day", len(out.SpotPriceHistory), err)
		}
		for i, p := range out.SpotPriceHistory[1:] {
			if !p.Timestamp.Before(*out.SpotPriceHistory[i].Timestamp) {
				t.Error("prices are not the newest first")
			}
		}
	})
}
