package aws_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/strategies"
)

// Times pass in these tests without waiting: they are in bubbles of synctest.

func TestAcquire_GetsOverWhatGoesWrong(t *testing.T) {
	t.Parallel()
	type row struct {
		name     string
		change   func(*ec2sim.Drill)
		request  func(*broker.MachineRequest)
		launched int // for 4 machines
		check    func(t *testing.T, c *cloud, got []broker.Machine)
	}
	fault := func(f ec2sim.Fault) func(*ec2sim.Drill) {
		return func(d *ec2sim.Drill) { d.Faults = append(d.Faults, f) }
	}
	spot := func(want bool) func(*testing.T, *cloud, []broker.Machine) {
		return func(t *testing.T, _ *cloud, got []broker.Machine) {
			for _, m := range got {
				if m.Spot != want {
					t.Errorf("machine %s: spot %v, want %v", m.ProviderID, m.Spot, want)
				}
			}
		}
	}
	for _, r := range []row{
		{name: "answers are lost", change: fault(ec2sim.Fault{Name: ec2sim.AnswerLost, Rate: 0.2}), launched: 4},
		{name: "the answer to a launch is lost", change: fault(ec2sim.Fault{Name: ec2sim.AnswerLost, Action: "RunInstances", Count: 3}), launched: 4},
		{name: "the answer to a launch is lost for minutes", change: fault(ec2sim.Fault{Name: ec2sim.AnswerLost, Action: "RunInstances", Count: 40}), launched: 4},
		{name: "launches fail after they were done", change: fault(ec2sim.Fault{Name: ec2sim.ErrorAfter, Action: "RunInstances", Count: 3}), launched: 4},
		{name: "calls fail after they were done", change: fault(ec2sim.Fault{Name: ec2sim.ErrorAfter, Rate: 0.2}), launched: 4},
		{name: "launches come too soon, for minutes", change: fault(ec2sim.Fault{Name: ec2sim.Throttled, Action: "RunInstances", Count: 60}), launched: 4},
		{name: "launches come too soon for longer than a boot, and are seen late", launched: 4, change: func(d *ec2sim.Drill) {
			d.Faults = append(d.Faults, ec2sim.Fault{Name: ec2sim.Throttled, Action: "RunInstances", Count: 400})
			d.Delays.Visible = ec2sim.Fixed(5 * time.Second)
		}},
		{name: "all calls come too soon now and then", change: fault(ec2sim.Fault{Name: ec2sim.Throttled, Rate: 0.2}), launched: 4},
		{name: "EC2 limits calls as it says", change: func(d *ec2sim.Drill) { d.Limits.Throttle = true }, launched: 4},
		{name: "what was made is seen late", change: func(d *ec2sim.Drill) {
			d.Delays.Visible, d.Delays.Lag = ec2sim.Fixed(5*time.Second), ec2sim.Fixed(3*time.Second)
		}, launched: 4},
		{name: "one zone has no room", change: fault(ec2sim.Fault{Name: ec2sim.NoCapacity, Zone: "us-east-1a"}), launched: 4},
		{
			name: "a type has no room", change: fault(ec2sim.Fault{Name: ec2sim.NoCapacity, Type: "m5.large"}), launched: 4,
			request: func(r *broker.MachineRequest) { r.Alternatives = []string{"m6g.large", "c5.large"} },
			check: func(t *testing.T, _ *cloud, got []broker.Machine) {
				if got[0].Type != "m6g.large" {
					t.Errorf("got a machine of type %s, want the first alternative", got[0].Type)
				}
			},
		},
		{name: "each zone has room for one", launched: 4, change: func(d *ec2sim.Drill) {
			for _, zone := range []string{"a", "b", "c", "d", "f"} {
				d.Limits.Capacity = append(d.Limits.Capacity, ec2sim.Capacity{Region: virginia, Zone: virginia + zone, Type: "m5.large", Instances: 1})
			}
		}},
		{
			name: "spot machines are to be had", change: func(*ec2sim.Drill) {}, launched: 4,
			request: func(r *broker.MachineRequest) { r.Spot = strategies.SpotPrefer }, check: spot(true),
		},
		{
			name: "no spot machines are to be had", change: func(d *ec2sim.Drill) { d.Limits.SpotVCPUs = 0 }, launched: 4,
			request: func(r *broker.MachineRequest) { r.Spot = strategies.SpotPrefer }, check: spot(false),
		},
		{name: "a machine never boots", change: fault(ec2sim.Fault{Name: ec2sim.NeverBoots, Count: 1}), launched: 5},
		{name: "two boot without Docker", change: fault(ec2sim.Fault{Name: ec2sim.NoDocker, Count: 2}), launched: 6},
		{name: "machines die when they have begun to run", change: fault(ec2sim.Fault{Name: ec2sim.Dies, Count: 2}), launched: 6},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				drill := quick()
				r.change(&drill)
				c := startCloud(t, drill)
				p := c.open(t.TempDir(), nil)
				got := c.acquire(p, requests(4, r.request))
				if r.check != nil {
					r.check(t, c, got)
				}
				seen := map[string]bool{}
				for _, m := range got {
					seen[m.ProviderID] = true
				}
				if len(seen) != 4 {
					t.Errorf("got %d machines, want 4", len(seen))
				}
				c.sim.Disarm()
				c.release(p, got...)
				c.clean(p, r.launched)
			})
		})
	}
}

func TestAcquire_SaysWhyThereIsNoMachine(t *testing.T) {
	t.Parallel()
	for _, r := range []struct {
		name     string
		change   func(*ec2sim.Drill)
		request  func(*broker.MachineRequest)
		code     broker.Code
		words    string
		launched int
	}{
		{"no zone has room", func(d *ec2sim.Drill) {
			d.Faults = []ec2sim.Fault{{Name: ec2sim.NoCapacity}}
		}, nil, broker.EUnavailable, "instance_types", 0},
		{"the quota is for one machine", func(d *ec2sim.Drill) { d.Limits.OnDemandVCPUs = 2 }, nil, broker.EUnavailable, "Service Quotas console", 1},
		{
			"there are no spot machines, and no others are wanted", func(d *ec2sim.Drill) { d.Limits.SpotVCPUs = 0 },
			func(r *broker.MachineRequest) { r.Spot = strategies.SpotOnly }, broker.EUnavailable, "spot: prefer", 0,
		},
		{"there is no such type", nil, func(r *broker.MachineRequest) { r.Type = "t1.gigantic" }, broker.EInvalid, "no machine type t1.gigantic", 0},
		{"there is no such image", nil, func(r *broker.MachineRequest) { r.Image = "ami-0123456789abcdef0" }, broker.EInvalid, "no image ami-0123456789abcdef0", 0},
		{
			"no machine's Docker ever answers", func(d *ec2sim.Drill) { d.Faults = []ec2sim.Fault{{Name: ec2sim.NoDocker}} }, nil,
			broker.EUnavailable, "did not answer within", 6,
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				drill := quick()
				if r.change != nil {
					r.change(&drill)
				}
				c := startCloud(t, drill)
				p := c.open(t.TempDir(), nil)
				reqs := requests(2, r.request)
				got, err := p.Acquire(t.Context(), reqs)
				wantError(t, err, r.code, r.words)
				c.release(p, withTokens(got, reqs)...)
				c.clean(p, r.launched)
			})
		})
	}
}

func TestAcquire_WithoutPermissionSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		p := c.open(t.TempDir(), func(cfg *aws.Config) {
			wrong := cfg.SDK.Copy()
			wrong.Credentials = wrongKey{}
			cfg.SDK = &wrong
		})
		_, err := p.Acquire(t.Context(), requests(1, nil))
		wantError(t, err, broker.EUnavailable, "credentials", "aws/policy.json")
		_, err = p.Owned(t.Context(), brokerID)
		wantError(t, err, broker.EUnavailable, "credentials")
	})
}

// A killer is a way to EC2 on which the broker is killed at one of its calls:
// before the call gets there, or once it is done.
type killer struct {
	via  http.RoundTripper
	at   int
	done bool

	mu sync.Mutex
	n  int
}

// RoundTrip ends its goroutine where the process would end.
func (k *killer) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	k.n++
	dead := k.n >= k.at
	now := k.n == k.at
	k.mu.Unlock()
	if now && k.done {
		if answer, err := k.via.RoundTrip(r); err == nil {
			answer.Body.Close()
		}
	}
	if dead {
		runtime.Goexit()
	}
	return k.via.RoundTrip(r)
}

// TestAcquire_LosesNoMachineToAKill kills the broker at each of the calls that
// it takes to get machines, and has the next one go on, or give up. Where zones have
// too little room they come by several launches.
func TestAcquire_LosesNoMachineToAKill(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ machines, room, calls int }{{5, 0, 12}, {5, 2, 20}} {
		for _, done := range []bool{false, true} {
			for _, goesOn := range []bool{true, false} {
				if !done && !goesOn {
					continue // much like the call before, done
				}
				for at := 1; at <= row.calls; at++ {
					t.Run(fmt.Sprintf("%d machines, room for %d, call %d, done %v, the next goes on %v", row.machines, row.room, at, done, goesOn), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) { killed(t, row.machines, row.room, at, done, goesOn) })
					})
				}
			}
		}
	}
}

func killed(t *testing.T, n, room, at int, done, goesOn bool) {
	drill := quick()
	drill.Delays.Visible = ec2sim.Fixed(2 * time.Second)
	for _, zone := range []string{"a", "b", "c", "d", "f"} {
		if room > 0 {
			drill.Limits.Capacity = append(drill.Limits.Capacity, ec2sim.Capacity{Region: virginia, Zone: virginia + zone, Instances: room})
		}
	}
	c := startCloud(t, drill)
	dir := t.TempDir()
	reqs := requests(n, nil)
	k := &killer{via: c.via, at: at, done: done}
	doomed := c.open(dir, func(cfg *aws.Config) {
		via := cfg.SDK.Copy()
		via.HTTPClient = &http.Client{Transport: k}
		cfg.SDK = &via
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = doomed.Acquire(t.Context(), reqs)
	}()
	<-ended
	p := c.open(dir, nil)
	if goesOn {
		got := c.acquire(p, reqs)
		c.numbered(t, got)
		if launched := c.sim.State().Launched; launched != n {
			t.Errorf("launched %d machines, want %d", launched, n)
		}
		c.release(p, got...)
		c.clean(p, n)
		return
	}
	c.release(p, withTokens(make([]broker.Machine, n), reqs)...)
	c.left(c.sim.State().Launched) // by the release, without the reaper
	c.clean(p, c.sim.State().Launched)
}

func TestAcquire_GivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 250 * time.Millisecond, time.Second, 3 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				drill := quick()
				drill.Limits.Throttle, drill.Delays.Pending = true, ec2sim.Fixed(time.Minute)
				c := startCloud(t, drill)
				p := c.open(t.TempDir(), nil)
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				reqs := requests(12, nil)
				got, err := p.Acquire(ctx, reqs)
				wantError(t, err, broker.EUnavailable, "given up")
				c.release(p, withTokens(got, reqs)...)
				c.clean(p, c.sim.State().Launched)
			})
		})
	}
}

// giveUpOnce asks for a machine, gives that up when something has come true, and
// gives the machine back.
func (c *cloud) giveUpOnce(p *aws.Pool, happened func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	reqs := requests(1, nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.Acquire(ctx, reqs)
	}()
	for !happened() {
		time.Sleep(time.Millisecond) // of the bubble's time
	}
	cancel()
	<-ended
	c.release(p, withTokens(make([]broker.Machine, 1), reqs)...)
}

func TestRelease_FindsWhatWasLaunchedAtLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drill := quick()
		drill.Faults = []ec2sim.Fault{{Name: ec2sim.Throttled, Action: "RunInstances", Count: 100}}
		drill.Delays.Visible = ec2sim.Fixed(10 * time.Second)
		c := startCloud(t, drill)
		p := c.open(t.TempDir(), nil)
		c.giveUpOnce(p, func() bool { return c.sim.State().Launched > 0 }) // before EC2 knows the machine by its id
		c.left(1)                                                          // by the release, without the reaper
	})
}

func TestReceipt_WaitsForAGroupThatIsNotSeenYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drill := quick()
		drill.Faults = []ec2sim.Fault{{Name: ec2sim.Throttled, Action: "AuthorizeSecurityGroupIngress"}}
		drill.Delays.Visible = ec2sim.Fixed(10 * time.Second)
		c := startCloud(t, drill)
		p := c.open(t.TempDir(), nil)
		c.giveUpOnce(p, func() bool { return len(c.sim.Things(nil)) > 0 }) // with a group that was made, and that no list has yet
		began := time.Now()
		for {
			receipt, err := p.Receipt(t.Context(), runID)
			if err != nil {
				t.Fatal(err)
			}
			if len(receipt.Left) == 0 {
				break
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("left is %+v", receipt.Left)
			}
			time.Sleep(time.Second)
		}
		if left := c.sim.Things(nil); len(left) > 0 {
			t.Errorf("the receipt has nothing left, and there is %+v", left)
		}
	})
}

func TestOpen_ForgetsMachinesThatHaveLongEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		dir := t.TempDir()
		p := c.open(dir, nil)
		c.acquire(p, requests(1, nil))
		c.reap(p) // its run is unknown
		time.Sleep(26 * time.Hour)
		c.clean(c.open(dir, nil), 1)
		if keys, _ := filepath.Glob(filepath.Join(dir, "machines", "*")); len(keys) != 0 {
			t.Errorf("keys are left: %v", keys)
		}
	})
}

func TestAcquire_GivesUpAMachineThatTheImageDoesNotGetTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		c.stuck = 2 // as when the network is cut after Docker has answered
		p := c.open(t.TempDir(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		reqs := requests(3, nil)
		got, err := p.Acquire(ctx, reqs)
		if err != nil {
			t.Fatal(err)
		}
		c.release(p, withTokens(got, reqs)...)
		c.clean(p, 5)
	})
}

func TestAcquire_KeepsAliveWhoWaitsForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drill := quick()
		drill.Faults = []ec2sim.Fault{{Name: ec2sim.NeverBoots, Nth: 1}, {Name: ec2sim.NeverBoots, Nth: 3}}
		c := startCloud(t, drill)
		p := c.open(t.TempDir(), nil)
		got := c.acquire(p, requests(3, nil))
		most := 0
		for _, m := range got {
			most = max(most, len(c.leases(m)))
		}
		if most < 3 { // at once, and each third of ten minutes, for ten minutes
			t.Errorf("a machine that waited for ten minutes was renewed %d times, want 3 at least", most)
		}
		c.release(p, got...)
		c.clean(p, 5)
	})
}

func TestRenew_NumbersGrowAndTheEndOnlyComesNearer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		dir := t.TempDir()
		p := c.open(dir, nil)
		m := c.acquire(p, requests(1, nil))[0]
		for _, life := range []time.Duration{40 * time.Minute, 50 * time.Minute, 20 * time.Minute} {
			time.Sleep(p.LeaseEvery())
			p = c.open(dir, nil) // each by another broker
			e, err := c.dial(m.Endpoint)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Renew(t.Context(), m, e, life); err != nil {
				t.Fatal(err)
			}
		}
		leases := c.leases(m)
		for i, l := range leases {
			if l.Seq != uint64(i+1) || l.Term != 0 || l.Lease != 10*time.Minute {
				t.Errorf("renewal %d is %+v", i, l)
			}
		}
		for i, want := range []time.Duration{40 * time.Minute, 40*time.Minute - p.LeaseEvery(), 20 * time.Minute} {
			if got := leases[i+1].End; got < want-time.Second || got > want {
				t.Errorf("renewal %d ends in %v, want %v", i+1, got, want)
			}
		}
		c.release(p, m)
		e, _ := c.dial(m.Endpoint)
		if err := p.Renew(t.Context(), m, e, time.Hour); broker.CodeOf(err) != broker.ENotFound {
			t.Errorf("renewing a machine that was given back: %v, want ENotFound", err)
		}
		c.clean(p, 1)
	})
}

func TestOwned_FindsWhatIsInNoLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		lost := c.open(t.TempDir(), nil)
		c.acquire(lost, requests(2, func(r *broker.MachineRequest) { r.Region = "eu-central-1" }))
		others := c.open(t.TempDir(), nil)
		other := c.acquire(others, requests(1, func(r *broker.MachineRequest) { r.BrokerID, r.Token = "another", "other" }))
		// The database and the folder of the first broker are gone.
		p := c.open(t.TempDir(), nil)
		owned, err := p.Owned(t.Context(), brokerID)
		if err != nil || len(owned) != 2 {
			t.Fatalf("got %+v, %v; want the two machines", owned, err)
		}
		for _, o := range owned {
			if o.Kind != "instance" || o.Region != "eu-central-1" || o.RunUUID != runID || o.BrokerID != brokerID || o.State != "running" {
				t.Errorf("got %+v", o)
			}
		}
		c.reap(p)
		time.Sleep(time.Minute)
		c.reap(p) // the group, when the machines are gone
		if all, err := p.Owned(t.Context(), ""); err != nil || len(all) != 1 || all[0].BrokerID != "another" {
			t.Errorf("any broker's: %+v, %v; want the other one's machine", all, err)
		}
		c.release(others, other...)
		c.left(3)
	})
}

// wrongKey are credentials that AWS does not know.
type wrongKey struct{}

func (wrongKey) Retrieve(context.Context) (sdk.Credentials, error) {
	return sdk.Credentials{AccessKeyID: "AKIAUNKNOWN", SecretAccessKey: "nothing"}, nil
}
