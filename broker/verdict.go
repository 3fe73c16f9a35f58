package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// CriterionState is where a criterion of a run stands.
type CriterionState string

// The states of a criterion.
const (
	CriterionPending CriterionState = "pending" // not judged yet
	CriterionHeld    CriterionState = "held"    // the run fulfils it
	CriterionFailed  CriterionState = "failed"  // the run does not, or nothing was measured
)

// A CriterionResult is what became of one criterion of a run.
type CriterionResult struct {
	Name  string         `json:"name"`
	Expr  string         `json:"expr"`
	State CriterionState `json:"state"`
	// Value and Limit are the sides of the comparison, and Bound the limit as
	// written; absent when the expression is not one comparison.
	Value    *float64             `json:"value,omitempty"`
	Limit    *float64             `json:"limit,omitempty"`
	Bound    string               `json:"bound,omitempty"`
	Readings []strategies.Reading `json:"readings,omitempty"` // of all functions in it
	Detail   string               `json:"detail,omitempty"`   // what there is to say beyond the figures
	// FailedAt is the end of the second in which it failed while the run went
	// on, Unix ms; 0 when it was judged at the end.
	FailedAt int64 `json:"failed_at,omitempty"`
	Stopped  bool  `json:"stopped,omitempty"` // it ended the run
}

// String says in one sentence what became of the criterion.
func (r CriterionResult) String() string {
	figures := ""
	switch {
	case r.Value != nil:
		figures = fmt.Sprintf("%.6g, limit %s", *r.Value, r.Bound)
	case len(r.Readings) > 0:
		var parts []string
		for _, reading := range r.Readings {
			parts = append(parts, fmt.Sprintf("%s = %.6g", reading.Call, reading.Value))
		}
		figures = strings.Join(parts, ", ")
	}
	text := fmt.Sprintf("Criterion %s %s", r.Name, r.State)
	for _, part := range []string{figures, r.Detail} {
		if part != "" {
			text += ": " + part
		}
	}
	return text + "."
}

// A Judgement is what a run's verdict rests on.
type Judgement struct {
	Done     bool              `json:"done"`
	Criteria []CriterionResult `json:"criteria,omitempty"` // in the plan's order
	// Instrument says what was at fault with the instrument itself.
	Instrument []string `json:"instrument,omitempty"`
}

// stopper returns the criterion that ended the run, if one did.
func (j Judgement) stopper() (CriterionResult, bool) {
	for _, r := range j.Criteria {
		if r.Stopped {
			return r, true
		}
	}
	return CriterionResult{}, false
}

// decide gives the verdict and its reason. What keeps a result from being one
// comes first: an aborted run says nothing whatever else is wrong with it; one
// that did not go as planned measured something else; and figures of a faulty
// instrument prove neither a failure nor a pass.
func (j Judgement) decide(concluded Verdict, reason string, on strategies.OnInvalid) (Verdict, string) {
	if concluded == Aborted || concluded == Errored {
		return concluded, reason
	}
	if len(j.Instrument) > 0 && on != strategies.InvalidWarns {
		return Invalid, "The instrument was at fault: " + strings.Join(j.Instrument, "; ") + "."
	}
	var failed []string
	for _, r := range j.Criteria {
		if r.State != CriterionHeld {
			failed = append(failed, r.String())
		}
	}
	if len(failed) > 0 {
		return Fail, strings.Join(failed, " ")
	}
	return Pass, ""
}

// judge gives the verdict, once all metrics are home and before anything that
// it rests on is given back.
func (x *execution) judge(ctx context.Context) error {
	x.mu.Lock()
	before := x.run.Judgement
	records := append([]StepRecord(nil), x.run.StepRecords...)
	x.mu.Unlock()
	if before.Done {
		return nil
	}
	j := Judgement{Done: true, Criteria: x.judgeCriteria(records, before)}
	found, err := x.instrumentFaults(ctx, records)
	if err != nil {
		return err
	}
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return fmt.Errorf("read machines: %w", err)
	}
	x.seriesMu.Lock()
	j.Criteria = append(j.Criteria, benchmarkResults(x.ref.Plan, machines, x.series)...)
	notes := generatorNotes(x.ref.Plan, x.series)
	x.seriesMu.Unlock()
	j.Instrument = slices.Clone(before.Instrument)
	for _, fault := range found {
		if !slices.Contains(j.Instrument, fault) {
			j.Instrument = append(j.Instrument, fault)
		}
	}
	return x.update(ctx, func(run *Run) []Event {
		run.Judgement = j
		run.Verdict, run.Reason = j.decide(run.Verdict, run.Reason, x.ref.Plan.OnInvalid)
		var events []Event
		for _, r := range j.Criteria {
			events = append(events, criterionEvent(r))
		}
		for _, fault := range j.Instrument[len(before.Instrument):] {
			events = append(events, Event{Kind: EventNote, Text: "The instrument was at fault: " + fault + "."})
		}
		return append(append(events, notes...), Event{
			Kind: EventRun, State: Terminating.String(), Text: fmt.Sprintf("The verdict is %s.", run.Verdict),
		})
	})
}

func criterionEvent(r CriterionResult) Event {
	return Event{Kind: EventCriterion, State: string(r.State), Text: r.String()}
}

// instrumentFaults says, a phrase each, what was wrong with the means of
// measuring: the way of the metrics, the common start, the number of machines,
// and what those that make the load were short of. A new kind of fault is one
// more function here.
func (x *execution) instrumentFaults(ctx context.Context, records []StepRecord) ([]string, error) {
	ledger, err := x.b.cfg.Store.Ledger(ctx, x.ref.UUID)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	machines, err := x.b.cfg.Store.Machines(ctx, x.ref.UUID)
	if err != nil {
		return nil, fmt.Errorf("read machines: %w", err)
	}
	plan := x.ref.Plan
	faults := quorumFaults(plan, records, machines)
	faults = append(faults, ledgerFaults(plan, ledger, machines)...)
	faults = append(faults, clockFaults(plan, machines)...)
	faults = append(faults, skewFaults(plan, records)...)
	busy, err := x.processorFaults(ctx)
	if err != nil {
		return nil, err
	}
	x.seriesMu.Lock()
	defer x.seriesMu.Unlock()
	faults = append(append(faults, busy...), memoryFaults(plan, x.series)...)
	return append(faults, generatorFaults(plan, machines, x.series)...), nil
}

func relayFault(plan strategies.Plan, m Machine) string {
	return fmt.Sprintf("the relay of %s/%d ended before the run did", plan.Steps[m.Step].Name, m.Index)
}

// noteFault stores a fault of the instrument that is found before the end.
func (x *execution) noteFault(ctx context.Context, fault string) error {
	return x.update(ctx, func(run *Run) []Event {
		if slices.Contains(run.Judgement.Instrument, fault) {
			return nil
		}
		run.Judgement.Instrument = append(slices.Clone(run.Judgement.Instrument), fault)
		return []Event{{Kind: EventNote, Text: "The instrument was at fault: " + fault + "."}}
	})
}

// ledgerFaults tells when metrics are missing. The last frames of lost
// machines are not expected: how many of them may be lost is the quorum's
// business.
func ledgerFaults(plan strategies.Plan, l metrics.Ledger, machines []Machine) []string {
	var faults []string
	open := l.Open
	for _, m := range machines {
		if m.RelayID == "" || m.FramesFinal {
			continue
		}
		if m.State == MachineLost {
			open--
			continue
		}
		faults = append(faults, relayFault(plan, m))
	}
	if open > 0 || l.Sent != l.Stored || l.Broken > 0 || !l.Balance && l.Open == 0 {
		faults = append(faults, fmt.Sprintf("the ledger does not balance: %d frames sent, %d stored (%d missing), %d broken, %d machines without their last frame",
			l.Sent, l.Stored, int64(l.Sent)-int64(l.Stored), l.Broken, l.Open))
	}
	if l.KernelDropped > 0 {
		faults = append(faults, fmt.Sprintf("%d datagrams were lost, as a machine's socket buffer was full", l.KernelDropped))
	}
	if l.Refused > 0 {
		faults = append(faults, fmt.Sprintf("%d TCP connections for metrics were refused", l.Refused))
	}
	if l.LogLost > 0 {
		faults = append(faults, fmt.Sprintf("%d bytes of containers' output were lost, as the engine threw them away before they were read", l.LogLost))
	}
	if l.LogGaps > 0 {
		faults = append(faults, fmt.Sprintf("containers' output of unknown length was lost, %d times, as it could not be read in time or at all", l.LogGaps))
	}
	if l.Dropped > 0 {
		faults = append(faults, fmt.Sprintf("%d values were dropped, as there were too many series", l.Dropped))
	}
	return faults
}

// clockLimit is how far a machine's clock may be off, as it is measured when
// the machine is prepared. Starts are corrected for it; but the seconds of the
// machine's metrics are its own, and a criterion that looks at a step's time
// would not see them.
const clockLimit = 2 * time.Second

// clockFaults tells which machines count seconds that are not the broker's.
func clockFaults(plan strategies.Plan, machines []Machine) []string {
	var faults []string
	for _, m := range machines {
		if m.ClockOffset.Abs()-m.ClockError > clockLimit {
			faults = append(faults, fmt.Sprintf("the clock of %s/%d was %+.1f s off, %.0f s are the limit",
				plan.Steps[m.Step].Name, m.Index, m.ClockOffset.Seconds(), clockLimit.Seconds()))
		}
	}
	return faults
}

// skewFaults tells which steps did not start together.
func skewFaults(plan strategies.Plan, records []StepRecord) []string {
	var faults []string
	limit := float64(plan.SkewLimitMS())
	for _, rec := range records {
		if rec.SkewMS != nil && *rec.SkewMS > limit {
			faults = append(faults, fmt.Sprintf("the containers of step %s started %.1f ms apart, %.0f ms are the limit",
				plan.Steps[rec.Index].Name, *rec.SkewMS, limit))
		}
	}
	return faults
}

// quorumFaults tells which steps had too few machines to the end. A machine
// whose turn to start never came counts as missing, too.
func quorumFaults(plan strategies.Plan, records []StepRecord, machines []Machine) []string {
	var faults []string
	for _, rec := range records {
		step := plan.Steps[rec.Index]
		if rec.StartedAt == nil || step.Monitor {
			continue
		}
		lasted := 0
		for _, m := range machines {
			if m.Step == rec.Index && m.State != MachineLost && m.StartedAt != nil {
				lasted++
			}
		}
		if lasted < step.Enough() {
			faults = append(faults, fmt.Sprintf("only %d of the %d machines of step %s lasted, %d are needed",
				lasted, step.InstanceCount, step.Name, step.Enough()))
		}
	}
	return faults
}
