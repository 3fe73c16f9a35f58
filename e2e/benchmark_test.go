package e2e_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/hosts/hoststest"
	"github.com/loads/loads/loadgen/stats"
	"github.com/loads/loads/metrics"
)

// acrossPlan runs a benchmark against a service that takes times of a known
// distribution for its answers, and tells of each request. The service ends when
// it has answered all. Each machine of the load writes what it counted in each
// second, and its summary, to its output.
const acrossPlan = `name: benchmark on %[1]d
max_cpu_percent: 100 # this computer is all machines, and more
max_skew_ms: 300000
criteria: ['count("req.errors") == 0', {name: slowest, expr: p99("req.latency") > 390}]
steps:
  - {name: web, container_name: '%[2]s', container_url: '%[3]s', additional_command_args: 'answer :8000 %[4]d %[5]s', dns_name: web.test,
     port_mapping: '8000:8000', ready: {port: 8000, timeout: 240}, run_max_time: 500, stop_timeout: 2}
  - name: load
    container_name: loads/node
    benchmark:
      file: even.yaml
      params: {RATE: 50}
      files: {even.yaml: %[6]q}
    additional_command_args: --max-lag -1s --max-steal -1 --quiet --json --series /dev/stdout
    instance_count: %[1]d
    start_after: web
`

const evenBenchmark = `name: even
http: {host: http://web.test:8000, sharedConnections: 90}
phases:
- first:
    constantRate: {usersPerSec: !param RATE, duration: 2s, variance: false, scenario: &s [{get: [{httpRequest: {
      GET: "/?machine=${hyperfoil.agent.id}&phase=${hyperfoil.phase.name}", sla: {blockedRatio: 1}}}]}]}
- second:
    constantRate: {usersPerSec: !param RATE, duration: 2s, variance: false, startAfter: first, scenario: *s}
`

// What evenBenchmark and the service are.
const (
	usersPerPhase = 100
	usersApart    = 20 * time.Millisecond // of all machines
	answerTimes   = "10x70,40x24,120x4,400x2"
)

// answers are the quantiles of the service's times: each is ms up to the
// quantile upTo, where the next begins.
var answers = []struct{ q, ms, upTo float64 }{{0.5, 10, 0.7}, {0.9, 40, 0.94}, {0.95, 120, 0.98}, {0.99, 400, 1}}

// summaryOf is what the generator of one machine says in the end.
type summaryOf struct {
	Start  time.Time `json:"start"`
	Phases []struct {
		Name    string  `json:"name"`
		Status  string  `json:"status"`
		StartMS float64 `json:"start_ms"`
		EndMS   float64 `json:"end_ms"`
	} `json:"phases"`
	Notes []string `json:"notes"`
	Users []struct {
		Phase   string `json:"phase"`
		Started int    `json:"started"`
	} `json:"users"`
	Generator stats.SelfReport `json:"generator"`

	machine int
}

// phaseStart is when a phase began on the machine.
func (s summaryOf) phaseStart(t *testing.T, phase string) time.Time {
	t.Helper()
	for _, p := range s.Phases {
		if p.Name == phase {
			return s.Start.Add(time.Duration(p.StartMS * float64(time.Millisecond)))
		}
	}
	t.Fatalf("a machine had no phase %s", phase)
	return time.Time{}
}

// across is a run of the benchmark.
type across struct {
	*daemon
	machines int
	run      string
	report   api.Report
	all      *metrics.Sketch // of all latencies that machines counted
	way      float64         // ms that the ways of requests and answers took on the average
	ends     []summaryOf     // by machine
	served   []served        // in the order in which the service was done with them
	page     string          // of the run
}

// served is what the service tells of a request.
type served struct {
	at      time.Time
	took    time.Duration
	machine int
	phase   string
}

func startAcross(t *testing.T, d *daemon, machines int) *across {
	t.Helper()
	ref, tarball := probeImage(t, nil)
	own := *d
	own.t = t
	a := &across{daemon: &own, machines: machines}
	a.run = own.trigger(fmt.Sprintf(acrossPlan, machines, ref, tarball, 2*usersPerPhase, answerTimes, evenBenchmark))
	return a
}

// TestBenchmarkIsOneOnAnyNumberOfMachines runs a benchmark on one machine and on
// three, of each kind of provider. All are the same users, and what the broker
// says of latencies is what one sketch of all requests says.
func TestBenchmarkIsOneOnAnyNumberOfMachines(t *testing.T) {
	t.Parallel()
	local := startBroker(t)
	for _, machines := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d local", machines), func(t *testing.T) {
			t.Parallel()
			startAcross(t, local, machines).isOne()
		})
	}
	t.Run("2 of a list of hosts", func(t *testing.T) {
		t.Parallel()
		a := startAcross(t, startBroker(t, "--hosts", hostsFile(t, hoststest.StartEngines(t, 3))), 2)
		a.killTwice()
		a.isOne()
	})
}

// TestEC2_BenchmarkIsOneOnAnyNumberOfMachines does so on machines that boot for it.
func TestEC2_BenchmarkIsOneOnAnyNumberOfMachines(t *testing.T) {
	t.Parallel()
	c := startEC2(t)
	d := c.broker()
	t.Run("runs", func(t *testing.T) {
		for _, machines := range []int{1, 3} {
			t.Run(fmt.Sprintf("%d rented", machines), func(t *testing.T) {
				t.Parallel()
				startAcross(t, d, machines).isOne()
			})
		}
	})
	c.nothing(2 + 4)
}

// TestBenchmarkOutlivesItsBroker kills the broker while three machines make the
// load. The run's archive has what the run has.
func TestBenchmarkOutlivesItsBroker(t *testing.T) {
	t.Parallel()
	store := startBucket(t)
	a := startAcross(t, startBrokerWith(t, store.env(), "--archive", "s3://runs/loads"), 3)
	a.killTwice()
	a.isOne()
	until(t, "the run is archived", 5*time.Minute, func() bool {
		r, err := a.Report(t.Context(), a.run)
		if err != nil {
			t.Fatal(err)
		}
		a.report = r
		return r.Archive != nil && r.Archive.Done
	})
	a.table("the archive", store.files(*a.report.Archive)["metrics.csv"])
}

// killTwice kills the broker and starts it again as soon as the load has
// started, and once more when metrics of it have come.
func (a *across) killTwice() {
	a.t.Helper()
	until(a.t, "the load has started", 5*time.Minute, func() bool { return a.mustRun(a.run).StepRecords[1].StartedAt != nil })
	a.kill()
	a.start()
	until(a.t, "metrics come", 5*time.Minute, func() bool {
		r, err := a.Report(a.t.Context(), a.run)
		return err == nil && figures(r.Summary.Metrics)["req.count"].Count > 0
	})
	a.kill()
	a.start()
}

// isOne waits for the end of the run, and fails the test unless it was that of
// one benchmark.
func (a *across) isOne() {
	a.t.Helper()
	a.report = a.await(a.run)
	a.pass(a.report)
	a.readServed()
	a.all, a.ends = outputs(a.t, a.daemon, a.run)
	if len(a.ends) != a.machines {
		a.t.Fatalf("%d machines have told how it ended, want %d", len(a.ends), a.machines)
	}
	a.counts()
	a.quantiles()
	a.beginTogether()
	a.interleave()
}

// outputs puts together what all machines of the step load counted, and how it
// ended on each, by machine.
func outputs(t *testing.T, d *daemon, run string) (*metrics.Sketch, []summaryOf) {
	t.Helper()
	all, texts := new(metrics.Sketch), map[int]*strings.Builder{}
	err := d.Logs(t.Context(), run, broker.LogQuery{Step: "load"}, func(l api.LogLine) error {
		if l.Stream != "stdout" {
			return nil
		}
		if !strings.HasPrefix(l.Text, `{"period":`) {
			if texts[l.Machine] == nil {
				texts[l.Machine] = &strings.Builder{}
			}
			texts[l.Machine].WriteString(l.Text + "\n")
			return nil
		}
		var report stats.Report
		if err := json.Unmarshal([]byte(l.Text), &report); err != nil {
			return err
		}
		for _, m := range report.Metrics {
			if err := all.Merge(&m.Latency); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var ends []summaryOf
	for _, machine := range slices.Sorted(maps.Keys(texts)) {
		end := summaryOf{machine: machine}
		if err := json.Unmarshal([]byte(texts[machine].String()), &end); err != nil {
			t.Fatalf("machine %d: %v in %s", machine, err, texts[machine])
		}
		ends = append(ends, end)
	}
	return all, ends
}

// readServed reads what the service has told.
func (a *across) readServed() {
	a.t.Helper()
	err := a.Logs(a.t.Context(), a.run, broker.LogQuery{Step: "web"}, func(l api.LogLine) error {
		var s served
		var at, took int64
		if n, _ := fmt.Sscanf(l.Text, "request %d %d %d %s", &at, &took, &s.machine, &s.phase); n == 4 {
			s.at, s.took = time.UnixMicro(at), time.Duration(took)*time.Microsecond
			a.served = append(a.served, s)
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

// counts compares those of users, of the service and of frames. Each machine has
// its part of the users, which differ by one at most.
func (a *across) counts() {
	a.t.Helper()
	started := map[string]int{}
	for _, end := range a.ends {
		for _, u := range end.Users {
			started[u.Phase] += u.Started
			if part := usersPerPhase / a.machines; u.Started < part || u.Started > part+1 {
				a.t.Errorf("machine %d of %d started %d users in phase %s, want its part of %d", end.machine, a.machines, u.Started, u.Phase, usersPerPhase)
			}
		}
	}
	if started["first"] != usersPerPhase || started["second"] != usersPerPhase {
		a.t.Errorf("users started %v, want %d in each phase", started, usersPerPhase)
	}
	seen := figures(a.report.Summary.Metrics)
	const all = 2 * usersPerPhase
	if len(a.served) != all || seen["req.latency"].Count != all || seen["req.count"].Count != all || a.all.Count() != all {
		a.t.Errorf("the service had %d requests, the broker has %v and %v latencies, the machines have %v; want %d",
			len(a.served), seen["req.count"].Count, seen["req.latency"].Count, a.all.Count(), all)
	}
}

// quantiles compares those of the broker with what machines counted, which must
// be the same, and with what the service took. A latency is that time and the
// way there and back: how long the ways were on the average is known exactly, so
// less than one of n requests had a way of n times as long.
func (a *across) quantiles() {
	a.t.Helper()
	seen := figures(a.report.Summary.Metrics)["req.latency"]
	took := 0.0
	for _, s := range a.served {
		took += float64(s.took) / float64(time.Millisecond)
	}
	a.way = a.all.Sum()/a.all.Count() - took/float64(len(a.served))
	for i, got := range []float64{seen.P50, seen.P90, seen.P95, seen.P99} {
		want := answers[i]
		if merged := a.all.Quantile(want.q); math.Abs(got-merged) > 1e-9*merged {
			a.t.Errorf("quantile %v of all machines is %v, that of all requests %v", want.q, got, merged)
		}
		part := want.upTo - want.q - 1/a.all.Count() // of the requests, that may have had longer ways
		least, most := want.ms*(1-metrics.RelativeError), (a.longest(want.upTo)+a.way/part)*(1+metrics.RelativeError)
		if got < least || got > most {
			a.t.Errorf("quantile %v is %v ms, want %v to %v: the service took %v, and ways %v on the average", want.q, got, least, most, want.ms, a.way)
		}
	}
	if seen.Max != a.all.Max() {
		a.t.Errorf("the greatest latency of all machines is %v, that of all requests %v", seen.Max, a.all.Max())
	}
	a.t.Logf("p50 %.4g, p90 %.4g, p95 %.4g, p99 %.4g ms, where the service took 10, 40, 120, 400 and ways %.3g", seen.P50, seen.P90, seen.P95, seen.P99, a.way)
	i := slices.IndexFunc(a.report.Run.Criteria, func(c broker.CriterionResult) bool { return c.Name == "slowest" })
	if c := a.report.Run.Criteria[i]; c.Value == nil || *c.Value != seen.P99 {
		a.t.Errorf("the criterion saw %v, want p99 of all machines, %v", c, seen.P99)
	}
	var text bytes.Buffer
	if err := a.WriteReport(a.t.Context(), a.run, "csv", &text); err != nil {
		a.t.Fatal(err)
	}
	a.table("the report", text.String())
	a.lookAtPage()
}

// longest is the most that the service took for its fastest answers, a part of
// all, in ms: more than was meant when the computer was busy.
func (a *across) longest(part float64) float64 {
	all := slices.Clone(a.served)
	slices.SortFunc(all, func(x, y served) int { return int(x.took - y.took) })
	return float64(all[int(math.Round(part*float64(len(all))))-1].took) / float64(time.Millisecond)
}

// table looks for the merged quantiles in a report's table.
func (a *across) table(where, text string) {
	a.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		a.t.Fatalf("%s: %v", where, err)
	}
	head := rows[0]
	for _, row := range rows {
		if row[1] != "req.latency" || row[3] != "run" {
			continue
		}
		for i, name := range []string{"p50", "p90", "p95", "p99"} {
			got, err := strconv.ParseFloat(row[slices.Index(head, name)], 64)
			if want := a.all.Quantile(answers[i].q); err != nil || math.Abs(got-want) > 1e-9*want {
				a.t.Errorf("%s has %s %v, %v, want %v", where, name, got, err, want)
			}
		}
		return
	}
	a.t.Errorf("%s has no req.latency:\n%s", where, text)
}

// lookAtPage looks for the merged p99 on the run's page, which has four digits of it.
func (a *across) lookAtPage() {
	a.t.Helper()
	res, err := http.Get(a.BaseURL + "/run/" + a.run)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	a.page = string(text)
	row := regexp.MustCompile(`<th scope="row">req\.latency</th>.*`).FindString(a.page)
	cells := regexp.MustCompile(`<td class="number">([^<]*)</td>`).FindAllStringSubmatch(row, -1)
	const count, p99 = 8, 6
	if len(cells) != count {
		a.t.Fatalf("the page has %q of req.latency", row)
	}
	got, err := strconv.ParseFloat(cells[p99][1], 64)
	if want := a.all.Quantile(0.99); err != nil || math.Abs(got-want) > 1e-3*want {
		a.t.Errorf("the page has p99 %v, %v, want %v", got, err, want)
	}
}

// beginTogether compares when machines began. Who came up too late, or heard too
// late that a phase may begin, has said so; the phases of all others are begun
// within 100 ms, and by how much less the machines' clocks are known.
func (a *across) beginTogether() {
	a.t.Helper()
	unknown, late := 0.0, 0.0
	for _, m := range a.report.Machines {
		unknown = max(unknown, m.ClockErrorMS)
	}
	events := a.events(a.run)
	for _, end := range a.ends {
		late = max(late, end.Generator.LateMS)
		said := regexp.MustCompile(fmt.Sprintf(`The generator of load/%d says: .*this machine began `, end.machine))
		if isLate := end.Generator.LateMS > 100; isLate != said.MatchString(events) || isLate != said.MatchString(a.page) {
			a.t.Errorf("machine %d was %v ms late, events say:\n%s\nand the page:\n%s", end.machine, end.Generator.LateMS, events, a.page)
		}
	}
	if told := figures(a.report.Summary.Metrics)["gen.late"].Count > 0; told != (late > 0) {
		a.t.Errorf("machines were up to %v ms late, frames tell of it: %v", late, told)
	}
	for _, phase := range []string{"first", "second"} {
		var first, last time.Time
		for _, end := range a.ends {
			at := end.phaseStart(a.t, phase)
			if end.Generator.LateMS > 0 || phase == "second" && slices.ContainsFunc(end.Notes, isOfLatePhase) {
				continue
			}
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
		}
		a.t.Logf("phase %s began within %s; clocks were known to %.3g ms; the latest machine was %.3g ms late", phase, last.Sub(first), unknown, late)
		if limit := 100*time.Millisecond + time.Duration(2*unknown*float64(time.Millisecond)); last.Sub(first) > limit {
			a.t.Errorf("phase %s began within %s, want %s", phase, last.Sub(first), limit)
		}
	}
}

// isOfLatePhase reports whether a generator says that it heard more than 100 ms
// too late that a phase may begin.
func isOfLatePhase(note string) bool { return strings.Contains(note, "later than agreed on") }

// interleave compares when the service had requests with the timetable: those of
// a machine come every so often, shifted by its part of that, so that of all
// machines come evenly. None may come too early; and of many, one was not held
// up on its way, or no more than all were on the average, if the computer was so
// busy.
func (a *across) interleave() {
	a.t.Helper()
	held := usersApart / 2
	if mean := time.Duration(a.way * float64(a.machines) * float64(time.Millisecond)); mean > held { // if all were of one machine
		held = mean
	}
	every := usersApart * time.Duration(a.machines)
	for _, end := range a.ends {
		shift := time.Duration(math.MaxInt64)
		for _, phase := range []string{"first", "second"} {
			var came []time.Time
			for _, s := range a.served {
				if s.machine == end.machine && s.phase == phase {
					came = append(came, s.at)
				}
			}
			slices.SortFunc(came, time.Time.Compare)
			for i, at := range came {
				shift = min(shift, at.Sub(end.phaseStart(a.t, phase))-time.Duration(i)*every)
			}
		}
		want := usersApart * time.Duration(end.machine+1) // the first user comes when one is due
		a.t.Logf("requests of machine %d came %s after the beginning, and then every %s", end.machine, shift, every)
		if shift < want-time.Millisecond || shift > want+held {
			a.t.Errorf("requests of machine %d of %d came shifted by %s, want %s", end.machine, a.machines, shift, want)
		}
	}
}
