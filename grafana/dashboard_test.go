package grafana_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/loads/loads/broker"
	"github.com/loads/loads/grafana"
	"github.com/loads/loads/internal/influxtest"
	"github.com/loads/loads/metrics"
	"github.com/loads/loads/strategies"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

const runID = "11111111-2222-4333-8444-555555555555"

// sample is a completed run whose names have what has to be quoted.
func sample() grafana.Input {
	at := func(second int) *time.Time {
		t := time.Date(2026, 11, 21, 10, 0, second, 123_000_000, time.UTC)
		return &t
	}
	skew := 12.34
	return grafana.Input{
		Report: broker.Report{
			Run: broker.Run{
				UUID: runID, State: broker.Completed, PlanName: "smoke", ProjectName: "shop", ProjectUUID: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
				CreatedAt: *at(0), StartedAt: at(5), CompletedAt: at(45), Verdict: broker.Errored, Reason: "A container ended with 3.",
				Plan: strategies.Plan{Name: "smoke", Steps: []strategies.Step{{Name: "service|x"}, {Name: "generator"}, {Name: "late"}}},
				StepRecords: []broker.StepRecord{
					{Index: 0, State: broker.StepEnded, StartedAt: at(6), CompletedAt: at(40), SkewMS: &skew},
					{Index: 1, State: broker.StepFailed, StartedAt: at(8), CompletedAt: at(30), Reason: "A container ended with 3."},
					{Index: 2, State: broker.StepSkipped},
				},
			},
			Machines: []broker.Machine{{Step: 0}, {Step: 1}, {Step: 1, Index: 1}},
			Summary: metrics.Summary{Metrics: []metrics.MetricSummary{
				{Name: "queue", Kind: metrics.Gauge},
				{Name: "req.latency", Kind: metrics.Timer},
				{Name: `requests "all"`, Kind: metrics.Counter},
				{Name: "users", Kind: metrics.Set},
			}},
			Ledger: metrics.Ledger{Received: metrics.Received{Datagrams: 9, Values: 90, Malformed: 1}, Sent: 50, Stored: 50, Balance: true},
		},
		Export: &broker.Export{Written: 700},
	}
}

// running is the same run while it is under way.
func running() grafana.Input {
	in := sample()
	run := &in.Report.Run
	run.State, run.Verdict, run.Reason, run.CompletedAt = broker.Running, "", "", nil
	run.StepRecords[1].CompletedAt, run.StepRecords[1].Reason = nil, ""
	in.Report.Summary.Metrics = nil
	in.DataSource = grafana.DataSourceUID
	return in
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s, -want +got (go test -update writes it anew):\n%s", file, diff)
	}
}

func TestDashboardIsAsKept(t *testing.T) {
	for name, in := range map[string]grafana.Input{"completed.json": sample(), "running.json": running()} {
		text, err := grafana.Dashboard(in)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, text)
		again, err := grafana.Dashboard(in)
		if err != nil || string(again) != string(text) {
			t.Errorf("%s: made again it differs (%v)", name, err)
		}
	}
}

func TestAnnotationsCoverTheSteps(t *testing.T) {
	text, err := json.MarshalIndent(grafana.Annotations(sample().Report.Run), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "annotations.json", append(text, '\n'))
}

// target is a query of a dashboard.
type target struct{ panel, query string }

func targets(t *testing.T, dashboard []byte) (list []target) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Query string }
		}
		Templating struct {
			List []struct{ Name, Query string }
		}
	}
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			list = append(list, target{p.Title, q.Query})
		}
	}
	for _, v := range d.Templating.List {
		list = append(list, target{"variable " + v.Name, v.Query})
	}
	return list
}

// Every query of every panel finds its points in a real InfluxDB.
func TestQueriesFindTheirPoints(t *testing.T) {
	server := influxtest.Start(t)
	bucket := server.CreateDatabase(t, "runs")
	const place = ",run=" + runID + ",step=generator,host=10.0.0.1"
	var lines []string
	for second := range 10 {
		at := fmt.Sprint(" ", time.Date(2026, 11, 21, 10, 0, 10+second, 0, time.UTC).UnixNano())
		merged := ",run=" + runID
		lines = append(lines,
			"queue_merged"+merged+",metric_type=gauge value=3"+at,
			"req_latency_merged"+merged+",metric_type=timing count=10,50_percentile=1,90_percentile=2,95_percentile=3,99_percentile=4,upper=5"+at,
			`requests\ "all"_merged`+merged+",metric_type=counter value=20"+at,
			fmt.Sprint("users_merged"+merged+",metric_type=set value=", 10+second, at),
			"users"+place+",metric_type=set value=1000"+at,
			"Req_Errors_merged"+merged+",metric_type=counter value=1"+at,
			"Req_Errors_merged,run=another,metric_type=counter value=1000"+at,
			"loads_ledger"+place+" values=10i,malformed=1i,dropped=0i"+at,
			"cpu"+place+",cpu=cpu-total usage_active=25,usage_steal=0"+at,
			"mem"+place+" used_percent=40"+at,
			"net"+place+",interface=total bytes_recv=1000,bytes_sent=10"+at,
			"system"+place+" load1=0.5"+at,
			"diskio"+place+",name=total read_bytes=4096,write_bytes=4096"+at,
			"netstat"+place+" tcp_established=3,tcp_time_wait=0"+at,
			"docker_container_cpu"+place+",container_name=plan usage_percent=120"+at,
			"docker_container_mem"+place+",container_name=plan usage=1e6"+at,
			"docker_container_net"+place+",container_name=plan rx_bytes=1000,tx_bytes=1000"+at,
		)
	}
	server.Write(t, bucket, strings.Join(lines, "\n"))
	text, err := grafana.Dashboard(sample())
	if err != nil {
		t.Fatal(err)
	}
	all := targets(t, text)
	if len(all) < 19 {
		t.Errorf("%d queries, want those of all panels", len(all))
	}
	for _, q := range all {
		for _, interval := range []string{"1s", "2s"} {
			ms := map[string]string{"1s": "1000", "2s": "2000"}[interval]
			sql := strings.NewReplacer("$timeFilter", "time >= '2026-11-21T10:00:00Z' AND time <= '2026-11-21T10:01:00Z'",
				"$__interval_ms", ms, "$__interval", interval, "/^$step$/", "/^generator$/", "/^$host$/", "/^.*$/").Replace(q.query)
			rows := server.Query(t, "runs", sql)
			if len(rows) == 0 {
				t.Errorf("%s finds nothing: %s", q.panel, sql)
				continue
			}
			for panel, want := range map[string]string{`requests "all", rate`: "20", "Errors": "1", "users, different values over all machines": map[string]string{"1s": "10", "2s": "11"}[interval], "CPU": "25", "req.latency, rate": "10"} {
				if q.panel != panel {
					continue
				}
				if got := rows[0].Values[0][1].(json.Number).String(); got != want {
					t.Errorf("%s by %s: got %s, want %s", panel, interval, got, want)
				}
			}
		}
	}
}
