package drills_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
)

// An exactly is what has to come of a drill in which one thing goes wrong, at
// one moment, and nothing else.
type exactly struct {
	verdict  broker.Verdict
	reason   string // that the verdict's has in it
	launched int
}

// wrong says where the outcome is another than exactly what was to come.
func (d *drill) wrong(o *outcome) (faults []string) {
	if d.want == nil {
		return nil
	}
	run := o.report.Run
	if run.Verdict != d.want.verdict || !strings.Contains(run.Reason, d.want.reason) {
		faults = append(faults, fmt.Sprintf("the verdict is %s (%s), want %s (%s)", run.Verdict, run.Reason, d.want.verdict, d.want.reason))
	}
	if len(o.made) != d.want.launched {
		faults = append(faults, fmt.Sprintf("%d machines were launched, want %d", len(o.made), d.want.launched))
	}
	return faults
}

// lone are the faults that the simulator knows, each alone. Those that strike do
// so while all machines work.
var lone = []struct {
	scenario
	strike *ec2sim.Fault
	want   exactly
	real   bool // it means something else on machines that are real
}{
	{scenario{name: "no capacity", machines: 2, nowhere: true, faults: only(ec2sim.Fault{Name: ec2sim.NoCapacity})}, nil, exactly{broker.Errored, "EC2 has no room", 0}, false},
	{scenario{name: "throttled", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.Throttled, Action: "RunInstances", Count: 10})}, nil, exactly{broker.Pass, "", 2}, false},
	{scenario{name: "an error after doing it", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.ErrorAfter, Action: "RunInstances", Count: 3})}, nil, exactly{broker.Pass, "", 2}, false},
	{scenario{name: "the answer is lost", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.AnswerLost, Action: "RunInstances", Count: 3})}, nil, exactly{broker.Pass, "", 2}, false},
	{scenario{name: "never boots", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.NeverBoots, Count: 1})}, nil, exactly{broker.Pass, "", 3}, false},
	{scenario{name: "boots without Docker", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.NoDocker, Count: 1})}, nil, exactly{broker.Pass, "", 3}, true},
	{scenario{name: "a full disk", machines: 1, faults: only(ec2sim.Fault{Name: ec2sim.DiskFull, Count: 1})}, nil, exactly{broker.Pass, "", 2}, true},
	{scenario{name: "a wrong clock", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.ClockWrong, By: ec2sim.Duration(time.Minute), Count: 1})}, nil, exactly{broker.Invalid, "the clock of work/", 2}, false},
	{scenario{name: "one of two dies", machines: 2, work: time.Minute, faults: only()}, &ec2sim.Fault{Name: ec2sim.Dies}, exactly{broker.Invalid, "only 1 of the 2 machines of step work lasted", 2}, true},
	{scenario{name: "the only one dies", machines: 1, work: time.Minute, faults: only()}, &ec2sim.Fault{Name: ec2sim.Dies}, exactly{broker.Errored, "all its machines were lost", 1}, false},
	{scenario{name: "a spot machine is taken", machines: 2, quorum: 1, work: time.Minute, fields: "spot: only", faults: only()}, &ec2sim.Fault{Name: ec2sim.SpotTaken}, exactly{broker.Pass, "", 2}, true},
	{scenario{name: "one is cut off", machines: 2, work: time.Minute, faults: only()}, &ec2sim.Fault{Name: ec2sim.NetworkCut}, exactly{broker.Invalid, "only 1 of the 2 machines of step work lasted", 2}, true},
	{scenario{name: "one is cut off for a moment", machines: 2, work: 20 * time.Second, short: true, faults: only()}, &ec2sim.Fault{Name: ec2sim.NetworkCut, For: ec2sim.Duration(4 * time.Second)}, exactly{broker.Pass, "", 2}, true},
}

// eachAlone drills each of the lone faults on one cloud, and nothing else.
func eachAlone(t *testing.T, c course, real bool) {
	t.Helper()
	m := newMix(t, c)
	var drills sync.WaitGroup
	for n, l := range lone {
		if real && !l.real {
			continue
		}
		d := &drill{
			scenario: l.scenario, n: n, run: uuid.NewString(), region: regions[n%len(regions)], machines: l.machines,
			armed: l.faults(nil), strike: l.strike, want: &l.want,
		}
		d.bind()
		drills.Go(func() { m.drill(d) })
	}
	drills.Wait()
	m.end()
}

// TestFaults_EachAloneOnLightMachines says of each fault what comes of it.
func TestFaults_EachAloneOnLightMachines(t *testing.T) {
	t.Parallel()
	eachAlone(t, course{
		host: lightHost, node: emptyNode(t), cloud: calmCloud(), boot: 20 * time.Second, lost: 10 * time.Second,
	}, false)
}

// TestFaults_EachAloneOnRealMachines does so of those that mean most on machines
// with a kernel, a disk and a network.
func TestFaults_EachAloneOnRealMachines(t *testing.T) {
	t.Parallel()
	eachAlone(t, course{
		host: realHost, node: binDir, cloud: calmCloud(), boot: time.Minute, lost: 15 * time.Second,
	}, true)
}

// calmCloud is one in which nothing goes wrong by itself.
func calmCloud() ec2sim.Drill {
	d := ec2sim.DefaultDrill()
	d.Delays.Notice = ec2sim.Fixed(15 * time.Second) // two minutes would be too long for a test
	return d
}
