package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// The types of the JSON form. Times are RFC 3339 in UTC, those of metrics Unix
// ms.
type (
	jsonReport struct {
		Run        jsonRun                  `json:"run"`
		Plan       strategies.Plan          `json:"plan"`
		Criteria   []broker.CriterionResult `json:"criteria"`
		Instrument []string                 `json:"instrument"`
		Steps      []jsonStep               `json:"steps"`
		Machines   []jsonMachine            `json:"machines"`
		Hosts      []metrics.HostSummary    `json:"hosts"`
		Busy       []metrics.HostLine       `json:"cpu"`
		Summary    metrics.Summary          `json:"summary"`
		Ledger     metrics.Ledger           `json:"ledger"`
		Series     []metrics.Line           `json:"series"`
		Events     []broker.Event           `json:"events"`
		Logs       []jsonTail               `json:"logs"`
	}
	jsonRun struct {
		UUID        string               `json:"uuid"`
		Project     string               `json:"project"`
		Plan        string               `json:"plan_name"`
		Owner       string               `json:"owner,omitempty"`
		State       string               `json:"state"`
		Verdict     broker.Verdict       `json:"verdict"`
		Reason      string               `json:"reason,omitempty"`
		Cleanup     broker.Cleanup       `json:"cleanup"`
		Left        string               `json:"cleanup_detail,omitempty"`
		Cost        *broker.Cost         `json:"cost,omitempty"`
		SpentUSD    float64              `json:"spent_usd,omitempty"`
		Receipts    []broker.Receipt     `json:"receipts,omitempty"`
		Archive     *broker.Archive      `json:"archive,omitempty"`
		Images      []broker.ImageSpread `json:"images,omitempty"`
		CreatedAt   time.Time            `json:"created_at"`
		StartedAt   *time.Time           `json:"started_at"`
		CompletedAt *time.Time           `json:"completed_at"`
		Environment map[string]string    `json:"environment_data"`
		Versions    map[string]string    `json:"versions"`
	}
	jsonStep struct {
		Name        string           `json:"name"`
		State       broker.StepState `json:"state"`
		Failed      bool             `json:"failed"`
		Reason      string           `json:"reason,omitempty"`
		StartAt     *time.Time       `json:"start_at"`
		StartedAt   *time.Time       `json:"started_at"`
		ReadyAt     *time.Time       `json:"ready_at"`
		CompletedAt *time.Time       `json:"completed_at"`
		SkewMS      *float64         `json:"skew_ms"`
		ImageDigest string           `json:"image_digest"`
	}
	jsonMachine struct {
		Step          string              `json:"step"`
		Index         int                 `json:"index"`
		State         broker.MachineState `json:"state"`
		Reason        string              `json:"reason,omitempty"`
		Pool          string              `json:"pool"`
		ProviderID    string              `json:"provider_id"`
		Address       string              `json:"address"`
		ClockOffsetMS float64             `json:"clock_offset_ms"`
		StartedAt     *time.Time          `json:"started_at"`
		FinishedAt    *time.Time          `json:"finished_at"`
		ExitCode      *int                `json:"exit_code"`
		Frames        uint64              `json:"frames"`
		FramesFinal   bool                `json:"frames_final"`
		Region        string              `json:"region,omitempty"`
		Type          string              `json:"type,omitempty"`
		Spot          bool                `json:"spot,omitempty"`
		HourUSD       float64             `json:"usd_per_hour,omitempty"`
	}
	jsonTail struct {
		Step    string           `json:"step"`
		Machine int              `json:"machine"`
		Fault   string           `json:"fault,omitempty"`
		Lines   []broker.LogLine `json:"lines"`
	}
)

// JSON writes the whole report as one JSON object.
func JSON(w io.Writer, d broker.Dossier) error {
	return writeJSON(w, jsonReportOf(d))
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func jsonReportOf(d broker.Dossier) jsonReport {
	run := d.Run
	r := jsonReport{
		Run: jsonRun{
			UUID: run.UUID, Project: run.ProjectName, Plan: run.PlanName, Owner: run.Owner, State: run.State.String(),
			Verdict: run.Verdict, Reason: run.Reason, Cleanup: run.Cleanup, Left: run.CleanupDetail,
			Cost: run.Cost, SpentUSD: spent(d), Receipts: run.Receipts, Images: run.Images, Archive: d.Archive, CreatedAt: run.CreatedAt.UTC(),
			StartedAt: inUTC(run.StartedAt), CompletedAt: inUTC(run.CompletedAt),
			Environment: run.Environment.Masked().Map(), Versions: run.Versions,
		},
		Plan: maskedPlan(run), Summary: d.Summary, Ledger: d.Ledger,
		Criteria:   append([]broker.CriterionResult{}, run.Judgement.Criteria...),
		Instrument: append([]string{}, run.Judgement.Instrument...),
		Steps:      []jsonStep{}, Machines: []jsonMachine{}, Logs: []jsonTail{},
		Hosts: append([]metrics.HostSummary{}, d.Hosts...), Busy: append([]metrics.HostLine{}, d.Busy...),
		Series: append([]metrics.Line{}, d.Lines...), Events: append([]broker.Event{}, d.Events...),
	}
	for _, s := range run.StepRecords {
		r.Steps = append(r.Steps, jsonStep{
			Name: stepName(run, s.Index), State: s.State, Failed: s.Failed, Reason: s.Reason,
			StartAt: inUTC(s.StartAt), StartedAt: inUTC(s.StartedAt), ReadyAt: inUTC(s.ReadyAt),
			CompletedAt: inUTC(s.CompletedAt), SkewMS: s.SkewMS, ImageDigest: s.ImageDigest,
		})
	}
	for _, m := range d.Machines {
		r.Machines = append(r.Machines, jsonMachine{
			Step: stepName(run, m.Step), Index: m.Index, State: m.State, Reason: m.Reason, Pool: m.Pool,
			ProviderID: m.ProviderID, Address: m.Address, ClockOffsetMS: offsetMS(m),
			StartedAt: inUTC(m.StartedAt), FinishedAt: inUTC(m.FinishedAt), ExitCode: m.ExitCode,
			Frames: m.FrameSeq, FramesFinal: m.FramesFinal,
			Region: m.Region, Type: m.Type, Spot: m.Spot, HourUSD: m.HourUSD,
		})
	}
	for _, t := range d.Tails {
		lines := append([]broker.LogLine{}, t.Lines...)
		r.Logs = append(r.Logs, jsonTail{Step: t.Step, Machine: t.Machine, Fault: t.Fault, Lines: lines})
	}
	return r
}

func offsetMS(m broker.Machine) float64 { return float64(m.ClockOffset) / float64(time.Millisecond) }

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}
