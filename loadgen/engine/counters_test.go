package engine_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/loadgen/stats"
)

// named is what a metric of the phase main has counted by name.
func named(c *stats.Cell, name string) int64 {
	for _, n := range c.Named {
		if n.Name == name {
			return n.Count
		}
	}
	return 0
}

func TestHeadersAreCounted(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"HTTP/1.1": nil, "HTTP/2": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }} {
		s := newSite(t, start, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["X-Twice"] = []string{"a", "b"}
			w.Header()["x-ODD"] = []string{"c"}
		}})
		r := mustRun(t, t.Context(), config(t, s.URL, "name: b\nhttp: {host: HOST, sharedConnections: 16}\nthreads: 2\nphases:\n"+
			"- main: {atOnce: {users: 7, scenario: [{s: [{httpRequest: {GET: /, handler: {header: {countHeaders: }}}}]}]}}\n"))
		cell := mainCell(r, "s")
		if named(cell, "x-twice") != 14 || named(cell, "x-odd") != 7 || named(cell, "date") != 7 || cell.Responses != 7 {
			t.Errorf("%s: got %+v of %d answers, want x-twice twice and the others once for each", name, cell.Named, cell.Responses)
		}
	}
}

// Counters add up over users and loops, in the statistics.
func TestGlobalCountersAddUp(t *testing.T) {
	s := newSite(t, nil, nil)
	r := mustRun(t, t.Context(), config(t, s.URL, "name: b\nhttp: {host: HOST, sharedConnections: 16}\nthreads: 2\nphases:\n"+
		"- main: {atOnce: {users: 10, scenario: [{s: [{setInt: sold <- 3}, {set: left <- 4}, {httpRequest: {GET: /}}, {publishGlobalCounters: {key: shop, vars: [sold, left]}}, {publishGlobalCounters: {key: shop, vars: [other: sold]}}]}]}}\n"))
	cell := mainCell(r, "shop")
	if named(cell, "sold") != 30 || named(cell, "left") != 40 || named(cell, "other") != 30 || cell.Requests != 0 || r.Failed() {
		t.Errorf("got %+v, want 30 sold, 40 left and 30 others; %+v", cell, r.Phases)
	}
	var table strings.Builder
	_ = stats.WriteTable(&table, &r.Totals.Report, func(string) time.Duration { return 0 }, func(string) bool { return false })
	lines := strings.Split(table.String(), "\n")
	if !slices.ContainsFunc(lines, func(l string) bool { return slices.Equal(strings.Fields(l), []string{"main", "shop", "sold", "30"}) }) ||
		slices.ContainsFunc(lines, func(l string) bool {
			return slices.Equal(strings.Fields(l)[:min(3, len(strings.Fields(l)))], []string{"main", "shop", "0"})
		}) {
		t.Errorf("the table is\n%s\nwant a line for sold, and none of requests for shop", table.String())
	}
}

// What a scenario measures itself is no request: it is told under other names.
func TestMeasurementsAreNoRequests(t *testing.T) {
	s := newSite(t, nil, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Took", "12.5") }})
	r := mustRun(t, t.Context(), config(t, s.URL, "name: b\nhttp: {host: HOST, sharedConnections: 16}\nthreads: 2\nphases:\n"+
		"- main: {atOnce: {users: 7, scenario: [{s: [{stopwatch: [{httpRequest: {GET: /, handler: {"+
		"header: {recordHeaderTime: {header: took, metric: told, unit: ms}}, rawBytes: {transferSizeRecorder: {key: sizes}}}}}]}]}]}}\n"))
	measured := func(metric string) *stats.Cell {
		cell := r.Totals.Find(stats.Key{Phase: "main", Metric: metric, Measured: true})
		if cell == nil {
			t.Fatalf("nothing is measured as %s", metric)
		}
		return cell
	}
	cell, watch, told, sizes := mainCell(r, "s"), measured("s"), measured("told"), measured("sizes")
	if cell.Requests != 7 || watch.Requests != 7 || watch.Latency.Min() < cell.Service.Min() || told.Latency.Count() != 7 || told.Latency.Sum() != 7*12.5 || sizes.BytesIn != cell.BytesIn {
		t.Errorf("got %d requests, %d stopped, %v ms told, %d of %d bytes; want 7, 7, 87.5, all",
			cell.Requests, watch.Requests, told.Latency.Sum(), sizes.BytesIn, cell.BytesIn)
	}
	var sent strings.Builder
	if err := stats.NewStatsd(&sent).Report(&r.Totals.Report); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{} // names by metric
	for line := range strings.Lines(sent.String()) {
		name, rest, _ := strings.Cut(line, ":")
		_, tags, _ := strings.Cut(rest, "#metric:")
		metric, _, is := strings.Cut(tags, ",")
		if is {
			got[name+" "+metric]++
		}
	}
	for _, name := range []string{"req.count s", "req.measured s", "req.measured told", "req.measured.bytes.in sizes"} {
		if got[name] == 0 {
			t.Errorf("%s is not sent, but %v", name, got)
		}
		delete(got, name)
	}
	for name := range got {
		if metric := strings.Fields(name)[1]; metric != "s" && name != "req.measured.bytes.out "+metric {
			t.Errorf("%s is sent as if of requests", name)
		}
	}
	var table strings.Builder
	_ = stats.WriteTable(&table, &r.Totals.Report, func(string) time.Duration { return 0 }, func(string) bool { return false })
	if !strings.Contains(table.String(), "  s (measured)  ") {
		t.Errorf("the table does not tell the stopwatch's line from the requests':\n%s", table.String())
	}
}
