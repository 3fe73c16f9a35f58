package api

import (
	"net/http"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

// done is the envelope of a call that did what was asked.
func done() Envelope { return Envelope{Success: true, Status: http.StatusOK} }

type infoAnswer struct {
	Envelope
	Info
}

type projectsAnswer struct {
	Envelope
	Projects []Project `json:"projects"`
}

type projectAnswer struct {
	Envelope
	Project *Project `json:"project"`
}

// createdProject has the project's own fields beside the envelope's, as
// loads v2 answers it.
type createdProject struct {
	Envelope
	Project
}

type plansAnswer struct {
	Envelope
	Plans []Plan `json:"plans"`
}

type planAnswer struct {
	Envelope
	Plan Plan `json:"plan"`
}

type costAnswer struct {
	Envelope
	Cost *broker.Cost `json:"cost"`
}

type budgetAnswer struct {
	Envelope
	Budget *broker.Budget `json:"budget"`
}

type runsAnswer struct {
	Envelope
	Runs []Run `json:"runs"`
}

type runAnswer struct {
	Envelope
	Run Run `json:"run"`
}

type startedAnswer struct {
	Envelope
	RunID string `json:"run_id"`
}

type deletedRunAnswer struct {
	Envelope
	DeletedRun
}

type runPlanAnswer struct {
	Envelope
	Plan strategies.Plan `json:"plan"`
}

type machinesAnswer struct {
	Envelope
	Machines []Machine `json:"machines"`
}

type reportAnswer struct {
	Envelope
	Report
}

type seriesAnswer struct {
	Envelope
	Series []metrics.Line `json:"series"`
}

type validationAnswer struct {
	Envelope
	Validation
}

type instancesAnswer struct {
	Envelope
	Instances map[string]Instance `json:"instances"`
}

type instanceAnswer struct {
	Envelope
	Instance Instance `json:"instance"`
}

type terminatedAnswer struct {
	Envelope
	Terminated []string `json:"terminated"`
}

type monitorAnswer struct {
	Envelope
	Monitor
}

type linksAnswer struct {
	Envelope
	Links
}
