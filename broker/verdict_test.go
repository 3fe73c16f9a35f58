package broker

import (
	"strings"
	"testing"

	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

func TestVerdictsComeInTheirOrder(t *testing.T) {
	held := []CriterionResult{{Name: "a", State: CriterionHeld}}
	failed := []CriterionResult{{Name: "a", State: CriterionHeld}, {Name: "b", State: CriterionFailed, Detail: "no such metric"}}
	fault := []string{"the ledger does not balance"}
	for _, tt := range []struct {
		desc       string
		concluded  Verdict
		criteria   []CriterionResult
		instrument []string
		on         strategies.OnInvalid
		want       Verdict
		reason     string
	}{
		{"nothing wrong", "", held, nil, "", Pass, ""},
		{"no criteria", "", nil, nil, "", Pass, ""},
		{"a criterion failed", "", failed, nil, "", Fail, "Criterion b failed: no such metric."},
		{"a criterion was not judged", "", []CriterionResult{{Name: "a", State: CriterionPending}}, nil, "", Fail, "Criterion a pending."},
		{"an instrument at fault", "", held, fault, "", Invalid, "ledger"},
		{"is before a failed criterion", "", failed, fault, strategies.InvalidFails, Invalid, "ledger"},
		{"a warning leaves a pass", "", held, fault, strategies.InvalidWarns, Pass, ""},
		{"and a failure", "", failed, fault, strategies.InvalidWarns, Fail, "Criterion b"},
		{"an error is before all that", Errored, failed, fault, "", Errored, "as it was"},
		{"and so is an abort", Aborted, failed, fault, strategies.InvalidWarns, Aborted, "as it was"},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			j := Judgement{Done: true, Criteria: tt.criteria, Instrument: tt.instrument}
			got, reason := j.decide(tt.concluded, "as it was", tt.on)
			if got != tt.want || !strings.Contains(reason, tt.reason) || tt.reason == "" && reason != "" {
				t.Errorf("got %s, %q; want %s, %q", got, reason, tt.want, tt.reason)
			}
		})
	}
}

// secondsOfTimer makes a series with a timer t that has the given value in each
// second, none where it is negative, and a counter c of 1 in each.
func secondsOfTimer(values ...float64) *metrics.Series {
	s := metrics.NewSeries()
	for i, v := range values {
		points := []metrics.Point{{Kind: metrics.Counter, Name: "c", Value: 1}}
		if v >= 0 {
			sketch := metrics.NewSketch()
			sketch.Add(v, 1)
			points = append(points, metrics.Point{Kind: metrics.Timer, Name: "t", Sketch: sketch})
		}
		s.Add("load", 0, metrics.Frame{Version: metrics.Version, Seq: uint64(i + 1), Time: int64(i+1) * secondMs, Points: points})
	}
	return s
}

func TestSecondsInARowMakeACriterionWithForFail(t *testing.T) {
	const none = -1
	for _, tt := range []struct {
		desc   string
		expr   string
		values []float64
		state  CriterionState
		at     int64
	}{
		{"good throughout", `p95("t") < 10`, []float64{1, 1, 1, 1, 1}, CriterionHeld, 0},
		{"bad, but not for long enough", `p95("t") < 10`, []float64{1, 99, 99, 1, 99, 99}, CriterionHeld, 0},
		{"bad for long enough", `p95("t") < 10`, []float64{1, 99, 99, 99, 1}, CriterionFailed, 4000},
		{"a silent second neither breaks a row nor makes it longer", `p95("t") < 10`, []float64{1, 99, none, 99, none, 99}, CriterionFailed, 6000},
		{"good in no second", `p95("t") < 10`, []float64{99, 99}, CriterionFailed, 0},
		{"never measured", `p95("u") < 10`, []float64{1, 1, 1, 1}, CriterionFailed, 0},
		{"nothing counted is zero", `count("t") > 0`, []float64{1, none, none, none}, CriterionFailed, 4000},
	} {
		t.Run(tt.desc, func(t *testing.T) {
			s := secondsOfTimer(tt.values...)
			end := int64(len(tt.values)) * secondMs
			whole, steps := mustGauge(t, tt.expr), mustGauge(t, tt.expr)
			whole.advance(s, span{0, end})
			for to := int64(secondMs); to <= end; to += secondMs {
				steps.advance(s, span{0, to})
			}
			for how, g := range map[string]*criterionGauge{"at once": whole, "second by second": steps} {
				if r := g.result(true); r.State != tt.state || r.FailedAt != tt.at {
					t.Errorf("%s: %s at %d (%s), want %s at %d", how, r.State, r.FailedAt, r, tt.state, tt.at)
				}
			}
		})
	}
}

func mustGauge(t *testing.T, expr string) *criterionGauge {
	t.Helper()
	g, err := newGauge(strategies.Criterion{Expr: expr, For: 3})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLastFramesOfLostMachinesAreTheQuorumsBusiness(t *testing.T) {
	plan := strategies.Plan{Steps: []strategies.Step{{Name: "load", InstanceCount: 2}}}
	started := utcNow()
	machines := []Machine{
		{RelayID: "a", FramesFinal: true, State: MachinePrepared, StartedAt: started},
		{RelayID: "b", Index: 1, State: MachineLost, StartedAt: started},
	}
	ledger := metrics.Ledger{Sent: 10, Stored: 10, Open: 1}
	if faults := ledgerFaults(plan, ledger, machines); len(faults) > 0 {
		t.Errorf("ledger: %v, want nothing", faults)
	}
	records := []StepRecord{{StartedAt: started}}
	if faults := quorumFaults(plan, records, machines); len(faults) != 1 {
		t.Errorf("quorum of all: %v, want one fault", faults)
	}
	plan.Steps[0].Quorum = 1
	if faults := quorumFaults(plan, records, machines); len(faults) > 0 {
		t.Errorf("quorum of one: %v, want nothing", faults)
	}
	ledger.Stored = 8
	if faults := ledgerFaults(plan, ledger, machines); len(faults) != 1 || !strings.Contains(faults[0], "2 missing") {
		t.Errorf("ledger: %v, want it to say that 2 are missing", faults)
	}
}

func TestOutputThatWasLostIsAFaultOfTheInstrument(t *testing.T) {
	for _, row := range []struct {
		name     string
		received metrics.Received
		want     string // part of the only fault; empty for none
	}{
		{"all was read, some gave no number", metrics.Received{LogLines: 10, LogValues: 7, LogMalformed: 3}, ""},
		{"bytes that are known", metrics.Received{LogLines: 10, LogLost: 4096}, "4096 bytes of containers' output were lost"},
		{"as much as nobody knows", metrics.Received{LogLines: 10, LogGaps: 2}, "unknown length was lost, 2 times"},
	} {
		t.Run(row.name, func(t *testing.T) {
			faults := ledgerFaults(strategies.Plan{}, metrics.Ledger{Received: row.received, Balance: true}, nil)
			if row.want == "" && len(faults) == 0 {
				return
			}
			if len(faults) != 1 || row.want == "" || !strings.Contains(faults[0], row.want) {
				t.Errorf("got %q, want %q", faults, row.want)
			}
		})
	}
}
