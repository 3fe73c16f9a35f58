package api

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
)

func judgedRun(v broker.Verdict, reason string, instrument []string, states ...broker.CriterionState) Run {
	begin := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	value, limit := 312.5, 250.0
	run := Run{
		UUID: "3f2b7c1e-0000-4000-8000-000000000001", State: broker.Completed, Verdict: v, Reason: reason,
		ProjectName: "shop", PlanName: "checkout <fast> & \"safe\"", Owner: "ci\x00", Instrument: instrument,
		CreatedAt: Time{Time: begin}, CompletedAt: &Time{Time: begin.Add(61500 * time.Millisecond)},
		Versions: map[string]string{"loads": "v1"},
	}
	for i, state := range states {
		r := broker.CriterionResult{
			Name: "fast", Expr: `p95("req.latency") < 250`, State: state, Value: &value, Limit: &limit, Bound: "< 250",
		}
		if i > 0 {
			r = broker.CriterionResult{Name: `count("orders") > 0`, Expr: `count("orders") > 0`, State: state, Detail: "no such metric"}
		}
		run.Criteria = append(run.Criteria, r)
	}
	return run
}

func TestJUnitOfEachVerdict(t *testing.T) {
	for name, run := range map[string]Run{
		"pass":      judgedRun(broker.Pass, "", nil, broker.CriterionHeld, broker.CriterionHeld),
		"warned":    judgedRun(broker.Pass, "", []string{"the ledger does not balance"}, broker.CriterionHeld),
		"fail":      judgedRun(broker.Fail, "Criterion fast failed.", nil, broker.CriterionFailed, broker.CriterionFailed),
		"invalid":   judgedRun(broker.Invalid, "The instrument was at fault: the relay of load/0 died.", []string{"the relay of load/0 died"}, broker.CriterionHeld),
		"error":     judgedRun(broker.Errored, "Step load failed: exit code 1.", nil, broker.CriterionFailed),
		"aborted":   judgedRun(broker.Aborted, "The run was aborted.", nil),
		"no reason": judgedRun("", "", nil),
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := WriteJUnit(&got, run); err != nil {
				t.Fatal(err)
			}
			var any struct {
				XMLName xml.Name
			}
			if err := xml.Unmarshal(got.Bytes(), &any); err != nil {
				t.Errorf("not well-formed: %v", err)
			}
			path := filepath.Join("testdata", "junit", name+".xml")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s differs (-want +got):\n%s", path, diff)
			}
		})
	}
}
