package drills_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/aws/ec2sim"
)

// A drill is one run, and what goes wrong under it. It is drawn from a seed and
// its number, so that the same seed draws it again.
type drill struct {
	scenario
	n        int
	run      string // uuid of the run, which all faults are bound to
	region   string
	machines int
	armed    []ec2sim.Fault
	abort    time.Duration // after the start; 0 is never
	strike   *ec2sim.Fault // that comes upon the first machine while all work
	want     *exactly      // what has to come of it, when that is known
}

// String names the drill in messages.
func (d *drill) String() string { return fmt.Sprintf("drill %d (%s)", d.n, d.name) }

// A scenario is a sort of drill.
type scenario struct {
	name     string
	share    int    // of the mix
	machines int    // of the step; 0 is one or two
	quorum   int    // of the step
	fields   string // more of the step, in YAML
	abort    bool
	work     time.Duration // that machines work for; 0 is three seconds
	// faults are those that are bound to the run.
	faults func(r *rand.Rand) []ec2sim.Fault
	// nowhere says that no machine can be had, by no way.
	nowhere bool
	// short says that what comes upon machines passes before they are given up.
	short bool
	// long says that a machine has to be waited for in vain.
	long bool
}

func only(faults ...ec2sim.Fault) func(*rand.Rand) []ec2sim.Fault {
	return func(*rand.Rand) []ec2sim.Fault { return slices.Clone(faults) }
}

// sometime draws when a fault comes upon a machine: from its birth to after its
// work is done.
func sometime(name ec2sim.FaultName) func(*rand.Rand) []ec2sim.Fault {
	return func(r *rand.Rand) []ec2sim.Fault {
		at := time.Duration(r.IntN(12000)) * time.Millisecond
		return []ec2sim.Fault{{Name: name, Count: 1, At: ec2sim.Fixed(at)}}
	}
}

// times draws how many launches go wrong.
func times(most int, name ec2sim.FaultName) func(*rand.Rand) []ec2sim.Fault {
	return func(r *rand.Rand) []ec2sim.Fault {
		return []ec2sim.Fault{{Name: name, Action: "RunInstances", Count: 1 + r.IntN(most)}}
	}
}

// scenarios are every fault that the simulator knows, and a few more.
var scenarios = []scenario{
	{name: "nothing", share: 4, faults: only()},
	{name: "aborted", share: 3, abort: true, faults: only()},

	{name: "no capacity for a type", share: 3, fields: "instance_types: [c5.large]", faults: only(ec2sim.Fault{Name: ec2sim.NoCapacity, Type: "m5.large"})},
	{name: "no capacity now and then", share: 3, faults: only(ec2sim.Fault{Name: ec2sim.NoCapacity, Count: 1})},
	{name: "no capacity", share: 2, nowhere: true, faults: only(ec2sim.Fault{Name: ec2sim.NoCapacity})},
	{
		name: "no capacity for one of a quorum", share: 3, machines: 3, quorum: 2,
		faults: only(ec2sim.Fault{Name: ec2sim.NoCapacity, Room: 2}),
	},
	{name: "throttled", share: 4, faults: times(12, ec2sim.Throttled)},
	{name: "an error after doing it", share: 5, faults: times(3, ec2sim.ErrorAfter)},
	{name: "the answer is lost", share: 5, faults: times(3, ec2sim.AnswerLost)},

	{name: "one never boots", share: 4, long: true, faults: only(ec2sim.Fault{Name: ec2sim.NeverBoots, Count: 1})},
	{name: "one boots without Docker", share: 4, long: true, faults: only(ec2sim.Fault{Name: ec2sim.NoDocker, Count: 1})},
	{name: "a full disk", share: 3, long: true, faults: only(ec2sim.Fault{Name: ec2sim.DiskFull, Count: 1})},

	{name: "the only one dies", share: 4, machines: 1, faults: sometime(ec2sim.Dies)},
	{name: "one of three dies", share: 4, machines: 3, faults: sometime(ec2sim.Dies)},
	{name: "one dies, two are a quorum", share: 4, machines: 3, quorum: 2, faults: sometime(ec2sim.Dies)},
	{name: "one dies, none may", share: 2, machines: 2, fields: "prune_running: false", faults: sometime(ec2sim.Dies)},
	{name: "a spot machine is taken", share: 4, machines: 2, quorum: 1, fields: "spot: only", faults: sometime(ec2sim.SpotTaken)},
	{name: "one is cut off", share: 3, machines: 2, long: true, faults: sometime(ec2sim.NetworkCut)},
	{name: "one is cut off, two are a quorum", share: 3, machines: 3, quorum: 2, long: true, faults: sometime(ec2sim.NetworkCut)},
	{
		name: "one is cut off for a moment", share: 4, short: true,
		faults: func(r *rand.Rand) []ec2sim.Fault {
			cut := sometime(ec2sim.NetworkCut)(r)
			cut[0].For = ec2sim.Duration(500+r.IntN(2500)) * ec2sim.Duration(time.Millisecond)
			return cut
		},
	},
	{
		name: "a clock is wrong", share: 3,
		faults: func(r *rand.Rand) []ec2sim.Fault {
			by := time.Minute + time.Duration(r.IntN(7200))*time.Second
			if r.IntN(2) == 0 {
				by = -by
			}
			return []ec2sim.Fault{{Name: ec2sim.ClockWrong, By: ec2sim.Duration(by), Count: 1}}
		},
	},
}

// realScenarios are those that mean more on real machines, ten of them.
func realScenarios() []scenario {
	names := []string{
		"nothing", "aborted", "an error after doing it", "the answer is lost", "one never boots", "one boots without Docker", "a full disk",
		"one dies, two are a quorum", "a spot machine is taken", "one is cut off for a moment",
	}
	return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return !slices.Contains(names, s.name) })
}

// regions are where runs rent: each has call limits of its own.
var regions = []string{"us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1", "ap-southeast-2", "sa-east-1"}

// draw draws a drill. Every scenario comes as often as its share says, beginning
// with one of each.
func draw(seed uint64, n int, from []scenario) *drill {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	d := &drill{n: n, scenario: pick(r, n, from), region: regions[r.IntN(len(regions))]}
	d.run = uuid.Must(uuid.NewRandomFromReader(reader{r})).String()
	d.machines = d.scenario.machines
	if d.machines == 0 {
		d.machines = 1 + r.IntN(2)
	}
	if d.scenario.abort {
		d.abort = time.Duration(1+r.IntN(10000)) * time.Millisecond
	}
	d.armed = d.faults(r)
	if r.IntN(3) == 0 && !d.nowhere { // and calls for its machines go wrong
		d.armed = append(d.armed, times(2, []ec2sim.FaultName{ec2sim.Throttled, ec2sim.ErrorAfter, ec2sim.AnswerLost}[r.IntN(3)])(r)...)
	}
	d.bind()
	return d
}

// all draws the drills of a course. Those that take long begin first, so that the
// others go on meanwhile.
func all(c course) []*drill {
	var drills []*drill
	for n := range c.drills {
		drills = append(drills, draw(c.seed, n, c.from))
	}
	slices.SortStableFunc(drills, func(a, b *drill) int {
		switch {
		case a.long == b.long:
			return 0
		case a.long:
			return -1
		}
		return 1
	})
	return drills
}

// bind has the faults meet the run alone.
func (d *drill) bind() {
	for i := range d.armed {
		tags := map[string]string{"RunId": d.run}
		maps.Copy(tags, d.armed[i].Tags)
		d.armed[i].Tags = tags
	}
}

func pick(r *rand.Rand, n int, from []scenario) scenario {
	if n < len(from) {
		return from[n]
	}
	all := 0
	for _, s := range from {
		all += s.share
	}
	drawn := r.IntN(all)
	for _, s := range from {
		if drawn -= s.share; drawn < 0 {
			return s
		}
	}
	return from[0]
}

// A reader reads random bytes.
type reader struct{ *rand.Rand }

func (r reader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

// plan is what the drill runs: machines that work for a while.
func (d *drill) plan() string {
	step := fmt.Sprintf(`name: work, instance_region: %s, instance_type: m5.large, instance_count: %d, quorum: %d, run_max_time: 300,
     container_name: loads/node, additional_command_args: "sleep %v"`, d.region, d.machines, d.quorum, cmp.Or(d.work, 3*time.Second))
	if d.fields != "" {
		step += ", " + d.fields
	}
	return strings.Join([]string{
		fmt.Sprintf("name: drill-%d", d.n),
		"max_skew_ms: 120000 # a broker that is killed starts some later than others",
		"max_cpu_percent: 100 # this computer is all of the machines",
		"steps:",
		"  - {" + step + "}",
		"",
	}, "\n")
}
