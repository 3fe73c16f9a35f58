package aws_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/images/order"
	"github.com/loads/loads/strategies"
)

// secondRun is the one after that of requests.
const secondRun = "a0a0a0a0-0000-4000-8000-000000000003"

// ofSecond makes a request the second run's.
func ofSecond(r *broker.MachineRequest) {
	r.RunUUID, r.Owner, r.Token = secondRun, "", "second-"+r.Token
	r.Ports = []strategies.Port{{Container: 80, Host: 9000, Protocol: "tcp"}}
}

// keeping has a pool keep machines for ten minutes.
func keeping(cfg *aws.Config) { cfg.Idle = 10 * time.Minute }

// tend has the pool see to its idle machines until the test ends.
func tend(t *testing.T, p *aws.Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Tend(ctx, brokerID)
	}()
	return func() {
		cancel()
		<-done
	}
}

func ids(machines []broker.Machine) []string {
	var out []string
	for _, m := range machines {
		out = append(out, m.ProviderID)
	}
	slices.Sort(out)
	return out
}

// wantReceipt checks what EC2 says of a run.
func wantReceipt(t *testing.T, p *aws.Pool, run string, launched, reused, terminated, kept int) {
	t.Helper()
	r, err := p.Receipt(t.Context(), run)
	if err != nil || r.Launched != launched || r.Reused != reused || r.Terminated != terminated || r.Kept != kept || len(r.Left) > 0 {
		t.Errorf("receipt of %s: %+v, %v; want %d launched, %d used again, %d terminated, %d kept, none left",
			run, r, err, launched, reused, terminated, kept)
	}
}

func TestPool_GivesIdleMachinesToTheNextRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		p := c.open(t.TempDir(), keeping)
		defer tend(t, p)()
		first := c.acquire(p, requests(2, nil))
		for _, m := range first {
			if m.Reused {
				t.Errorf("machine %s was used before", m.ProviderID)
			}
			c.on(m, func(d *dock) {
				d.put(broker.Container{ID: "stranger", Name: "stranger", State: "running", StartedAt: time.Now()})
				d.put(broker.Container{ID: "loads-lease", Name: "loads-lease", State: "running", StartedAt: time.Now()})
				d.volumes = append(d.volumes, broker.Volume{Name: "data"})
				d.networks = append(d.networks, broker.Network{ID: "4", Name: "theirs"})
			})
		}
		c.release(p, first...)
		c.release(p, first...) // again, as after a crash
		wantReceipt(t, p, runID, 2, 0, 0, 2)
		for _, m := range first {
			c.on(m, func(d *dock) {
				if len(d.containers) != 1 || d.containers[0].Started() || len(d.volumes) > 0 || len(d.networks) != 3 {
					t.Errorf("left on machine %s: %+v, want the lease alone", m.ProviderID, d)
				}
			})
		}
		time.Sleep(5 * time.Minute)
		second := c.acquire(p, requests(2, ofSecond))
		if a, b := ids(first), ids(second); !slices.Equal(a, b) {
			t.Errorf("got machines %v, want those of the run before, %v", b, a)
		}
		for _, m := range second {
			if since := time.Since(*m.LaunchedAt); since > time.Minute || !m.Reused {
				t.Errorf("machine %s costs the second run since %v; used again is %v", m.ProviderID, since, m.Reused)
			}
			c.isOf(t, m, secondRun, 9000)
			leases := c.leases(m)
			for i, l := range leases[1:] {
				if l.Seq <= leases[i].Seq || l.Term < leases[i].Term {
					t.Errorf("renewal %+v came after %+v", l, leases[i])
				}
			}
			if last := leases[len(leases)-1]; last.Term != 2 || last.End < 59*time.Minute || last.End > time.Hour {
				t.Errorf("the last renewal is %+v, want one of the third term, of an hour", last)
			}
		}
		c.release(p, first...) // once more, and it is not the first run's any more
		wantReceipt(t, p, runID, 2, 0, 0, 2)
		c.release(p, second...)
		wantReceipt(t, p, secondRun, 0, 2, 0, 2)
		c.reap(p) // which ends what it is told to
		c.clean(p, 2)
		wantReceipt(t, p, runID, 2, 0, 2, 0)
		wantReceipt(t, p, secondRun, 0, 2, 2, 0)
	})
}

// isOf checks that EC2 has the machine as the run's, and that it admits nothing
// but what this run needs.
func (c *cloud) isOf(t *testing.T, m broker.Machine, run string, port int) {
	t.Helper()
	nm := c.machine(m)
	tags := nm.Spec.Metadata().Tags
	if tags["RunId"] != run || tags["loads:token"] == "" || tags["Owner"] != "" {
		t.Errorf("machine %s has tags %v, want those of run %s", m.ProviderID, tags, run)
	}
	synctest.Wait()
	_, _, rules := nm.State()
	for _, r := range rules {
		forImages := r.Group != "" && (r.FromPort == order.PeerPort || r.FromPort == order.SeedPort)
		if !r.Egress && r.FromPort != 2376 && r.FromPort != port && !forImages {
			t.Errorf("machine %s admits port %d", m.ProviderID, r.FromPort)
		}
	}
}

// machine is what there is of the machine at the simulator.
func (c *cloud) machine(m broker.Machine) *ec2sim.NoMachine {
	c.t.Helper()
	nm := c.host.Machine(filepath.Base(m.ProviderID))
	if nm == nil {
		c.t.Fatalf("machine %s is gone", m.ProviderID)
	}
	return nm
}

func TestPool_EndsIdleMachinesInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		p := c.open(t.TempDir(), keeping)
		defer tend(t, p)()
		got := c.acquire(p, requests(3, nil))
		c.release(p, got...)
		_ = c.machine(got[0]).Cut(true) // from the network
		time.Sleep(9*time.Minute + 50*time.Second)
		if n := c.sim.State().Alive; n != 2 {
			t.Errorf("%d machines after ten minutes less ten seconds, want the 2 that answer", n)
		}
		for _, m := range got[1:] {
			leases := c.leases(m)
			if last := leases[len(leases)-1]; len(leases) < 4 || last.Term != 1 || last.Lease != 10*time.Minute {
				t.Errorf("%d renewals of an idle machine, the last %+v", len(leases), last)
			}
		}
		time.Sleep(20 * time.Second)
		c.left(3)
		c.clean(p, 3)
	})
}

func TestAcquire_TakesNoIdleMachineThatDoesNotSuit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*broker.MachineRequest)
		reused bool
	}{
		{"the same", func(*broker.MachineRequest) {}, true},
		{"it is an alternative", func(r *broker.MachineRequest) { r.Type, r.Alternatives = "c5.large", []string{"m5.large"} }, true},
		{"another type", func(r *broker.MachineRequest) { r.Type = "c5.large" }, false},
		{"another region", func(r *broker.MachineRequest) { r.Region = "eu-central-1" }, false},
		{"another disk", func(r *broker.MachineRequest) { r.VolumeGB = 50 }, false},
		{"another image", func(r *broker.MachineRequest) { r.Image = catalog.Images(virginia)[1].ID }, false},
		{"a spot machine", func(r *broker.MachineRequest) { r.Spot = strategies.SpotOnly }, false},
		{"rather a spot machine", func(r *broker.MachineRequest) { r.Spot = strategies.SpotPrefer }, false},
		{"longer than its certificate", func(r *broker.MachineRequest) { r.Life = 30 * time.Hour }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := startCloud(t, quick())
				p := c.open(t.TempDir(), keeping)
				first := c.acquire(p, requests(1, nil))
				c.release(p, first...)
				second := requests(1, func(r *broker.MachineRequest) {
					ofSecond(r)
					row.change(r)
				})
				got, err := p.Acquire(t.Context(), second)
				if err != nil && second[0].Image == "" { // the other image has no Docker
					t.Fatal(err)
				}
				got = withTokens(got, second)
				if reused := got[0].ProviderID == first[0].ProviderID; reused != row.reused {
					t.Errorf("got machine %s after %s, want it used again: %v", got[0].ProviderID, first[0].ProviderID, row.reused)
				}
				c.release(p, got...)
				c.reap(p)
				c.clean(p, c.sim.State().Launched)
			})
		})
	}
}

func TestPool_KeepsNoMachineThatIsNotGood(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(c *cloud, m *broker.Machine)
		before bool // only as it is given back
	}{
		{"its run has lost it", func(_ *cloud, m *broker.Machine) { m.Reason = "it did not answer" }, true},
		{"its clock is wrong", on(func(d *dock) { d.offset = -3 * time.Second }), false},
		{"its disk is full", on(func(d *dock) { d.survey.Free = 1 << 30 }), false},
		{"processes are left", on(func(d *dock) { d.survey.Strays = []string{"17 miner"} }), false},
		{"its Docker does not answer", func(c *cloud, m *broker.Machine) { _ = c.machine(*m).Cut(true) }, false},
	} {
		for _, idle := range []bool{false, true} {
			if idle && row.before {
				continue
			}
			t.Run(fmt.Sprintf("%s, idle %v", row.name, idle), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := startCloud(t, quick())
					p := c.open(t.TempDir(), keeping)
					m := c.acquire(p, requests(1, nil))[0]
					if idle {
						c.release(p, m)
						row.change(c, &m)
					} else {
						row.change(c, &m)
						c.release(p, m)
					}
					got := c.acquire(p, requests(1, ofSecond))
					if got[0].ProviderID == m.ProviderID {
						t.Errorf("machine %s was used again", m.ProviderID)
					}
					c.release(p, got...)
					c.reap(p)
					c.clean(p, 2)
				})
			})
		}
	}
}

// on makes a change of a machine's dock.
func on(f func(d *dock)) func(*cloud, *broker.Machine) {
	return func(c *cloud, m *broker.Machine) { c.on(*m, f) }
}

func TestAcquire_GivesAnIdleMachineToOneRunOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		p := c.open(t.TempDir(), keeping)
		c.release(p, c.acquire(p, requests(4, nil))...)
		var wg sync.WaitGroup
		got := make([][]broker.Machine, 3)
		for i := range got {
			wg.Go(func() {
				got[i] = c.acquire(p, requests(2, func(r *broker.MachineRequest) {
					r.RunUUID, r.Token = fmt.Sprintf("%s-%d", runID, i), fmt.Sprintf("run-%d-%s", i, r.Token)
				}))
			})
		}
		wg.Wait()
		all := ids(slices.Concat(got...))
		if len(slices.Compact(slices.Clone(all))) != 6 {
			t.Errorf("three runs have got %v, want six machines", all)
		}
		c.release(p, slices.Concat(got...)...)
		c.reap(p)
		c.clean(p, 6)
	})
}

// A process is one of the broker, that is killed at one of the calls that its
// pool makes of EC2 and of engines.
type process struct {
	via  http.RoundTripper
	at   int
	done bool // the call is made, and its answer lost

	mu sync.Mutex
	n  int
}

func (k *process) step() (dead, now bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == 0 {
		return false, false
	}
	k.n++
	return k.n >= k.at, k.n == k.at
}

// call is one of an engine, which is not made when the process is killed at it.
func (k *process) call() {
	if dead, _ := k.step(); dead {
		runtime.Goexit()
	}
}

func (k *process) arm(at int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.n = at, 0
}

func (k *process) RoundTrip(r *http.Request) (*http.Response, error) {
	dead, now := k.step()
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

// killedAt is how many calls it takes to keep a machine, and to give it to the
// next run.
var killedAt = map[string]int{"Release": 12, "Acquire": 23}

// TestReuse_LosesNoMachineToAKill kills the broker at each of these calls; then
// the next broker goes on, or gives up.
func TestReuse_LosesNoMachineToAKill(t *testing.T) {
	t.Parallel()
	for during, calls := range killedAt {
		for _, goesOn := range []bool{true, false} {
			for _, done := range []bool{true, false} {
				if done && during == "Release" || !done && !goesOn && during == "Acquire" {
					continue // the former asks nothing of EC2, the latter is much like the call before, done
				}
				for at := 1; at <= calls+1; at++ {
					t.Run(fmt.Sprintf("%s, call %d, done %v, the next goes on %v", during, at, done, goesOn), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) { killedIdle(t, during, at, done, goesOn) })
					})
				}
			}
		}
	}
}

func killedIdle(t *testing.T, during string, at int, done, goesOn bool) {
	drill := quick()
	drill.Delays.Visible = ec2sim.Fixed(2 * time.Second)
	c := startCloud(t, drill)
	dir := t.TempDir()
	k := &process{via: c.via, done: done}
	doomed := c.open(dir, func(cfg *aws.Config) {
		keeping(cfg)
		via := cfg.SDK.Copy()
		via.HTTPClient = &http.Client{Transport: k}
		cfg.SDK = &via
	})
	first, second := c.acquire(doomed, requests(1, nil)), requests(1, ofSecond)
	c.dialled = k
	if during == "Acquire" {
		c.release(doomed, first...)
	}
	k.arm(at)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if during == "Release" {
			_ = doomed.Release(t.Context(), first[0])
		} else {
			_, _ = doomed.Acquire(t.Context(), second)
		}
	}()
	<-ended
	if at > killedAt[during] && k.n >= at {
		t.Errorf("%s takes more calls than it is killed at", during)
	}
	c.dialled = nil

	p := c.open(dir, keeping)
	stop := tend(t, p)
	defer stop()
	if during == "Release" {
		c.release(p, first...)
	}
	if goesOn {
		got := c.acquire(p, second)
		if n := c.sim.State().Launched; n != 1 && n != 2 {
			t.Errorf("launched %d machines for two runs", n)
		}
		c.isOf(t, got[0], secondRun, 9000)
		c.release(p, got...)
	} else {
		c.release(p, withTokens(make([]broker.Machine, 1), second)...)
	}
	time.Sleep(12 * time.Minute) // what is idle ends
	c.clean(p, c.sim.State().Launched)
}

func TestOwned_TellsIdleMachines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		dir := t.TempDir()
		p := c.open(dir, keeping)
		got := c.acquire(p, requests(2, nil))
		before, err := p.Owned(t.Context(), brokerID)
		if err != nil || len(before) != 2 || before[0].Idle || before[1].Idle {
			t.Fatalf("in use: %+v, %v", before, err)
		}
		c.release(p, got...)
		idle, err := p.Owned(t.Context(), brokerID)
		if err != nil || len(idle) != 2 || !idle[0].Idle || !idle[1].Idle {
			t.Fatalf("idle: %+v, %v", idle, err)
		}
		second := c.acquire(p, requests(1, ofSecond))
		for _, o := range append(before, idle...) { // lists that are too old to act on
			if o.ProviderID == second[0].ProviderID || !o.Idle {
				if err := p.Discard(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		}
		if n := c.sim.State().Alive; n != 2 {
			t.Errorf("%d machines are left, want that of the second run and the idle one", n)
		}
		// The next broker keeps nothing of this one's.
		next := c.open(dir, keeping)
		after, err := next.Owned(t.Context(), brokerID)
		if err != nil || len(after) != 2 || after[0].Idle || after[1].Idle {
			t.Errorf("after a restart: %+v, %v; want none idle", after, err)
		}
		last := c.open(t.TempDir(), nil) // as loads reap does it, without anything
		c.reap(last)
		c.clean(last, 2)
	})
}

func TestAcquire_EndsIdleMachinesForTheQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drill := quick()
		drill.Limits.OnDemandVCPUs, drill.Delays.Terminating = 8, ec2sim.Fixed(40*time.Second)
		c := startCloud(t, drill)
		p := c.open(t.TempDir(), keeping)
		defer tend(t, p)()
		c.release(p, c.acquire(p, requests(4, nil))...)
		others := requests(4, func(r *broker.MachineRequest) { ofSecond(r); r.Type = "c5.large" })
		q, err := p.Quote(t.Context(), others)
		if err != nil || len(q.Faults) > 0 || len(q.Quotas) != 1 || q.Quotas[0].Used != 0 {
			t.Errorf("quote %+v, %v; want idle machines not to count", q, err)
		}
		plain, err := c.open(t.TempDir(), nil).Quote(t.Context(), others)
		if err != nil || q.Lines[0].Beyond-plain.Lines[0].Beyond != 11*time.Minute {
			t.Errorf("a machine is paid for %v longer than its life, want eleven minutes more than %v, as it waits", q.Lines[0].Beyond, plain.Lines[0].Beyond)
		}
		got := c.acquire(p, others)
		c.release(p, got...)
		c.reap(p)
		c.clean(p, 8)
	})
}

func TestStandby_EndsNoMachineForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drill := quick()
		drill.Limits.OnDemandVCPUs = 4
		c := startCloud(t, drill)
		p := c.open(t.TempDir(), func(cfg *aws.Config) {
			keeping(cfg)
			cfg.Standby = []aws.Standby{{Region: virginia, Type: "m5.large", Count: 1}, {Region: virginia, Type: "c5.large", Count: 2}}
		})
		defer tend(t, p)()
		time.Sleep(time.Hour) // there is no quota for three, and there never are
		if s := c.sim.State(); s.Launched != 2 || s.Alive != 2 {
			t.Errorf("%d launched, %d alive, want the two that the quota allows", s.Launched, s.Alive)
		}
		// A run comes before what stands by.
		got := c.acquire(p, requests(2, func(r *broker.MachineRequest) { ofSecond(r); r.Type = "m6g.large" }))
		if len(got) != 2 {
			t.Errorf("got %d machines", len(got))
		}
	})
}

func TestStandby_KeepsMachinesReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := startCloud(t, quick())
		dir := t.TempDir()
		p := c.open(dir, func(cfg *aws.Config) {
			keeping(cfg)
			cfg.Lease = time.Hour // so that there is not that much to renew
			cfg.Standby = []aws.Standby{{Region: virginia, Type: "m5.large", Count: 2}}
		})
		stop := tend(t, p)
		time.Sleep(time.Minute)
		if s := c.sim.State(); s.Launched != 2 || s.Alive != 2 {
			t.Fatalf("%d launched, %d alive, want two", s.Launched, s.Alive)
		}
		c.allKept(p) // and they are no leftovers
		got := c.acquire(p, requests(2, func(r *broker.MachineRequest) {
			ofSecond(r)
			r.VolumeGB, r.Container, r.ContainerURL = 0, "app:1", "file:///app.tar"
		}))
		if n := c.sim.State().Launched; n > 4 {
			t.Errorf("%d launched", n)
		}
		if !got[0].Reused || !got[1].Reused { // though no run had them before
			t.Errorf("got %+v, want machines that were there before", got)
		}
		wantReused(t, p, secondRun, 2)
		time.Sleep(time.Minute) // others take their place
		if s := c.sim.State(); s.Launched != 4 || s.Alive != 4 {
			t.Errorf("%d launched, %d alive, want four", s.Launched, s.Alive)
		}
		c.haveImage(t, p, "app:1 file:///app.tar")
		c.release(p, got...)
		time.Sleep(11 * time.Minute)
		if n := c.sim.State().Alive; n != 2 {
			t.Errorf("%d alive when runs are over, want two", n)
		}
		time.Sleep(40 * time.Hour) // certificates end, and others take their place
		if n := c.sim.State().Alive; n != 2 {
			t.Errorf("%d alive after days, want two", n)
		}
		c.allKept(p)
		stop()
		p = c.open(dir, keeping)
		defer tend(t, p)()
		time.Sleep(time.Minute) // those of the broker before are ended
		c.clean(p, c.sim.State().Launched)
	})
}

// Each run begins while the one before has its machine.
func TestPool_ForgetsTheZonesOfRunsWhoseMachinesAreGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const runs = 4
		c := startCloud(t, quick())
		p := c.open(t.TempDir(), nil)
		var before []broker.Machine
		for i := range runs {
			got := c.acquire(p, requests(1, func(r *broker.MachineRequest) { r.RunUUID, r.Token = fmt.Sprint("run-", i), fmt.Sprint("of-", i) }))
			if n := p.Homes(virginia); n != min(i+1, 2) {
				t.Errorf("the zones of %d runs are known in run %d, want those of the runs with machines, %d", n, i, min(i+1, 2))
			}
			c.release(p, before...)
			before = got
		}
		c.release(p, before...)
		c.clean(p, runs)
	})
}

// allKept checks that the reaper would pass over all machines.
func (c *cloud) allKept(p *aws.Pool) {
	c.t.Helper()
	owned, err := p.Owned(c.t.Context(), brokerID)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range owned {
		if !o.Idle && o.Kind == "instance" {
			c.t.Errorf("%s is not kept: %+v", o.ProviderID, o)
		}
	}
}

// haveImage checks that machines that stand by were asked for the image, once.
func (c *cloud) haveImage(t *testing.T, p *aws.Pool, want string) {
	t.Helper()
	owned, err := p.Owned(t.Context(), brokerID)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range c.sim.Machines() {
		i := slices.IndexFunc(owned, func(o broker.Owned) bool { return filepath.Base(o.ProviderID) == in.ID && o.Idle })
		if i < 0 {
			continue
		}
		c.on(broker.Machine{Address: in.PrivateIP}, func(d *dock) {
			if !slices.Equal(d.images, []string{want}) {
				t.Errorf("machine %s was asked for the images %q, want %q", in.ID, d.images, want)
			}
		})
	}
}

func wantReused(t *testing.T, p *aws.Pool, run string, n int) {
	t.Helper()
	if r, err := p.Receipt(t.Context(), run); err != nil || r.Reused != n {
		t.Errorf("receipt %+v, %v; want %d machines used again", r, err, n)
	}
}
