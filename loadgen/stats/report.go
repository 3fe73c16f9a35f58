package stats

import (
	"slices"
	"strings"

	"github.com/loads/loads/metrics"
)

// Report is what was counted in one period, a second unless the benchmark says
// otherwise. Requests count in the period in which they ended. Reports of loops
// or machines for the same period can be merged.
type Report struct {
	Period  int           `json:"period"`  // from 0, since the start of the run
	Start   int64         `json:"start"`   // Unix ms
	End     int64         `json:"end"`     // Unix ms
	Metrics []MetricCell  `json:"metrics"` // sorted by key
	Phases  []PhaseUsers  `json:"phases"`  // in the order of the benchmark; those without users left out
	Hosts   []Connections `json:"endpoints,omitempty"`
	Self    SelfReport    `json:"self"`
	index   map[Key]*Cell // of Metrics, while it is built
	users   map[string]int
}

// MetricCell is what was counted of a metric.
type MetricCell struct {
	Key
	*Cell
}

// PhaseUsers are the users of a phase.
type PhaseUsers struct {
	Phase string `json:"phase"`
	Users
}

// Connections are those to an endpoint: how many there were at the end of the
// period, and what has become of them since the start of the run.
type Connections struct {
	Endpoint string `json:"endpoint"` // host:port
	Open     int    `json:"open"`
	Busy     int    `json:"busy"`
	Waiting  int    `json:"waiting"` // requests that wait for one
	Opened   uint64 `json:"opened"`
	Closed   uint64 `json:"closed"`
	Failed   uint64 `json:"failed"` // attempts
}

// Add adds connections of another loop or machine.
func (c *Connections) Add(o Connections) {
	c.Open += o.Open
	c.Busy += o.Busy
	c.Waiting += o.Waiting
	c.Opened += o.Opened
	c.Closed += o.Closed
	c.Failed += o.Failed
}

// SelfReport says how the generator itself fared in the period.
type SelfReport struct {
	CPU   float64 `json:"cpu"`    // share of the processors that it may use, 0 to 1
	Core  float64 `json:"core"`   // share of a processor that its busiest loop used, 0 to 1
	Pause float64 `json:"pause"`  // ms, the longest pause for collecting garbage
	Steal float64 `json:"steal"`  // share of its processors' time that the host took, 0 to 1
	LagMS float64 `json:"lag_ms"` // p99 of how late users were started by the generator's own fault

	Ports   int64   `json:"ports"`   // connections that failed since this machine had no port left
	Sockets int64   `json:"sockets"` // connections that failed since no descriptor, or no memory for a socket, was left
	LateMS  float64 `json:"late_ms"` // by how much it began after the time at which all machines were to begin
}

// Sink takes reports, for example to send them on. Report is called once for
// each period, in their order, by one goroutine, which may be a different one
// from the generator's; the report is not changed any more.
type Sink interface {
	Report(r *Report) error
}

// NewReport returns an empty report of a period.
func NewReport(period int) *Report {
	return &Report{Period: period, index: map[Key]*Cell{}, users: map[string]int{}}
}

// Add adds a loop's batch; phases are their names.
func (r *Report) Add(b *Batch, phases []string) {
	for i, key := range b.Keys {
		if !b.Cells[i].isEmpty() {
			r.Cell(key).Merge(&b.Cells[i])
		}
	}
	for i := range b.Users {
		if b.Users[i].isEmpty() {
			continue
		}
		users := r.Users(phases[i])
		users.add(&b.Users[i])
		users.Busy += b.Users[i].Busy
	}
}

// Merge adds what another report has. Users that are busy add up, as those of
// several machines do.
func (r *Report) Merge(o *Report) {
	for _, m := range o.Metrics {
		r.Cell(m.Key).Merge(m.Cell)
	}
	for i := range o.Phases {
		users := r.Users(o.Phases[i].Phase)
		users.add(&o.Phases[i].Users)
		users.Busy += o.Phases[i].Busy
	}
	for _, c := range o.Hosts {
		at := slices.IndexFunc(r.Hosts, func(h Connections) bool { return h.Endpoint == c.Endpoint })
		if at < 0 {
			at = len(r.Hosts)
			r.Hosts = append(r.Hosts, Connections{Endpoint: c.Endpoint})
		}
		r.Hosts[at].Add(c)
	}
	r.Self.worse(o.Self)
}

// worse takes the worst of two machines; connections that failed add up.
func (s *SelfReport) worse(o SelfReport) {
	s.CPU, s.Core, s.Pause = max(s.CPU, o.CPU), max(s.Core, o.Core), max(s.Pause, o.Pause)
	s.Steal, s.LagMS = max(s.Steal, o.Steal), max(s.LagMS, o.LagMS)
	s.LateMS = max(s.LateMS, o.LateMS)
	s.Ports += o.Ports
	s.Sockets += o.Sockets
}

// Cell returns what is counted of a key, and makes it if there is none.
func (r *Report) Cell(key Key) *Cell {
	if c := r.index[key]; c != nil {
		return c
	}
	if r.index == nil { // it was read from JSON
		r.index = map[Key]*Cell{}
		for _, m := range r.Metrics {
			r.index[m.Key] = m.Cell
		}
		if c := r.index[key]; c != nil {
			return c
		}
	}
	c := &Cell{}
	r.index[key] = c
	r.Metrics = append(r.Metrics, MetricCell{key, c})
	return c
}

// Users returns the users of a phase, and makes them if there are none.
func (r *Report) Users(phase string) *Users {
	if r.users == nil { // it was read from JSON
		r.users = map[string]int{}
		for i := range r.Phases {
			r.users[r.Phases[i].Phase] = i
		}
	}
	i, ok := r.users[phase]
	if !ok {
		i = len(r.Phases)
		r.users[phase] = i
		r.Phases = append(r.Phases, PhaseUsers{Phase: phase})
	}
	return &r.Phases[i].Users
}

// Sort puts the metrics in the order of their phases, given by name, and their names.
func (r *Report) Sort(phases []string) {
	place := make(map[string]int, len(phases))
	for i, name := range phases {
		place[name] = i
	}
	slices.SortFunc(r.Metrics, func(a, b MetricCell) int {
		if d := place[a.Phase] - place[b.Phase]; d != 0 {
			return d
		}
		return strings.Compare(a.name("\x00"), b.name("\x00"))
	})
	slices.SortFunc(r.Phases, func(a, b PhaseUsers) int { return place[a.Phase] - place[b.Phase] })
	for i := range r.Phases { // the sort has moved them
		r.users[r.Phases[i].Phase] = i
	}
}

// lagQuantile is the quantile of the lag that tells whether the generator kept
// its timetable: single late users are the system's affair.
const lagQuantile = 0.99

// Lag returns how late users were started by the generator's own fault, in ms.
func (r *Report) Lag() float64 {
	var all metrics.Sketch
	for i := range r.Phases {
		_ = all.Merge(&r.Phases[i].Lag)
	}
	return all.Quantile(lagQuantile)
}

// Totals add reports up over a run.
type Totals struct {
	Report
	phases []string
}

// NewTotals returns empty totals for phases of these names.
func NewTotals(phases []string) *Totals {
	t := &Totals{Report: *NewReport(0), phases: phases}
	return t
}

// AddBatch adds a loop's batch.
func (t *Totals) AddBatch(b *Batch) {
	for i, key := range b.Keys {
		if !b.Cells[i].isEmpty() {
			t.Cell(key).Merge(&b.Cells[i])
		}
	}
	for i := range b.Users {
		if !b.Users[i].isEmpty() {
			t.Users(t.phases[i]).add(&b.Users[i])
		}
	}
}

// EndPeriod notes how many users were busy at the end of a period.
func (t *Totals) EndPeriod(r *Report) {
	for i := range r.Phases {
		users := t.Users(r.Phases[i].Phase)
		users.Busy = max(users.Busy, r.Phases[i].Busy)
	}
	t.Sort(t.phases)
}

// Find returns what is counted of a key, nil if nothing is.
func (r *Report) Find(key Key) *Cell {
	for _, m := range r.Metrics {
		if m.Key == key {
			return m.Cell
		}
	}
	return nil
}

// Sum adds up all metrics of the phases that are wanted.
func (r *Report) Sum(wanted func(phase string) bool) *Cell {
	sum := &Cell{}
	for _, m := range r.Metrics {
		if wanted(m.Phase) {
			sum.Merge(m.Cell)
		}
	}
	return sum
}
