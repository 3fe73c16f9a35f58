package drills_test

import (
	"fmt"
	"math/rand/v2"
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

// A loneFault is one that nothing else goes wrong beside.
type loneFault struct {
	scenario
	strike ec2sim.FaultName // comes upon the first machine while all work
	length time.Duration    // of the strike, when it passes
	want   exactly
	real   bool // it is drilled on real machines, too
}

// launching is a fault of calls that launch.
func launching(name ec2sim.FaultName, count int) func(*rand.Rand) []ec2sim.Fault {
	return only(ec2sim.Fault{Name: name, Action: "RunInstances", Count: count})
}

// lone are the faults that the simulator knows, each alone.
var lone = []loneFault{
	{
		scenario: scenario{name: "no capacity", machines: 2, nowhere: true, faults: only(ec2sim.Fault{Name: ec2sim.NoCapacity})},
		want:     exactly{broker.Errored, "EC2 has no room", 0},
	},
	{scenario: scenario{name: "throttled", machines: 2, faults: launching(ec2sim.Throttled, 10)}, want: exactly{broker.Pass, "", 2}},
	{scenario: scenario{name: "an error after doing it", machines: 2, faults: launching(ec2sim.ErrorAfter, 3)}, want: exactly{broker.Pass, "", 2}},
	{scenario: scenario{name: "the answer is lost", machines: 2, faults: launching(ec2sim.AnswerLost, 3)}, want: exactly{broker.Pass, "", 2}},
	{
		scenario: scenario{name: "never boots", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.NeverBoots, Count: 1})},
		want:     exactly{broker.Pass, "", 3},
	},
	{
		scenario: scenario{name: "boots without Docker", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.NoDocker, Count: 1})},
		want:     exactly{broker.Pass, "", 3}, real: true,
	},
	{
		scenario: scenario{name: "a full disk", machines: 1, faults: only(ec2sim.Fault{Name: ec2sim.DiskFull, Count: 1})},
		want:     exactly{broker.Pass, "", 2}, real: true,
	},
	{
		scenario: scenario{name: "a wrong clock", machines: 2, faults: only(ec2sim.Fault{Name: ec2sim.ClockWrong, By: ec2sim.Duration(time.Minute), Count: 1})},
		want:     exactly{broker.Invalid, "the clock of work/", 2},
	},
	{
		scenario: scenario{name: "one of two dies", machines: 2, work: time.Minute, faults: only()},
		strike:   ec2sim.Dies, want: exactly{broker.Invalid, "only 1 of the 2 machines of step work lasted", 2}, real: true,
	},
	{
		scenario: scenario{name: "the only one dies", machines: 1, work: time.Minute, faults: only()},
		strike:   ec2sim.Dies, want: exactly{broker.Errored, "all its machines were lost", 1},
	},
	{
		scenario: scenario{name: "a spot machine is taken", machines: 2, quorum: 1, work: time.Minute, fields: "spot: only", faults: only()},
		strike:   ec2sim.SpotTaken, want: exactly{broker.Pass, "", 2}, real: true,
	},
	{
		scenario: scenario{name: "one is cut off", machines: 2, work: time.Minute, faults: only()},
		strike:   ec2sim.NetworkCut, want: exactly{broker.Invalid, "only 1 of the 2 machines of step work lasted", 2}, real: true,
	},
	{
		scenario: scenario{name: "one is cut off for a moment", machines: 2, work: 20 * time.Second, short: true, faults: only()},
		strike:   ec2sim.NetworkCut, length: 4 * time.Second, want: exactly{broker.Pass, "", 2}, real: true,
	},
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
			armed: l.faults(nil), want: &l.want,
		}
		if l.strike != "" {
			d.strike = &ec2sim.Fault{Name: l.strike, For: ec2sim.Duration(l.length)}
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
		host: lightHost, node: emptyNode(t), cloud: calmCloud(), boots: lightBoots,
	}, false)
}

// calmCloud is one in which nothing goes wrong by itself.
func calmCloud() ec2sim.Drill {
	d := ec2sim.DefaultDrill()
	d.Delays.Notice = ec2sim.Fixed(15 * time.Second) // two minutes would be too long for a test
	return d
}
