package web_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/loads/loads/broker"
)

// A line is one of a chart's.
type line struct {
	Name, Kind, Label string
	Times             []int64
	Values            map[string][]*float64
}

// lines reads the charts of a run that is over.
func (s *site) lines(run broker.Run, path string) (to int64, lines []line) {
	s.Helper()
	a := s.get("/run/" + run.UUID + "/" + path)
	var d struct {
		To    int64
		Over  bool
		Lines []line
	}
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || !d.Over {
		s.Fatalf("%s: got %v, over %v: %s", path, err, d.Over, a.body)
	}
	return d.To, d.Lines
}

func TestChartsAreAnsweredByColumnsFromASecondOn(t *testing.T) {
	s := mustServe(t, nil, false)
	run := s.mustRun(s.mustPlan())
	read := func(query string) (to int64, lines []line) { return s.lines(run, "chart?"+query) }
	to, lines := read("")
	if len(lines) != 2 || lines[0].Name != "req.latency" || lines[1].Name != "req.count" {
		t.Fatalf("got lines %+v, want the timer and the counter, as the criteria are about both", lines)
	}
	for _, l := range lines {
		if len(l.Times) != 10 || len(l.Values["rate"]) != 10 {
			t.Errorf("%s: got %d seconds and %d rates, want 10", l.Name, len(l.Times), len(l.Values["rate"]))
		}
	}
	if rates := lines[1].Values["rate"]; *rates[3] != 6 || *rates[4] != 0 {
		t.Errorf("got rates %v and %v in the fourth and fifth second, want 6 and 0", *rates[3], *rates[4])
	}
	if p := lines[0].Values["p95"]; len(p) != 10 || *p[9] < 9 || *p[9] > 11 {
		t.Errorf("p95 in the last second: want about 10")
	}
	if _, lines = read("metric=req.count&by=machine"); len(lines) != 2 || lines[1].Label != "web/1" {
		t.Errorf("by machine: got %+v, want web/0 and web/1", lines)
	}
	if _, lines = read("from=" + timeText(to-3000)); len(lines) != 2 || len(lines[0].Times) != 3 {
		t.Errorf("the last three seconds: got %+v", lines)
	}
	if _, lines = read("metric=req.count&from=" + timeText(to-6000)); len(lines[0].Times) != 6 || *lines[0].Values["rate"][0] != 0 {
		t.Errorf("from the fifth second: got %+v, want six, the first of which is idle", lines)
	}
	s.has("a wrong time", s.get("/run/"+run.UUID+"/chart?from=x"), 400)
}

func timeText(ms int64) string { data, _ := json.Marshal(ms); return string(data) }

func TestChartsOfMachines(t *testing.T) {
	s := mustServe(t, nil, false)
	run := s.mustRun(s.mustPlan())
	to, lines := s.lines(run, "hosts")
	if end := run.StartedAt.Add(10 * time.Second).UnixMilli(); to != end {
		t.Errorf("to: got %d, want the end of the last second, %d", to, end)
	}
	got := map[string]line{}
	for _, l := range lines {
		got[l.Name+" of "+l.Label] = l
	}
	for _, c := range []struct {
		name string
		n    int
		last float64
	}{
		{"Machines: CPU in percent of web/1", 10, 10},
		{"Machines: memory in percent of web/0", 10, 100},
		{"Machines: received, kB a second of web/0", 9, 2},
		{"Machines: sent, kB a second of web/1", 9, 2},
		{"Containers: CPU in percent of one processor of web/0", 10, 200},
		{"Containers: memory in MB of web/1", 10, 3},
	} {
		l := got[c.name]
		if values := l.Values["value"]; len(l.Times) != c.n || len(values) != c.n || *values[c.n-1] != c.last {
			t.Errorf("%s: got %+v, want %d values, the last %v", c.name, l, c.n, c.last)
		}
	}
	if len(got) != 12 {
		t.Errorf("got %d lines, want six charts of two machines: %+v", len(got), lines)
	}

	_, lines = s.lines(run, "hosts?from="+timeText(to-3000))
	if len(lines) != 12 {
		t.Fatalf("the last three seconds: got %d lines, want 12", len(lines))
	}
	for _, l := range lines {
		if len(l.Times) != 3 || len(l.Values["value"]) != 3 {
			t.Errorf("%s of %s, the last three seconds: got %d, want all", l.Name, l.Label, len(l.Times))
		}
	}
	if _, lines = s.lines(run, "hosts?from="+timeText(to)); len(lines) != 0 {
		t.Errorf("after the end: got %+v, want nothing", lines)
	}
	s.has("a wrong time", s.get("/run/"+run.UUID+"/hosts?from=-1"), 400)
}

func TestChartsOfManyMachinesAreByStep(t *testing.T) {
	s := mustServe(t, nil, false)
	many := hostilePlan()
	many.Plans[0].Steps[0].InstanceCount = 30
	rec, err := s.broker.CreateProject(t.Context(), many)
	if err != nil {
		t.Fatal(err)
	}
	run := s.mustRun(rec.Plans[0]) // two of them have told something
	_, lines := s.lines(run, "hosts")
	if len(lines) != 12 || lines[0].Label != "web mean" || lines[1].Label != "web highest" {
		t.Fatalf("got %+v, want mean and highest of the step in six charts", lines)
	}
	for _, l := range lines[:2] {
		if v := l.Values["value"]; len(l.Times) != 10 || len(v) != 10 || *v[6] != 7 {
			t.Errorf("%s: got %+v, want ten seconds, the seventh 7", l.Label, l)
		}
	}
}
