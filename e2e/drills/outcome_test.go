package drills_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/aws/ec2sim"
	"github.com/loads/loads/broker"
)

// An outcome is how a drill ended, as the broker tells it and as it was.
type outcome struct {
	*drill
	report   api.Report
	made     []ec2sim.MachineInfo            // for the run, the oldest first
	left     []ec2sim.Thing                  // of the run
	byNumber map[string][]ec2sim.MachineInfo // of the machine that they were launched for
	boots    time.Duration                   // how long a machine is given to boot
}

func newOutcome(d *drill, report api.Report, made []ec2sim.MachineInfo, left []ec2sim.Thing, boots time.Duration) *outcome {
	o := &outcome{drill: d, report: report, made: made, left: left, byNumber: map[string][]ec2sim.MachineInfo{}, boots: boots}
	for _, m := range made {
		number := ""
		if all := strings.Fields(m.Tags["loads:machine"]); m.Index < len(all) {
			number = all[m.Index]
		}
		o.byNumber[number] = append(o.byNumber[number], m)
	}
	return o
}

// faults says all that is wrong with the outcome.
func (o *outcome) faults() []string {
	return slices.Concat(o.verdictFaults(), o.launchFaults(), o.cleanupFaults())
}

// useless are what a machine can suffer from so that another is launched in its
// place, and harmful those of them that may come later, while it is used.
var (
	useless = []ec2sim.FaultName{
		ec2sim.NeverBoots, ec2sim.NoDocker, ec2sim.DiskFull, ec2sim.Dies, ec2sim.SpotTaken, ec2sim.NetworkCut,
	}
	harmful = []ec2sim.FaultName{ec2sim.Dies, ec2sim.SpotTaken, ec2sim.NetworkCut}
)

func met(m ec2sim.MachineInfo, any []ec2sim.FaultName) bool {
	return slices.ContainsFunc(m.Faults, func(f ec2sim.FaultName) bool { return slices.Contains(any, f) })
}

// right are the verdicts that what met the run explains. Machines that were
// replaced before the steps began don't matter; those that it was given are the
// last of their number.
//
//	what met the machines that were given        right is
//	nothing, or a moment without network         PASS
//	a wrong clock                                INVALID
//	death, so that a quorum is left              PASS
//	death, so that none is left                  INVALID or ERROR; PASS if its work was done before
//	no machine could be had                      ERROR
//	an abort that came in time                   ABORTED
func (o *outcome) right() []broker.Verdict {
	if o.report.Run.Aborted {
		return []broker.Verdict{broker.Aborted}
	}
	if o.nowhere {
		return []broker.Verdict{broker.Errored}
	}
	harmed, clock := 0, false
	for _, machines := range o.byNumber {
		given := machines[len(machines)-1]
		if met(given, harmful) && !o.short {
			harmed++
		}
		clock = clock || met(given, []ec2sim.FaultName{ec2sim.ClockWrong})
	}
	switch {
	case clock:
		return []broker.Verdict{broker.Invalid}
	case harmed > 0 && (o.quorum == 0 || len(o.byNumber)-harmed < o.quorum):
		return []broker.Verdict{broker.Pass, broker.Invalid, broker.Errored}
	}
	return []broker.Verdict{broker.Pass}
}

func (o *outcome) verdictFaults() (faults []string) {
	run := o.report.Run
	if right := o.right(); !slices.Contains(right, run.Verdict) {
		faults = append(faults, fmt.Sprintf("the verdict is %s (%s), right is %v", run.Verdict, run.Reason, right))
	}
	if run.Verdict != broker.Pass && run.Reason == "" {
		faults = append(faults, fmt.Sprintf("the verdict %s has no reason", run.Verdict))
	}
	if strings.Contains(run.Reason, "\n") {
		faults = append(faults, fmt.Sprintf("the reason has more than one line: %q", run.Reason))
	}
	return faults
}

// launchFaults says what was launched that should not have been, or wasn't: one
// machine for each that was asked for, and another only in the place of one that
// came to nothing and was ended before. One that nothing was wrong with must have
// had its time to boot: on a busy computer that may pass.
func (o *outcome) launchFaults() (faults []string) {
	for number, machines := range o.byNumber {
		for i, m := range machines[:len(machines)-1] {
			if lived := m.Ended.Sub(m.Launched); !met(m, useless) && lived < o.boots-time.Second {
				faults = append(faults, fmt.Sprintf("%s was launched for machine %s and given up after %v, though nothing was wrong with it", m.ID, number, lived))
			}
			// EC2 tells when machines were launched by the second.
			if next := machines[i+1]; next.Launched.Add(time.Second).Before(m.Ended) {
				faults = append(faults, fmt.Sprintf("%s was launched for machine %s while %s was there", next.ID, number, m.ID))
			}
		}
		for _, m := range machines {
			if m.Tags["loads:token"] == "" || number == "" {
				faults = append(faults, fmt.Sprintf("%s has only the tags %v", m.ID, m.Tags))
			}
		}
	}
	asked, least := o.machines, o.machines
	for _, f := range o.armed {
		if f.Room > 0 { // one that comes to nothing leaves its room to another
			least = f.Room
		}
	}
	n := len(o.byNumber)
	switch {
	case o.nowhere || o.report.Run.Verdict == broker.Aborted || o.report.Run.Verdict == broker.Errored:
		if n > asked {
			faults = append(faults, fmt.Sprintf("machines were launched for %d, asked for were %d", n, asked))
		}
	case n < least || n > asked:
		faults = append(faults, fmt.Sprintf("machines were launched for %d, asked for were %d, and at least %d could be had", n, asked, least))
	}
	return faults
}

// cleanupFaults says what is left, and where the broker's account is another
// than the simulator's.
func (o *outcome) cleanupFaults() (faults []string) {
	for _, thing := range o.left {
		faults = append(faults, fmt.Sprintf("left is %s of %s", thing.ID, thing.Kind))
	}
	for _, m := range o.made {
		if m.State != "terminated" {
			faults = append(faults, fmt.Sprintf("%s is %s", m.ID, m.State))
		}
	}
	for _, m := range o.report.Machines {
		if m.State != broker.MachineReleased {
			faults = append(faults, fmt.Sprintf("machine %d (%s) is %s", m.Index, m.ProviderID, m.State))
		}
	}
	run := o.report.Run
	if run.Cleanup != broker.CleanupDone {
		faults = append(faults, fmt.Sprintf("cleanup is %s: %s", run.Cleanup, run.CleanupDetail))
	}
	if len(run.Receipts) == 0 && len(o.report.Machines) == 0 && len(o.made) == 0 {
		return faults // it was aborted before any was asked for
	}
	if len(run.Receipts) != 1 {
		return append(faults, fmt.Sprintf("the run has %d receipts", len(run.Receipts)))
	}
	if r := run.Receipts[0]; r.Launched != len(o.made) || r.Terminated != len(o.made) || len(r.Left) > 0 || r.Fault != "" {
		faults = append(faults, fmt.Sprintf("the receipt says: %s; launched were %d", r, len(o.made)))
	}
	return faults
}
