package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/loads/loads/api"
	"github.com/loads/loads/broker"
	"github.com/loads/loads/grafana/grafanatest"
	"github.com/loads/loads/internal/influxtest"
)

func TestOptionsOfStoresSayWhatIsMissing(t *testing.T) {
	file := writeFile(t, "token", "hidden\n")
	tests := []struct {
		desc string
		args []string
		want string
	}{
		{"a token is needed", []string{"--influx-url", "http://h:8086"}, "--influx-url needs a token; give it by --influx-token-file or LOADS_INFLUX_TOKEN."},
		{"one token is enough", []string{"--influx-url", "http://h", "--influx-token", "hidden", "--influx-token-file", file}, "--influx-token and --influx-token-file are both given; give one of them."},
		{"the file must be there", []string{"--influx-url", "http://h", "--influx-token-file", "/nowhere/t"}, "The file of --influx-token-file can't be read: open /nowhere/t: no such file or directory."},
		{"a token of nothing", []string{"--influx-token-file", file}, "--influx-token-file is given, but no --influx-url."},
		{"Grafana needs InfluxDB", []string{"--grafana-url", "http://h", "--grafana-token-file", file}, "--grafana-url needs --influx-url: Grafana reads the metrics from there."},
		{"an address must be one", []string{"--influx-url", "h:8086", "--influx-token-file", file}, `"h:8086" is not the address of an InfluxDB; give one such as http://127.0.0.1:8086.`},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			code, _, stderr := invoke(t, append([]string{"broker", "--listen", "127.0.0.1:0"}, tt.args...)...)
			if code != exitUsage || !strings.HasSuffix(stderr, "loads: "+tt.want+"\n") {
				t.Errorf("exit code %d and\n got %q\nwant %q", code, stderr, tt.want)
			}
			if strings.Contains(stderr, "hidden") {
				t.Error("the token is shown")
			}
		})
	}
}

func TestABrokerWhoseStoresAreAwayServes(t *testing.T) {
	file := writeFile(t, "token", "hidden\n")
	url, i := startBroker(t, "--initial-db", writeFile(t, "p.yaml", goodPlan),
		"--influx-url", "http://127.0.0.1:1", "--influx-token-file", file, "--grafana-url", "http://127.0.0.1:1", "--grafana-token-file", file)
	if out := ask(t, url, "info"); !strings.Contains(out, "There are no runs.") {
		t.Errorf("got %q, want an answer", out)
	}
	if strings.Contains(i.stderr.String()+i.stdout.String(), "hidden") {
		t.Error("the token is shown")
	}
}

func TestTheReportHasTheAccountOfInfluxDB(t *testing.T) {
	var out bytes.Buffer
	r := api.Report{Influx: &api.Exported{Written: 12, Refused: 1, Waiting: 3, Trouble: broker.TroubleUnreachable, Detail: "connection refused"}}
	if err := writeReport(&out, r); err != nil {
		t.Fatal(err)
	}
	if want := "InfluxDB: 12 points written, 1 refused, 3 frames to be written; unreachable: connection refused\n"; !strings.Contains(out.String(), want) {
		t.Errorf("got %q, want the line %q", out.String(), want)
	}
}

// The broker inside loads run has the flags too, and waits at the end.
func TestARunOfItsOwnBringsItsMetricsToInfluxDBAndGrafana(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	server, dashboards := influxtest.Start(t), grafanatest.Start(t)
	i := newInvocation(t)
	i.env["LOADS_INFLUX_TOKEN"], i.env["LOADS_GRAFANA_TOKEN"] = server.Token, grafanatest.Token
	stores := []string{"--influx-url", server.URL, "--influx-bucket", server.CreateDatabase(t, "runs"), "--grafana-url", dashboards.URL}
	plan := writeFile(t, "plan.yaml", sleepers(2))
	if code := i.run(t, w.args(append([]string{"run", plan}, stores...)...)...); code != 0 {
		t.Fatalf("exit code %d, want 0:\n%s%s", code, i.stdout.String(), i.stderr.String())
	}
	rows := server.Query(t, "runs", `SELECT sum(value) FROM sleep_ticks_merged`)
	if len(rows) != 1 || fmt.Sprint(rows[0].Values[0][1]) != "4" {
		t.Errorf("got %v of InfluxDB, want the 4 ticks of the run", rows)
	}
	dashboards.Look(func(s grafanatest.State) {
		if len(s.Dashboards) != 1 {
			t.Errorf("got %d dashboards, want that of the run", len(s.Dashboards))
		}
	})
	server.Stop(t)
	if code := i.run(t, w.args(append([]string{"run", plan}, stores...)...)...); code != 0 {
		t.Errorf("exit code %d while InfluxDB is away, want 0", code)
	}
	if said := i.stdout.String() + i.stderr.String(); !strings.Contains(said, "The run's metrics are not all in their other places (InfluxDB: ") || strings.Contains(said, server.Token) {
		t.Errorf("got %q, want what keeps InfluxDB from the metrics", said)
	}
}

func TestADetachedRunTellsItsBrokerOfInfluxDB(t *testing.T) {
	t.Parallel()
	w := openWorkshop(t)
	server := influxtest.Start(t)
	i := newInvocation(t)
	i.env["LOADS_INFLUX_TOKEN"] = server.Token
	plan := writeFile(t, "plan.yaml", sleepers(2))
	args := w.args("run", plan, "--detach", "--influx-url", server.URL, "--influx-bucket", server.CreateDatabase(t, "runs"))
	if code := i.run(t, args...); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, i.stderr.String())
	}
	eventually(t, "InfluxDB has the run's ticks", 5*time.Minute, func() bool {
		rows := server.Query(t, "runs", `SELECT sum(value) FROM sleep_ticks_merged`)
		return len(rows) == 1 && fmt.Sprint(rows[0].Values[0][1]) == "4"
	})
}

func TestWhatIsForABrokerInsideIsNoneOfAnothers(t *testing.T) {
	url, _ := startBroker(t)
	i := newInvocation(t)
	code := i.run(t, "run", writeFile(t, "p.yaml", sleepers(1)), "--broker", url, "--influx-url", "http://127.0.0.1:1", "--influx-token", "hidden", "--max-cost", "5")
	want := "A broker is at " + url + " already, and this is for one inside: --max-cost, --influx-url, --influx-token. Start that one so, or give --db as well.\n"
	if code != exitUsage || !strings.HasSuffix(i.stderr.String(), want) {
		t.Errorf("exit code %d, %q; want %d and %q", code, i.stderr.String(), exitUsage, want)
	}
}
